"""One function a figure: takes axes and data, sets labels with units, returns the axes.

Errors come as fractions and are drawn in percent. A censored trial is drawn as an arrowhead where
it ended, never as a crossing. Colours are Okabe and Ito's, told apart by colour-blind readers;
arms also differ by marker, so that a black and white print is read the same way. All colours but
those of images are in SCHEME, so that a page can give each a twin for the dark.

What belongs to an arm has the gid `arm-N`, its range over seeds `band-N`, the paper's points
`paper-N`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import NDArray

from repro.claim import Region
from repro.stats import Estimate
from repro.wordnet import words

__all__ = [
    "MARKS",
    "SCHEME",
    "STYLE",
    "ArmCurves",
    "ArmErrors",
    "ArmRates",
    "Band",
    "CrossingRow",
    "EffectRow",
    "MetricRow",
    "PaperCurve",
    "RatePoint",
    "confusion",
    "crossing_times",
    "effects",
    "error_curves",
    "examples",
    "kernels",
    "learning_curves",
    "metric_points",
    "nearest",
    "rate_sensitivity",
]

Floats = NDArray[np.float64]

# Okabe and Ito 2008: blue, vermillion, bluish green, reddish purple, orange, sky blue; a marker
# for each.
MARKS = (
    ("#0072B2", "o"),
    ("#D55E00", "s"),
    ("#009E73", "D"),
    ("#CC79A7", "P"),
    ("#E69F00", "^"),
    ("#56B4E9", "v"),
)
INK, GREY, GRID, PAPER = "#1b1f24", "#57606a", "#d8dee4", "#ffffff"
SHADE = MARKS[2][0]

# Each colour of a figure, as matplotlib writes it, by the name that a style sheet gives it.
SCHEME = {
    INK: "--ink",
    GREY: "--grey",
    GRID: "--grid",
    PAPER: "--page",
    **{colour.lower(): f"--arm-{mark}" for mark, (colour, _) in enumerate(MARKS)},
}

STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so every machine measures alike
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Band:
    """Over seeds, at `epochs` (n,): median, smallest and largest error (n,), fractions."""

    seeds: int
    epochs: Floats
    median: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmCurves:
    """One arm's confirming seeds. Points are (epoch, error as a fraction).

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
class ArmErrors:
    """One arm's confirming seeds, epoch by epoch: test error, and error of the training batches."""

    arm: str
    test: Band | None
    train: Band | None


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricRow:
    """One arm under one recipe: a final metric in its unit, a value a seed; how many diverged."""

    label: str
    mark: int
    values: tuple[float, ...]
    diverged: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PaperCurve:
    """Points read off the paper's figure: epochs (n,), errors (n,) as fractions."""

    arm: str
    epochs: Floats
    errors: Floats


@dataclass(frozen=True, kw_only=True, slots=True)
class CrossingRow:
    """One arm under one recipe. `mark`: the arm's place among arms; all times in epochs."""

    label: str
    mark: int
    crossed: tuple[float, ...]
    censored: tuple[float, ...]
    diverged: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class EffectRow:
    """One effect: its estimate, None when not measured, and its value at each seed."""

    label: str
    estimate: Estimate | None
    seeds: tuple[float, ...] = ()


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


def learning_curves(
    ax: Axes,
    arms: Sequence[ArmCurves],
    *,
    threshold: float,
    until: float,
    paper: Sequence[PaperCurve] = (),
    log: bool = False,
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
            markersize=5,
            markerfacecolor=PAPER,
            gid=f"paper-{places[curve.arm]}",
            label=f"{curve.arm}: the paper's, read off",
        )
    if not any(arm.seeds for arm in arms):
        _not_run(ax)
    top = max(60.0, 1.05 * ax.dataLim.ymax, ax.get_ylim()[1])  # panels share it: the highest
    ax.set(xlim=(0, 1.04 * until), xlabel="epochs", ylabel="training error in %")
    if log:
        _log_errors(ax, top)
    else:
        ax.set_ylim(0, top)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="best")
    return ax


def _arm_curves(ax: Axes, arm: ArmCurves, *, mark: int, threshold: float) -> None:
    colour, marker = MARKS[mark]
    gid = f"arm-{mark}"
    if arm.band is not None:
        band = arm.band
        ax.fill_between(
            band.epochs,
            100 * band.low,
            100 * band.high,
            color=colour,
            alpha=0.2,
            linewidth=0,
            gid=f"band-{mark}",
        )
        label = f"{arm.arm}: {_seeds(band.seeds)}"
        ax.plot(band.epochs, 100 * band.median, color=colour, linewidth=1.8, label=label, gid=gid)
    for epochs, errors in arm.tails:
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
            _strip(ax, times, y=y, mark=row.mark, marker=shape, label=label)
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
    _log_x(ax, min(known, default=1.0), max(known, default=10.0))
    _rows_y(ax, [row.label for row in rows])
    ax.set_xlabel(f"epochs to {100 * threshold:g} % training error, one point a seed")
    return ax


def _strip(
    ax: Axes, times: Sequence[float], *, y: float, mark: int, marker: str, label: str
) -> None:
    """Equal times stand beside each other: spread over a fifth of a row."""
    if not times:
        return
    spread = np.linspace(-0.12, 0.12, len(times)) if len(times) > 1 else np.zeros(1)
    ax.plot(
        sorted(times),
        y + spread,
        color=MARKS[mark][0],
        gid=f"arm-{mark}",
        linestyle="none",
        marker=marker,
        markersize=6,
        alpha=0.85,
        label=label,
        clip_on=False,
    )


def error_curves(ax: Axes, arms: Sequence[ArmErrors], *, log: bool = False) -> Axes:
    """Test error after each epoch, median and range of the seeds; dotted, that of the batches."""
    for mark, arm in enumerate(arms):
        colour, marker = MARKS[mark]
        gid = f"arm-{mark}"
        if arm.test is not None:
            band = arm.test
            ax.fill_between(
                band.epochs,
                100 * band.low,
                100 * band.high,
                color=colour,
                alpha=0.2,
                linewidth=0,
                gid=f"band-{mark}",
            )
            ax.plot(
                band.epochs,
                100 * band.median,
                color=colour,
                linewidth=1.6,
                marker=marker,
                markersize=4,
                markevery=0.1,
                gid=gid,
                label=f"{arm.arm}: test, {_seeds(band.seeds)}",
            )
        if arm.train is not None:
            ax.plot(
                arm.train.epochs,
                100 * arm.train.median,
                color=colour,
                linewidth=1,
                linestyle=":",
                gid=gid,
                label=f"{arm.arm}: training batches",
            )
    ax.set(xlabel="epochs", ylabel="error in %")
    highest = ax.dataLim.ymax if ax.has_data() else 0.0  # without data the limit is infinite
    top = max(1.05 * highest, ax.get_ylim()[1])  # panels share it
    if log:
        _log_errors(ax, top)
    else:
        ax.set_ylim(0, top)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="best")
    else:
        _not_run(ax)
    return ax


def _log_errors(ax: Axes, top: float) -> None:
    """Errors in percent on a log axis, with plain numbers; zero has no place on it."""
    drawn = [np.asarray(line.get_ydata(), dtype=float) for line in ax.get_lines()]
    shown = np.concatenate([y[np.isfinite(y) & (y > 0)] for y in drawn] or [np.empty(0)])
    bottom = max(0.8 * float(shown.min(initial=top)), top / 1000)
    if ax.get_yscale() == "log":  # a panel beside this one, which shares the axis
        bottom = min(bottom, ax.get_ylim()[0])
    ax.set_yscale("log")
    ax.set_ylim(bottom, top)
    ticks = [step * 10.0**k for k in range(-2, 3) for step in (1, 2, 3, 5, 7)]
    ax.yaxis.set_major_locator(FixedLocator(ticks))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    ax.yaxis.set_minor_locator(NullLocator())


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"median and range of {count} seeds"


def metric_points(ax: Axes, rows: Sequence[MetricRow], *, label: str) -> Axes:
    """A final metric, a point a seed, a row an arm; `label` names it, with its unit."""
    for y, row in enumerate(rows):
        marker = MARKS[row.mark][1]
        _strip(ax, row.values, y=y, mark=row.mark, marker=marker, label=row.label)
        note = f"{row.diverged} diverged" if row.diverged else ""
        if not row.values:
            note = note or "not run"
        if note:
            ax.text(
                0.98, y, note, transform=ax.get_yaxis_transform(), ha="right", va="center",
                color=GREY, fontsize=8,
            )  # fmt: skip
    _rows_y(ax, [row.label for row in rows])
    ax.margins(x=0.1)
    ax.set_xlabel(f"{label}, one point a seed")
    return ax


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

    The claim's region is shaded; the paper's value and no effect are lines. A bound is an arrow
    from the bound to where the truth may lie. Small and below the interval: a point a seed.
    """
    found = [row.estimate for row in rows if row.estimate is not None]
    shown = [v for e in found for v in (e.low, e.value, e.high) if math.isfinite(v)]
    shown += [v for row in rows for v in row.seeds]
    marked = [v for v in (no_effect, paper, region.low, region.high) if v is not None]
    ratio = no_effect == 1
    values = [v for v in shown + marked if v > 0 or not ratio]
    left, right = (_log_x if ratio else _linear_x)(ax, min(values), max(values))
    ax.axvspan(
        region.low, right if region.high is None else region.high, color=SHADE, alpha=0.15,
        linewidth=0,
    )  # fmt: skip
    if no_effect is not None:
        ax.axvline(no_effect, color=INK, linewidth=1)
    if paper is not None:
        ax.axvline(paper, color=GREY, linestyle="--", linewidth=1)
    for y, row in enumerate(rows):
        if row.estimate is None:
            ax.text(
                0.5, y, "not measured", transform=ax.get_yaxis_transform(), ha="center", color=GREY
            )
        else:
            _interval(ax, row.estimate, y, left, right)
        ax.plot(
            row.seeds,
            [y + 0.22] * len(row.seeds),
            color=GREY,
            linestyle="none",
            marker="d",
            markersize=4,
            label=f"_{row.label}: seeds",
        )
    _rows_y(ax, [row.label for row in rows])
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


def _interval(ax: Axes, estimate: Estimate, y: float, left: float, right: float) -> None:
    colour = MARKS[0][0]
    low = left if estimate.bound == "upper" else max(estimate.low, left)
    high = right if estimate.bound == "lower" else min(estimate.high, right)
    ax.plot([low, high], [y, y], color=colour, linewidth=2, solid_capstyle="butt")
    if estimate.bound == "lower":
        text, anchor = f"at least {estimate.low:.2f}", low
    elif estimate.bound == "upper":
        text, anchor = f"at most {estimate.high:.2f}", high
    else:
        text, anchor = f"{estimate.value:.2f}", min(max(estimate.value, left), right)
        ax.plot(anchor, y, color=colour, marker="o", markersize=7)
    # An end beyond the axes is an arrowhead, every other end a bar.
    for x, edge, arrow in ((low, left, "<"), (high, right, ">")):
        marker, size = (arrow, 8) if x == edge else ("|", 9)
        ax.plot(x, y, color=colour, marker=marker, markersize=size, clip_on=False)
    ax.annotate(
        text, (anchor, y), textcoords="offset points", xytext=(0, 8), ha="center", color=colour
    )


def kernels(ax: Axes, weights: NDArray[np.floating]) -> Axes:
    """The first layer's kernels as images (Fig. 3), the first half of the maps above the second.

    weights: (maps, 3, k, k). Each kernel is stretched to its own range, grey being zero.
    """
    maps, _, side, _ = weights.shape
    columns = math.ceil(maps / 2 / math.ceil(math.sqrt(maps / 6)))
    rows = math.ceil(maps / 2 / columns)
    top = np.abs(weights).max((1, 2, 3), keepdims=True)
    shown = 0.5 + 0.5 * np.divide(weights, top, out=np.zeros_like(weights), where=top > 0)
    cell = side + 1
    sheet = np.zeros((2 * rows * cell + 2, columns * cell - 1, 4))  # nothing, seen through
    for i, kernel in enumerate(shown):
        half, place = divmod(i, maps // 2)
        row, column = divmod(place, columns)
        y, x = (half * rows + row) * cell + 3 * half, column * cell
        sheet[y : y + side, x : x + side, :3] = kernel.transpose(1, 2, 0)
        sheet[y : y + side, x : x + side, 3] = 1
    return _sheet(ax, sheet)


def nearest(ax: Axes, images: NDArray[np.uint8]) -> Axes:
    """Test images and beside each its nearest training images (Fig. 4).

    images: (queries, 1 + neighbours, S, S, 3), grey levels, the query first.
    """
    queries, across, side = images.shape[:3]
    gap = max(1, side // 8)
    sheet = np.zeros((queries * (side + gap) - gap, across * (side + gap) + gap, 4))
    for row in range(queries):
        for column in range(across):
            y, x = row * (side + gap), column * (side + gap) + (2 * gap if column else 0)
            sheet[y : y + side, x : x + side, :3] = images[row, column] / 255
            sheet[y : y + side, x : x + side, 3] = 1
    return _sheet(ax, sheet)


def confusion(ax: Axes, counts: NDArray[np.integer], classes: Sequence[str]) -> Axes:
    """Of the images of a class (a row), the share taken for each class, in percent.

    counts: (C, C). With few classes each square has its number.
    """
    shares = counts / np.maximum(1, counts.sum(1, keepdims=True))
    ax.imshow(_shade(shares), interpolation="nearest")
    if len(classes) <= 20:
        names = [words(name) for name in classes]
        ax.set_xticks(range(len(classes)), names, rotation=90)
        ax.set_yticks(range(len(classes)), names)
        for row, column in zip(*np.nonzero(counts), strict=True):
            text = f"{100 * shares[row, column]:.0f}"
            ax.text(column, row, text, ha="center", va="center", fontsize=7)
    ax.grid(visible=False)
    ax.set(xlabel="taken for", ylabel="is")
    return ax


def _shade(shares: NDArray[np.floating]) -> NDArray[np.floating]:
    """One colour, the denser the larger, through which a page of any colour is seen: (..., 4)."""
    colour = np.broadcast_to(mpl.colors.to_rgb(MARKS[0][0]), (*shares.shape, 3))
    return np.concatenate([colour, 0.7 * np.sqrt(shares)[..., None]], axis=-1)


_ABREAST = 22  # letters of the usual size above an image


def examples(
    ax: Axes,
    images: NDArray[np.uint8],
    labels: Sequence[str],
    guesses: NDArray[np.str_],
    probabilities: NDArray[np.floating],
) -> Axes:
    """Test images, each with its class, and below it the likeliest classes (Fig. 4).

    images: (N, H, W, 3); guesses and probabilities: (N, K), the likeliest first. The bar of the
    right class has another colour and a name in bold.
    """
    ax.set_axis_off()
    columns = min(4, len(images))
    rows = math.ceil(len(images) / columns)
    for place, (image, label) in enumerate(zip(images, labels, strict=True)):
        row, column = divmod(place, columns)
        left, top, width, height = column / columns, 1 - row / rows, 0.9 / columns, 1 / rows
        photo = ax.inset_axes((left, top - 0.52 * height, width, 0.44 * height))
        photo.imshow(image, interpolation="nearest")
        photo.set_axis_off()
        title = words(label)
        photo.set_title(title, fontsize=9 * _ABREAST / max(_ABREAST, len(title)))
        bars = ax.inset_axes((left, top - 0.95 * height, width, 0.4 * height))
        _bars(bars, label, guesses[place], probabilities[place])
    return ax


def _bars(
    ax: Axes, label: str, guesses: NDArray[np.str_], probabilities: NDArray[np.floating]
) -> None:
    right = [guess == label for guess in guesses]  # two of WordNet's numbers can be one word
    colours = [MARKS[1][0] if good else MARKS[5][0] for good in right]
    ax.barh(range(len(guesses)), probabilities, color=colours, height=0.8, alpha=0.5)
    for y, (guess, good) in enumerate(zip(guesses, right, strict=True)):
        ax.text(0.02, y, words(guess), va="center", fontsize=7, weight="bold" if good else "normal")
    ax.set(xlim=(0, 1), ylim=(len(guesses) - 0.4, -0.6))
    ax.set_axis_off()


def _sheet(ax: Axes, pixels: NDArray[np.floating]) -> Axes:
    ax.imshow(pixels, interpolation="nearest")
    ax.set_axis_off()
    return ax


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
        _log_x(ax, min(rates), max(rates), ticks=sorted(rates))
    ax.margins(y=0.15)
    ax.set(xlabel="learning rate", ylabel=label)
    if ran:
        ax.legend(loc="best")
    else:
        _not_run(ax)
    return ax


def _rate_notes(ax: Axes, arm: ArmRates, shown: Sequence[RatePoint], *, mark: int) -> None:
    colour, gid = MARKS[mark][0], f"arm-{mark}"
    for point in shown:
        if math.isfinite(point.crossed):
            ax.annotate(
                f"{point.crossed:.1f}",
                (point.rate, 100 * point.error),
                textcoords="offset points",
                xytext=(0, 8 if mark else -15),
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


def _not_run(ax: Axes) -> None:
    ax.text(0.5, 0.12, "not run", transform=ax.transAxes, ha="center", color=GREY)


def _rows_y(ax: Axes, labels: Sequence[str]) -> None:
    """A row a label, the first on top."""
    ax.set_yticks(range(len(labels)), labels)
    ax.set_ylim(len(labels) - 0.45, -0.55)
    ax.grid(visible=False, axis="y")


def _log_x(
    ax: Axes, low: float, high: float, *, ticks: Sequence[float] | None = None
) -> tuple[float, float]:
    """A log axis from `low` to `high` with room, and plain numbers; its limits."""
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


def _linear_x(ax: Axes, low: float, high: float) -> tuple[float, float]:
    """A linear axis from `low` to `high` with room; its limits."""
    room = 0.12 * (high - low) or 1.0
    ax.set_xlim(low - room, high + room)
    return low - room, high + room
