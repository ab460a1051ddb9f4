"""What a report prints, against the store that it was made of: its tables, cell by cell.

Numbers may differ in their last digits, as those that two processors derive of one store do.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from io import StringIO
from pathlib import Path

from repro.files import read_bytes

_FREE = {"command"}  # has the path by which the claim file was named


def contradictions(folder: Path, tables: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each table of the folder that says otherwise than `tables`, by file name."""
    if not (folder / "verdicts.csv").exists():
        yield f"{folder / 'verdicts.csv'}: missing, so the report says nothing to be checked"
    for name, text in tables.items():
        path = folder / name
        if path.exists():
            try:
                content = read_bytes(path).decode("utf-8", errors="replace")
                printed = _rows(content)
            except OSError as error:
                yield f"cannot read {path}: {error.strerror}"
            except csv.Error as error:
                yield f"{path}: not a table: {error}"
            else:
                if not content.strip():
                    yield f"{path}: empty, without even the names of its columns"
                yield from (f"{path}: {each}" for each in _differences(printed, _rows(text)))


Row = tuple[tuple[object, str], ...]  # columns with their cells

_DECIMAL = re.compile(r"-?\d+\.\d+(?:e[-+]?\d+)?")


def _rows(text: str) -> list[Row]:
    """Cells beyond the last column come as a list; numbers have nine digits."""
    return [
        tuple(
            (column, _DECIMAL.sub(lambda number: f"{float(number[0]):.9g}", str(cell)))
            for column, cell in row.items()
            if column not in _FREE
        )
        for row in csv.DictReader(StringIO(text))
    ]


def _differences(printed: list[Row], stored: list[Row]) -> Iterator[str]:
    """What has to be said of lines that the other side has not, in whatever order they stand.

    A report of fewer claims is no wrong one; of those that it has, no line may be missing.
    """
    names = {row[0] for row in printed}
    missing = [row for row in (Counter(stored) - Counter(printed)).elements() if row[0] in names]
    wrong = list((Counter(printed) - Counter(stored)).elements())
    if wrong:
        line = printed.index(wrong[0]) + 2  # after the names of the columns
        nearest = dict(max(missing, key=lambda row: len({*row} & {*wrong[0]}), default=()))
        cells = [
            f"{c} is {x!r}, not {nearest.get(c)!r}" for c, x in wrong[0] if nearest.get(c) != x
        ]
        yield f"line {line} is not as the store has it: {', '.join(cells[:3])}"
    if len(wrong) > 1:
        yield f"{len(wrong) - 1} other lines are not as the store has them"
    if len(missing) > len(wrong):
        yield f"{len(missing) - len(wrong)} lines of the store are missing"
