"""All claims in one figure: each effect in units of the paper's, with its range and its verdict."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from repro.report.figures.style import GREY, GRID, INK, PAPER, SHADE, VERDICTS

LETTER, SMALL = 4.8, 3.9  # points that a letter of titles and notes takes, at most on average
LINE, ROOM = 12.0, 9.0  # points: a line of text, and the gap between two rows
TOP, BOTTOM = 26.0, 34.0  # points: the axis above the rows, the legend below them
LEAST, MOST = -2.0, 5.0  # units: what the axis shows at most
BAR, NUMBER, CHIP, SCALE = 190.0, 104.0, 84.0, 58.0  # points: columns of the wide form


@dataclass(frozen=True, kw_only=True, slots=True)
class ForestRow:
    """A claim. 0 is no effect and 1 the paper's, or else the least that counts as reproduced.

    `value`, `low`, `high`: in those units, NaN where nothing is known and infinite where an end is
    open; `region`: its ends; `paper`: whether the paper prints a number. `number`: ours, as text.
    `note`: the claim's name, and what the number rests on.
    """

    title: str
    word: str
    scale: str
    number: str
    note: str = ""
    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    region: tuple[float, float] | None = None
    paper: bool = False

    @property
    def has_effect(self) -> bool:
        """Whether it has a place on the axis: facts that need no training have none."""
        return self.region is not None or not math.isnan(self.value)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Axis:
    """Units to points."""

    left: float
    right: float
    low: float
    high: float

    def place(self, value: float) -> float:
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.left + share * (self.right - self.left)


def _columns(width: float, *, stacked: bool) -> tuple[float, float, float]:
    """Where titles end, and where the axis begins and ends."""
    if stacked:
        return width, 8.0, width - CHIP - 8
    end = width - SCALE - CHIP - NUMBER
    return end - BAR - 14, end - BAR, end - 10


def _title(row: ForestRow, width: float, *, stacked: bool) -> list[str]:
    return wrap(row.title, int(_columns(width, stacked=stacked)[0] / LETTER))


def _note(row: ForestRow, width: float, *, stacked: bool) -> list[str]:
    return wrap(row.note, int(_columns(width, stacked=stacked)[0] / SMALL))


def _row_height(row: ForestRow, width: float, *, stacked: bool) -> float:
    words = [*_title(row, width, stacked=stacked), *_note(row, width, stacked=stacked)]
    return LINE * (len(words) + (2.3 if stacked else 0)) + ROOM


def _has_axis(rows: Sequence[ForestRow]) -> bool:
    return any(row.has_effect for row in rows)


def forest_height(rows: Sequence[ForestRow], width: float, *, stacked: bool) -> float:
    """In points, of a figure that is `width` points wide."""
    axis = TOP + BOTTOM if _has_axis(rows) else 0.0
    return axis + sum(_row_height(row, width, stacked=stacked) for row in rows)


def forest(
    figure: Figure, rows: Sequence[ForestRow], *, width: float, stacked: bool, above: float = 0.0
) -> Axes:
    """A row a claim on a figure of `width` points, under `above` points of something else.

    `stacked`: for a narrow screen, the title above its bar; otherwise all in one line.
    """
    whole, height = 72 * figure.get_size_inches()
    margin = (whole - width) / 2
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(-margin, width + margin), ylim=(height, 0))
    ax.set_axis_off()
    _, left, right = _columns(width, stacked=stacked)
    axis = _Axis(left=left, right=right, **_limits(rows))
    y = top = above + (TOP if _has_axis(rows) else 0.0)
    for row in rows:
        tall = _row_height(row, width, stacked=stacked)
        _row(ax, row, axis, y, tall, width=width, stacked=stacked)
        y += tall
    if _has_axis(rows):
        _scale(ax, axis, top)
        _legend(ax, y + 16, stacked=stacked)
    return ax


def _limits(rows: Sequence[ForestRow]) -> dict[str, float]:
    """Of the axis: all points, and of the intervals what lies near them."""
    ends = [v for row in rows for v in (row.value, row.low, row.high) if math.isfinite(v)]
    return {
        "low": max(LEAST, math.floor(min([-1.0, *ends]))),
        "high": min(MOST, math.ceil(max([2.0, *ends]))),
    }


def _row(
    ax: Axes, row: ForestRow, axis: _Axis, y: float, tall: float, *, width: float, stacked: bool
) -> None:
    title, note = (part(row, width, stacked=stacked) for part in (_title, _note))
    block = LINE * (len(title) + len(note))
    ax.plot([0, width], [y, y], color=GRID, linewidth=0.6)
    top = y + ROOM / 2
    for line, words in enumerate(title):
        _text(ax, 0, top + LINE * (line + 0.5), words, color=INK)
    for line, words in enumerate(note, start=len(title)):
        _text(ax, 0, top + LINE * (line + 0.5), words, color=GREY, size=7.5)
    middle = top + block + LINE * 0.75 if stacked else y + tall / 2
    if row.has_effect:
        _marks(ax, axis, middle, 8 if stacked else tall / 2)
        _bar(ax, row, axis, middle)
    if stacked:
        _chip(ax, width - CHIP / 2, middle, row.word)
        _text(ax, 0, middle + LINE * 1.2, f"{row.number}, {row.scale}", color=GREY, size=8)
        return
    _text(ax, width - SCALE - CHIP - NUMBER, middle, row.number, color=INK, size=8)
    _chip(ax, width - SCALE - CHIP / 2, middle, row.word)
    _text(ax, width, middle, row.scale, color=GREY, size=8, side="right")


def _bar(ax: Axes, row: ForestRow, axis: _Axis, y: float) -> None:
    """The range, the paper's point, and our interval, whose ends beyond the axis are arrows."""
    if row.region is not None:
        left, right = (axis.place(end) for end in row.region)
        ax.add_patch(
            Rectangle((left, y - 6), right - left, 12, color=SHADE, alpha=0.22, linewidth=0)
        )
    if row.paper:
        ax.plot(axis.place(1), y, color=INK, marker="D", markersize=6, markerfacecolor=PAPER)
    if math.isnan(row.low) or math.isnan(row.high):
        _point(ax, row, axis, y)
        return
    colour = VERDICTS[row.word]
    ends = [axis.place(row.low), axis.place(row.high)]
    ax.plot(ends, [y, y], color=colour, linewidth=2, solid_capstyle="butt")
    for end, place in zip((row.low, row.high), ends, strict=True):
        if not axis.low <= end <= axis.high:
            marker = "<" if end < axis.low else ">"
            ax.plot(place, y, color=colour, marker=marker, markersize=5)
    _point(ax, row, axis, y)


def _point(ax: Axes, row: ForestRow, axis: _Axis, y: float) -> None:
    if axis.low <= row.value <= axis.high:
        ax.plot(axis.place(row.value), y, color=VERDICTS[row.word], marker="o", markersize=5)


def _marks(ax: Axes, axis: _Axis, y: float, half: float) -> None:
    """No effect is a line, and the paper's effect a dashed one."""
    for value, style in ((0, "-"), (1, "--")):
        x = axis.place(value)
        ax.plot([x, x], [y - half, y + half], color=GREY, linewidth=0.8, linestyle=style)


def _scale(ax: Axes, axis: _Axis, top: float) -> None:
    for tick in range(math.ceil(axis.low), math.floor(axis.high) + 1):
        _text(ax, axis.place(tick), top - 6, f"{tick}", color=GREY, size=8, side="center")
    words = "effect (0: none, 1: the paper's)"
    _text(ax, (axis.left + axis.right) / 2, top - 18, words, color=GREY, size=8, side="center")


def _legend(ax: Axes, y: float, *, stacked: bool) -> None:
    """What the signs are: in one line, or in two."""
    ax.add_patch(Rectangle((0, y - 5), 18, 10, color=SHADE, alpha=0.22, linewidth=0))
    _text(ax, 24, y, "the claim's range", color=GREY, size=8)
    ax.plot(128, y, color=INK, marker="D", markersize=6, markerfacecolor=PAPER)
    _text(ax, 136, y, "the paper's number", color=GREY, size=8)
    x, y = (0, y + LINE) if stacked else (236, y)
    ax.plot([x, x + 18], [y, y], color=GREY, linewidth=2, solid_capstyle="butt")
    ax.plot(x + 9, y, color=GREY, marker="o", markersize=5)
    _text(ax, x + 24, y, "ours with its CI; arrow: goes on", color=GREY, size=8)


def _chip(ax: Axes, x: float, y: float, word: str) -> None:
    box = {
        "boxstyle": "round,pad=0.3,rounding_size=0.7",
        "linewidth": 0,
        "facecolor": VERDICTS[word],
    }
    ax.text(
        x, y, word, ha="center", va="center", fontsize=8, color=PAPER, bbox=box, fontweight="bold"
    )


def _text(
    ax: Axes, x: float, y: float, words: str, *, color: str, size: float = 9, side: str = "left",
) -> None:  # fmt: skip
    ax.text(x, y, words, ha=side, va="center", color=color, fontsize=size)
