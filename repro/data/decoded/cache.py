"""The cache of decoded images, mapped into memory: <cache>/<name>-<key of the source>/.

A folder of that name is complete: `build.py` builds it under another name and renames it. A lock
makes a second process wait for the first and share its result; the kernel frees the lock when the
process ends.

Images are stored as raw pixels. At 256x256 an image takes 196,608 bytes, and the 1.28 million of
ILSVRC-2012 take 252 GB; as JPEG of quality 90 they would take 23 kB each, about 30 GB. But decoding
such a JPEG takes 0.43 ms of a core (Pillow, 125 images of ImageNet), nine minutes in every epoch of
every trial, and a second compression would lose quality again. A raw image is one read at a known
offset, and all trials share the kernel's page cache.
"""

import fcntl
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np

from repro.data.dataset import Dataset, Split, content_fingerprint
from repro.data.decoded.build import SPLITS, Progress, build, digest, labels_hash
from repro.data.sources.find import Source, source_key
from repro.errors import MachineError
from repro.files import open_regular, parse_json, read_bytes

_FORMAT = 1  # raise it when the same files are decoded to other arrays

# Data sets up to this size are hashed before use, once in each process. The 184 MB of CIFAR-10 take
# 0.09 s, where importing torch takes 2.0 (SHA-256, AMD EPYC); the 252 GB of ImageNet would take two
# minutes, and `repro data verify` hashes them.
_MAX_CHECKED_BYTES = 2**28


class _CorruptCacheError(Exception):
    """The folder has changed since it was built."""


def cache_folder(name: str, source: Source, cache_dir: Path) -> Path:
    return cache_dir / f"{name.replace(':', '-')}-{source_key(source)}-{_FORMAT}"


def open_cached(
    name: str,
    source: Source,
    cache_dir: Path,
    *,
    progress: Progress | None = None,
) -> Dataset:
    """The data set from the cache; decode it first if needed.

    DataError for invalid images, MachineError if the cache cannot be written; the next call
    continues.
    """
    folder = cache_folder(name, source, cache_dir)
    if folder.is_dir():
        with suppress(_CorruptCacheError):
            return _read_whole(folder)
    with _write_errors(cache_dir), _lock(folder):
        _set_aside_if_corrupt(folder)
        if not folder.is_dir():  # another process may have built it meanwhile
            build(name, source, folder, progress=progress)
        return _read(folder)


def read_cached(folder: Path) -> Dataset | None:
    """The data set with read-only mapped images; None if it is missing or corrupt.

    Does not check the pixels.
    """
    try:
        return _read(folder) if folder.is_dir() else None
    except _CorruptCacheError:
        return None


def _read_whole(folder: Path) -> Dataset:
    """As `_read`; also checks the pixels of a small data set."""
    dataset = _read(folder)
    splits = [getattr(dataset, split) for split in SPLITS]
    if sum(split.images.nbytes for split in splits) <= _MAX_CHECKED_BYTES:
        versions = tuple(_file_version(folder / f"{split}_images.npy") for split in SPLITS)
        actual = _stored_fingerprint(folder, versions)
        if actual != dataset.fingerprint:
            raise _CorruptCacheError(
                f"fingerprint {actual}, not {dataset.fingerprint}: pixels changed"
            )
    return dataset


def _file_version(file: Path) -> tuple[int, int]:
    try:
        about = file.stat()
    except OSError as error:  # another process has just set it aside
        raise _CorruptCacheError(f"{type(error).__name__}: {error}") from error
    return about.st_ino, about.st_mtime_ns


@cache
def _stored_fingerprint(folder: Path, _versions: tuple[tuple[int, int], ...]) -> str:
    """The fingerprint of the stored pixels, computed once for each version of the files."""
    dataset = _read(folder)
    return content_fingerprint(dataset.train, dataset.test, dataset.classes)


def _read(folder: Path) -> Dataset:
    try:
        meta = parse_json(read_bytes(folder / "meta.json"))
        if meta.pop("digest") != digest(meta):
            raise _CorruptCacheError("meta.json was changed")
        splits = {split: _read_split(folder, split, meta[split]) for split in SPLITS}
        return Dataset(
            name=meta["name"],
            title=meta["title"],
            fingerprint=meta["fingerprint"],
            classes=tuple(meta["classes"]),
            folder=folder,
            **splits,
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise _CorruptCacheError(f"{type(error).__name__}: {error}") from error


def _read_split(folder: Path, split: str, about: dict[str, Any]) -> Split:
    images = _map_array(folder / f"{split}_images.npy")
    labels = _map_array(folder / f"{split}_labels.npy")
    if images.dtype != np.uint8 or list(images.shape) != about["shape"]:
        raise _CorruptCacheError(f"{split}_images.npy is {images.dtype} {images.shape}")
    if labels.dtype != np.int64 or labels_hash(labels) != about["labels"]:
        raise _CorruptCacheError(f"{split}_labels.npy was changed")
    return Split(images=images, labels=labels)


def _map_array(file: Path) -> "np.memmap[Any, Any]":
    """The mapped array. numpy refuses a truncated file, whose pages would kill the process."""
    open_regular(file).close()
    try:
        array = np.lib.format.open_memmap(file, mode="r")
    except (SyntaxError, TokenError) as error:  # numpy parses a damaged header as Python
        raise _CorruptCacheError(f"{file.name}: {error}") from error
    if not array.flags.c_contiguous:
        raise _CorruptCacheError(f"{file.name} is stored by columns")
    return array


def _set_aside_if_corrupt(folder: Path) -> None:
    if not os.path.lexists(folder):
        return
    try:
        _read_whole(folder)
    except _CorruptCacheError as error:
        aside = folder.with_name(f"{folder.name}.corrupt")
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
        warnings.warn(
            f"the decoded images in {folder} are corrupt ({error}); they were moved to {aside}, "
            "which may be deleted, and are decoded again",
            stacklevel=2,
        )


# The file system


@contextmanager
def _write_errors(cache_dir: Path) -> Iterator[None]:
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise MachineError(
            f"cannot write the decoded images to {error.filename or cache_dir}: {error.strerror}",
            hint="free some space there, and the same command continues; or choose another folder "
            "with --cache-dir",
        ) from error


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Lock the folder; wait while another process builds it."""
    handle = os.open(folder.with_name(f".{folder.name}.lock"), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
