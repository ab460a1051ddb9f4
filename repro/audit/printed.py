"""What a report prints, against the store that it was made of: its tables, cell by cell.

Numbers may differ in their last digits, as those that two processors derive of one store do.
"""

import csv
import math
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


def _rows(text: str) -> list[Row]:
    return [
        # Cells beyond the last column come as a list.
        tuple((column, str(cell)) for column, cell in row.items() if column not in _FREE)
        for row in csv.DictReader(StringIO(text))
    ]


def _differences(printed: list[Row], stored: list[Row]) -> Iterator[str]:
    """What has to be said of lines that the other side has not, in whatever order they stand.

    A report of fewer claims is no wrong one; of those that it has, no line may be missing.
    """
    names = {row[0] for row in printed}
    missing = [row for row in (Counter(stored) - Counter(printed)).elements() if row[0] in names]
    wrong = []
    for row in (Counter(printed) - Counter(stored)).elements():
        alike = next((other for other in missing if _alike(row, other)), None)
        if alike is None:
            wrong.append(row)
        else:
            missing.remove(alike)
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


def _alike(one: Row, other: Row) -> bool:
    return len(one) == len(other) and all(
        a == b or (a[0] == b[0] and _close(str(a[1]), str(b[1])))
        for a, b in zip(one, other, strict=True)
    )


_BETWEEN = re.compile("[=;]")  # values by seed: 0=3.16;1=2.92


def _close(one: str, other: str) -> bool:
    ours, theirs = _BETWEEN.split(one), _BETWEEN.split(other)
    return len(ours) == len(theirs) and all(map(_equal, ours, theirs))


def _equal(one: str, other: str) -> bool:
    try:
        a, b = float(one), float(other)
    except ValueError:
        return one == other
    return one == other or (math.isfinite(a) and math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12))
