"""Download data sets from their authors; check the published hash before opening the files."""

import os
import re
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from repro.data.sources.embedded import EMBEDDED
from repro.data.sources.find import ORIGINAL
from repro.data.sources.names import check_name, folder_of
from repro.errors import DataError, MachineError

TINY_URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
TINY_MD5 = "90528d7ca1a48142e341f4ef8d21d0de"

# Members of the archive. Of the test images there are no labels, so they stay in it.
_TRAIN = re.compile(r"tiny-imagenet-200/train/(n\d{8})/images/(\w+\.JPEG)")
_VALID = re.compile(r"tiny-imagenet-200/val/images/(\w+\.JPEG)")
_LABELS = "tiny-imagenet-200/val/val_annotations.txt"
_LABEL = re.compile(r"^(\w+\.JPEG)\t(n\d{8})\t", re.MULTILINE)  # and a box, which is not used


@dataclass(frozen=True, kw_only=True, slots=True)
class _Release:
    """What the authors give out. `place`: where it lies below the folder of all data sets.

    `download`: into an empty folder; where in it the place's content lies then.
    """

    place: Path
    download: Callable[[Path], Path]


def fetch(name: str, data_dir: Path) -> Path:
    """Download the original files below `data_dir`; the folder that now holds them.

    All is done in a temporary folder and put in place in one step, so that a failure leaves
    `data_dir` as it was. Raises DataError when the data set cannot be had.
    """
    check_name(name)
    if name in EMBEDDED:
        raise DataError(f"{name} is embedded: there is nothing to fetch")
    release = _RELEASES.get(name)
    if release is None:
        raise DataError(
            f"{name} cannot be fetched (only {' and '.join(_RELEASES)} can)",
            hint=f"put its files into {data_dir / folder_of(name)}",
        )
    place = data_dir / release.place
    if os.path.lexists(place):
        raise DataError(
            f"{place} is there already",
            hint=f"`repro data prepare {name}` uses it; or move it away, and fetch again",
        )
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=".fetch-") as temporary:
            release.download(Path(temporary)).rename(place)
    except OSError as error:
        raise MachineError(
            f"cannot write to {place.parent}: {error.strerror}",
            hint="free some space there or choose another folder with --data-dir",
        ) from error
    return place


def _cifar10(folder: Path) -> Path:
    """By torchvision: it checks the archive's hash, extracts it, and checks each file's."""
    from torchvision.datasets import CIFAR10

    try:
        CIFAR10(folder, download=True)
    except (OSError, RuntimeError, tarfile.TarError) as error:
        raise _download_error(CIFAR10.url, error) from error
    return folder / ORIGINAL


def _tiny_imagenet(folder: Path) -> Path:
    """One folder of images for each class; of the validation images, too, by their labels."""
    from torchvision.datasets.utils import download_url

    images = folder / "images"
    try:
        download_url(TINY_URL, folder, "archive.zip", TINY_MD5)
    except (OSError, RuntimeError) as error:
        raise _download_error(TINY_URL, error) from error
    try:
        with zipfile.ZipFile(folder / "archive.zip") as archive:
            _unpack(archive, images)
    except (zipfile.BadZipFile, KeyError) as error:
        raise _download_error(TINY_URL, error) from error
    return images


def _unpack(archive: zipfile.ZipFile, folder: Path) -> None:
    # Names are made of what the patterns match, so nothing can reach outside the folder.
    classes = dict(_LABEL.findall(archive.read(_LABELS).decode()))
    for member in archive.namelist():
        if train := _TRAIN.fullmatch(member):
            to = folder / "train" / train[1] / train[2]
        elif valid := _VALID.fullmatch(member):
            to = folder / "valid" / classes[valid[1]] / valid[1]
        else:
            continue
        to.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(member) as source, to.open("wb") as file:
            shutil.copyfileobj(source, file)


def _download_error(url: str, error: Exception) -> DataError:
    return DataError(
        f"cannot download {url}: {error}",
        hint="is there a network? Otherwise copy the original files, or Parquet files, here "
        "by other means: `repro data status` says where they are looked for",
    )


_RELEASES = {
    "cifar10": _Release(place=Path("cifar10") / ORIGINAL, download=_cifar10),
    "tiny-imagenet": _Release(place=Path("tiny-imagenet"), download=_tiny_imagenet),
}
