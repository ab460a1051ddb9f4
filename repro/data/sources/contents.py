"""Read a source: all labels at once, encoded images in chunks."""

import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from repro.data.arrays import Images, Labels
from repro.data.sources.find import Source
from repro.errors import DataError
from repro.files import open_regular, parse_json

_UNLABELLED = (
    "a label of -1, or images outside of class folders, mean that a split is not labelled: "
    "move its files elsewhere; then the next of test, valid, validation and val is read"
)

_CHUNK = 64  # images per chunk: 13 MB at 256x256; a few dozen chunks wait in memory


# Encoded bytes, a file, or (H, W, 3) pixels.
Content = bytes | Path | Images


class Item(NamedTuple):
    """One image, and its name for errors."""

    name: str
    content: Content


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """One split in the order of its source. `chunks(i)` yields the items from the i-th on.

    There are as many items as labels.
    """

    labels: Labels
    chunks: Callable[[int], Iterator[list[Item]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Contents:
    """The content of a source, before decoding."""

    classes: tuple[str, ...]
    train: Listing
    test: Listing


def read_contents(source: Source) -> Contents:
    """Open the files and read labels and classes. DataError if they are inconsistent."""
    readers = {
        "original": _original,
        "parquet": _parquet,
        "folder": _folder,
    }
    contents = readers[source.kind](source)
    _check_names(source, contents.classes)
    _check_labels(source, contents)
    return contents


def _check_labels(source: Source, contents: Contents) -> None:
    """Check that every image has a class, and every class images in both splits."""
    class_count = len(contents.classes)
    labels_by_split: list[set[int]] = []
    for split, listing in (("train", contents.train), ("test", contents.test)):
        labels = np.unique(listing.labels)
        if len(labels) == 0:
            raise DataError(
                f"{source.path}: the split {split!r} holds no images (read: {source.description})",
                hint=_UNLABELLED,
            )
        if labels[0] < 0 or labels[-1] >= class_count:
            raise DataError(
                f"{source.path}: labels of the split {split!r} go from {labels[0]} to "
                f"{labels[-1]}, but there are {class_count} classes",
                hint=_UNLABELLED,
            )
        labels_by_split.append(set(labels.tolist()))
    if unmatched := sorted(labels_by_split[0] ^ labels_by_split[1]):
        names = ", ".join(contents.classes[label] for label in unmatched[:10])
        raise DataError(
            f"{source.path}: {len(unmatched)} classes have images in one split only: {names}",
            hint=f"give both splits images of the same classes; {_UNLABELLED}",
        )
    if class_count < 2:
        raise DataError(
            f"{source.path}: all images are of one class: there is nothing to learn",
            hint="each class has a folder of its own: train/CLASS/ and test/CLASS/",
        )


def _check_names(source: Source, classes: tuple[str, ...]) -> None:
    """Check that class names are distinct, also in the two Unicode forms of é."""
    numbers: dict[str, int] = {}
    for number, name in enumerate(classes):
        first = numbers.setdefault(unicodedata.normalize("NFC", name), number)
        if first < number:
            raise DataError(
                f"{source.path}: classes {first} and {number} have the same name: "
                f"{classes[first]!a} and {name!a}",
                hint="give each class a name of its own",
            )
        if not name or any("\ud800" <= letter <= "\udfff" for letter in name):
            raise DataError(
                f"{source.path}: class {number} has a name that is no text in UTF-8: {name!a}",
                hint="give it another name",
            )


# CIFAR-10 as its authors published it

_LARGEST_ORIGINAL = 2**26  # bytes; twice the size of a batch file


def _original(source: Source) -> Contents:
    # A pickle can run code. torchvision compares each file with the published hash before it
    # opens any, so that only the authors' own pickles are read.
    from torchvision.datasets import CIFAR10

    path = Path(source.path)
    try:
        for file in (*source.files, path / "batches.meta"):
            open_regular(file, most=_LARGEST_ORIGINAL).close()
        train, test = (CIFAR10(path.parent, train=part) for part in (True, False))
    except (RuntimeError, OSError) as error:
        raise DataError(
            f"{source.path}: the files are not those of the original release ({error})",
            hint="move the folder away and run `repro data fetch cifar10`",
        ) from error

    def listing(split: Any, where: str) -> Listing:
        def chunks(first: int) -> Iterator[list[Item]]:
            for start in range(first, len(split.data), _CHUNK):
                rows = split.data[start : start + _CHUNK]
                yield [Item(f"{where} image {start + i}", row) for i, row in enumerate(rows)]

        return Listing(labels=np.array(split.targets, dtype=np.int64), chunks=chunks)

    return Contents(
        classes=tuple(train.classes),
        train=listing(train, "training"),
        test=listing(test, "test"),
    )


# A folder for each class


def _folder(source: Source) -> Contents:
    classes = tuple(sorted({file.parent.name for file in source.files}))
    number = {name: i for i, name in enumerate(classes)}

    def listing(files: tuple[Path, ...]) -> Listing:
        labels = np.array([number[file.parent.name] for file in files], dtype=np.int64)

        def chunks(first: int) -> Iterator[list[Item]]:
            for start in range(first, len(files), _CHUNK):
                yield [Item(str(file), file) for file in files[start : start + _CHUNK]]

        return Listing(labels=labels, chunks=chunks)

    return Contents(classes=classes, train=listing(source.train), test=listing(source.test))


# Parquet in the Hugging Face image layout: struct{bytes, path} and a whole number

_IMAGE_COLUMNS = ("image", "img")
_LABEL_COLUMNS = ("label", "fine_label")
_LAYOUT = (
    "images are struct{bytes: binary, path: string}, labels whole numbers, as `datasets` has it"
)


def _parquet(source: Source) -> Contents:
    classes_by_file = {file: _parquet_classes(file) for file in source.files}
    if len(set(classes_by_file.values())) > 1:
        raise DataError(f"{source.path}: its Parquet files disagree about the classes' names")
    train, test = (
        Listing(labels=_parquet_labels(files), chunks=partial(_parquet_chunks, files))
        for files in (source.train, source.test)
    )
    classes = classes_by_file[source.train[0]] or _numbers(source, train, test)
    return Contents(classes=classes, train=train, test=test)


def _numbers(source: Source, *splits: Listing) -> tuple[str, ...]:
    """Numbers as class names. DataError for a gap, which is probably a mistake."""
    labels = np.unique(np.concatenate([split.labels for split in splits]))
    labels = labels[labels >= 0]  # negative ones are reported with their split
    if len(labels) and labels[-1] >= len(labels):
        raise DataError(
            f"{source.path}: labels go to {labels[-1]}, and images are of {len(labels)} classes",
            hint="classes are counted from 0 without a gap, or named in the schema's metadata",
        )
    return tuple(map(str, range(len(labels))))


def _parquet_classes(file: Path) -> tuple[str, ...]:
    """Class names from the schema's metadata; empty without metadata."""
    with _open_table(file) as table:
        metadata = table.schema_arrow.metadata or {}
        label = _column(file, table, _LABEL_COLUMNS)
    try:
        features = parse_json(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        return tuple(map(str, features[label]["names"]))
    except (ValueError, KeyError, TypeError):
        return ()  # metadata are optional, and may have another form


def _parquet_labels(files: tuple[Path, ...]) -> Labels:
    import pyarrow as pa

    parts: list[npt.NDArray[Any]] = []
    for file in files:
        with _open_table(file) as table:
            name = _column(file, table, _LABEL_COLUMNS)
            column = table.read(columns=[name]).column(name)
            if not pa.types.is_integer(column.type) or column.null_count:
                raise DataError(
                    f"{file}: column {name!r} is {column.type} with {column.null_count} nulls; "
                    "labels are whole numbers, one for each image"
                )
            parts.append(column.to_numpy().astype(np.int64))
    return np.concatenate(parts)


def _parquet_chunks(files: tuple[Path, ...], first: int) -> Iterator[list[Item]]:
    end = 0
    for file in files:
        with _open_table(file) as table:
            begin, end = end, end + table.metadata.num_rows
            if end > max(first, begin):
                yield from _rows(file, table, max(0, first - begin))


def _rows(file: Path, table: Any, first: int) -> Iterator[list[Item]]:
    """The rows from `first` on; skips the row groups before it."""
    name = _image_column(file, table)
    ends = np.cumsum([table.metadata.row_group(i).num_rows for i in range(table.num_row_groups)])
    groups = np.flatnonzero(ends > first).tolist()
    row = int(ends[groups[0] - 1]) if groups[0] else 0
    for batch in table.iter_batches(batch_size=_CHUNK, row_groups=groups, columns=[name]):
        cells = batch.column(0).to_pylist()
        items = [_cell_item(file, row + i, cell) for i, cell in enumerate(cells)]
        yield items[max(0, first - row) :]
        row += len(cells)


def _cell_item(file: Path, row: int, cell: Any) -> Item:
    cell = cell or {}
    inner = cell.get("path")
    return Item(f"{file} row {row}" + (f" ({inner})" if inner else ""), cell.get("bytes") or b"")


def _image_column(file: Path, table: Any) -> str:
    import pyarrow as pa

    name = _column(file, table, _IMAGE_COLUMNS)
    kind = table.schema_arrow.field(name).type
    inner = {field.name: field.type for field in kind} if pa.types.is_struct(kind) else {}
    # A string would be taken for a file name.
    if inner.get("bytes") not in (pa.binary(), pa.large_binary()):
        raise DataError(f"{file}: column {name!r} is {kind}", hint=_LAYOUT)
    return name


def _column(file: Path, table: Any, names_allowed: tuple[str, ...]) -> str:
    names = table.schema_arrow.names
    column = next((name for name in names_allowed if names.count(name) == 1), None)
    if column is None:
        raise DataError(
            f"{file}: no column is called {' or '.join(names_allowed)} (it has {', '.join(names)})",
            hint=_LAYOUT,
        )
    return column


@contextmanager
def _open_table(file: Path) -> Iterator[Any]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(file) as table:
            yield table
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{file} cannot be read as Parquet: {error}",
            hint="copy the file again, and compare it with SHA256SUMS if you have one",
        ) from error
