"""Packs: decoded images in shards, in a folder or behind any URL that fsspec knows.

A pack holds what the cache holds, cut into files that are read whole and compared with their hash:

    pack.json                      what follows, with every hash; written last
    train-00000.npy ...            (n, H, W, 3) uint8, in the data set's order; so for test
    train_labels.npy               (N,) int64; so for test
    statistics-N.npz               of the N training images, which take a pass over all of them

Its fingerprint is the data set's, wherever it lies, and so trials on it are the same trials.
"""

import hashlib
import io
import itertools
import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from math import ceil, prod
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt

from repro.data.dataset import Dataset, Images, Labels, Split
from repro.errors import DataError, MachineError

__all__ = ["MANIFEST", "Pack", "PackedImages", "Shards", "files_at", "open_pack", "shard_name"]

MANIFEST = "pack.json"
SplitName = Literal["train", "test"]
Indices = npt.NDArray[np.int64]

_TRIES = 3  # at reading a file; a store behind a network hiccups
_READERS = 4  # files at once
_AHEAD = 8  # shards that are read before they are needed


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

    def dataset(self, name: str, folder: Any) -> Dataset:
        """Images stay where they lie. `folder`: for what is computed of them."""
        splits = {
            split: Split(images=PackedImages(self, split), labels=self.labels(split))
            for split in ("train", "test")
        }
        return Dataset(
            name=name,
            title=self.title,
            fingerprint=self.fingerprint,
            classes=self.classes,
            folder=folder,
            **splits,
        )

    def labels(self, split: SplitName) -> Labels:
        """Of all images, (N,)."""
        about = self.of(split)
        return _array(self.read(f"{split}_labels.npy", about.labels))

    def shard(self, split: SplitName, number: int) -> Images:
        """Its images, (n, H, W, 3)."""
        about = self.of(split)
        return _array(self.read(shard_name(split, number), about.shards[number]))

    def of(self, split: SplitName) -> Shards:
        """What is said of the split."""
        return self.train if split == "train" else self.test

    def read(self, file: str, sha256: str) -> bytes:
        """A file of the pack. DataError when it is not the one that was written."""
        system, folder = files_at(self.place)
        for again in range(_TRIES):
            try:
                content: bytes = system.cat_file(f"{folder}/{file}")
                break
            except FileNotFoundError as error:
                raise DataError(
                    f"{self.place} has no {file}, which {MANIFEST} names",
                    hint="`repro data pack` from the original images writes again what is missing",
                ) from error
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
        text: bytes = system.cat_file(f"{folder}/{MANIFEST}")
    except FileNotFoundError:
        return None
    except Exception as error:
        raise DataError(f"cannot look into {place}: {error}") from error
    try:
        said = json.loads(text)
        each = int(said["each"])
        splits = {split: _shards(said[split], each) for split in ("train", "test")}
        return Pack(
            place=place,
            key=hashlib.sha256(text).hexdigest()[:16],
            title=said["title"],
            fingerprint=said["fingerprint"],
            classes=tuple(said["classes"]),
            size=(said["size"][0], said["size"][1]),
            each=each,
            statistics=said["statistics"],
            **splits,
        )
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise DataError(
            f"{place}/{MANIFEST} is no pack's: {type(error).__name__}: {error}",
            hint="`repro data pack` writes one",
        ) from error


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
    about = Shards(images=said["images"], labels=said["labels"], shards=tuple(said["shards"]))
    if each < 1 or len(about.shards) != ceil(about.images / each):
        raise ValueError(f"{len(about.shards)} shards for {about.images} images")
    return about


def shard_name(split: str, number: int) -> str:
    """`train-00000.npy`."""
    return f"{split}-{number:05}.npy"


def _array(content: bytes) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = np.load(io.BytesIO(content), allow_pickle=False)
    return array


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
