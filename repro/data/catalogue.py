"""Open a data set by name, or return its fingerprint."""

from collections.abc import Sequence
from pathlib import Path

from repro.data.dataset import Dataset
from repro.data.decoded.build import Progress
from repro.data.decoded.cache import cache_folder, open_cached, read_cached
from repro.data.sources.embedded import EMBEDDED
from repro.data.sources.find import find, not_found_error
from repro.data.sources.names import check_name


def open_dataset(
    name: str,
    data_dirs: Sequence[Path],
    cache_dir: Path,
    *,
    progress: Progress | None = None,
) -> Dataset:
    """The data set, from the first of `data_dirs` that has it, decoded into `cache_dir` once.

    `progress(decoded, all)` is called while images are decoded, first with the number that an
    interrupted call has decoded.
    Raises DataError when the data set is missing or invalid, MachineError when the cache cannot
    be written.
    """
    check_name(name)
    if name in EMBEDDED:
        return EMBEDDED[name]()
    source = find(name, data_dirs)
    if source is None:
        raise not_found_error(name, data_dirs)
    return open_cached(name, source, cache_dir, progress=progress)


def fingerprint(name: str, data_dirs: Sequence[Path], cache_dir: Path) -> str | None:
    """The data set's fingerprint if no decoding is needed for it; None otherwise."""
    check_name(name)
    if name in EMBEDDED:
        return EMBEDDED[name]().fingerprint
    source = find(name, data_dirs)
    dataset = source and read_cached(cache_folder(name, source, cache_dir))
    return dataset.fingerprint if dataset else None
