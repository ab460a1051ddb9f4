"""Data sets without files of the user: for the smoke scale and for tests, never evidence."""

from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from repro.data.arrays import Images, Labels
from repro.data.dataset import Dataset, Split, content_fingerprint, interleaved_order
from repro.errors import DataError
from repro.registry import DATASETS

_COARSE = 8  # a pattern's cells along each side


def digits() -> Dataset:
    """scikit-learn's 1,797 handwritten digits, 8x8 grey, as 32x32 RGB.

    Pixels are repeated, not interpolated, so that the result depends on no library version.
    Test images are the first 36 of each class, training images the other 1,437.
    """
    grey, labels = _digits_table()
    pixels = (grey.astype(np.int64) * 255 + 8) // 16  # 0..16 -> 0..255, rounded
    images = pixels.astype(np.uint8).repeat(4, 1).repeat(4, 2)[..., None].repeat(3, -1)
    order = interleaved_order(labels)
    test, train = order[:360], order[360:]
    return _dataset(
        "digits",
        _split(images[train], labels[train]),
        _split(images[test], labels[test]),
        classes=10,
    )


def synthetic(
    *,
    n_train: int = 2000,
    n_test: int = 500,
    size: int = 32,
    classes: int = 10,
    seed: int = 0,
    noise: float = 32.0,
) -> Dataset:
    """A coarse colour pattern for each class, randomly shifted in each image, plus noise.

    `noise` is its standard deviation in grey levels; that of the patterns is 37. The shift, up to
    an eighth of the image down and to the right, wraps around.
    """
    generator = np.random.default_rng(seed)
    cell = -(-size // _COARSE)  # rounded up, and the pattern cut to size
    coarse = generator.uniform(64, 192, (classes, _COARSE, _COARSE, 3)).astype(np.float32)
    patterns = coarse.repeat(cell, 1).repeat(cell, 2)[:, :size, :size]

    def draw(n: int) -> Split:
        labels = np.arange(n, dtype=np.int64) % classes
        down, right = (generator.integers(0, max(1, size // 8), (2, n, 1)) + np.arange(size)) % size
        images = patterns[labels[:, None, None], down[:, :, None], right[:, None, :]]
        images += noise * generator.standard_normal(images.shape, dtype=np.float32)
        return _split(images.round().clip(0, 255).astype(np.uint8), labels)

    return _dataset("synthetic", draw(n_train), draw(n_test), classes=classes)


class _Embedded(Mapping[str, Callable[[], Dataset]]):
    """Data sets without files: the shipped ones, and those of plug-ins that load themselves."""

    shipped: Mapping[str, Callable[[], Dataset]] = {"digits": digits, "synthetic": synthetic}

    def __getitem__(self, name: str) -> Callable[[], Dataset]:
        loader = self.shipped.get(name) or (DATASETS[name].load if name in DATASETS else None)
        if loader is None:
            raise KeyError(name)
        return loader

    def __iter__(self) -> Iterator[str]:
        return (name for name in DATASETS if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


EMBEDDED = _Embedded()


def _digits_table() -> tuple[Images, Labels]:
    """Grey levels 0..16 (1797, 8, 8) and labels, as of `sklearn.datasets.load_digits`.

    Read from scikit-learn's file, since importing scikit-learn takes four seconds.
    """
    spec = find_spec("sklearn")
    roots = (spec and spec.submodule_search_locations) or []
    for root in roots:
        path = Path(root) / "datasets" / "data" / "digits.csv.gz"
        if path.is_file():
            table = np.loadtxt(path, delimiter=",")
            return table[:, :64].astype(np.uint8).reshape(-1, 8, 8), table[:, 64].astype(np.int64)
    raise DataError(
        "scikit-learn's digits.csv.gz is not in its folder datasets/data",
        hint="install scikit-learn 1.5 to 1.9, or use the data set 'synthetic'",
    )


def _split(images: Images, labels: Labels) -> Split:
    images.flags.writeable = labels.flags.writeable = False
    return Split(images=images, labels=labels)


def _dataset(name: str, train: Split, test: Split, *, classes: int) -> Dataset:
    names = tuple(map(str, range(classes)))
    return Dataset(
        name=name,
        title=DATASETS[name].title,
        fingerprint=content_fingerprint(train, test, names),
        train=train,
        test=test,
        classes=names,
    )
