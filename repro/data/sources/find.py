"""Find the files of a data set.

Three formats: torchvision's original CIFAR-10 files, Parquet files in the Hugging Face image
layout, and one folder of images for each class.
"""

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from repro.data.sources.embedded import EMBEDDED
from repro.data.sources.names import check_name, folder_of, is_hidden, title_of
from repro.errors import DataError
from repro.files import open_regular
from repro.registry import DATASETS

ORIGINAL = "cifar-10-batches-py"  # as the authors and torchvision call the folder
_ORIGINAL_TRAIN = tuple(f"data_batch_{i}" for i in range(1, 6))

_VALIDATION = ("valid", "validation", "val")

_HASHED_BYTES = 4e9  # in all; larger sources take minutes to hash: names and dates are hashed

# Subfolders in which published copies keep their Parquet files.
_PARQUET_FOLDERS = (".", "data", "plain_text")


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """The files of a data set; train and test in reading order."""

    kind: Literal["original", "parquet", "folder"]
    path: Path
    train: tuple[Path, ...] = ()
    test: tuple[Path, ...] = ()

    @property
    def nbytes(self) -> int:
        return sum(file.stat().st_size for file in self.files)

    @property
    def files(self) -> tuple[Path, ...]:
        return self.train + self.test

    @property
    def description(self) -> str:
        """Which files are read for each split: their names or pattern, and how many."""
        train, test = self._describe_files(self.train), self._describe_files(self.test)
        return f"{train} to train on, {test} to test on"

    def _describe_files(self, files: tuple[Path, ...]) -> str:
        if not files:
            return "no files"
        if self.kind == "folder":
            plural = "s" if len(files) > 1 else ""
            return f"{files[0].parent.parent.name}/*/* ({len(files):,} file{plural})"
        if len(files) == 1:
            return files[0].name
        return f"{files[0].name} ... {files[-1].name} ({len(files):,} files)"


def find(name: str, search_dirs: Sequence[Path]) -> Source | None:
    """The data set's files in the first folder that has them; None for embedded data sets.

    Searches in each of `search_dirs` the folder of the data set's name. DataError for an unknown
    `name`, and for numbered files with gaps.
    """
    check_name(name)
    if name in EMBEDDED:
        return None
    for folder in _folders(name, search_dirs):
        with data_errors(folder):
            source = (
                _original(name, folder) or _parquet(name, folder) or _image_folder(name, folder)
            )
            if source is not None:
                return source
    return None


def not_found_error(name: str, search_dirs: Sequence[Path]) -> DataError:
    """The error for a missing data set: the files, the folders searched, and how to get it."""
    folder = folder_of(name)
    title = title_of(name) if name in DATASETS else f"the data set {folder!r}"
    places = "\n  ".join(map(str, _folders(name, search_dirs)))
    original = f"the folder {ORIGINAL}, " if name == "cifar10" else ""
    test, *others = _test_names(name)
    can_fetch = name in DATASETS and DATASETS[name].fetched
    contents = "".join(
        f"\n{place} is there, and holds {_listed(place)}"
        for place in _folders(name, search_dirs)
        if place.is_dir()
    )
    get = f"run `repro data fetch {name}`, or " if can_fetch else ""
    return DataError(
        f"{title} was not found. Looked for {original}Parquet files (train-*.parquet and "
        f"{test}-*.parquet) or folders of images (train/CLASS/ and {test}/CLASS/); in place of "
        f"{test} also {' or '.join(others)}; in:\n  {places}{contents}",
        hint=f"{get}put the files into a folder {folder!r} and name the folder above it with "
        "--data-dir or in REPRO_DATA",
    )


def source_key(source: Source) -> str:
    """16 hexadecimal digits that change when the files do.

    Large files are hashed in full: 0.1 s for the 141 MB of Tiny ImageNet; a copy with other dates
    is the same data. For a folder of images, or more than 4 GB, only names, sizes and dates are
    hashed, since opening a million files takes minutes.
    """
    sha = hashlib.sha256(f"{source.kind} {len(source.train)}".encode())
    prefix = len(f"{source.path}/")
    with data_errors(source.path):
        about = [_regular(file) for file in source.files]
        by_date = source.kind == "folder" or sum(a.st_size for a in about) > _HASHED_BYTES
        for file, a in zip(source.files, about, strict=True):
            # Path.relative_to would double the time that a million files take. A name need not be
            # UTF-8.
            sha.update(os.fsencode(f"\0{str(file)[prefix:]}\0"))
            if by_date:
                sha.update(f"{a.st_size} {a.st_mtime_ns}".encode())
            else:
                with open_regular(file) as content:
                    sha.update(hashlib.file_digest(content, "sha256").digest())
    return sha.hexdigest()[:16]


def _regular(file: Path) -> os.stat_result:
    about = file.stat()
    if not stat.S_ISREG(about.st_mode):
        raise OSError(0, "not a regular file", str(file))
    return about


@contextmanager
def data_errors(folder: Path) -> Iterator[None]:
    """OSError becomes DataError."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"cannot look into {error.filename or folder}: {error.strerror or error}",
            hint="check its permissions; a download may also have left it incomplete",
        ) from error


def _folders(name: str, search_dirs: Sequence[Path]) -> list[Path]:
    """The folders to search, each named after the data set."""
    return [place / folder_of(name) for place in search_dirs]


def _listed(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{', '.join(names[:5])}{more}" if names else "nothing"


def _original(name: str, folder: Path) -> Source | None:
    """The release, also beside the folder, as torchvision unpacks it."""
    places = (folder / ORIGINAL, folder.with_name(ORIGINAL))
    path = next((path for path in places if path.is_dir()), None)
    if name != "cifar10" or path is None:
        return None
    return Source(
        kind="original",
        path=path,
        train=tuple(path / file for file in _ORIGINAL_TRAIN),
        test=(path / "test_batch",),
    )


def _test_names(name: str) -> tuple[str, ...]:
    """Names for the test split; the first that exists is used."""
    if name in DATASETS and DATASETS[name].tested_on == "validation":
        return _VALIDATION
    return ("test", *_VALIDATION)


def _parquet(name: str, folder: Path) -> Source | None:
    for below in _PARQUET_FOLDERS:
        path = folder / below
        train = _shards(path, "train")
        test = next(filter(None, (_shards(path, split) for split in _test_names(name))), ())
        if train and test:
            return Source(kind="parquet", path=path, train=train, test=test)
    return None


def _shards(folder: Path, split: str) -> tuple[Path, ...]:
    """`train.parquet`, or all of `train-00000.parquet` or `train-00000-of-00002.parquet`, in order.

    DataError for files with a similar name, such as a browser's second copy.
    """
    shard = re.compile(rf"{split}(?:-(\d+)(?:-of-(\d+)(?:-[0-9a-f]{{16}})?)?)?\.parquet")
    names = [file for file in folder.glob("*.parquet") if not is_hidden(file.name)]
    matches = {file: match for file in names if (match := shard.fullmatch(file.name))}
    files = sorted(matches, key=lambda file: (int(matches[file][1] or 0), file.name))
    doubtful = {file for file in names if re.match(rf"{split}[-. (]", file.name)} - {*files}
    if doubtful:
        raise DataError(
            f"{folder}: {_few(doubtful)} {'is' if len(doubtful) == 1 else 'are'} named almost "
            f"like a shard of the split {split!r}: a second copy?",
            hint=f"remove or rename it; shards are called {split}.parquet, "
            f"{split}-00000.parquet or {split}-00000-of-00002.parquet",
        )
    _check_numbers(folder, split, {file: matches[file] for file in files})
    return tuple(files)


def _check_numbers(folder: Path, split: str, files: dict[Path, "re.Match[str]"]) -> None:
    """Check that the numbers go from 0 or 1 to the total in the names, without a gap."""
    numbers = [int(match[1] or 0) for match in files.values()]
    first = 1 if numbers and numbers[0] else 0
    counts = {int(match[2]) for match in files.values() if match[2]} or {len(files)}
    if numbers != list(range(first, first + len(files))) or counts != {len(files)}:
        total = max(*counts, numbers[-1] + 1 - first)
        count = f"{len(files)} of {total}" if len({*numbers}) == len(files) else "twice the same"
        raise DataError(
            f"{folder} holds {count} shards of the split {split!r}: {_few(files)}",
            hint="add the missing files, and keep the files of one version only",
        )


def _few(files: Iterable[Path]) -> str:
    names = sorted(file.name for file in files)
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _image_folder(name: str, folder: Path) -> Source | None:
    """Images in class folders. A test folder without class folders is skipped: no labels."""
    train = folder / "train"
    tests = [folder / test for test in _test_names(name) if (folder / test).is_dir()]
    if not train.is_dir() or not tests:
        return None
    test = next(filter(None, map(_images, tests)), ())
    return Source(kind="folder", path=folder, train=_images(train), test=test)


def _images(split: Path) -> tuple[Path, ...]:
    """All files in the class folders, by class and name."""
    return tuple(
        file
        for folder in sorted(split.iterdir())
        # A broken link raises: it may be a class.
        if not is_hidden(folder.name) and stat.S_ISDIR(folder.stat().st_mode)
        for file in sorted(folder.iterdir())
        if not is_hidden(file.name)
    )
