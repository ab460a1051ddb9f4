"""Decode a data set into a cache folder; an interrupted build continues.

Images are read in the order of the source, and written at their place. Every few thousand images
the file is synced to disk, and then `progress.json` is updated: it is true whenever the process is
killed. Changed source files have another key, and so another folder.
"""

import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import PIL

from repro.data.arrays import Images, Labels
from repro.data.dataset import Split, content_fingerprint, interleaved_order
from repro.data.decoded.decode import Decoded, Shape, decode_listing, image_shape
from repro.data.sources.contents import Contents, Listing, read_contents
from repro.data.sources.find import Source
from repro.data.sources.names import is_resized, size_of, title_of
from repro.errors import DataError, MachineError
from repro.files import open_regular, parse_json, read_bytes, write_atomic
from repro.registry import DATASETS

# Called with the images decoded so far and the images in all.
Progress = Callable[[int, int], None]

SPLITS: tuple[Literal["train"], Literal["test"]] = ("train", "test")

_PROGRESS = "progress.json"
_SAVE_EVERY = 4096  # images: at 256x256 about ten seconds of one core, and 0.8 GB
_NAMED = 10  # faults shown; the others are only counted
_DECODER = f"Pillow {PIL.__version__}"


def build(name: str, source: Source, folder: Path, *, progress: Progress | None = None) -> None:
    """Decode all images, then move them to `folder` in one step.

    DataError if an image cannot be used, MachineError if the disk is full. After any other
    interruption the next call continues.
    """
    contents = read_contents(source)
    _check_facts(name, source, contents)
    size = size_of(name)
    shape = image_shape(contents.train) if size is None else (size, size, 3)
    if shape[0] != shape[1]:
        side = max(16, min(1024, *shape[:2]))
        raise DataError(
            f"the images of {name} have {shape[1]}x{shape[0]} pixels, and nets take squares",
            hint=f"name them {name}@{side}: this resizes the short side to {side} pixels",
        )
    building = folder.with_name(f".{folder.name}.building")
    state = _load(building, contents, shape)
    if not state.done:
        shutil.rmtree(building, ignore_errors=True)
    _check_space(contents, shape, building)
    building.mkdir(exist_ok=True)
    decode = partial(decode_listing, shape=shape, resize=is_resized(name))
    state = _write_images(contents, shape, decode, building, state, progress)
    if state.faults:
        shutil.rmtree(building)  # with other images it is another data set
        raise _faults_error(name, state)
    for split in SPLITS:
        labels = getattr(contents, split).labels
        np.save(building / f"{split}_labels.npy", labels[interleaved_order(labels)])
    _write_meta(name, source, state.formats, contents, building)
    building.rename(folder)
    (folder / _PROGRESS).unlink()


def _check_facts(name: str, source: Source, contents: Contents) -> None:
    if name not in DATASETS:
        return
    facts = DATASETS[name]
    images = (len(contents.train.labels), len(contents.test.labels))
    actual = (images if facts.images else None, len(contents.classes))
    expected = (facts.images, facts.classes)
    if actual != expected:
        raise DataError(
            f"{source.path} holds {_count_text(*actual)}, but {facts.title} has "
            f"{_count_text(*expected)}",
            hint="complete the files, or use the folder as another data set, by the name "
            f"folder:{Path(source.path).name}" + (f"@{facts.size}" if facts.resize else ""),
        )


def _count_text(images: tuple[int, int] | None, classes: int) -> str:
    counts = f"{images[0]:,} training and {images[1]:,} test images of " if images else ""
    return f"{counts}{classes:,} classes"


def _check_space(contents: Contents, shape: Shape, building: Path) -> None:
    """Check the free disk space before decoding, less what an interrupted build has written."""
    images = len(contents.train.labels) + len(contents.test.labels)
    existing = sum(file.stat().st_blocks * 512 for file in building.glob("*.npy"))
    needed, free = images * prod(shape) - existing, shutil.disk_usage(building.parent).free
    if needed > free:
        raise MachineError(
            f"{images:,} images of {shape[1]}x{shape[0]} pixels, decoded, need {needed:,} more "
            f"bytes in {building.parent}, where {free:,} are free",
            hint="free some space there or choose another folder with --cache-dir",
        )


# Images


@dataclass(frozen=True, kw_only=True, slots=True)
class _BuildState:
    """The progress of a build: images read, the training split first; faults and formats."""

    done: int = 0
    faults: int = 0
    named: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()  # as Pillow calls them

    def after(self, decoded: Decoded) -> Self:
        return replace(
            self,
            done=self.done + len(decoded.images) + len(decoded.faults),
            faults=self.faults + len(decoded.faults),
            named=(*self.named, *decoded.faults)[:_NAMED],
            formats=tuple(sorted({*self.formats, *decoded.formats} - {""})),
        )


def _write_images(
    contents: Contents,
    shape: Shape,
    decode: Callable[[Listing, int], Iterator[Decoded]],
    building: Path,
    state: _BuildState,
    progress: Progress | None,
) -> _BuildState:
    end = 0
    total = len(contents.train.labels) + len(contents.test.labels)
    say = progress or (lambda _done, _all: None)
    say(state.done, total)
    for split in SPLITS:
        listing: Listing = getattr(contents, split)
        begin, end = end, end + len(listing.labels)
        if state.done >= end:
            continue
        with _ImagesFile(
            building / f"{split}_images.npy",
            labels=listing.labels,
            shape=shape,
            new=state.done == begin,
        ) as file:
            saved = state.done
            for decoded in decode(listing, state.done - begin):
                place, state = state.done - begin, state.after(decoded)
                if not state.faults:  # after the first fault only search for others
                    file.write(place, decoded.images)
                if state.done - saved >= _SAVE_EVERY or state.done == end:
                    file.sync()
                    _save(building, state)
                    saved = state.done
                say(state.done, total)
    return state


def _save(building: Path, state: _BuildState) -> None:
    write_atomic(building / _PROGRESS, json.dumps({"decoder": _DECODER} | asdict(state)))


def _load(building: Path, contents: Contents, shape: Shape) -> _BuildState:
    """The saved state; an empty one if there is none, or if another Pillow has written it."""
    try:
        fields = parse_json(read_bytes(building / _PROGRESS))
        state = _BuildState(
            done=fields["done"],
            faults=fields["faults"],
            named=tuple(fields["named"]),
            formats=tuple(fields["formats"]),
        )
        complete = state.faults > 0 or _holds(building, contents, shape, state.done)
        return state if complete and fields["decoder"] == _DECODER else _BuildState()
    except (OSError, ValueError, KeyError, TypeError):
        return _BuildState()


def _holds(building: Path, contents: Contents, shape: Shape, done: int) -> bool:
    """Whether the files are long enough for `done` images; shorter ones were cut off."""
    for split in SPLITS:
        labels = getattr(contents, split).labels
        count, done = min(done, len(labels)), max(0, done - len(labels))
        if count:
            needed = len(_header(labels, shape)) + prod(shape) * (1 + max(_places(labels)[:count]))
            with open_regular(building / f"{split}_images.npy") as file:
                if os.fstat(file.fileno()).st_size < needed:
                    return False
    return done == 0


def _places(labels: Labels) -> npt.NDArray[np.int64]:
    """The place in the file of the source's i-th image, (N,)."""
    return np.argsort(interleaved_order(labels))


def _header(labels: Labels, shape: Shape) -> bytes:
    buffer = io.BytesIO()
    about = {"descr": "|u1", "fortran_order": False, "shape": (len(labels), *shape)}
    np.lib.format.write_array_header_1_0(buffer, about)
    return buffer.getvalue()


class _ImagesFile:
    """The .npy file of a split: takes images in the source's order, stores them interleaved.

    Written, not mapped: on a full disk a write raises, but a mapped page kills the process.
    """

    def __init__(self, path: Path, *, labels: Labels, shape: Shape, new: bool) -> None:
        self._places = _places(labels)
        self._bytes_each = prod(shape)
        self._file = path.open("wb" if new else "r+b")
        self._begin = self._file.write(_header(labels, shape))

    def write(self, start: int, images: list[Images]) -> None:
        places = self._places[start : start + len(images)].tolist()
        for place, image in zip(places, images, strict=True):
            self._file.seek(self._begin + place * self._bytes_each)
            self._file.write(image.tobytes())

    def sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _faults_error(name: str, state: _BuildState) -> DataError:
    lines = "\n  ".join(state.named) + ("\n  ..." if state.faults > _NAMED else "")
    size_note = f"; for images of various sizes, add a size, as in {name}@256"
    return DataError(
        f"{state.faults:,} of {state.done:,} images cannot be used:\n  {lines}",
        hint="replace or remove them; they are not skipped automatically, since without them "
        f"it is another data set{size_note if size_of(name) is None else ''}",
    )


# Metadata


def _title(name: str, source: Source, formats: tuple[str, ...]) -> str:
    title = title_of(name)
    if source.kind == "original":
        return f"{title} (original release)"
    about = {"parquet": "Parquet", "folder": "image folder"}[source.kind]
    if is_resized(name):
        about += f", shorter side resized to {size_of(name)}, central square"
    return f"{title} ({'/'.join(formats)} copy, {about})"


def _write_meta(
    name: str, source: Source, formats: tuple[str, ...], contents: Contents, building: Path
) -> None:
    splits = {
        split: Split(
            images=np.load(building / f"{split}_images.npy", mmap_mode="r"),
            labels=np.load(building / f"{split}_labels.npy"),
        )
        for split in SPLITS
    }
    fingerprint = content_fingerprint(**splits, classes=contents.classes)
    meta = {
        "name": name,
        "title": _title(name, source, formats),
        "fingerprint": fingerprint,
        "classes": contents.classes,
        "decoder": _DECODER,
    } | {
        split: {"shape": part.images.shape, "labels": labels_hash(part.labels)}
        for split, part in splits.items()
    }
    write_atomic(building / "meta.json", json.dumps(meta | {"digest": digest(meta)}, indent=1))


def digest(meta: dict[str, Any]) -> str:
    """A hash of the content of meta.json, to detect changes."""
    return hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()


def labels_hash(labels: Labels) -> str:
    return hashlib.sha256(np.ascontiguousarray(labels).data).hexdigest()
