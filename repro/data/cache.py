"""Decoded once, then mapped into memory: <cache>/<name>-<key of the source>/.

A folder with that name is complete: it is built under another name and renamed in one step.
A lock makes a second process wait for the first and share what it built; the kernel lets go of
it when its process dies, however it dies.
"""

import fcntl
import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from repro.data.contents import Contents, Listing, read_contents
from repro.data.dataset import Dataset, Images, Labels, Split, content_fingerprint, in_turns
from repro.data.decode import Shape, decode_listing, image_shape
from repro.data.names import is_resized, size_of, title_of
from repro.data.sources import Source, source_key
from repro.errors import DataError, MachineError
from repro.registry import DATASETS

__all__ = ["Progress", "cache_folder", "open_cached", "read_cached"]

Progress = Callable[[int, int], None]  # images decoded, images in all

_FORMAT = 1  # raise it when the same files would be decoded to other arrays

_SPLITS = ("train", "test")


class _CorruptError(Exception):
    """The folder is not as it was built."""


def cache_folder(name: str, source: Source, cache_dir: Path) -> Path:
    """Where the decoded images of these very files lie, or will."""
    return cache_dir / f"{name.replace(':', '-')}-{source_key(source)}-{_FORMAT}"


def open_cached(
    name: str,
    source: Source,
    cache_dir: Path,
    *,
    progress: Progress | None = None,
    workers: int | None = None,
) -> Dataset:
    """The data set from the cache, decoded first where it is not there yet.

    Raises DataError when the images are not what they should be, MachineError when the cache
    cannot be written.
    """
    folder = cache_folder(name, source, cache_dir)
    dataset = read_cached(folder)
    if dataset is None:
        with _writing(cache_dir), _locked(folder):
            _set_aside_if_corrupt(folder)
            dataset = read_cached(folder)  # another process may have built it meanwhile
            if dataset is None:
                _build(name, source, folder, progress or (lambda _done, _all: None), workers)
                dataset = _read(folder)
    return dataset


def read_cached(folder: Path) -> Dataset | None:
    """The data set, its images mapped read-only; None when it is not there or is corrupt."""
    try:
        return _read(folder) if folder.is_dir() else None
    except _CorruptError:
        return None


def _read(folder: Path) -> Dataset:
    try:
        meta = json.loads((folder / "meta.json").read_bytes())
        if meta.pop("digest") != _digest(meta):
            raise _CorruptError("meta.json was changed")
        splits = {split: _read_split(folder, split, meta[split]) for split in _SPLITS}
        return Dataset(
            name=meta["name"],
            title=meta["title"],
            fingerprint=meta["fingerprint"],
            classes=tuple(meta["classes"]),
            **splits,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _CorruptError(f"{type(error).__name__}: {error}") from error


def _read_split(folder: Path, split: str, about: dict[str, Any]) -> Split:
    images = np.load(folder / f"{split}_images.npy", mmap_mode="r")
    labels = np.load(folder / f"{split}_labels.npy", mmap_mode="r")
    if images.dtype != np.uint8 or list(images.shape) != about["shape"]:
        raise _CorruptError(f"{split}_images.npy is {images.dtype} {images.shape}")
    # Labels are few: all are looked at. Images are looked at by `repro data verify`.
    if labels.dtype != np.int64 or _labels_hash(labels) != about["labels"]:
        raise _CorruptError(f"{split}_labels.npy was changed")
    return Split(images=images, labels=labels)


def _set_aside_if_corrupt(folder: Path) -> None:
    if not folder.is_dir():
        return
    try:
        _read(folder)
    except _CorruptError as error:
        aside = folder.with_name(f"{folder.name}.corrupt")
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
        warnings.warn(
            f"the decoded images in {folder} are corrupt ({error}); they were moved to {aside}, "
            "which may be deleted, and are decoded again",
            stacklevel=2,
        )


# Building


def _build(
    name: str, source: Source, folder: Path, progress: Progress, workers: int | None
) -> None:
    contents = read_contents(source)
    _check_facts(name, source, contents)
    building = folder.with_name(f".{folder.name}.building")
    shutil.rmtree(building, ignore_errors=True)  # left by a process that was killed
    building.mkdir()
    try:
        formats = _write_images(name, contents, building, progress, workers)
        for split in _SPLITS:
            labels = getattr(contents, split).labels
            np.save(building / f"{split}_labels.npy", labels[in_turns(labels)])
        _write_meta(name, _title(name, source, formats), contents, building)
        building.rename(folder)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise


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
            f"folder:{source.path.name}" + (f"@{facts.size}" if facts.resize else ""),
        )


def _counted(images: tuple[int, int] | None, classes: int) -> str:
    counts = f"{images[0]:,} training and {images[1]:,} test images of " if images else ""
    return f"{counts}{classes:,} classes"


def _write_images(
    name: str, contents: Contents, building: Path, progress: Progress, workers: int | None
) -> set[str]:
    """Both splits' images in turns; the formats met. DataError when any image has a fault."""
    size = size_of(name)
    shape = image_shape(contents.train) if size is None else (size, size, 3)
    total = len(contents.train.labels) + len(contents.test.labels)
    done, faults, formats = 0, list[str](), set[str]()
    for split in _SPLITS:
        listing: Listing = getattr(contents, split)
        with _npy_writer(building / f"{split}_images.npy", listing.labels, shape) as write:
            for decoded in decode_listing(
                listing, shape=shape, resize=is_resized(name), workers=workers
            ):
                faults += decoded.faults
                formats |= decoded.formats
                if not faults:  # after the first fault only the others are looked for
                    write(decoded.images)
                done += len(decoded.images) + len(decoded.faults)
                progress(done, total)
    if faults:
        raise _faults_error(name, faults, total)
    return formats - {""}


@contextmanager
def _npy_writer(
    path: Path, labels: Labels, shape: Shape
) -> Iterator[Callable[[list[Images]], None]]:
    """A function that takes images in the source's order and writes each where it belongs.

    Written, not mapped: on a full disk a write raises, but a mapped page kills the process.
    """
    place = np.argsort(in_turns(labels))  # of the source's i-th image in the file
    written = 0
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|u1", "fortran_order": False, "shape": (len(labels), *shape)}
        )
        begin, bytes_each = file.tell(), int(np.prod(shape))

        def write(images: list[Images]) -> None:
            nonlocal written
            for image in images:
                file.seek(begin + int(place[written]) * bytes_each)
                file.write(image.tobytes())
                written += 1

        yield write
        file.flush()
        os.fsync(file.fileno())


def _faults_error(name: str, faults: list[str], total: int) -> DataError:
    shown = "\n  ".join(faults[:10]) + ("\n  ..." if len(faults) > 10 else "")
    various = f"; images of various sizes want a size, as in {name}@256"
    return DataError(
        f"{len(faults):,} of {total:,} images cannot be used:\n  {shown}",
        hint="replace or remove them; they are not left out by themselves, since without them "
        f"it is another data set{various if size_of(name) is None else ''}",
    )


def _title(name: str, source: Source, formats: set[str]) -> str:
    title = title_of(name)
    if source.kind == "original":
        return f"{title} (original release)"
    container = {"parquet": "Parquet", "folder": "image folder"}[source.kind]
    resized = f", shorter side resized to {size_of(name)}, central square"
    about = container + (resized if is_resized(name) else "")
    return f"{title} ({'/'.join(sorted(formats))} copy, {about})"


def _write_meta(name: str, title: str, contents: Contents, building: Path) -> None:
    splits = {
        split: Split(
            images=np.load(building / f"{split}_images.npy", mmap_mode="r"),
            labels=np.load(building / f"{split}_labels.npy"),
        )
        for split in _SPLITS
    }
    meta = {
        "name": name,
        "title": title,
        "fingerprint": content_fingerprint(**splits, classes=contents.classes),
        "classes": contents.classes,
        "decoder": f"Pillow {PIL.__version__}",
    } | {
        split: {"shape": part.images.shape, "labels": _labels_hash(part.labels)}
        for split, part in splits.items()
    }
    text = json.dumps(meta | {"digest": _digest(meta)}, indent=1)
    with (building / "meta.json").open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _digest(meta: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()


def _labels_hash(labels: Labels) -> str:
    return hashlib.sha256(np.ascontiguousarray(labels).data).hexdigest()


# The file system


@contextmanager
def _writing(cache_dir: Path) -> Iterator[None]:
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise MachineError(
            f"cannot write the decoded images to {cache_dir}: {error.strerror}",
            hint="free some space there or choose another folder with --cache-dir",
        ) from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Wait until no other process builds this folder."""
    handle = os.open(folder.with_name(f".{folder.name}.lock"), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
