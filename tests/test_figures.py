"""What a figure shows, read from its axes: nothing here compares pixels."""

import json
import math
import re
from functools import partial
from html import unescape
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from repro.claim import Region
from repro.report import figures
from repro.report.figures import (
    ArmCurves,
    ArmErrors,
    ArmRates,
    Band,
    CrossingRow,
    EffectRow,
    ForestRow,
    MetricRow,
    PaperCurve,
    RatePoint,
    Seeds,
)
from repro.report.figures.style import PAPER
from repro.report.svg import layout, svg
from repro.stats import Estimate

EPOCHS = np.arange(1.0, 11.0)


@pytest.fixture
def ax() -> Axes:
    return Figure().subplots()


def line(ax: Axes, label: str) -> Line2D:
    (found,) = [one for one in ax.get_lines() if label in str(one.get_label())]
    return found


def xs(one: Line2D) -> list[float]:
    return [float(v) for v in np.asarray(one.get_xdata())]


def ys(one: Line2D) -> list[float]:
    return [float(v) for v in np.asarray(one.get_ydata())]


def texts(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts]


def arm(name: str, **changes: object) -> ArmCurves:
    band = Band(
        seeds=3,
        counted=3,
        epochs=EPOCHS,
        median=np.linspace(0.6, 0.3, 10),
        low=np.linspace(0.5, 0.2, 10),
        high=np.linspace(0.7, 0.4, 10),
    )
    return ArmCurves(**({"arm": name, "seeds": 3, "band": band} | changes))  # type: ignore[arg-type] # fields by name


def estimate(**changes: object) -> Estimate:
    fields = {"value": 4.0, "low": 3.5, "high": 5.0, "level": 0.95, "seeds": 3, "method": "m"}
    return Estimate(**(fields | {"bound": "two-sided"} | changes))  # type: ignore[arg-type] # fields by name


def test_errors_are_drawn_in_percent(ax: Axes) -> None:
    """Fractions in the data, percent on the axis that says so."""
    figures.learning_curves(ax, [arm("fast"), arm("slow")], threshold=0.25, until=40)

    assert ys(line(ax, "fast: median"))[0] == pytest.approx(60)
    assert ax.get_ylabel() == "training error in %"
    assert ax.get_xlabel() == "epochs"


def test_a_censored_trial_is_an_arrowhead_where_it_ended(ax: Axes) -> None:
    """Above the threshold, marked as not crossed, with the time that it outlasted."""
    slow = arm("slow", censored=((40.0, 0.31), (40.0, 0.33)), crossed=(38.5,))
    figures.learning_curves(ax, [arm("fast"), slow], threshold=0.25, until=40)
    ends = line(ax, "slow: not crossed (censored)")

    assert ends.get_marker() == ">"
    assert xs(ends) == [40.0, 40.0]
    assert min(ys(ends)) > 25
    assert xs(line(ax, "slow: crossed")) == [38.5]
    assert "2 of 3: > 40" in texts(ax)


def test_an_arm_that_never_crossed_has_no_crossing(ax: Axes) -> None:
    """Right-censored is never drawn as crossed."""
    figures.learning_curves(
        ax, [arm("fast", censored=((40.0, 0.3),) * 3)], threshold=0.25, until=40
    )

    assert [one for one in ax.get_lines() if str(one.get_label()).endswith(": crossed")] == []


def test_the_papers_points_have_open_markers_on_a_thin_dashed_line(ax: Axes) -> None:
    """Nobody takes the paper's points for ours."""
    paper = PaperCurve(arm="slow", epochs=np.array([1.0, 36.0]), errors=np.array([0.55, 0.25]))
    figures.learning_curves(ax, [arm("fast"), arm("slow")], threshold=0.25, until=40, paper=[paper])
    drawn = line(ax, "slow: the paper's")

    assert drawn.get_markerfacecolor() == PAPER
    assert drawn.get_linestyle() == "--"
    assert drawn.get_linewidth() < 1
    assert drawn.get_color() == line(ax, "slow: median").get_color()


def test_our_crossing_is_seen_where_the_papers_lies(ax: Axes) -> None:
    """Ours in front, and the paper's marker a ring around it."""
    paper = PaperCurve(arm="fast", epochs=np.array([6.0]), errors=np.array([0.25]))
    figures.learning_curves(
        ax, [arm("fast", crossed=(6.0,))], threshold=0.25, until=40, paper=[paper]
    )
    ours, theirs = line(ax, "fast: crossed"), line(ax, "fast: the paper's")

    assert ours.get_zorder() > theirs.get_zorder()
    assert ours.get_markersize() < theirs.get_markersize()


def test_arms_differ_by_marker_and_not_by_colour_alone(ax: Axes) -> None:
    """A black and white print tells them apart."""
    arms = [arm("fast", crossed=(6.0,)), arm("slow", crossed=(9.0,))]
    figures.learning_curves(ax, arms, threshold=0.25, until=40)

    assert line(ax, "fast: crossed").get_marker() != line(ax, "slow: crossed").get_marker()


def test_a_panel_without_results_says_so(ax: Axes) -> None:
    """Half-finished stores are drawn too."""
    empty = ArmCurves(arm="fast", seeds=0, band=None)

    figures.learning_curves(ax, [empty], threshold=0.25, until=40)

    assert "not run" in texts(ax)


def test_panels_share_the_scale_of_the_highest_curve() -> None:
    """What is drawn last does not cut what was drawn first."""
    left, right = Figure().subplots(1, 2, sharey=True)
    band = Band(seeds=3, counted=3, epochs=EPOCHS, median=0 * EPOCHS + 0.9, low=EPOCHS, high=EPOCHS)
    high = arm("fast", band=band)
    figures.learning_curves(left, [high], threshold=0.25, until=40)
    figures.learning_curves(right, [arm("fast")], threshold=0.25, until=40)

    assert left.get_ylim()[1] >= 90


def test_crossing_times_mark_what_did_not_cross(ax: Axes) -> None:
    """A row an arm, a point a seed, arrowheads for the censored, words for the missing."""
    none = Seeds()
    late, lost = Seeds(counted=(60.0, 60.0)), Seeds(counted=(2.0,))
    rows = [
        CrossingRow(
            label="period fast",
            mark=0,
            crossed=Seeds(counted=(6.0, 6.2)),
            censored=none,
            diverged=none,
        ),
        CrossingRow(label="period slow", mark=1, crossed=none, censored=late, diverged=lost),
        CrossingRow(label="modern fast", mark=0, crossed=none, censored=none, diverged=none),
    ]
    figures.crossing_times(ax, rows, label="25 % training error")

    assert sorted(xs(line(ax, "period fast: crossed"))) == [6.0, 6.2]
    assert line(ax, "period slow: censored").get_marker() == ">"
    assert line(ax, "period slow: diverged").get_marker() == "x"
    assert "2 seeds > 60" in texts(ax)
    assert "not run" in texts(ax)
    assert [label.get_text() for label in ax.get_yticklabels()] == [row.label for row in rows]


def test_a_seed_that_does_not_count_is_hollow(ax: Axes) -> None:
    """It stands among the others, each in its place, and is told from them by its face."""
    values = Seeds(counted=(40.0, 42.0), excluded=(41.0,))
    figures.metric_points(
        ax, [MetricRow(label="whole", mark=0, values=values, diverged=0)], label="error"
    )
    full, hollow = ax.get_lines()

    assert (xs(full), xs(hollow)) == ([40.0, 42.0], [41.0])
    assert full.get_markerfacecolor() == full.get_color()
    assert hollow.get_markerfacecolor() == PAPER
    assert ys(full)[0] < ys(hollow)[0] < ys(full)[1]


def test_a_legend_says_how_many_seeds_count(ax: Axes) -> None:
    """Nobody takes a seed beyond the look for one that the verdict rests on."""
    errors = np.linspace(0.9, 0.4, 10)
    some = Band(seeds=5, counted=3, epochs=EPOCHS, median=errors, low=errors, high=errors)
    figures.error_curves(ax, [ArmErrors(arm="whole", test=some, train=None)])

    assert (
        line(ax, "whole: test").get_label() == "whole: test, median and range of 5 seeds (3 count)"
    )
    assert "count" not in str(
        figures.learning_curves(ax, [arm("a")], threshold=0.2, until=9).get_lines()[-1].get_label()
    )


def test_the_names_of_many_arms_stand_below_their_curves(ax: Axes) -> None:
    """Among them they would hide some; what is dotted, the caption says once."""
    errors = np.linspace(0.9, 0.4, 10)
    band = Band(seeds=3, counted=3, epochs=EPOCHS, median=errors, low=errors, high=errors)
    figures.error_curves(ax, [ArmErrors(arm=name, test=band, train=band) for name in "abcd"])
    legend = ax.get_legend()

    assert legend is not None
    assert [text.get_text()[0] for text in legend.get_texts()] == ["a", "b", "c", "d"]
    assert legend.get_window_extent().y1 < ax.get_window_extent().y0


@pytest.mark.parametrize("epochs", [1, 8, 10, 18, 90])
def test_the_last_epoch_of_a_curve_has_a_marker(ax: Axes, epochs: int) -> None:
    """It is the one that is measured; at most ten markers, equally far apart."""
    errors = np.linspace(0.9, 0.4, epochs)
    band = Band(
        seeds=3,
        counted=3,
        epochs=np.arange(1.0, epochs + 1),
        median=errors,
        low=errors,
        high=errors,
    )
    figures.error_curves(ax, [ArmErrors(arm="with", test=band, train=None)])
    start, step = line(ax, "with: test").get_markevery()
    marked = range(epochs)[start::step]

    assert marked[-1] == epochs - 1
    assert len(marked) <= 10


def test_a_ratio_has_its_interval_the_region_and_no_effect(ax: Axes) -> None:
    """All that the verdict compares stands in one figure."""
    figures.effects(
        ax,
        [EffectRow(label="period", estimate=estimate(), seeds=(3.8, 4.2))],
        region=Region(low=3.0, high=9.0),
        paper=6.0,
        no_effect=1.0,
        label="ratio",
    )
    interval = ax.get_lines()[2]

    assert xs(interval) == [3.5, 5.0]
    assert xs(line(ax, "period: seeds")) == [3.8, 4.2]
    assert {"4.00", "no effect ", " paper 6"} <= set(texts(ax))
    assert ax.get_xscale() == "log"
    assert ax.patches[0].get_extents().width > 0


def test_what_lies_beyond_the_axis_is_an_arrow_at_its_end(ax: Axes) -> None:
    """What is doubtful does not widen the axis, and what has no number is not drawn."""
    far = estimate(value=40.0, low=30.0, high=50.0)
    figures.effects(
        ax,
        [
            EffectRow(label="sure", estimate=estimate(), seeds=(4.0, math.nan)),
            EffectRow(label="far", estimate=far, seeds=(4.5, 35.0), doubtful=True),
        ],
        region=Region(low=3.0, high=9.0),
        paper=6.0,
        no_effect=0.0,
        label="points",
    )
    _, right = ax.get_xlim()

    assert right < 30
    assert xs(line(ax, "sure: seeds")) == [4.0]
    assert xs(line(ax, "far: seeds")) == [4.5]
    assert xs(line(ax, "far: above")) == [right]
    assert "40.00 (beyond the axis)" in texts(ax)
    assert 40.0 not in [x for each in ax.get_lines() for x in xs(each)]


@pytest.mark.parametrize(
    ("changes", "text", "arrow"),
    [
        ({"bound": "lower", "value": math.nan, "high": math.inf}, "at least 3.50", ">"),
        ({"bound": "upper", "value": math.nan, "low": -math.inf}, "at most 5.00", "<"),
    ],
)
def test_a_bound_is_an_arrow(ax: Axes, changes: dict[str, object], text: str, arrow: str) -> None:
    """No point and no bar where only one end is known."""
    figures.effects(
        ax,
        [EffectRow(label="period", estimate=estimate(**changes))],
        region=Region(low=3.0, high=None),
        paper=6.0,
        no_effect=1.0,
        label="ratio",
    )
    markers = [one.get_marker() for one in ax.get_lines()]

    assert text in texts(ax)
    assert arrow in markers
    assert "o" not in markers


@pytest.mark.parametrize("doubtful", [False, True])
def test_a_number_that_does_not_count_is_hollow(ax: Axes, doubtful: bool) -> None:
    """Not to be taken for one that does."""
    figures.effects(
        ax,
        [EffectRow(label="grouping", estimate=estimate(), doubtful=doubtful)],
        region=Region(low=3.0, high=9.0),
        paper=6.0,
        no_effect=1.0,
        label="ratio",
    )
    (point,) = [one for one in ax.get_lines() if one.get_marker() == "o"]

    assert (point.get_markerfacecolor() == point.get_color()) is not doubtful


def test_a_condition_has_its_own_region(ax: Axes) -> None:
    """It has to hold as well; a contrast that does not decide has none, and no paper's value."""
    figures.effects(
        ax,
        [
            EffectRow(label="decides", estimate=estimate()),
            EffectRow(
                label="holds", estimate=estimate(), decides=False, region=Region(low=0.5, high=1.5)
            ),
            EffectRow(label="explains", estimate=estimate(), decides=False),
        ],
        region=Region(low=3.0, high=9.0),
        paper=6.0,
        no_effect=0.0,
        label="points",
    )
    boxes = [one for one in ax.patches if isinstance(one, Rectangle)]
    (paper,) = [one for one in ax.get_lines() if one.get_linestyle() == "--"]

    assert [(box.get_x(), box.get_width(), box.get_y() + 0.5) for box in boxes] == [
        (3.0, 6.0, 0.0),
        (0.5, 1.0, 1.0),
    ]
    assert xs(paper) == [6, 6]


def test_an_interval_of_fewer_seeds_does_not_set_the_axis(ax: Axes) -> None:
    """Two seeds have an interval so wide that the one that decides would be a dot; points count."""
    figures.effects(
        ax,
        [
            EffectRow(label="decides", estimate=estimate(value=0.0, low=-0.5, high=0.5, seeds=12)),
            EffectRow(
                label="explains",
                estimate=estimate(value=0.9, low=-7.8, high=9.5, seeds=2),
                seeds=(0.2, 1.6),
                decides=False,
            ),
        ],
        region=Region(low=1.0, high=3.5),
        paper=2.0,
        no_effect=0.0,
        label="points",
    )
    left, right = ax.get_xlim()

    assert -2 < left < -0.5
    assert 3.5 < right < 7
    assert xs(line(ax, "explains: seeds")) == [0.2, 1.6]
    assert {"<", ">"} <= {one.get_marker() for one in ax.get_lines()}


def test_a_number_that_does_not_count_does_not_set_the_axis(ax: Axes) -> None:
    """The row that decides stays legible; the other's interval leaves the axes by an arrowhead."""
    figures.effects(
        ax,
        [
            EffectRow(label="decides", estimate=estimate(value=0.2, low=-1, high=1.3)),
            EffectRow(
                label="chance",
                estimate=estimate(value=-25.0, low=-125, high=75),
                seeds=(-75.0, 0.0),
                decides=False,
                doubtful=True,
            ),
        ],
        region=Region(low=0.5, high=2.5),
        paper=1.4,
        no_effect=0.0,
        label="points",
    )
    left, right = ax.get_xlim()
    drawn = [x for one in ax.get_lines() for x in xs(one)]

    assert -2 < left < right < 4
    assert left <= min(drawn)
    assert max(drawn) <= right
    assert {"<", ">"} <= {one.get_marker() for one in ax.get_lines()}


BESIDE_THE_NAMES = [
    (estimate(bound="upper", value=math.nan, low=-math.inf, high=0.31), False),
    (estimate(bound="lower", value=math.nan, low=9.5, high=math.inf), False),
    (estimate(value=0.21, low=0.2, high=0.3), False),
    (estimate(value=0.9, low=0.001, high=90.0), True),
    (estimate(value=0.01, low=0.001, high=0.02), True),
    (estimate(value=1234.5, low=1000.0, high=2000.0), True),
]


@pytest.mark.parametrize(("found", "doubtful"), BESIDE_THE_NAMES)
def test_a_number_runs_neither_into_the_names_of_the_rows_nor_off_the_axes(
    found: Estimate, doubtful: bool
) -> None:
    """At either end of the axis it stands inside, over nothing that has to be read."""
    figure = Figure(figsize=(6, 3), layout="constrained")
    rows = [
        EffectRow(label="raw_he, scaled\nscaled_tanh over relu", estimate=found, doubtful=doubtful),
        EffectRow(label="raw_he\ntanh over relu", estimate=estimate()),
    ]
    axes = figures.effects(
        figure.subplots(),
        rows,
        region=Region(low=3.0, high=9.0),
        paper=6.0,
        no_effect=1.0,
        label="ratio",
    )
    figure.draw_without_rendering()
    frame = axes.get_window_extent()
    named = {"no effect ", " paper 6"}
    numbers = [t.get_window_extent() for t in axes.texts if t.get_text() not in named]
    names = [label.get_window_extent() for label in axes.get_yticklabels()]

    assert len(numbers) == len(names) == 2
    for number in numbers:
        assert frame.x0 <= number.x0 < number.x1 <= frame.x1
        assert not any(number.overlaps(name) for name in names)


def test_the_region_is_that_of_the_row_that_decides(ax: Axes) -> None:
    """A further contrast is not held against the paper's number for another."""
    rows = [
        EffectRow(label="authors", estimate=estimate()),
        EffectRow(label="authors, grouping", estimate=estimate(), decides=False),
    ]
    figures.effects(
        ax, rows, region=Region(low=3.0, high=9.0), paper=6.0, no_effect=1.0, label="ratio"
    )
    (shaded,) = ax.patches
    assert isinstance(shaded, Rectangle)
    (paper,) = [one for one in ax.get_lines() if one.get_linestyle() == "--"]

    assert (shaded.get_y(), shaded.get_height()) == (-0.5, 1)
    assert ys(paper) == [-0.5, 0.5]


def test_an_unmeasured_ratio_says_so(ax: Axes) -> None:
    """A row stands for every recipe of the claim."""
    figures.effects(
        ax,
        [EffectRow(label="period", estimate=None)],
        region=Region(low=3.0, high=9.0),
        paper=6.0,
        no_effect=1.0,
        label="ratio",
    )

    assert "not measured" in texts(ax)


@given(
    value=st.floats(1e-3, 1e3),
    below=st.one_of(st.floats(1, 1e3), st.just(math.inf)),
    above=st.one_of(st.floats(1, 1e3), st.just(math.inf)),
)
def test_every_interval_fits_the_axes(value: float, below: float, above: float) -> None:
    """Infinite ends are drawn to the edge; finite ones lie inside."""
    ax = Figure().subplots()
    one = estimate(value=value, low=value / below, high=value * above)
    figures.effects(
        ax,
        [EffectRow(label="r", estimate=one)],
        region=Region(low=3.0, high=9.0),
        paper=6.0,
        no_effect=1.0,
        label="ratio",
    )
    left, right = ax.get_xlim()
    low, high = xs(ax.get_lines()[2])

    assert left <= low <= high <= right


def test_a_difference_is_linear_about_zero(ax: Axes) -> None:
    """Points of error may be negative; no effect is zero and not one."""
    found = estimate(value=0.4, low=-0.5, high=1.3)
    figures.effects(
        ax,
        [EffectRow(label="authors", estimate=found)],
        region=Region(low=0.1),
        paper=None,
        no_effect=0.0,
        label="points",
    )
    left, right = ax.get_xlim()

    assert ax.get_xscale() == "linear"
    assert left < -0.5 < 1.3 < right
    assert xs(ax.get_lines()[0]) == [0.0, 0.0]
    assert "no effect " in texts(ax)


def test_kernels_of_the_two_halves_stand_apart(ax: Axes) -> None:
    """Fig. 3: the first half of the maps above the second, each stretched to its own range."""
    weights = np.zeros((8, 3, 2, 2), dtype=np.float32)
    weights[0, 0] = 1e-3  # red, however small
    weights[4, 2] = -5.0  # blue taken away
    (image,) = figures.kernels(ax, weights).get_images()
    pixels = np.asarray(image.get_array())

    assert pixels[0, 0].tolist() == [1.0, 0.5, 0.5, 1.0]
    second = np.argwhere((pixels == [0.5, 0.5, 0.0, 1.0]).all(2))
    assert second[0][0] > pixels.shape[0] / 2
    assert texts(ax) == ["first half", "second half"]


def test_kernels_of_two_nets_stand_apart() -> None:
    """One is not taken for a part of the other: the gap is wider than that between kernels."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = (figures.kernels(one, np.ones((8, 3, 5, 5))) for one in figure.subplots(1, 2))
    figure.draw_without_rendering()
    (image,) = left.get_images()
    alpha = np.asarray(image.get_array())[0, :, 3]
    last = int(np.flatnonzero(alpha).max()) + 0.5  # the right edge of the last kernel, in pixels
    end = left.transData.transform((last, 0))[0]
    between = left.transData.transform((1, 0))[0] - left.transData.transform((0, 0))[0]
    names = [text.get_window_extent().x0 for text in right.texts]

    assert min(names) - end > 2 * between


def test_neighbours_stand_beside_their_query(ax: Axes) -> None:
    """Fig. 4: a row a query, which comes first."""
    images = np.zeros((2, 4, 8, 8, 3), dtype=np.uint8)
    images[1, 0] = 255
    (image,) = figures.nearest(ax, images).get_images()
    pixels = np.asarray(image.get_array())

    assert pixels[0, 0].tolist() == [0, 0, 0, 1]
    assert pixels[-1, 0].tolist() == [1, 1, 1, 1]
    assert texts(ax) == ["test image", "1", "2", "3"]


def test_a_query_has_the_name_of_its_class(ax: Axes) -> None:
    """ImageNet's by its word; of classes that are known of more images the first are taken."""
    figures.nearest(ax, np.zeros((2, 3, 8, 8, 3), dtype=np.uint8), ["cat", "n01443537", "owl"])

    assert texts(ax) == ["test image", "1", "2", "cat", "goldfish"]


def rates(**changes: object) -> ArmRates:
    def point(rate: float, error: float, **more: object) -> RatePoint:
        fields = {"diverged": False, "chosen": False}
        return RatePoint(rate=rate, error=error, **(fields | more))  # type: ignore[arg-type] # fields by name

    points = (
        point(0.001, 0.4),
        point(0.01, 0.3, chosen=True),
        point(0.1, math.nan, diverged=True),
    )
    return ArmRates(**({"arm": "fast", "points": points} | changes))  # type: ignore[arg-type] # fields by name


def test_rates_ring_the_chosen_and_cross_out_the_diverged(ax: Axes) -> None:
    """One look says which rate was taken and which were lost."""
    figures.rate_sensitivity(ax, [rates()], label="training error in %")

    assert xs(line(ax, "fast: chosen")) == [0.01]
    assert xs(line(ax, "fast: diverged")) == [0.1]
    assert line(ax, "fast: diverged").get_marker() == "x"
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["fast", "chosen", "diverged"]
    assert ax.get_xscale() == "log"
    assert ax.get_ylabel() == "training error in %"


def test_a_search_that_was_not_run_says_so(ax: Axes) -> None:
    """An empty panel is not a finding."""
    figures.rate_sensitivity(ax, [rates(points=())], label="training error in %")

    assert "not run" in texts(ax)


def test_the_same_data_give_the_same_bytes_and_ids_of_their_own() -> None:
    """No date, no random ids; two figures in one page share no id."""

    def draw(name: str) -> str:
        return svg(
            name,
            [("", lambda ax: figures.rate_sensitivity(ax, [rates()], label="training error in %"))],
            inches=(4, 3),
        )

    ids = {name: {part.split('"')[0] for part in draw(name).split('id="')[1:]} for name in "ab"}

    assert draw("a") == draw("a")
    assert draw("a").startswith("<svg")
    assert "Date" not in draw("a")
    assert ids["a"]
    assert ids["a"].isdisjoint(ids["b"])


def test_an_svg_says_which_arm_is_which_and_what_its_coordinates_mean() -> None:
    """A page's script can hide an arm and read values: classes, and the ends of the axes."""
    draw = partial(
        figures.learning_curves, arms=[arm("fast"), arm("slow")], threshold=0.25, until=40
    )
    text = svg("one", [("left", draw), ("right", draw)], inches=(4, 3))
    (axes,) = re.findall(r'data-axes="([^"]*)"', text)
    left, right = json.loads(unescape(axes))

    assert {'class="arm-0"', 'class="arm-1"', 'class="band-0"'} <= set(
        re.findall(r'class="[^"]*"', text)
    )
    assert left["box"][0] < left["box"][2] < right["box"][0] < right["box"][2] < 8 * 72
    assert left["x"] == [0, pytest.approx(41.6), "linear"]
    assert left["names"] == right["names"] == ["epochs", "training error in %"]


def test_every_colour_has_a_name_for_the_dark() -> None:
    """Whatever is drawn can be given a twin by a style sheet: SCHEME has all colours."""
    draw = partial(
        figures.learning_curves, arms=[arm(name) for name in "abcdef"], threshold=0.25, until=40
    )
    rows = [
        EffectRow(label="a", estimate=estimate(), seeds=(3.0,)),
        EffectRow(label="b", estimate=None),
    ]
    effect = partial(
        figures.effects, rows=rows, region=Region(low=3.0), paper=6.0, no_effect=1.0, label="r"
    )
    text = svg("one", [("", draw)], inches=(5, 3)) + svg("two", [("", effect)], inches=(5, 3))
    found = set(re.findall(r"(?:fill|stroke):(#[0-9a-f]{6})", text))

    assert found
    assert found <= figures.SCHEME.keys()
    assert all("fill:#" in one for one in re.findall("<text[^>]*>", text))  # none black by default


def test_a_confusion_matrix_is_in_percent_of_its_rows(ax: Axes) -> None:
    """A class without images is no division by zero; an empty square has no number."""
    figures.confusion(ax, np.array([[3, 1, 0], [0, 2, 0], [0, 0, 0]]), ["cat", "dog", "owl"])

    assert sorted(texts(ax)) == ["100", "25", "75"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["cat", "dog", "owl"]
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("true class", "predicted class")


def test_a_confusion_matrix_has_a_scale_of_its_colours(ax: Axes) -> None:
    """From nothing to the largest share that there is, in percent."""
    figures.confusion(ax, np.array([[3, 1], [1, 1]]), ["cat", "dog"])
    (bar,) = ax.child_axes

    assert bar.get_ylim() == (0, 75)
    assert bar.get_ylabel() == "share of the true class in %"


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("cat", "dog", ("cat", "dog")),
        ("n01443537", "n03126707", ("goldfish", "crane")),
        ("n02012849", "n03126707", ("crane", "crane")),  # a bird, and a machine
    ],
)
def test_the_right_class_of_an_example_is_bold(
    ax: Axes, right: str, wrong: str, said: tuple[str, str]
) -> None:
    """Fig. 4: the image under its class, the likeliest below it; ImageNet's by their words."""
    figures.examples(
        ax,
        np.zeros((1, 8, 8, 3), dtype=np.uint8),
        [right],
        np.array([[wrong, right]]),
        np.array([[0.6, 0.4]]),
    )
    photo, bars = ax.child_axes

    assert photo.get_title() == said[0]
    assert [(t.get_text(), t.get_weight()) for t in bars.texts] == [
        (said[1], "normal"),
        (said[0], "bold"),
    ]
    assert [patch.get_width() for patch in bars.patches] == [0.6, 0.4]


def test_a_recipe_that_was_not_run_stands_beside_one_that_was() -> None:
    """Panels share their axis of errors; the empty one says so and bends nothing."""
    band = arm("relu").band
    run = [ArmErrors(arm="relu", test=band, train=band)]
    missing = [ArmErrors(arm="relu", test=None, train=None)]
    panels = [(name, partial(figures.error_curves, arms=arms)) for name, arms in
              (("raw", run), ("unit", missing))]  # fmt: skip

    assert svg("two", panels, inches=(8, 3)).startswith("<svg")


def overlaps(figure: Figure) -> list[tuple[str, str]]:
    """Texts of a figure that lie over each other, or that the figure cuts off."""
    figure.draw_without_rendering()
    beyond = {
        tick.label1
        for ax in figure.axes
        for axis, (low, high) in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, sorted(ax.get_ylim())))
        for tick in axis.get_major_ticks()
        if not (ax.axison and low <= tick.get_loc() <= high)
    }
    shown = [
        text
        for text in figure.findobj(Text)
        if isinstance(text, Text) and text.get_visible() and text.get_text().strip()
        if text not in beyond
    ]
    boxes = [(text.get_text(), text.get_window_extent().padded(-0.5)) for text in shown]
    edge = figure.bbox.padded(1)
    cut = [
        (name, "the edge")
        for name, box in boxes
        if not (edge.x0 <= box.x0 < box.x1 <= edge.x1 and edge.y0 <= box.y0 < box.y1 <= edge.y1)
    ]
    over = [(a, b) for (a, one), (b, two) in combinations(boxes, 2) if one.overlaps(two)]
    return cut + over


def test_no_text_of_a_figure_is_cut_off_or_lies_over_another() -> None:
    """Long names wrap; of ticks that would collide some have no name."""
    close = [
        RatePoint(
            rate=0.0001 * 1.5**step, error=0.9 - 0.02 * step, diverged=False, chosen=step == 3
        )
        for step in range(12)
    ]
    searched = ArmRates(arm="fast", points=tuple(close))
    long = "test error (top-1, ten crops, their average) of the net with all of its layers in %"
    rows = [
        MetricRow(label=f"authors arm {mark}", mark=mark, values=Seeds(counted=(40.0,)), diverged=1)
        for mark in range(3)
    ]
    panels = {
        "rates": (2, partial(figures.rate_sensitivity, arms=[searched], label="error in %")),
        "metric": (1, partial(figures.metric_points, rows=rows, label=long)),
        "curves": (
            2,
            partial(
                figures.learning_curves, arms=[arm("fast"), arm("slow")], threshold=0.25, until=40
            ),
        ),
    }
    found = {
        name: overlaps(
            layout([(f"the {name} recipe, after 4 epochs", draw)] * many, inches=(4.6, 2.8))[0]
        )
        for name, (many, draw) in panels.items()
    }

    assert found == {"rates": [], "metric": [], "curves": []}


FOREST = [
    ForestRow(title="A claim whose title says in many words what it is that the paper says " * 2,
              word="not reproduced", scale="large_proxy", number="-2.00 [-13.29, -0.70]",
              note="a_long_name: ratio of epochs, 12 seeds an arm, 98.4 % CI, 14 h 27 min " * 2,
              value=-20.0, low=-33.0, high=-7.0, region=(1.0, math.inf)),
    ForestRow(title="Short", word="direction only", scale="large_proxy", number="at least 2.90",
              low=0.3, high=math.inf, region=(0.5, 1.2), paper=True),
    ForestRow(title="Counts", word="reproduced", scale="exact", number="19 of 19 facts"),
]  # fmt: skip


@pytest.mark.parametrize(("width", "stacked"), [(780.0, False), (330.0, True)])
def test_the_picture_of_all_claims_is_legible(width: float, stacked: bool) -> None:
    """No title runs into a bar, no number into a chip, on a wide screen and on a narrow one."""
    height = figures.forest_height(FOREST, width, stacked=stacked)
    figure = Figure(figsize=(width / 72, height / 72))
    figures.forest(figure, FOREST, width=width, stacked=stacked)

    assert overlaps(figure) == []


def test_the_picture_shows_where_an_interval_goes_on() -> None:
    """An arrow at an end beyond the axis; no dot where the estimate itself lies there."""
    figure = Figure(figsize=(11, 3))
    ax = figures.forest(figure, FOREST, width=780.0, stacked=False)
    markers = [str(one.get_marker()) for one in ax.get_lines()]

    assert (markers.count("<"), markers.count(">")) == (2, 1)
    assert markers.count("o") == 1  # in the legend
    assert markers.count("D") == 2  # the paper's number of one claim, and the legend's


def test_facts_without_an_effect_have_no_axis() -> None:
    """Alone, a row of counts has neither a scale nor a legend."""
    figure = Figure(figsize=(11, 3))
    ax = figures.forest(figure, FOREST[2:], width=780.0, stacked=False)

    assert [text.get_text() for text in ax.texts] == [
        "Counts", "19 of 19 facts", "reproduced", "exact"
    ]  # fmt: skip
