"""Downloads from a data set's authors, held against the published hash before they are opened."""

import tarfile
import tempfile
from pathlib import Path

from repro.data.embedded import EMBEDDED
from repro.data.names import check_name, folder_of
from repro.data.sources import ORIGINAL
from repro.errors import DataError, MachineError

__all__ = ["fetch"]


def fetch(name: str, data_dir: Path) -> Path:
    """Download the original files below `data_dir`; the folder that now holds them.

    All is done in a temporary folder and put in place in one step, so that a failure leaves
    `data_dir` as it was. Raises DataError when the data set cannot be had.
    """
    check_name(name)
    if name in EMBEDDED:
        raise DataError(f"{name} is embedded: there is nothing to fetch")
    if name != "cifar10":
        raise DataError(
            f"{name} cannot be fetched (only cifar10 can)",
            hint=f"put its files into {data_dir / folder_of(name)}",
        )
    place = data_dir / name / ORIGINAL
    if place.exists():
        raise DataError(
            f"{place} is there already",
            hint=f"check it by `repro data verify {name}`, or move it away and fetch again",
        )
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=".fetch-") as temporary:
            _download(Path(temporary))
            (Path(temporary) / ORIGINAL).rename(place)
    except OSError as error:
        raise MachineError(
            f"cannot write to {place.parent}: {error.strerror}",
            hint="free some space there or choose another folder with --data-dir",
        ) from error
    return place


def _download(folder: Path) -> None:
    """By torchvision: it checks the archive's hash, extracts it, and checks each file's."""
    from torchvision.datasets import CIFAR10

    try:
        CIFAR10(folder, download=True)
    except (OSError, RuntimeError, tarfile.TarError) as error:
        raise DataError(
            f"cannot download {CIFAR10.url}: {error}",
            hint="is there a network? Otherwise copy the original files, or Parquet files, here "
            "by other means: `repro data status` says where they are looked for",
        ) from error
