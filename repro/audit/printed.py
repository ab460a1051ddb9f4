"""What a report prints, against the store that it was made of: its tables, cell by cell."""

import csv
from collections import Counter
from collections.abc import Iterator, Mapping
from io import StringIO
from pathlib import Path

__all__ = ["contradictions"]

_FREE = {"command"}  # has the path by which the claim file was named


def contradictions(folder: Path, tables: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each table of the folder that says otherwise than `tables`, by file name."""
    if not (folder / "verdicts.csv").exists():
        yield f"{folder / 'verdicts.csv'}: missing, so the report says nothing to be checked"
    for name, text in tables.items():
        path = folder / name
        if path.exists():
            printed = path.read_text(encoding="utf-8", errors="replace")
            yield from (f"{path}: {each}" for each in _differences(_rows(printed), _rows(text)))


Row = tuple[tuple[object, object], ...]  # columns with their cells


def _rows(text: str) -> list[Row]:
    return [
        tuple((column, cell) for column, cell in row.items() if column not in _FREE)
        for row in csv.DictReader(StringIO(text))
    ]


def _differences(printed: list[Row], stored: list[Row]) -> Iterator[str]:
    """What has to be said of lines that the other side has not, in whatever order they stand.

    A report of fewer claims is no wrong one; of those that it has, no line may be missing.
    """
    told = {row[0] for row in printed}
    wrong = list((Counter(printed) - Counter(stored)).elements())
    missing = [row for row in (Counter(stored) - Counter(printed)).elements() if row[0] in told]
    if wrong:
        line = printed.index(wrong[0]) + 2  # after the names of the columns
        nearest = dict(max(missing, key=lambda row: len({*row} & {*wrong[0]}), default=()))
        said = [f"{c} is {x!r}, not {nearest.get(c)!r}" for c, x in wrong[0] if nearest.get(c) != x]
        yield f"line {line} is not as the store has it: {', '.join(said[:3])}"
    if len(wrong) > 1:
        yield f"{len(wrong) - 1} other lines are not as the store has them"
    if len(missing) > len(wrong):
        yield f"{len(missing) - len(wrong)} lines of the store are missing"
