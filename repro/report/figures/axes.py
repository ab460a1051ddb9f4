"""Helpers for axes: limits, ticks, and the note that nothing was run."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from repro.report.figures.style import GREY


def log_x(
    ax: Axes, low: float, high: float, *, ticks: Sequence[float] | None = None
) -> tuple[float, float]:
    """Set a log axis from `low` to `high` with a margin and plain numbers; return its limits."""
    room = max((high / low) ** 0.06, 1.15, (5 * low / high) ** 0.5)  # at least a factor of five
    left, right = low / room, high * room
    ax.set_xscale("log")
    ax.set_xlim(left, right)
    if ticks is None:
        decades = range(math.floor(math.log10(left)), math.ceil(math.log10(right)))
        ticks = [step * 10.0**k for k in decades for step in (1, 2, 3, 5, 7)]
    ax.xaxis.set_major_locator(FixedLocator([t for t in ticks if left <= t <= right]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    ax.xaxis.set_minor_locator(NullLocator())
    return left, right


def linear_x(ax: Axes, low: float, high: float) -> tuple[float, float]:
    """Set a linear axis from `low` to `high` with a margin; return its limits."""
    room = 0.12 * (high - low) or 1.0
    ax.set_xlim(low - room, high + room)
    return low - room, high + room


def rows_y(ax: Axes, labels: Sequence[str]) -> None:
    """Set a row for each label, the first on top."""
    ax.set_yticks(range(len(labels)), labels)
    ax.set_ylim(len(labels) - 0.45, -0.55)
    ax.grid(visible=False, axis="y")


def not_run(ax: Axes) -> None:
    ax.text(0.5, 0.12, "not run", transform=ax.transAxes, ha="center", color=GREY)
