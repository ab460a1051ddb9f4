"""Forest plots of one claim: a row for each effect with its interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from repro.claim import Region
from repro.report.figures.axes import linear_x, log_x, rows_y
from repro.report.figures.style import GREY, INK, MARKS, PAPER, SHADE
from repro.stats import Estimate
from repro.text import value_text


@dataclass(frozen=True, kw_only=True, slots=True)
class EffectRow:
    """One effect: its estimate, None when not measured, and its value at each seed.

    `decides`: whether the claim's region and the paper's value are its own. `region`: that of a
    condition, which has to hold as well. `doubtful`: an arm of it failed a check, so that the
    number says nothing.
    """

    label: str
    estimate: Estimate | None
    seeds: tuple[float, ...] = ()
    decides: bool = True
    region: Region | None = None
    doubtful: bool = False


def effects(
    ax: Axes,
    rows: Sequence[EffectRow],
    *,
    region: Region,
    paper: float | None,
    no_effect: float | None,
    label: str,
) -> Axes:
    """Estimates with their intervals, a row each, on a log axis where no effect is a ratio of 1.

    No effect is a line; so is the paper's value, in the rows that decide, where the claim's region
    is shaded, as a condition's is in its row. A bound is an arrow from the bound to where the truth
    may lie. Small and below the interval: a point a seed. What is doubtful is hollow and dotted,
    and does not widen the axis unless there is nothing else, nor does an interval of fewer seeds
    than those that decide: what lies beyond the ends is an arrow there. Every number stands within
    the axes, off the names of the rows.
    """
    sure = [row for row in rows if not row.doubtful] or rows
    estimates = [(row, row.estimate) for row in sure if row.estimate is not None]
    enough = min((e.seeds for row, e in estimates if row.decides), default=0)
    numbers = [e.value for _, e in estimates]
    numbers += [end for _, e in estimates if e.seeds >= enough for end in (e.low, e.high)]
    numbers += [v for row in sure for v in row.seeds]
    regions = [region, *(row.region for row in rows if row.region)]
    bounds = [end for one in regions for end in (one.low, one.high)]
    reference_values = [v for v in (no_effect, paper, *bounds) if v is not None]
    ratio = no_effect == 1
    values = [v for v in numbers + reference_values if math.isfinite(v) and (v > 0 or not ratio)]
    left, right = (log_x if ratio else linear_x)(ax, min(values), max(values))
    if no_effect is not None:
        ax.axvline(no_effect, color=INK, linewidth=1)
    for y, row in enumerate(rows):
        asked = region if row.decides else row.region
        if asked is not None:
            _draw_region(ax, y, asked.low, right if asked.high is None else asked.high)
        if row.decides and paper is not None:
            ax.plot([paper, paper], [y - 0.5, y + 0.5], color=GREY, linestyle="--", linewidth=1)
        if row.estimate is None:
            ax.text(
                0.5,
                y,
                "not measured",
                transform=ax.get_yaxis_transform(),
                ha="center",
                color=GREY,
                bbox=GROUND,
            )
        else:
            _interval(ax, row.estimate, y, left, right, doubtful=row.doubtful)
        _seeds(ax, row, y + 0.22, left, right)
    rows_y(ax, [row.label for row in rows])
    top = ax.get_xaxis_transform()
    # Each name on its own side of its line: the two lines may lie close together.
    for x, text, side in (
        (no_effect, "no effect ", "right"),
        (paper, "" if paper is None else f" paper {paper:g}", "left"),
    ):
        if x is None:
            continue
        ax.annotate(
            text,
            (x, 1),
            xycoords=top,
            textcoords="offset points",
            xytext=(0, 3),
            ha=side,
            fontsize=8,
            color=GREY,
            annotation_clip=False,
        )
    ax.set_xlabel(label)
    return ax


def _draw_region(ax: Axes, y: float, low: float, high: float) -> None:
    ax.barh(y, high - low, left=low, height=1, color=SHADE, alpha=0.15, linewidth=0)


def _seeds(ax: Axes, row: EffectRow, y: float, left: float, right: float) -> None:
    """A point each; at the end of the axis where it lies beyond."""
    finite = [value for value in row.seeds if math.isfinite(value)]
    for marker, name, values in (
        ("d", "seeds", [value for value in finite if left <= value <= right]),
        ("<", "below", [left for value in finite if value < left]),
        (">", "above", [right for value in finite if value > right]),
    ):
        if values:
            ax.plot(
                values,
                [y] * len(values),
                color=GREY,
                linestyle="none",
                marker=marker,
                markersize=4,
                clip_on=False,
                label=f"_{row.label}: {name}",
            )


def _interval(
    ax: Axes, estimate: Estimate, y: float, left: float, right: float, *, doubtful: bool
) -> None:
    colour = MARKS[0][0]
    face, dash = (PAPER, ":") if doubtful else (colour, "-")
    low = left if estimate.bound == "upper" else min(max(estimate.low, left), right)
    high = right if estimate.bound == "lower" else max(min(estimate.high, right), left)
    ax.plot([low, high], [y, y], color=colour, linewidth=2, linestyle=dash, solid_capstyle="butt")
    text = value_text(estimate)
    if estimate.bound == "lower":
        anchor = right
    elif estimate.bound == "upper":
        anchor = left
    else:
        anchor = min(max(estimate.value, left), right)
        if anchor == estimate.value:
            ax.plot(anchor, y, color=colour, marker="o", markersize=7, markerfacecolor=face)
        else:
            text += " (beyond the axis)"
    # An end beyond the axes is an arrowhead, every other end a bar.
    for x, edge, arrow in ((low, left, "<"), (high, right, ">")):
        marker, size = (arrow, 8) if x == edge else ("|", 9)
        ax.plot(
            x, y, color=colour, marker=marker, markersize=size, markerfacecolor=face, clip_on=False
        )
    _number(ax, text, anchor, y, colour)


GROUND = {"facecolor": PAPER, "edgecolor": "none", "pad": 0.5}  # of a text that a line would cross
_ROOM = 0.12  # of the axis: more than half of a number's width


def _number(ax: Axes, text: str, x: float, y: float, colour: str) -> None:
    """Above the interval and centred, but for what would leave the axes: that runs inwards."""
    share = ax.transAxes.inverted().transform(ax.transData.transform((x, y)))[0]
    side, shift = "center", 0
    if share < _ROOM:
        side, shift = "left", 4
    elif share > 1 - _ROOM:
        side, shift = "right", -4
    ax.annotate(
        text,
        (x, y),
        textcoords="offset points",
        xytext=(shift, 8),
        ha=side,
        color=colour,
        bbox=GROUND,
    )
