"""The learning-rate search: the error at each rate, and the chosen rate."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes

from repro.report.figures.axes import log_x, not_run
from repro.report.figures.style import GREY, MARKS

RING: dict[str, Any] = {
    "linestyle": "none",
    "marker": "o",
    "markersize": 12,
    "markerfacecolor": "none",
}
CROSS: dict[str, Any] = {"linestyle": "none", "marker": "x", "markersize": 7}


@dataclass(frozen=True, kw_only=True, slots=True)
class RatePoint:
    """A rate on the tuning seeds; `error`: fraction at the common age, NaN where there is none."""

    rate: float
    error: float
    diverged: bool
    chosen: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmRates:
    """The rates of one arm, ascending."""

    arm: str
    points: tuple[RatePoint, ...]


def rate_sensitivity(ax: Axes, arms: Sequence[ArmRates], *, label: str) -> Axes:
    """Error, all at one age, against the rate.

    The chosen rate is ringed, and a diverged one is an x at the top.
    """
    rates = {point.rate for arm in arms for point in arm.points}
    for mark, arm in enumerate(arms):
        _arm_rates(ax, arm, mark)
    if rates:
        log_x(ax, min(rates), max(rates), ticks=sorted(rates))
    ax.margins(y=0.15)
    ax.set(xlabel="learning rate", ylabel=label)
    if any(p.diverged or math.isfinite(p.error) for arm in arms for p in arm.points):
        _signs(ax, arms)
        ax.legend(loc="best")
    else:
        not_run(ax)
    return ax


def _arm_rates(ax: Axes, arm: ArmRates, mark: int) -> None:
    colour, marker = MARKS[mark]
    gid = f"arm-{mark}"
    points = [p for p in arm.points if not p.diverged and math.isfinite(p.error)]
    chosen_points = [p for p in points if p.chosen]
    diverged_rates = [p.rate for p in arm.points if p.diverged]
    ax.plot(
        [p.rate for p in points],
        [100 * p.error for p in points],
        color=colour, marker=marker, markersize=5, gid=gid, label=arm.arm,
    )  # fmt: skip
    ax.plot(
        [p.rate for p in chosen_points],
        [100 * p.error for p in chosen_points],
        color=colour, gid=gid, label=f"_{arm.arm}: chosen",  # an underscore: not in the legend
        **RING,
    )  # fmt: skip
    ax.plot(
        diverged_rates,
        [0.97 - 0.05 * mark] * len(diverged_rates),
        transform=ax.get_xaxis_transform(),
        color=colour, gid=gid, label=f"_{arm.arm}: diverged",
        **CROSS,
    )  # fmt: skip


def _signs(ax: Axes, arms: Sequence[ArmRates]) -> None:
    """Explain rings and crosses in the legend."""
    points = [point for arm in arms for point in arm.points]
    if any(point.chosen for point in points):
        ax.plot([], [], color=GREY, label="chosen", **RING)
    if any(point.diverged for point in points):
        ax.plot([], [], color=GREY, label="diverged", **CROSS)
