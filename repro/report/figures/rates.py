"""The search of the learning rate: which rates there were, and which was chosen."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from repro.report.figures.axes import log_x, not_run
from repro.report.figures.style import MARKS

__all__ = ["ArmRates", "RatePoint", "rate_sensitivity"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RatePoint:
    """A rate on the tuning seeds.

    `error`: fraction at the common age, NaN when it diverged or has none; `crossed`: epochs,
    infinite when it has not.
    """

    rate: float
    error: float
    crossed: float
    diverged: bool
    chosen: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmRates:
    """The rates of one arm, ascending."""

    arm: str
    points: tuple[RatePoint, ...]
    at_edge: bool


def rate_sensitivity(ax: Axes, arms: Sequence[ArmRates], *, label: str) -> Axes:
    """Error, all at one age, against the rate.

    A number at a point is the epoch at which that rate crossed; the chosen rate is ringed, a
    diverged one is an x at the top, and a choice at the grid's edge is called so.
    """
    rates = {point.rate for arm in arms for point in arm.points}
    ran = any(p.diverged or math.isfinite(p.error) for arm in arms for p in arm.points)
    for mark, arm in enumerate(arms):
        colour, marker = MARKS[mark]
        shown = [p for p in arm.points if not p.diverged and math.isfinite(p.error)]
        ax.plot(
            [p.rate for p in shown],
            [100 * p.error for p in shown],
            color=colour,
            marker=marker,
            markersize=5,
            gid=f"arm-{mark}",
            label=arm.arm,
        )
        _rate_notes(ax, arm, shown, mark=mark)
    if rates:
        log_x(ax, min(rates), max(rates), ticks=sorted(rates))
    ax.margins(y=0.15)
    ax.set(xlabel="learning rate", ylabel=label)
    if ran:
        ax.legend(loc="best")
    else:
        not_run(ax)
    return ax


def _rate_notes(ax: Axes, arm: ArmRates, shown: Sequence[RatePoint], *, mark: int) -> None:
    colour, gid = MARKS[mark][0], f"arm-{mark}"
    for point in shown:
        if math.isfinite(point.crossed):
            ax.annotate(
                f"{point.crossed:.1f}",
                (point.rate, 100 * point.error),
                textcoords="offset points",
                xytext=(0, (12 if point.chosen else 8) if mark else -15),  # off the ring
                ha="center",
                fontsize=8,
                color=colour,
                gid=gid,
            )
    ringed = [p for p in shown if p.chosen]
    for point in ringed if arm.at_edge else ():
        last = point.rate == max(p.rate for p in arm.points)
        ax.annotate(
            "edge",
            (point.rate, 100 * point.error),
            textcoords="offset points",
            xytext=((-1 if last else 1) * (10 + 3 * mark), 5 if mark % 2 else -13),
            ha="right" if last else "left",
            fontsize=8,
            color=colour,
            gid=gid,
        )
    ax.plot(
        [p.rate for p in ringed],
        [100 * p.error for p in ringed],
        color=colour,
        linestyle="none",
        marker="o",
        markersize=12 + 5 * mark,  # both are seen where both chose the same
        markerfacecolor="none",
        gid=gid,
        label=f"_{arm.arm}: chosen",  # the underscore keeps it out of the legend
    )
    lost = [p.rate for p in arm.points if p.diverged]
    ax.plot(
        lost,
        [0.97 - 0.05 * mark] * len(lost),
        transform=ax.get_xaxis_transform(),
        color=colour,
        linestyle="none",
        marker="x",
        markersize=7,
        gid=gid,
        label=f"_{arm.arm}: diverged",
    )
