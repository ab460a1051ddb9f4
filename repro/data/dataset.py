"""An open data set, and the two rules for all sources of images.

Order: classes are interleaved: the first image of each class, then the second of each, and so on;
within a class in the order of the source. So the first n images are as balanced as possible,
whether the source was sorted by class or shuffled, and the file format does not matter.

Fingerprint: a hash of the decoded pixels, the labels and the classes, in that order. The same
pixels from PNG files and from Parquet are the same data; a JPEG copy is different data.

N images, H by W pixels, 3 channels in the order RGB.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from repro.data.arrays import Images, Labels

_CHUNK = 4096  # images; bounds what a memory-mapped array brings into memory at once


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Split:
    """images: (N, H, W, 3) uint8, grey levels, read-only; labels: (N,) int64 from 0.

    Images are in memory, or mapped from disk.
    """

    images: Images
    labels: Labels


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Dataset:
    """`title` names this copy of the images, and is stored with every result.

    `folder`: of its decoded images and their statistics; None for embedded data.
    """

    name: str
    title: str
    fingerprint: str  # 16 hexadecimal digits
    train: Split
    test: Split
    classes: tuple[str, ...]
    folder: Path | None = None


def content_fingerprint(train: Split, test: Split, classes: tuple[str, ...]) -> str:
    """16 hexadecimal digits of the SHA-256 of classes, shapes, pixels and labels."""
    sha = hashlib.sha256(json.dumps(classes).encode())
    for split in (train, test):
        sha.update(json.dumps(split.images.shape).encode())
        for start in range(0, len(split.images), _CHUNK):
            sha.update(np.ascontiguousarray(split.images[start : start + _CHUNK]).data)
        sha.update(split.labels.astype("<i8").data)
    return sha.hexdigest()[:16]


def interleaved_order(labels: Labels) -> npt.NDArray[np.int64]:
    """The interleaved order (N,): the first image of each class, the second of each, ..."""
    by_class = np.argsort(labels, kind="stable")
    _, starts, counts = np.unique(labels[by_class], return_index=True, return_counts=True)
    turn = np.empty(len(labels), dtype=np.int64)
    turn[by_class] = np.arange(len(labels)) - np.repeat(starts, counts)
    return np.lexsort((labels, turn))
