"""Parse a data set's name: its folder, and the size of its images."""

from difflib import get_close_matches
from pathlib import Path

from repro.errors import DataError
from repro.registry import DATASETS, folder_and_size


def check_name(name: str) -> None:
    """DataError unless `name` is registered or is `folder:` and the name of one folder."""
    if name in DATASETS:
        return
    if name.startswith("folder:"):
        try:
            folder, _ = folder_and_size(name)
        except ValueError as error:
            raise DataError(str(error), hint="such as folder:NAME@256") from error
        if folder not in ("", ".", "..") and Path(folder).name == folder:
            return
    close = get_close_matches(name, DATASETS, n=1)
    raise DataError(
        f"data set {name!r} is unknown (known: {', '.join(DATASETS)}, folder:NAME, "
        "folder:NAME@SIZE)",
        hint=f"did you mean {close[0]!r}?" if close else "NAME is that of a folder, not a path",
    )


def folder_of(name: str) -> str:
    return name if name in DATASETS else folder_and_size(name)[0]


def size_of(name: str) -> int | None:
    """Height and width of the images; None if the first image decides."""
    return DATASETS[name].size if name in DATASETS else folder_and_size(name)[1]


def is_resized(name: str) -> bool:
    """Whether images are resized to `size_of`; otherwise they must have that size."""
    return DATASETS[name].resize if name in DATASETS else size_of(name) is not None


def title_of(name: str) -> str:
    return DATASETS[name].title if name in DATASETS else folder_of(name)


def is_hidden(file: str) -> bool:
    """Whether to skip a file: hidden, or an editor's backup."""
    return file.startswith(".") or file.endswith("~")
