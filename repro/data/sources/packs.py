"""Packs: decoded images in shards, in a folder or behind any URL that fsspec knows.

A pack holds what the cache holds, cut into files that are read whole and compared with their hash:

    pack.json                      what follows, with every hash; written last
    train-00000.npy ...            (n, H, W, 3) uint8, in the data set's order; so for test
    train_labels.npy               (N,) int64; so for test
    statistics-N.npz               of the N training images, which take a pass over all of them

Its fingerprint is the data set's, wherever it lies, and so trials on it are the same trials.
"""

import errno
import hashlib
import io
import itertools
import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from math import ceil, prod
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt

from repro.data.arrays import MOST_PIXELS, Images, Labels
from repro.errors import DataError, MachineError
from repro.files import parse_json, read_bytes

__all__ = [
    "MANIFEST",
    "Pack",
    "PackedImages",
    "Shards",
    "files_at",
    "is_local",
    "open_pack",
    "read_file",
    "shard_name",
]

MANIFEST = "pack.json"
SplitName = Literal["train", "test"]
Indices = npt.NDArray[np.int64]

_TRIES = 3  # at reading a file; a store behind a network hiccups
_READERS = 4  # files at once
_AHEAD = 8  # shards that are read before they are needed
_SMALL = 2**26  # bytes that a manifest or statistics have at most
_HEADER = 4096  # bytes that numpy's header of an array has at most


@dataclass(frozen=True, kw_only=True, slots=True)
class Shards:
    """One split: how many images, and SHA-256 of its labels' file and of each shard."""

    images: int
    labels: str
    shards: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Pack:
    """What a manifest says. `each`: images in a shard but the last. `key`: changes when it does."""

    place: str
    key: str
    title: str
    fingerprint: str
    classes: tuple[str, ...]
    size: tuple[int, int]  # height and width of an image
    each: int
    statistics: str
    train: Shards
    test: Shards

    @property
    def nbytes(self) -> int:
        """Of all images."""
        return (self.train.images + self.test.images) * prod(self.size) * 3

    def labels(self, split: SplitName) -> Labels:
        """Of all images, (N,). DataError when one is no class's number."""
        about, file = self.of(split), f"{split}_labels.npy"
        labels = self._array(file, about.labels, shape=(about.images,), dtype="<i8")
        if labels.min() < 0 or labels.max() >= len(self.classes):
            raise DataError(
                f"{self.place}/{file} has labels from {labels.min()} to {labels.max()}, but "
                f"{MANIFEST} names {len(self.classes)} classes"
            )
        return labels

    def shard(self, split: SplitName, number: int) -> Images:
        """Its images, (n, H, W, 3)."""
        about = self.of(split)
        images = min(self.each, about.images - number * self.each)
        return self._array(
            shard_name(split, number),
            about.shards[number],
            shape=(images, *self.size, 3),
            dtype="|u1",
        )

    def _array(
        self, file: str, sha256: str, *, shape: tuple[int, ...], dtype: str
    ) -> npt.NDArray[Any]:
        """DataError unless the file holds such an array: nothing is allocated by what it says."""
        content = self.read(file, sha256, most=prod(shape) * np.dtype(dtype).itemsize + _HEADER)
        try:
            return _parse_npy(content, shape, dtype)
        except ValueError as error:
            raise DataError(f"{self.place}/{file}: {error}, unlike {MANIFEST} says") from error

    def of(self, split: SplitName) -> Shards:
        """What is said of the split."""
        return self.train if split == "train" else self.test

    def read_statistics(self, file: str) -> bytes:
        """What was computed of the training images: a mean image in 64 bits, and some numbers."""
        return self.read(file, self.statistics, most=24 * prod(self.size) + _SMALL)

    def read(self, file: str, sha256: str, *, most: int) -> bytes:
        """A file of the pack. DataError when it is not the one that was written."""
        system, folder = files_at(self.place)
        for again in range(_TRIES):
            try:
                content = read_file(system, f"{folder}/{file}", most)
                break
            except FileNotFoundError as error:
                raise DataError(
                    f"{self.place} has no {file}, which {MANIFEST} names",
                    hint="`repro data pack` from the original images writes again what is missing",
                ) from error
            except DataError:
                raise
            # Each kind of store raises errors of its own.
            except Exception as error:
                if again == _TRIES - 1:
                    raise MachineError(f"cannot read {self.place}/{file}: {error}") from error
                time.sleep(2.0**again)
        found = hashlib.sha256(content).hexdigest()
        if found != sha256:
            raise DataError(
                f"{self.place}/{file} has SHA-256 {found[:16]}..., but {MANIFEST} says "
                f"{sha256[:16]}...: it is damaged, or of another pack",
                hint="`repro data pack` from the original images writes again what differs",
            )
        return content


def open_pack(place: str) -> Pack | None:
    """The pack at a folder or URL; None where there is none. DataError when it cannot be read."""
    system, folder = files_at(place)
    try:
        text = read_file(system, f"{folder}/{MANIFEST}")
    except FileNotFoundError:
        return None
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"cannot look into {place}: {error}") from error
    try:
        return _parse_manifest(place, text)
    except (ValueError, KeyError, TypeError, IndexError, OverflowError) as error:
        raise DataError(
            f"{place}/{MANIFEST} is no pack's: {type(error).__name__}: {error}",
            hint="`repro data pack` writes one",
        ) from error


def _parse_manifest(place: str, text: bytes) -> Pack:
    said = parse_json(text)
    each = _whole(said["each"])
    height, width = map(_whole, said["size"])
    if height * width > MOST_PIXELS:
        raise ValueError(f"images of {width}x{height} pixels; at most {MOST_PIXELS:,} are read")
    return Pack(
        place=place,
        key=hashlib.sha256(text).hexdigest()[:16],
        title=_text(said["title"]),
        fingerprint=_text(said["fingerprint"], "[0-9a-f]{16}"),
        classes=tuple(map(_text, said["classes"])),
        size=(height, width),
        each=each,
        statistics=_text(said["statistics"], _SHA256),
        train=_shards(said["train"], each),
        test=_shards(said["test"], each),
    )


_SHA256 = "[0-9a-f]{64}"


def _whole(value: object) -> int:
    if type(value) is not int or value < 1:
        raise ValueError(f"{value!r:.40} is no whole number from 1 on")
    return value


def _text(value: object, form: str = r"[^\ud800-\udfff]+") -> str:
    if not isinstance(value, str) or not re.fullmatch(form, value, re.DOTALL):
        raise ValueError(f"{value!r:.80} does not have the form {form}")
    return value


def is_local(system: Any) -> bool:
    """Whether paths of the file system are those of this machine."""
    return bool(getattr(system, "local_file", False))


def read_file(system: Any, path: str, most: int = _SMALL) -> bytes:
    """A regular file of at most `most` bytes; DataError for others.

    Raises FileNotFoundError where there is none, and whatever else the store raises.
    """
    if is_local(system):
        try:
            return read_bytes(path, most=most)
        except OSError as error:
            if error.errno not in (0, errno.ELOOP, errno.ENXIO):  # a loop of links, a socket
                raise
            raise DataError(f"cannot read {path}: {error.strerror}") from error
    size = system.size(path) or 0
    if size > most:
        raise DataError(f"{path} has {size:,} bytes, and at most {most:,} are read")
    content: bytes = system.cat_file(path)
    return content


@cache
def files_at(place: str) -> tuple[Any, str]:
    """The file system that a place lies in, and its path there; DataError when none is known.

    One for all threads: fsspec would make, and connect, another one for each.
    """
    import fsspec

    try:
        system, folder = fsspec.core.url_to_fs(place)
    except (ImportError, ValueError) as error:
        raise DataError(
            f"{place} cannot be read: {error}",
            hint="fsspec names the package for each kind of store, such as s3fs for s3://",
        ) from error
    return system, folder.rstrip("/")


def _shards(said: dict[str, Any], each: int) -> Shards:
    about = Shards(
        images=_whole(said["images"]),
        labels=_text(said["labels"], _SHA256),
        shards=tuple(_text(sha256, _SHA256) for sha256 in said["shards"]),
    )
    if len(about.shards) != ceil(about.images / each):
        raise ValueError(f"{len(about.shards)} shards for {about.images} images")
    return about


def shard_name(split: str, number: int) -> str:
    """`train-00000.npy`."""
    return f"{split}-{number:05}.npy"


def _parse_npy(content: bytes, shape: tuple[int, ...], dtype: str) -> npt.NDArray[Any]:
    """The array, read-only; ValueError where the file holds another one."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"version {version} of numpy's format")
    found, by_columns, kind = np.lib.format.read_array_header_1_0(file)
    size = len(content) - file.tell()
    if (found, by_columns, kind) != (shape, False, np.dtype(dtype)):
        raise ValueError(f"an array of {kind} {found}, not of {np.dtype(dtype)} {shape}")
    if size != prod(shape) * kind.itemsize:
        raise ValueError(f"{size:,} bytes for an array of {kind} {shape}")
    return np.frombuffer(content, kind, offset=file.tell()).reshape(shape)


class PackedImages:
    """Images `start` to `stop` of a split, (N, H, W, 3) uint8, read when they are asked for.

    As of an array that is mapped from disk, a slice of it reads nothing yet, and numpy's functions
    take it for an array.
    """

    dtype = np.dtype(np.uint8)

    def __init__(
        self, pack: Pack, split: SplitName, start: int = 0, stop: int | None = None
    ) -> None:
        self.pack, self.split = pack, split
        self.start = start
        self.stop = pack.of(split).images if stop is None else stop
        self._open: dict[int, Future[Images]] = {}  # shards that the epoch still needs

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self), *self.pack.size, 3)

    @property
    def nbytes(self) -> int:
        return prod(self.shape)

    @overload
    def __getitem__(self, wanted: slice) -> "PackedImages": ...

    @overload
    def __getitem__(self, wanted: Indices) -> Images: ...

    def __getitem__(self, wanted: slice | Indices) -> "PackedImages | Images":
        """A slice of step 1 as such; images (B, H, W, 3) by indices (B,)."""
        if isinstance(wanted, slice):
            start, stop, _ = wanted.indices(len(self))
            return PackedImages(
                self.pack, self.split, self.start + start, self.start + max(start, stop)
            )
        return next(self.stream([wanted]))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        """All of them, in memory; each shard is read once, and then let go."""
        found = np.empty(self.shape, self.dtype)
        parts = np.split(
            np.arange(len(self)),
            range(-self.start % self.pack.each or self.pack.each, len(self), self.pack.each),
        )
        for part, rows in zip(parts, self.stream(parts), strict=True):
            found[part] = rows
        return found if dtype is None else found.astype(dtype)

    def stream(
        self, batches: Sequence[Indices], later: Sequence[Indices] | None = None
    ) -> Iterator[Images]:
        """Images of each batch of indices in turn; shards are read ahead, in the order of use.

        A shard is read when it is first needed, and let go after its last use. `later`: what the
        rest of the epoch uses; the shards of it that are open stay so for the next call.
        """
        opened = {} if later is None else self._open
        needed = [np.unique((batch + self.start) // self.pack.each).tolist() for batch in batches]
        last = {shard: place for place, shards in enumerate(needed) for shard in shards}
        kept = {
            shard
            for rest in later or ()
            for shard in np.unique((rest + self.start) // self.pack.each).tolist()
        }
        for shard in opened.keys() - last.keys() - kept:
            del opened[shard]
        queue = [s for s in dict.fromkeys(itertools.chain(*needed)) if s not in opened]
        place_of = {shard: place for place, shard in enumerate(queue)}
        begun = 0
        with ThreadPoolExecutor(_READERS) as pool:
            for place, (batch, shards) in enumerate(zip(batches, needed, strict=True)):
                reached = max((place_of.get(shard, -1) for shard in shards), default=-1) + 1
                for shard in queue[begun : reached + _AHEAD]:
                    opened[shard] = pool.submit(self.pack.shard, self.split, shard)
                    begun += 1
                yield self._gathered(batch, opened)
                for shard in shards:
                    if last[shard] == place and shard not in kept:
                        del opened[shard]

    def _gathered(self, batch: Indices, opened: dict[int, Future[Images]]) -> Images:
        found = np.empty((len(batch), *self.shape[1:]), self.dtype)
        shards, rows = np.divmod(batch + self.start, self.pack.each)
        for shard in np.unique(shards).tolist():
            here = shards == shard
            found[here] = opened[shard].result()[rows[here]]
        return found
