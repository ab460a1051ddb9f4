"""The figures of a page, each with its caption and with words for those who do not see it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from matplotlib.axes import Axes

from repro import figures
from repro.report import series
from repro.report.page import Page
from repro.text import estimate_text

__all__ = ["Drawing", "drawings"]

Panel = tuple[str, Callable[[Axes], Axes]]

HEIGHT = 3.7  # inches
WIDTH = 4.6  # of a panel
SMALL = 2.8  # height of a figure with a row an arm or a recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawing:
    """A figure. `name`: of its file, without the ending; `alt`: what it shows, in words."""

    name: str
    caption: str
    alt: str
    svg: str


def drawings(page: Page) -> tuple[Drawing, ...]:
    """All figures of a page; none while nothing was run."""
    return tuple(_drawings(page)) if page.evidence.trials else ()


def _drawings(page: Page) -> Iterator[Drawing]:
    claim = page.claim
    arms = " and ".join(claim.arms)
    yield _learning_curves(page, arms)
    rows = series.crossing_rows(page)
    yield Drawing(
        name=f"{page.name}-crossings",
        caption=(
            f"Epochs to {page.threshold_text} training error, a point a confirming seed. "
            "A triangle pointing right: not crossed by then (censored). A cross: diverged."
        ),
        alt="; ".join(f"{row.label}: {_seeds(row)}" for row in rows),
        svg=figures.svg(
            f"{page.name}-crossings",
            [("", partial(figures.crossing_times, rows=rows, threshold=page.threshold))],
            inches=(WIDTH * 1.2, SMALL),
        ),
    )
    if not page.smoke:  # the paper's value and the region are for evidence alone
        yield _ratios(page)
    yield _rates(page, arms)


def _learning_curves(page: Page, arms: str) -> Drawing:
    paper = series.paper_curves(page)
    shown = {
        recipe: [series.arm_curves(page, recipe, arm) for arm in page.claim.arms]
        for recipe in page.claim.recipes
    }
    longest = max((page.results[t].epochs for t in page.evidence.trials), default=0.0)
    until = max([longest, *([40.0] if paper else [])])  # the paper's figure ends at 40
    panels: list[Panel] = [
        (
            f"{recipe} recipe",
            partial(
                figures.learning_curves,
                arms=curves,
                threshold=page.threshold,
                until=until,
                paper=paper,
            ),
        )
        for recipe, curves in shown.items()
    ]
    caption = (
        "Training error: online error of the batches, averaged over the epoch that ends there. "
        "Band: smallest to largest of the seeds, as far as all of them ran; from there thin "
        f"lines, one a seed. Filled markers on the dashed line: where {_measure(page)} crossed "
        f"{page.threshold_text}, which is what counts. A triangle: stopped without having crossed."
    )
    if paper:
        caption += f" Open markers: read off the paper ({page.claim.paper.section})."
    return Drawing(
        name=f"{page.name}-curves",
        caption=caption,
        alt=f"Training error of {arms} against epochs, for {_names(page)}",
        svg=figures.svg(f"{page.name}-curves", panels, inches=(WIDTH * len(panels), HEIGHT)),
    )


def _ratios(page: Page) -> Drawing:
    claim = page.claim
    found = {recipe: page.recipe(recipe) for recipe in claim.recipes}
    rows = [(recipe, one.estimate if one else None) for recipe, one in found.items()]
    label = f"epochs of {claim.contrast.slow} over epochs of {claim.contrast.fast}"
    draw = partial(
        figures.ratios, rows=rows, region=claim.region, paper=claim.paper.value, label=label
    )
    name = f"{page.name}-ratio"
    return Drawing(
        name=name,
        caption=(
            "The ratio with its interval. Shaded: where the interval has to lie for "
            "“reproduced”, as the claim file said beforehand. An arrow: only a bound is known."
        ),
        alt="; ".join(f"{recipe}: {estimate_text(estimate)}" for recipe, estimate in rows),
        svg=figures.svg(name, [("", draw)], inches=(WIDTH * 1.2, SMALL)),
    )


def _rates(page: Page, arms: str) -> Drawing:
    panels: list[Panel] = []
    for recipe in page.claim.recipes:
        age = series.common_age(page, recipe)
        when = {None: "", 0: ", when each stopped"}.get(age, f", after {age} epochs")
        found = [series.arm_rates(page, recipe, arm, age=age or 0) for arm in page.claim.arms]
        panels.append((f"{recipe} recipe{when}", partial(figures.rate_sensitivity, arms=found)))
    name = f"{page.name}-rates"
    return Drawing(
        name=name,
        caption=(
            "The search for the rate, on seeds that measure nothing else: training error at the "
            "latest epoch that all rates reached. A number: the epoch at which that rate "
            "crossed. Ringed: chosen. A cross at the top: diverged."
        ),
        alt=f"Training error of {arms} against learning rate, for {_names(page)}",
        svg=figures.svg(name, panels, inches=(WIDTH * len(panels), HEIGHT)),
    )


def _measure(page: Page) -> str:
    return "full passes over the training set" if page.claim.decided_by == "full" else "it"


def _names(page: Page) -> str:
    return " and ".join(f"the {recipe} recipe" for recipe in page.claim.recipes)


def _seeds(row: figures.CrossingRow) -> str:
    parts = []
    if row.crossed:
        parts.append("crossed at " + ", ".join(f"{t:.1f}" for t in sorted(row.crossed)))
    if row.censored:
        parts.append(f"{len(row.censored)} not crossed by epoch {max(row.censored):g}")
    if row.diverged:
        parts.append(f"{len(row.diverged)} diverged")
    return ", ".join(parts) or "not run"
