"""The figures of a page, each with its caption and with words for those who do not see it."""

import gc
import signal
import sys
import textwrap
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import cached_property, partial
from multiprocessing import get_context

from matplotlib.axes import Axes

from repro.claim import LevelClaim, TimeClaim, metric_of
from repro.registry import metric_facts
from repro.report import figure_data, figures
from repro.report.page import Page
from repro.report.svg import svg
from repro.text import estimate_text
from repro.verdict.effects import DECIDING, Contrast

Panel = tuple[str, Callable[[Axes], Axes]]

HEIGHT = 3.7  # inches
WIDTH = 4.6  # of a panel
LABEL = 36  # characters of a row's name
SMALL = 2.8  # height of a figure with a row an arm or a recipe


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure, drawn when it is first looked at.

    `name`: of its file, without the ending; `alt`: what it shows, in words; `panels`: title and
    what draws it; `inches`: of a panel; `arms`: those that it tells apart, in the order of their
    marks.
    """

    name: str
    caption: str
    alt: str
    panels: Sequence[Panel]
    inches: tuple[float, float]
    arms: tuple[str, ...] = ()

    @cached_property
    def svg(self) -> str:
        return svg(self.name, self.panels, inches=self.inches)


_MANY = 30  # figures, of which a second process is worth its start


def draw(some: Sequence[Drawing]) -> None:
    """Draw the figures now, and where they are many every other one in a second process.

    It shares the memory of this one, so that it takes little of its own.
    """
    if len(some) < _MANY or sys.platform != "linux":  # elsewhere a fork may not draw
        return
    gc.freeze()  # what is collected in one process would be copied for the other
    try:
        _draw_by_two(some[::2], some[1::2])
    except (BrokenProcessPool, OSError, NotImplementedError):  # killed, or there can be none:
        pass  # the figures are drawn here, when they are looked at
    finally:
        gc.unfreeze()


def _draw_by_two(mine: Sequence[Drawing], others: Sequence[Drawing]) -> None:
    process = ProcessPoolExecutor(1, get_context("fork"), initializer=_ignore_interrupts)
    try:
        texts = process.map(_svg, others)
        for drawing in mine:
            _svg(drawing)
        for drawing, text in zip(others, texts, strict=True):
            drawing.__dict__["svg"] = text
    finally:
        process.shutdown(cancel_futures=True)


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _svg(drawing: Drawing) -> str:
    return drawing.svg


def drawings(page: Page) -> tuple[Drawing, ...]:
    """All figures of a page; none while nothing was run."""
    return tuple(_drawings(page)) if page.evidence.trials else ()


def _drawings(page: Page) -> Iterator[Drawing]:
    if isinstance(page.claim, TimeClaim):
        of_test = page.claim.decided_by is None
        yield from _errors(page) if of_test else [_learning_curves(page, page.claim)]
        yield _crossings(page)
    else:
        yield from _errors(page)
        yield _metrics(page)
    if not page.smoke:  # the paper's value and the region are for evidence alone
        yield _effects(page)
    if page.scale.search:
        yield _rates(page)
    yield from _pictures(page)


def _learning_curves(page: Page, claim: TimeClaim) -> Drawing:
    paper = figure_data.paper_curves(page)
    longest = max((page.results[t].epochs for t in page.evidence.trials), default=0.0)
    until = max([longest, *([40.0] if paper else [])])  # the paper's figure ends at 40
    curves_by_recipe = {
        recipe: [figure_data.arm_curves(page, recipe, arm, until=until) for arm in page.claim.arms]
        for recipe in _evaluated(page)
    }
    panels = [
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
        for recipe, curves in curves_by_recipe.items()
    ]
    # Where full passes decide, online error curves end above the threshold.
    measure, lagging = (
        (
            "full passes over the training set",
            " and ends the trial; the batches' error lags, so that its curve ends higher",
        )
        if claim.decided_by == "full"
        else ("it", "")
    )
    caption = (
        "Training error: online error of the batches, averaged over the epoch that ends there. "
        "Band: smallest to largest of the seeds, as far as all of them ran; from there thin "
        f"lines, one a seed. Filled markers on the dashed line: where {measure} crossed "
        f"{100 * page.threshold:g} %, which is what counts{lagging}. "
        "A triangle: stopped without having crossed."
    )
    if paper:
        caption += f" Open markers: read off the paper ({claim.paper.section})."
    bands = [arm.band for curves in curves_by_recipe.values() for arm in curves if arm.band]
    caption += _count_of_them(bands)
    names = _names(curves_by_recipe)
    return _curves(
        page, panels, f"Training error of {_arms(page)} against epochs, for {names}", caption
    )


def _count_of_them(bands: Iterable[figures.Band | None]) -> str:
    """What the counts of the legend mean; empty without counts."""
    some = any(band and band.counted < band.seeds for band in bands)
    rest = "the others were run after the stopping point"
    return f" In brackets: how many of the seeds count; {rest}." if some else ""


def _curves(page: Page, panels: Sequence[Panel], alt: str, caption: str) -> Drawing:
    name = f"{page.name}-curves"
    return Drawing(
        name=name,
        caption=caption,
        alt=alt,
        panels=panels,
        inches=(WIDTH if len(panels) > 1 else 6.0, HEIGHT),
        arms=tuple(page.claim.arms),
    )


def _crossings(page: Page) -> Drawing:
    rows = {recipe: figure_data.crossing_rows(page, recipe) for recipe in page.claim.recipes}
    every = [row for some in rows.values() for row in some]
    name = f"{page.name}-crossings"
    return Drawing(
        name=name,
        caption=(
            f"Epochs to {page.threshold_text}, one point per evaluation seed; "
            "the axis is logarithmic. A triangle pointing right: not crossed by then (censored). "
            f"A cross: diverged.{_hollow(s for row in every for s in (row.crossed, row.censored))}"
        ),
        alt=_listing(
            [f"{row.label}: {_seeds(row)}" for row in rows[page.claim.verdict_recipe]], len(every)
        ),
        arms=tuple(page.claim.arms),
        panels=[("", partial(figures.crossing_times, rows=every, label=page.threshold_text))],
        inches=(WIDTH * 1.3, max(SMALL, 1.0 + 0.3 * len(every))),
    )


def _hollow(seeds: Iterable[figures.Seeds]) -> str:
    """What a hollow point means; empty without one."""
    explanation = " Hollow: seeds run after the stopping point, which are excluded."
    return explanation if any(values.excluded for values in seeds) else ""


def _listing(entries: Sequence[str], rows: int) -> str:
    """The alternative text: the main entries of `rows` rows, and how many are left out."""
    more = rows - len(entries)
    rest = [f"and {more} more row{'s' * (more > 1)} in the report's tables"] * (more > 0)
    return "; ".join([*entries, *rest])


def _errors(page: Page) -> Iterator[Drawing]:
    """None of trials without errors by epoch, as of a program that writes another metric."""
    arms_by_recipe = {recipe: figure_data.error_series(page, recipe) for recipe in _evaluated(page)}
    has_curves = any(arm.test or arm.train for arms in arms_by_recipe.values() for arm in arms)
    if not has_curves and any(found.outcomes for found in page.evidence.recipes.values()):
        return
    panels = [
        (f"{recipe} recipe", partial(figures.error_curves, arms=arms))
        for recipe, arms in arms_by_recipe.items()
    ]
    yield _curves(
        page,
        panels,
        f"Test error of {_arms(page)} against epochs, for {_names(arms_by_recipe)}",
        "Test error after each epoch, over evaluation seeds that did not diverge"
        + ("." if page.claim.trainer else _DOTTED)
        + _count_of_them(arm.test for arms in arms_by_recipe.values() for arm in arms),
    )


_DOTTED = (
    "; dotted, the error of that epoch's training batches, as the net met them: cropped, mirrored "
    "and with dropout where the arm has these."
)


def _metrics(page: Page) -> Drawing:
    claim = page.claim
    rows = {recipe: figure_data.metric_rows(page, recipe) for recipe in claim.recipes}
    every = [row for some in rows.values() for row in some]
    facts = [metric_facts(metric_of(claim, arm)) for arm in claim.arms]
    same = len({fact.title for fact in facts}) == 1
    label = facts[0].label if same else f"what each row names in {facts[0].unit}"
    name = f"{page.name}-metric"
    return Drawing(
        name=name,
        caption=(
            f"{label[0].upper()}{label[1:]}, one point per evaluation seed."
            f"{_hollow(row.values for row in every)}"
        ),
        alt=_listing([_values(row) for row in rows[claim.verdict_recipe]], len(every)),
        arms=tuple(page.claim.arms),
        panels=[("", partial(figures.metric_points, rows=every, label=label))],
        inches=(WIDTH * 1.3, 1.2 + 0.36 * len(every)),
    )


def _values(row: figures.MetricRow) -> str:
    """`authors with: 40.5, 41.2`."""
    values = ", ".join(f"{value:.3g}" for value in sorted(row.values.all))
    nothing = f"{row.diverged} diverged" if row.diverged else "not run"
    return f"{row.label}: {values or nothing}"


def _effects(page: Page) -> Drawing:
    claim = page.claim
    rows = list(_effect_rows(page))
    ratio = claim.no_effect == 1
    titles = dict.fromkeys(metric_facts(metric).title for metric in page.contrasts[0].metrics)
    label = f"{page.unit} to {page.threshold_text}"
    if titles:  # of which one may be all that is known of the unit
        label = ": ".join(dict.fromkeys((page.unit, " minus ".join(titles))))
    draw = partial(
        figures.effects,
        rows=rows,
        region=claim.region,
        paper=claim.paper.value,
        no_effect=claim.no_effect,
        label=label,
    )
    name = f"{page.name}-{'ratio' if ratio else 'effect'}"
    several = f" under every recipe, of which {claim.verdict_recipe} gives the verdict"
    under = several * (len(claim.recipes) > 1)
    others = ", and for those that have to hold as well" * any(row.region for row in rows)
    caption = (
        f"The {'ratio' if ratio else 'effect'} with its interval{', on a log axis' * ratio}; small "
        "diamonds below: its values seed by seed. Green: where the interval has to lie for "
        f"“reproduced”, drawn for the contrast that decides{under}{others}. "
        "Arrow: an end that is open, or beyond the axis. Small arrow: a seed beyond the axis."
    )
    if any(row.doubtful for row in rows):
        caption += " Hollow and dotted: an arm failed a check, and the number does not count."
    return Drawing(
        name=name,
        caption=caption,
        alt=_listing([_effect_text(row) for row in rows if row.decides], len(rows)),
        panels=[("", draw)],
        inches=(WIDTH * 1.3, max(SMALL, 1.2 + 0.45 * len(rows))),
    )


def _effect_text(row: figures.EffectRow) -> str:
    label = row.label.replace("\n", ": ", 1).replace("\n", " ")
    return f"{label}: {estimate_text(row.estimate)}{', doubtful' * row.doubtful}"


def _effect_rows(page: Page) -> Iterator[figures.EffectRow]:
    """The deciding contrast of each recipe, and other measured contrasts in the same unit."""
    for recipe in page.claim.recipes:
        evidence = page.recipe(recipe)
        unit, metrics = evidence.deciding.unit, evidence.deciding.metrics
        for contrast in evidence.contrasts:
            decides = contrast.name == DECIDING
            comparable = (contrast.unit, {*contrast.metrics}) == (unit, {*metrics})
            if not decides and (contrast.estimate is None or not comparable):
                continue
            label = recipe if decides else f"{recipe}, {contrast.name}"
            yield figures.EffectRow(
                label="\n".join([label, *textwrap.wrap(contrast.comparison, LABEL)]),
                estimate=contrast.estimate,
                decides=decides,
                region=page.claim.conditions.get(contrast.name),
                seeds=tuple(contrast.by_seed.values()),
                doubtful=evidence.doubts(contrast),
            )


def _rates(page: Page) -> Drawing:
    panels: list[Panel] = []
    times = isinstance(page.claim, TimeClaim)
    searched_by = "training" if times and page.claim.metric == "train_error" else "test"
    label = f"{searched_by} error in %"
    for recipe in page.scale.search:
        age = figure_data.common_age(page, recipe)
        epochs = "1 epoch" if age == 1 else f"{age} epochs"
        when = {None: "", 0: ", when each stopped"}.get(age, f", after {epochs}")
        rates = [figure_data.arm_rates(page, recipe, arm, age=age or 0) for arm in page.claim.arms]
        draw = partial(figures.rate_sensitivity, arms=rates, label=label)
        panels.append((f"{recipe} recipe{when}", draw))
    name = f"{page.name}-rates"
    return Drawing(
        name=name,
        caption=(
            "The learning-rate search, on tuning seeds: "
            f"{searched_by} error at the latest epoch that all rates reached. "
            f"{_ranked(page, times=times)} A best rate at an end of the grid extends it once, for "
            "that arm alone. Ringed: chosen. A cross at the top: diverged."
        ),
        alt=f"Error of {_arms(page)} against learning rate, for {_names(page.claim.recipes)}",
        arms=tuple(page.claim.arms),
        panels=panels,
        inches=(WIDTH, HEIGHT),
    )


def _ranked(page: Page, *, times: bool) -> str:
    rungs = sorted({rung for search in page.scale.search.values() for rung in search.rungs})
    when = f"epoch{'s' * (len(rungs) > 1)} {_listed(f'{rung:g}' for rung in rungs)}"
    crossing = "by when they crossed or, where they had not, " * times
    return f"Rates were ranked after {when}, {crossing}by the error then."


# Pictures of trained nets, for the claims that are about them


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A figure of a trial's arrays. `arrays`: the array for each argument of `draw`.

    `shared`: the same for arrays of the data set, which are equal in all trials; arguments
    whose array no trial has stored are left out.
    """

    name: str
    draw: Callable[..., Axes]
    arrays: Mapping[str, str]
    caption: str
    shared: Mapping[str, str] = field(default_factory=dict)
    inches: tuple[float, float] = (WIDTH, HEIGHT)


KERNELS = Picture(
    name="conv1",
    draw=figures.kernels,
    arrays={"weights": "conv1"},
    caption=(
        "Kernels of the first layer (the paper's Fig. 3), seed 0: the first half of the maps, "
        "which two GPUs would keep on one of them, above the second. Each is stretched to its "
        "own range, grey being zero."
    ),
)
NEIGHBOURS = Picture(
    name="near-images",
    draw=figures.nearest,
    arrays={"images": "near_images"},
    shared={"classes": "example_labels"},
    inches=(WIDTH, 3.2),
    caption=(
        "Test images, by their class, and the six training images nearest to each in fc7, the "
        "nearest first (the paper's Fig. 4), seed 0. Of the images nearest as pixels, with which "
        "the claim compares them, the classes were counted and no image was kept."
    ),
)
EXAMPLES = Picture(
    name="examples",
    draw=figures.examples,
    arrays={
        "images": "example_images",
        "labels": "example_labels",
        "guesses": "example_guesses",
        "probabilities": "example_probabilities",
    },
    caption=(
        "Test images, each under its class and above the classes that the net of seed 0 holds "
        "likeliest (the paper's Fig. 4); a bar is a probability, that of the right class is orange "
        "and its name bold."
    ),
    inches=(6.4, 5.4),
)
CONFUSION = Picture(
    name="confusion",
    draw=figures.confusion,
    arrays={"counts": "confusion", "classes": "classes"},
    caption=(
        "Of the test images of each true class (a row), the share that is predicted as each class, "
        "in percent, seed 0; classes in the order of the data set."
    ),
    inches=(WIDTH * 1.2, WIDTH),
)


def _pictures(page: Page) -> Iterator[Drawing]:
    metrics = {metric for contrast in _contrasts(page) for metric in contrast.metrics}
    pictures = [KERNELS] * ("colour_split" in metrics) + [NEIGHBOURS] * (
        "neighbours_features" in metrics
    )
    if isinstance(page.claim, LevelClaim) or "neighbours_features" in metrics:
        pictures += [EXAMPLES, CONFUSION]
    for picture in pictures:
        yield from _picture(page, picture)


def _contrasts(page: Page) -> list[Contrast]:
    return [c for evidence in page.evidence.recipes.values() for c in evidence.contrasts]


def _picture(page: Page, picture: Picture) -> Iterator[Drawing]:
    """One panel for each arm whose first seed has the arrays; a shared trial has one panel."""
    common = {  # equal in all trials: of the first that stored it
        argument: array
        for argument, name in picture.shared.items()
        for array in [a[name] for a in page.arrays.values() if name in a][:1]
    }
    panels_by_trial: dict[str, Panel] = {}
    for arm in page.claim.arms:
        for outcome in figure_data.evaluation_outcomes(page, page.claim.verdict_recipe, arm)[:1]:
            arrays = page.arrays.get(outcome.trial_id, {})
            if arrays.keys() >= set(picture.arrays.values()):
                arguments = {argument: arrays[name] for argument, name in picture.arrays.items()}
                panels_by_trial.setdefault(
                    outcome.trial_id, (arm, partial(picture.draw, **arguments, **common))
                )
    if panels_by_trial:
        panels = (
            list(panels_by_trial.values())
            if len(panels_by_trial) > 1
            else [("", p[1]) for p in panels_by_trial.values()]
        )
        yield Drawing(
            name=f"{page.name}-{picture.name}",
            caption=picture.caption,
            alt=picture.caption,
            panels=panels,
            inches=picture.inches,
        )


def _arms(page: Page) -> str:
    arms_run = {o.arm for evidence in page.evidence.recipes.values() for o in evidence.outcomes}
    return _listed([arm for arm in page.claim.arms if arm in arms_run] or list(page.claim.arms))


def _evaluated(page: Page) -> Sequence[str]:
    """The recipes with evaluation trials; all of them where none has any."""
    evaluated = [name for name, found in page.evidence.recipes.items() if found.outcomes]
    return evaluated or list(page.claim.recipes)


def _names(recipes: Collection[str]) -> str:
    return f"the recipe{'s' * (len(recipes) > 1)} {_listed(recipes)}"


def _listed(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _seeds(row: figures.CrossingRow) -> str:
    parts = []
    if crossed := row.crossed.all:
        parts.append("crossed at " + ", ".join(f"{t:.1f}" for t in sorted(crossed)))
    if censored := row.censored.all:
        parts.append(f"{len(censored)} not crossed by epoch {max(censored):g}")
    if diverged := row.diverged.all:
        parts.append(f"{len(diverged)} diverged")
    return ", ".join(parts) or "not run"
