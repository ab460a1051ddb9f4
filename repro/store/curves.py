"""A trial's curve as a file: CSV, a row for each measurement, NaN left empty."""

import math
from collections.abc import Iterable
from itertools import starmap

from repro.trial import CURVE_COLUMNS, Row

_SOURCES = {name: name for name in ("online", "train", "test")}  # each once in memory
_LINE = f"{','.join(['{}'] * len(CURVE_COLUMNS))}\n"
_MOST_IMAGES = 1 << 53  # beyond it a float is none of them


def curve_text(curve: Iterable[Row]) -> str:
    """A line for each row; numbers in full, NaN left empty."""
    lines = "".join(starmap(_LINE.format, curve))
    return f"{','.join(CURVE_COLUMNS)}\n" + lines.replace("nan", "")  # which no source has in it


def rows_in(text: str) -> tuple[Row, ...]:
    """Inverse of `curve_text`; ValueError for what is no curve, such as time that goes back.

    Column by column, and without pandas, which takes ten times as long for a hundred rows.
    """
    header, *lines = text.splitlines() or [""]
    if header != ",".join(CURVE_COLUMNS):
        raise ValueError(f"its columns are {header}")
    if not lines:
        return ()
    cells = [line.split(",") for line in lines]
    if {*map(len, cells)} != {len(CURVE_COLUMNS)}:
        raise ValueError("a row has more or fewer cells than there are columns")
    epochs, sources, errors, losses, images, seconds = zip(*cells, strict=True)
    if not {*sources} <= _SOURCES.keys():
        raise ValueError("its sources are not all known")
    columns = (
        _times(epochs),
        [_SOURCES[source] for source in sources],
        [float(error or "nan") for error in errors],
        [float(loss or "nan") for loss in losses],
        [int(number) for number in images],
        _times(seconds),
    )
    if not 0 <= min(columns[4]) <= max(columns[4]) <= _MOST_IMAGES:
        raise ValueError("it has a negative number of images, or too many")
    return tuple(starmap(Row, zip(*columns, strict=True)))


def _times(cells: Iterable[str]) -> list[float]:
    times = [float(cell) for cell in cells]
    if not all(map(math.isfinite, times)) or times != sorted(times) or times[0] < 0:
        raise ValueError("epoch or train_seconds is negative, not finite, or goes back")
    return times
