"""`repro data status`, `prepare` and `verify`: find, decode and check data sets."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from repro.data.catalogue import open_dataset
from repro.data.dataset import Dataset, content_fingerprint
from repro.data.decoded.build import Progress
from repro.data.decoded.cache import cache_folder, read_cached
from repro.data.sources.embedded import EMBEDDED
from repro.data.sources.find import Source, find
from repro.data.sources.names import title_of
from repro.errors import DataError
from repro.registry import DATASETS


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """One data set. `decoded` is its folder in the cache; bytes are on disk."""

    name: str
    title: str
    images: tuple[int, int] | None  # training, test; None: not known
    source: Source | None = None
    source_bytes: int = 0
    decoded: Path | None = None
    decoded_bytes: int = 0
    fingerprint: str | None = None
    problem: str = ""

    def __str__(self) -> str:
        about = f"{self.name}: {self.title}"
        if self.images:
            about += f", {self.images[0]:,} + {self.images[1]:,} images"
        if self.problem:
            return f"{about}; {self.problem}"
        parts = [about]
        if self.source:
            parts.append(f"found in {self.source.path} ({_megabytes(self.source_bytes)})")
            parts.append(f"read: {self.source.description}")
            parts.append(
                f"decoded in {self.decoded} ({_megabytes(self.decoded_bytes)})"
                if self.decoded
                else "not yet decoded"
            )
        if self.fingerprint:
            parts.append(f"fingerprint {self.fingerprint}")
        return "; ".join(parts)


def status(data_dirs: Sequence[Path], cache_dir: Path) -> list[Status]:
    """All registered data sets: the folder of each, or that it is missing. Decodes nothing."""
    return [_status(name, data_dirs, cache_dir) for name in DATASETS]


def _status(name: str, data_dirs: Sequence[Path], cache_dir: Path) -> Status:
    try:
        return _find_status(name, data_dirs, cache_dir)
    except DataError as error:
        facts = DATASETS[name]
        return Status(name=name, title=facts.title, images=facts.images, problem=str(error))


def _find_status(name: str, data_dirs: Sequence[Path], cache_dir: Path) -> Status:
    title, images = title_of(name), DATASETS[name].images if name in DATASETS else None
    if name in EMBEDDED:
        fingerprint = EMBEDDED[name]().fingerprint
        return Status(name=name, title=title, images=images, fingerprint=fingerprint)
    source = find(name, data_dirs)
    if source is None:
        return Status(name=name, title=title, images=images, problem="not found")
    folder = cache_folder(name, source, cache_dir)
    cached = read_cached(folder)
    return Status(
        name=name,
        title=cached.title if cached else title,
        images=(len(cached.train.labels), len(cached.test.labels)) if cached else images,
        source=source,
        source_bytes=source.nbytes,
        decoded=folder if cached else None,
        decoded_bytes=sum(file.lstat().st_size for file in folder.iterdir()) if cached else 0,
        fingerprint=cached.fingerprint if cached else None,
    )


def prepare(name: str, data_dirs: Sequence[Path], cache_dir: Path, *, progress: Progress) -> Status:
    """Decode a data set into the cache; continue an interrupted call.

    Raises DataError when there is nothing to decode or an image cannot be used, MachineError when
    the disk is full.
    """
    if name in EMBEDDED:
        raise DataError(f"{name} is embedded: there is nothing to decode")
    open_dataset(name, data_dirs, cache_dir, progress=progress)
    return _find_status(name, data_dirs, cache_dir)


def verify(name: str, data_dirs: Sequence[Path], cache_dir: Path) -> Dataset:
    """Compare the decoded images with their hash; decode them if that was not done yet.

    Raises DataError when they differ.
    """
    source = find(name, data_dirs)
    # Read it as it is: `open_cached` would set a small changed data set aside.
    cached = read_cached(cache_folder(name, source, cache_dir)) if source else None
    dataset = cached or open_dataset(name, data_dirs, cache_dir)
    actual = content_fingerprint(dataset.train, dataset.test, dataset.classes)
    if source and actual != dataset.fingerprint:
        folder = cache_folder(name, source, cache_dir)
        raise DataError(
            f"the decoded images of {dataset.title} have fingerprint {actual}, but had "
            f"{dataset.fingerprint} when they were decoded",
            hint=f"delete {folder}; the next command decodes them again",
        )
    return dataset


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"
