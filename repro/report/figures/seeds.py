"""The results of each arm: a row for each arm, a point for each seed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from repro.report.figures.axes import log_x, rows_y
from repro.report.figures.style import GREY, MARKS, PAPER


@dataclass(frozen=True, kw_only=True, slots=True)
class Seeds:
    """A value for each seed. `excluded`: of seeds run after the stopping point."""

    counted: tuple[float, ...] = ()
    excluded: tuple[float, ...] = ()

    @property
    def all(self) -> tuple[float, ...]:
        return (*self.counted, *self.excluded)


@dataclass(frozen=True, kw_only=True, slots=True)
class CrossingRow:
    """One arm under one recipe. `mark`: the arm's place among arms; all times in epochs."""

    label: str
    mark: int
    crossed: Seeds
    censored: Seeds
    diverged: Seeds


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricRow:
    """One arm under one recipe: a final metric in its unit; how many seeds diverged."""

    label: str
    mark: int
    values: Seeds
    diverged: int


def crossing_times(ax: Axes, rows: Sequence[CrossingRow], *, label: str) -> Axes:
    """Epochs to `label` on a log axis: a row for each arm, a point for each seed."""
    for y, row in enumerate(rows):
        colour, marker = MARKS[row.mark]
        gid = f"arm-{row.mark}"
        for seeds, shape, outcome in (
            (row.crossed, marker, "crossed"),
            (row.censored, ">", "censored"),
            (row.diverged, "x", "diverged"),
        ):
            legend = f"{row.label}: {outcome}"
            _strip(ax, seeds, y=y, mark=row.mark, marker=shape, label=legend)
        if late := row.censored.all:
            ax.annotate(
                f"{len(late)} seeds > {max(late):g}",
                (max(late), y),
                textcoords="offset points",
                xytext=(6, 12),
                ha="right",
                color=colour,
                fontsize=8,
                gid=gid,
            )
        if not _times(row):
            ax.text(0.5, y, "not run", transform=ax.get_yaxis_transform(), ha="center", color=GREY)
    times = [time for row in rows for time in _times(row) if time > 0]
    log_x(ax, min(times, default=1.0), max(times, default=10.0))
    rows_y(ax, [row.label for row in rows])
    ax.set_xlabel(f"epochs to {label}, one point a seed")
    return ax


def _times(row: CrossingRow) -> tuple[float, ...]:
    return (*row.crossed.all, *row.censored.all, *row.diverged.all)


def metric_points(ax: Axes, rows: Sequence[MetricRow], *, label: str) -> Axes:
    """A final metric: a row for each arm, a point for each seed; `label`: its name and unit."""
    for y, row in enumerate(rows):
        marker = MARKS[row.mark][1]
        _strip(ax, row.values, y=y, mark=row.mark, marker=marker, label=row.label)
        note = f"{row.diverged} diverged" if row.diverged else ""
        if not row.values.all:
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


def _strip(ax: Axes, seeds: Seeds, *, y: float, mark: int, marker: str, label: str) -> None:
    """Draw a row, spread so that equal values stay visible; excluded values are hollow."""
    colour = MARKS[mark][0]
    counts = [True] * len(seeds.counted) + [False] * len(seeds.excluded)
    points = sorted(zip(seeds.all, counts, strict=True))
    spread = np.linspace(-0.12, 0.12, len(points)) if len(points) > 1 else np.zeros(len(points))
    positions = [
        (value, y + up, counts_here)
        for (value, counts_here), up in zip(points, spread, strict=True)
    ]
    for is_counted, face, name in ((True, colour, label), (False, PAPER, f"{label}, beyond")):
        group = [
            (value, height) for value, height, counts_here in positions if counts_here is is_counted
        ]
        if group:
            ax.plot(
                *zip(*group, strict=True),
                color=colour,
                gid=f"arm-{mark}",
                linestyle="none",
                marker=marker,
                markersize=6,
                markerfacecolor=face,
                alpha=0.85,
                label=name,
                clip_on=False,
            )
