"""What each arm came to, a row an arm and a point a seed."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from repro.figures.axes import log_x, rows_y, strip
from repro.figures.style import GREY, MARKS

__all__ = ["CrossingRow", "MetricRow", "crossing_times", "metric_points"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CrossingRow:
    """One arm under one recipe. `mark`: the arm's place among arms; all times in epochs."""

    label: str
    mark: int
    crossed: tuple[float, ...]
    censored: tuple[float, ...]
    diverged: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricRow:
    """One arm under one recipe: a final metric in its unit, a value a seed; how many diverged."""

    label: str
    mark: int
    values: tuple[float, ...]
    diverged: int


def crossing_times(ax: Axes, rows: Sequence[CrossingRow], *, threshold: float) -> Axes:
    """Epochs to the threshold, a point a seed, a row an arm, on a log axis."""
    for y, row in enumerate(rows):
        colour, marker = MARKS[row.mark]
        gid = f"arm-{row.mark}"
        for times, shape, outcome in (
            (row.crossed, marker, "crossed"),
            (row.censored, ">", "censored"),
            (row.diverged, "x", "diverged"),
        ):
            label = f"{row.label}: {outcome}"
            strip(ax, times, y=y, mark=row.mark, marker=shape, label=label)
        if row.censored:
            ax.annotate(
                f"{len(row.censored)} seeds > {max(row.censored):g}",
                (max(row.censored), y),
                textcoords="offset points",
                xytext=(6, 12),
                ha="right",
                color=colour,
                fontsize=8,
                gid=gid,
            )
        if not (row.crossed or row.censored or row.diverged):
            ax.text(0.5, y, "not run", transform=ax.get_yaxis_transform(), ha="center", color=GREY)
    known = [t for row in rows for t in (*row.crossed, *row.censored, *row.diverged) if t > 0]
    log_x(ax, min(known, default=1.0), max(known, default=10.0))
    rows_y(ax, [row.label for row in rows])
    ax.set_xlabel(f"epochs to {100 * threshold:g} % training error, one point a seed")
    return ax


def metric_points(ax: Axes, rows: Sequence[MetricRow], *, label: str) -> Axes:
    """A final metric, a point a seed, a row an arm; `label` names it, with its unit."""
    for y, row in enumerate(rows):
        marker = MARKS[row.mark][1]
        strip(ax, row.values, y=y, mark=row.mark, marker=marker, label=row.label)
        note = f"{row.diverged} diverged" if row.diverged else ""
        if not row.values:
            note = note or "not run"
        if note:
            ax.text(
                0.98, y, note, transform=ax.get_yaxis_transform(), ha="right", va="center",
                color=GREY, fontsize=8,
            )  # fmt: skip
    rows_y(ax, [row.label for row in rows])
    ax.margins(x=0.1)
    ax.set_xlabel(f"{label}, one point a seed")
    return ax
