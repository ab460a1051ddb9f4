"""Errors against epochs: for each arm a line, its range over seeds, and how each seed ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from repro.report.figures.axes import not_run
from repro.report.figures.style import GREY, INK, MARKS, PAPER

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Band:
    """Over seeds, at `epochs` (n,): median, smallest and largest error (n,), fractions.

    `counted`: how many of the seeds count; the others were run after the stopping point.
    """

    seeds: int
    counted: int
    epochs: Floats
    median: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmCurves:
    """One arm's evaluation seeds. Points are (epoch, error as a fraction).

    The band ends with the first seed that stops; `tails` are the others from there on, each
    (epochs, errors).
    """

    arm: str
    seeds: int
    band: Band | None
    tails: tuple[tuple[Floats, Floats], ...] = ()
    crossed: tuple[float, ...] = ()  # epochs
    censored: tuple[tuple[float, float], ...] = ()
    diverged: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class PaperCurve:
    """Points read off the paper's figure: epochs (n,), errors (n,) as fractions."""

    arm: str
    epochs: Floats
    errors: Floats


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmErrors:
    """One arm's evaluation seeds, epoch by epoch: test error, and error of the training batches."""

    arm: str
    test: Band | None
    train: Band | None


def learning_curves(
    ax: Axes,
    arms: Sequence[ArmCurves],
    *,
    threshold: float,
    until: float,
    paper: Sequence[PaperCurve] = (),
) -> Axes:
    """Training error against epochs up to `until`, with the paper's points in the same axes.

    Median and range over seeds, and how each seed ended. Arms come in the order of the claim
    file, with and without results, so that an arm keeps its colour.
    """
    ax.axhline(100 * threshold, color=GREY, linestyle="--", linewidth=1)
    ax.annotate(
        f"{100 * threshold:g} %",
        (1, 100 * threshold),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        xytext=(-2, -3),
        ha="right",
        va="top",
        color=GREY,
    )
    for mark, arm in enumerate(arms):
        _arm_curves(ax, arm, mark=mark, threshold=threshold)
    places = {arm.arm: mark for mark, arm in enumerate(arms)}
    for curve in paper:
        colour, marker = MARKS[places[curve.arm]]
        ax.plot(
            curve.epochs,
            100 * curve.errors,
            color=colour,
            linestyle="--",
            linewidth=0.8,
            marker=marker,
            markersize=7,  # larger than ours and behind them: both are seen where they meet
            markerfacecolor=PAPER,
            zorder=1.9,
            gid=f"paper-{places[curve.arm]}",
            label=f"{curve.arm}: the paper's, read off",
        )
    if not any(arm.seeds for arm in arms):
        not_run(ax)
    top = max(60.0, 1.05 * ax.dataLim.ymax, ax.get_ylim()[1])  # panels share it: the highest
    ax.set_ylim(0, top)
    ax.set(xlim=(0, 1.04 * until), xlabel="epochs", ylabel="training error in %")
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="best")
    return ax


def _arm_curves(ax: Axes, arm: ArmCurves, *, mark: int, threshold: float) -> None:
    colour, marker = MARKS[mark]
    gid = f"arm-{mark}"
    if arm.band is not None:
        band = arm.band
        _range(ax, band, mark)
        label = f"{arm.arm}: {_seeds(band)}"
        ax.plot(band.epochs, 100 * band.median, color=colour, linewidth=1.8, label=label, gid=gid)
    if arm.tails:  # one line with gaps: a hundred lines take most of the time of a figure
        epochs, errors = map(_with_gaps, zip(*arm.tails, strict=True))
        ax.plot(epochs, 100 * errors, color=colour, linewidth=0.8, gid=gid)
    if arm.crossed:
        ax.plot(
            arm.crossed,
            [100 * threshold] * len(arm.crossed),
            color=colour,
            linestyle="none",
            marker=marker,
            markersize=5,
            markeredgecolor=INK,
            markeredgewidth=0.6,
            gid=gid,
            label=f"{arm.arm}: crossed",
        )
    if arm.censored:
        _points(ax, arm.censored, mark, ">", f"{arm.arm}: not crossed (censored)")
        epoch = max(epoch for epoch, _ in arm.censored)
        ax.annotate(
            f"{len(arm.censored)} of {arm.seeds}: > {epoch:g}",
            (epoch, 100 * max(error for _, error in arm.censored)),
            textcoords="offset points",
            xytext=(4, 7),
            ha="right",
            color=colour,
            fontsize=8,
            gid=gid,
        )
    if arm.diverged:
        _points(ax, arm.diverged, mark, "x", f"{arm.arm}: diverged")


def _with_gaps(values: Sequence[Floats]) -> Floats:
    return np.concatenate([part for each in values for part in (each, [np.nan])])


def _points(
    ax: Axes, points: Sequence[tuple[float, float]], mark: int, marker: str, label: str
) -> None:
    epochs, errors = zip(*points, strict=True)
    ax.plot(
        epochs,
        [100 * error for error in errors],
        color=MARKS[mark][0],
        gid=f"arm-{mark}",
        linestyle="none",
        marker=marker,
        markersize=7,
        label=label,
        clip_on=False,
    )


def error_curves(ax: Axes, arms: Sequence[ArmErrors]) -> Axes:
    """Test error after each epoch, median and range of the seeds; dotted, that of the batches.

    The axis spans what is drawn: a point of difference is seen among errors of 90 %.
    """
    for mark, arm in enumerate(arms):
        colour, marker = MARKS[mark]
        gid = f"arm-{mark}"
        if arm.test is not None:
            band = arm.test
            _range(ax, band, mark)
            ax.plot(
                band.epochs,
                100 * band.median,
                color=colour,
                linewidth=1.6,
                marker=marker,
                markersize=4,
                markevery=_marked(len(band.epochs)),
                gid=gid,
                label=f"{arm.arm}: test, {_seeds(band)}",
            )
        if arm.train is not None:
            ax.plot(
                arm.train.epochs,
                100 * arm.train.median,
                color=colour,
                linewidth=1,
                linestyle=":",
                marker="_" if len(arm.train.epochs) == 1 else None,  # of which no line is seen
                gid=gid,
                # The caption says what is dotted.
                label="_dotted" if arm.test is not None else f"{arm.arm}: training batches",
            )
    ax.set(xlabel="epochs", ylabel="error in %")
    if ax.has_data():
        ax.set_xlim(left=0)
    _span(ax)
    entries = len(ax.get_legend_handles_labels()[0])
    if entries > 2:  # more than there is room for among curves
        ax.legend(loc="upper left", bbox_to_anchor=(0, -0.18))
    elif entries:
        ax.legend(loc="best")
    else:
        not_run(ax)
    return ax


def _span(ax: Axes) -> None:
    """The y axis from the least to the most of this panel and of those beside it, with room."""
    panels = [curve for curve in ax.get_shared_y_axes().get_siblings(ax) if curve.has_data()]
    if not panels:
        return
    low = min(panel.dataLim.ymin for panel in panels)
    high = max(panel.dataLim.ymax for panel in panels)
    room = 0.06 * (high - low) or 1.0
    ax.set_ylim(max(0.0, low - room), high + room)


def _seeds(band: Band) -> str:
    text = "1 seed" if band.seeds == 1 else f"median and range of {band.seeds} seeds"
    return text if band.counted == band.seeds else f"{text} ({band.counted} count)"


_MARKERS = 10  # along a curve


def _marked(points: int) -> tuple[int, int]:
    """The first point with a marker, and every how many there is one: always at the last."""
    step = ceil(points / _MARKERS)
    return (points - 1) % step, step


def _range(ax: Axes, band: Band, mark: int) -> None:
    ax.fill_between(
        band.epochs,
        100 * band.low,
        100 * band.high,
        color=MARKS[mark][0],
        alpha=0.2,
        linewidth=0,
        gid=f"band-{mark}",
    )
