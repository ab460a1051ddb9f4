"""Decoded once, then mapped into memory: <cache>/<name>-<key of the source>/.

A folder with that name is complete: `build.py` builds it under another name, which is
replaced in one step. A lock makes a second process wait for the first and share what it built;
the kernel lets go of it when its process dies, however it dies.

Images lie there as raw pixels. At 256x256 one takes 196,608 bytes, and the 1.28 million of
ILSVRC-2012 take 252 GB; as JPEG of quality 90 they would take 23 kB each, about 30 GB. But to
decode such a JPEG takes 0.43 ms of a core (Pillow, 125 images of ImageNet), nine minutes in every
epoch of every trial, and compressing them again would lose a second time what JPEG loses. Raw,
any image is one read at a known place, and all trials share the kernel's copy in memory.
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

__all__ = ["cache_folder", "open_cached", "read_cached"]

_FORMAT = 1  # raise it when the same files would be decoded to other arrays

# Bytes of images whose every pixel is looked at before they are used, once in each process. The
# 184 MB of CIFAR-10 take 0.09 s, where importing torch takes 2.0 (SHA-256, AMD EPYC); the 252 GB of
# ImageNet would take two minutes, and are looked at by `repro data verify`.
_ALL_LOOKED_AT = 2**28


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
) -> Dataset:
    """The data set from the cache, decoded first where it is not there yet.

    Raises DataError when the images are not what they should be, MachineError when the cache
    cannot be written; what was decoded until then is not decoded again.
    """
    folder = cache_folder(name, source, cache_dir)
    if folder.is_dir():
        with suppress(_CorruptError):
            return _read_whole(folder)
    with _writing(cache_dir), _locked(folder):
        _set_aside_if_corrupt(folder)
        if not folder.is_dir():  # another process may have built it meanwhile
            build(name, source, folder, progress=progress)
        return _read(folder)


def read_cached(folder: Path) -> Dataset | None:
    """The data set, its images mapped read-only; None when it is not there or is corrupt.

    What its pixels are is not looked at.
    """
    try:
        return _read(folder) if folder.is_dir() else None
    except _CorruptError:
        return None


def _read_whole(folder: Path) -> Dataset:
    """As `_read`, and of images that are few every pixel is looked at."""
    dataset = _read(folder)
    splits = [getattr(dataset, split) for split in SPLITS]
    if sum(split.images.nbytes for split in splits) <= _ALL_LOOKED_AT:
        found = _found(folder, tuple(_written(folder / f"{split}_images.npy") for split in SPLITS))
        if found != dataset.fingerprint:
            raise _CorruptError(f"fingerprint {found}, not {dataset.fingerprint}: pixels changed")
    return dataset


def _written(file: Path) -> tuple[int, int]:
    try:
        about = file.stat()
    except OSError as error:  # another process has just set it aside
        raise _CorruptError(f"{type(error).__name__}: {error}") from error
    return about.st_ino, about.st_mtime_ns


@cache
def _found(folder: Path, _written: tuple[tuple[int, int], ...]) -> str:
    """The fingerprint of what lies there; of files as they were last written, found out once."""
    dataset = _read(folder)
    return content_fingerprint(dataset.train, dataset.test, dataset.classes)


def _read(folder: Path) -> Dataset:
    try:
        meta = parse_json(read_bytes(folder / "meta.json"))
        if meta.pop("digest") != digest(meta):
            raise _CorruptError("meta.json was changed")
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
        raise _CorruptError(f"{type(error).__name__}: {error}") from error


def _read_split(folder: Path, split: str, about: dict[str, Any]) -> Split:
    images = _mapped(folder / f"{split}_images.npy")
    labels = _mapped(folder / f"{split}_labels.npy")
    if images.dtype != np.uint8 or list(images.shape) != about["shape"]:
        raise _CorruptError(f"{split}_images.npy is {images.dtype} {images.shape}")
    # Labels are few: all are looked at.
    if labels.dtype != np.int64 or labels_hash(labels) != about["labels"]:
        raise _CorruptError(f"{split}_labels.npy was changed")
    return Split(images=images, labels=labels)


def _mapped(file: Path) -> "np.memmap[Any, Any]":
    """The array; never one of which the file holds only a part, whose pages would kill us."""
    open_regular(file).close()
    try:
        array = np.lib.format.open_memmap(file, mode="r")
    except (SyntaxError, TokenError) as error:  # numpy parses a damaged header as Python
        raise _CorruptError(f"{file.name}: {error}") from error
    if not array.flags.c_contiguous:
        raise _CorruptError(f"{file.name} is stored by columns")
    return array


def _set_aside_if_corrupt(folder: Path) -> None:
    if not os.path.lexists(folder):
        return
    try:
        _read_whole(folder)
    except _CorruptError as error:
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
def _writing(cache_dir: Path) -> Iterator[None]:
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
def _locked(folder: Path) -> Iterator[None]:
    """Wait until no other process builds this folder."""
    handle = os.open(folder.with_name(f".{folder.name}.lock"), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
