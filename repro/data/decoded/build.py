"""Decoding a data set into a folder, so that a build that was stopped continues.

Images are read in the source's order, and each is written where it belongs. Every few thousand
the file is brought to the disk, and only then does `progress.json` say so: what it says is there,
whenever the process was killed. Changed files have another key, and so another folder.
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
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import PIL

from repro.data.arrays import Images, Labels
from repro.data.dataset import Split, content_fingerprint, in_turns
from repro.data.decoded.decode import Decoded, Shape, decode_listing, image_shape
from repro.data.sources.contents import Contents, Listing, read_contents
from repro.data.sources.find import Source
from repro.data.sources.names import is_resized, size_of, title_of
from repro.errors import DataError, MachineError
from repro.files import open_regular, parse_json, read_bytes, write_atomic
from repro.registry import DATASETS

__all__ = ["SPLITS", "Progress", "build", "digest", "labels_hash"]

# Images decoded, images in all; called first with those that were decoded before.
Progress = Callable[[int, int], None]

SPLITS: tuple[Literal["train"], Literal["test"]] = ("train", "test")

_PROGRESS = "progress.json"
_SAVE_EVERY = 4096  # images: at 256x256 about ten seconds of one core, and 0.8 GB
_NAMED = 10  # faults that are shown; the others are counted
_DECODER = f"Pillow {PIL.__version__}"


def build(name: str, source: Source, folder: Path, *, progress: Progress | None = None) -> None:
    """Decode all images, and put them at `folder` in one step once they are complete.

    Raises DataError when any image cannot be used, and MachineError when they do not fit on the
    disk. Whatever else stops it, the next call continues.
    """
    contents = read_contents(source)
    _check_facts(name, source, contents)
    size = size_of(name)
    shape = image_shape(contents.train) if size is None else (size, size, 3)
    if shape[0] != shape[1]:
        side = max(16, min(1024, *shape[:2]))
        raise DataError(
            f"the images of {name} have {shape[1]}x{shape[0]} pixels, and nets take squares",
            hint=f"name them {name}@{side}: the short side is brought to so many pixels",
        )
    building = folder.with_name(f".{folder.name}.building")
    reached = _load(building, contents, shape)
    if not reached.done:
        shutil.rmtree(building, ignore_errors=True)
    _check_space(contents, shape, building)
    building.mkdir(exist_ok=True)
    decode = partial(decode_listing, shape=shape, resize=is_resized(name))
    reached = _write_images(contents, shape, decode, building, reached, progress)
    if reached.faults:
        shutil.rmtree(building)  # with other images in their place it will be another data set
        raise _faults_error(name, reached)
    for split in SPLITS:
        labels = getattr(contents, split).labels
        np.save(building / f"{split}_labels.npy", labels[in_turns(labels)])
    _write_meta(name, source, reached.formats, contents, building)
    building.rename(folder)
    (folder / _PROGRESS).unlink()


def _check_facts(name: str, source: Source, contents: Contents) -> None:
    """A registered name promises its number of images and classes; fewer are another data set."""
    if name not in DATASETS:
        return
    facts = DATASETS[name]
    images = (len(contents.train.labels), len(contents.test.labels))
    found = (images if facts.images else None, len(contents.classes))
    expected = (facts.images, facts.classes)
    if found != expected:
        raise DataError(
            f"{source.path} holds {_counted(*found)}, but {facts.title} has {_counted(*expected)}",
            hint="complete the files, or use the folder as another data set, by the name "
            f"folder:{Path(source.path).name}" + (f"@{facts.size}" if facts.resize else ""),
        )


def _counted(images: tuple[int, int] | None, classes: int) -> str:
    counts = f"{images[0]:,} training and {images[1]:,} test images of " if images else ""
    return f"{counts}{classes:,} classes"


def _check_space(contents: Contents, shape: Shape, building: Path) -> None:
    """Told before hours of decoding, not after. What was written before lies there already."""
    images = len(contents.train.labels) + len(contents.test.labels)
    written = sum(file.stat().st_blocks * 512 for file in building.glob("*.npy"))
    needed, free = images * prod(shape) - written, shutil.disk_usage(building.parent).free
    if needed > free:
        raise MachineError(
            f"{images:,} images of {shape[1]}x{shape[0]} pixels, decoded, need {needed:,} more "
            f"bytes in {building.parent}, where {free:,} are free",
            hint="free some space there or choose another folder with --cache-dir",
        )


# Images


@dataclass(frozen=True, kw_only=True, slots=True)
class _Reached:
    """How far a build has come: images read, the training split first, and what was met."""

    done: int = 0
    faults: int = 0
    named: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()  # as Pillow calls them

    def after(self, decoded: Decoded) -> Self:
        """With some images more."""
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
    reached: _Reached,
    progress: Progress | None,
) -> _Reached:
    """Both splits' images in turns, from where the last process came to."""
    end = 0
    total = len(contents.train.labels) + len(contents.test.labels)
    say = progress or (lambda _done, _all: None)
    say(reached.done, total)
    for split in SPLITS:
        listing: Listing = getattr(contents, split)
        begin, end = end, end + len(listing.labels)
        if reached.done >= end:
            continue
        with _ImagesFile(
            building / f"{split}_images.npy",
            labels=listing.labels,
            shape=shape,
            new=reached.done == begin,
        ) as file:
            saved = reached.done
            for decoded in decode(listing, reached.done - begin):
                at, reached = reached.done - begin, reached.after(decoded)
                if not reached.faults:  # after the first fault only the others are looked for
                    file.write(at, decoded.images)
                if reached.done - saved >= _SAVE_EVERY or reached.done == end:
                    file.sync()
                    _save(building, reached)
                    saved = reached.done
                say(reached.done, total)
    return reached


def _save(building: Path, reached: _Reached) -> None:
    write_atomic(building / _PROGRESS, json.dumps({"decoder": _DECODER} | asdict(reached)))


def _load(building: Path, contents: Contents, shape: Shape) -> _Reached:
    """Nothing reached where nothing was saved, or by a Pillow that may decode to other pixels."""
    try:
        found = parse_json(read_bytes(building / _PROGRESS))
        reached = _Reached(
            done=found["done"],
            faults=found["faults"],
            named=tuple(found["named"]),
            formats=tuple(found["formats"]),
        )
        whole = reached.faults > 0 or _holds(building, contents, shape, reached.done)
        return reached if whole and found["decoder"] == _DECODER else _Reached()
    except (OSError, ValueError, KeyError, TypeError):
        return _Reached()


def _holds(building: Path, contents: Contents, shape: Shape, done: int) -> bool:
    """Whether the files are as long as that many images make them; shorter ones were cut off."""
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
    """Of the source's i-th image in the file, (N,)."""
    return np.argsort(in_turns(labels))


def _header(labels: Labels, shape: Shape) -> bytes:
    buffer = io.BytesIO()
    about = {"descr": "|u1", "fortran_order": False, "shape": (len(labels), *shape)}
    np.lib.format.write_array_header_1_0(buffer, about)
    return buffer.getvalue()


class _ImagesFile:
    """One split's .npy file, to which images come in the source's order and stand in turns.

    Written, not mapped: on a full disk a write raises, but a mapped page kills the process.
    """

    def __init__(self, path: Path, *, labels: Labels, shape: Shape, new: bool) -> None:
        self._places = _places(labels)
        self._bytes_each = prod(shape)
        self._file = path.open("wb" if new else "r+b")
        self._begin = self._file.write(_header(labels, shape))

    def write(self, start: int, images: list[Images]) -> None:
        """The source's images from `start` on."""
        places = self._places[start : start + len(images)].tolist()
        for place, image in zip(places, images, strict=True):
            self._file.seek(self._begin + place * self._bytes_each)
            self._file.write(image.tobytes())

    def sync(self) -> None:
        """Return once all that was written is on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()


def _faults_error(name: str, reached: _Reached) -> DataError:
    shown = "\n  ".join(reached.named) + ("\n  ..." if reached.faults > _NAMED else "")
    various = f"; images of various sizes want a size, as in {name}@256"
    return DataError(
        f"{reached.faults:,} of {reached.done:,} images cannot be used:\n  {shown}",
        hint="replace or remove them; they are not left out by themselves, since without them "
        f"it is another data set{various if size_of(name) is None else ''}",
    )


# What goes with them


def _title(name: str, source: Source, formats: tuple[str, ...]) -> str:
    title = title_of(name)
    if source.kind == "original":
        return f"{title} (original release)"
    about = {"parquet": "Parquet", "shards": "webdataset", "folder": "image folder"}[source.kind]
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
    """Of what meta.json says, so that a change is seen."""
    return hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()


def labels_hash(labels: Labels) -> str:
    """SHA-256 of the labels as they lie in memory."""
    return hashlib.sha256(np.ascontiguousarray(labels).data).hexdigest()
