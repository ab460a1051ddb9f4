"""Read the CSV tables beside a claim file: points of the paper's figure, runs of its authors.

Spreadsheets write them in many forms, so each error names the line.
"""

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import stdev

from repro.errors import ClaimError
from repro.files import read_text


@dataclass(frozen=True, kw_only=True, slots=True)
class FigurePoint:
    """A point of one of the figure's curves; the error is a fraction."""

    arm: str
    epoch: float
    train_error: float


def read_figure(path: Path) -> list[FigurePoint]:
    """Points read off the paper's figure. ClaimError names the file and the line."""
    return [
        FigurePoint(
            arm=row["arm"],
            epoch=_number(path, line, "epoch", row),
            train_error=_fraction(path, line, "train_error", row),
        )
        for line, row in _rows(path, ("arm", "epoch", "train_error"))
    ]


def read_siblings(path: Path) -> list[float]:
    """Top-1 errors of single runs, two at least, not all the same. ClaimError as above."""
    rows = _rows(path, ("top1_error",))
    errors = [_fraction(path, line, "top1_error", row) for line, row in rows]
    if len(errors) < 2 or not stdev(errors) > 0:
        raise _table_error(path, 1, "needs at least two nets with different top1_error")
    return errors


# The keys of `paper` that name a table, and the reader of each.
TABLES = {"figure": read_figure, "siblings": read_siblings}

_Row = dict[str, str]


def _rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, _Row]]:
    """The rows that are not blank, each with its line number."""
    reader = csv.reader(io.StringIO(_text(path), newline=""))
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(path, header, columns)
        cells = [(reader.line_num, row) for row in reader if any(map(str.strip, row))]
    except csv.Error as error:
        raise _table_error(path, reader.line_num, str(error)) from error
    if not cells:
        raise _table_error(path, 1, "there is no row below the names of the columns")
    for line, row in cells:
        if len(row) != len(header):
            raise _table_error(
                path, line, f"{len(row)} cells, where the first line has {len(header)}"
            )
        yield line, {name: cell.strip() for name, cell in zip(header, row, strict=True)}


def _text(path: Path) -> str:
    try:
        return read_text(path)
    except OSError as error:
        raise _table_error(path, 1, f"cannot read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise _table_error(path, line, "not UTF-8: save the table as CSV in UTF-8") from error


def _check_header(path: Path, header: Sequence[str], columns: Sequence[str]) -> None:
    missing = [name for name in columns if name not in header]
    if not missing:
        return
    for delimiter, word in ((";", "';'"), ("\t", "tabs")):
        if delimiter in "".join(header):
            raise _table_error(path, 1, f"cells are separated by {word}, not by ','")
    if not header:
        raise _table_error(path, 1, "the file is empty")
    names = ", ".join(map(repr, header))
    raise _table_error(path, 1, f"no column {', '.join(map(repr, missing))}; there are: {names}")


def _fraction(path: Path, line: int, column: str, row: _Row) -> float:
    value = _number(path, line, column, row)
    if not 0 <= value <= 1:
        raise _table_error(path, line, f"{column} is {value:g}, not a fraction between 0 and 1")
    return value


def _number(path: Path, line: int, column: str, row: _Row) -> float:
    try:
        value = float(row[column])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise _table_error(path, line, f"{column} is {row[column]!r}, not a number")
    return value


def _table_error(path: Path, line: int, sentence: str) -> ClaimError:
    return ClaimError(
        f"{path}:{line}: {sentence}", hint=f"the first line names the columns; see {path}"
    )
