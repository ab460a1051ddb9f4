"""The tables of a page as plain text, for HTML and Markdown."""

import math
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

from repro.claim import Region, TimeClaim, recipe_for
from repro.planning import RateOutcome, RateSearch
from repro.registry import metric_facts
from repro.registry.plugins import versions
from repro.report.figure_data import ending, evaluation_outcomes, metrics_shown
from repro.report.page import FactPage, Page
from repro.text import (
    NOT_RUN,
    crossing,
    duration,
    energy_text,
    estimate_text,
    p_text,
    percent,
    region_text,
)
from repro.verdict import family
from repro.verdict.analysis import RecipeEvidence, nets_tested_twice, sampled_images
from repro.verdict.effects import DECIDING, Contrast, Outcome

_MAX_PLAIN_RECIPES = 2  # recipes
_MAX_RATES = 40  # rows of a search, beyond which its figure is enough


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Cells as text; the first cell names its row."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def fact_tables(page: FactPage) -> tuple[Table, ...]:
    """The tables of computed facts; empty before they are computed."""
    return (_layers(page), _statements(page)) if page.facts else ()


def _layers(page: FactPage) -> Table:
    """A row for each layer, a column for each quantity; the paper's number where it differs."""
    cells: dict[str, dict[str, str]] = {}
    for fact in page.facts:
        spec = page.claim.facts[fact.name]
        if spec.of is not None:
            note = "" if fact.holds else f" (printed: {fact.printed:,.10g})"
            cells.setdefault(spec.of, {})[spec.quantity] = f"{fact.ours:,.10g}{note}"
    quantities = sorted({quantity for row in cells.values() for quantity in row})
    return Table(
        caption="The layers, as they follow from the paper",
        columns=("Layer", *(name.replace("_", " ").capitalize() for name in quantities)),
        rows=tuple(
            (layer, *(cells[layer].get(quantity, "") for quantity in quantities))
            for layer in sorted(cells, key=lambda name: (not name.startswith("conv"), name))
        ),
    )


def _statements(page: FactPage) -> Table:
    """Each statement of the paper with the number that follows from the layers."""
    return Table(
        caption="What the paper prints, and what follows from its layers",
        columns=("Statement", "Printed", "Ours", "Holds", "Counts"),
        rows=tuple(
            (
                fact.states,
                f"{fact.printed:,.10g}",
                f"{fact.ours:,.10g}",
                "yes" if fact.holds else "no",
                "yes" if fact.decides else "no, a known slip",
            )
            for fact in page.facts
            if fact.printed is not None
        ),
    )


def family_table(pages: Sequence[Page | FactPage]) -> Table:
    """The family-wise test, the smallest p first; no rows for fewer than two claims."""
    titles = {page.claim.id: page.claim.title for page in pages}
    members = family(
        verdict for page in pages if isinstance(page, Page) for verdict in page.verdicts
    )
    return Table(
        caption=(
            "Family-wise test (Holm) of all claims, with an error rate of 5 %: is there any "
            "effect? Tested is the deciding contrast at the highest scale with a valid "
            "measurement. This is stricter than a claim's own verdict: a claim can be reproduced "
            "without a significant effect here. A claim about the gap needs a wider gap and a "
            "higher test error. The test allows any dependence between claims; those that share "
            "trials, mostly of a baseline, tend to err together"
        ),
        columns=("Claim", "Scale", "An effect", "p, all analyses", "p, all claims",
                 "Shares trials with"),
        rows=tuple(
            (titles[m.verdict.claim_id], m.verdict.scale, m.conclusion, p_text(m.p),
             p_text(m.adjusted), f"{m.sharing} of {len(members) - 1} others")
            for m in members
            if len(members) > 1
        ),
    )  # fmt: skip


def smoke_table(pages: Sequence[Page]) -> Table:
    """The smoke runs: counts, without a verdict that somebody could quote."""
    return Table(
        caption="Smoke runs: these show that the machinery works and are not evidence",
        columns=("Claim", "Recipe", "Evaluation trials", "Ours", "Data", "Device"),
        rows=tuple(
            (
                page.claim.title,
                verdict.recipe,
                _evaluation_count(page, verdict.recipe),
                estimate_text(verdict.estimate),
                verdict.data or NOT_RUN,
                verdict.device or NOT_RUN,
            )
            for page in pages
            for verdict in page.verdicts
        ),
    )


def _evaluation_count(page: Page, recipe: str) -> str:
    evidence = page.recipe(recipe)
    if not evidence.planned:
        return NOT_RUN
    return f"{evidence.planned - evidence.missing} of {evidence.planned}"


def evidence_tables(page: Page) -> tuple[Table, ...]:
    if isinstance(page.claim, TimeClaim):
        caption = f"Epochs to {page.threshold_text}"
        by_seed = [_by_seed(page, caption, page.claim.arms, _crossing_cell)]
    else:
        by_seed = list(_metrics(page))
    grid, rates = grid_table(page), _rates(page)
    return (
        *([grid] if grid else []),
        _estimates(page),
        _checks(page),
        *by_seed,
        *([rates] if 0 < len(rates.rows) <= _MAX_RATES else []),
        _clocks(page),
        _provenance(page),
    )


def grid_table(page: Page) -> Table | None:
    """Effects, recipe by contrast; None for one or two recipes, whose figure is enough."""
    all_evidence = [page.recipe(name) for name in page.claim.recipes]
    if len(all_evidence) <= _MAX_PLAIN_RECIPES:
        return None
    contrasts = {
        evidence.recipe: [c for c in evidence.contrasts if c.unit == evidence.deciding.unit]
        for evidence in all_evidence
    }
    doubtful = any(
        evidence.doubts(c) for evidence in all_evidence for c in contrasts[evidence.recipe]
    )
    return Table(
        caption=f"Which recipe makes the difference: {page.unit}"
        + "; doubtful: an arm failed a check" * doubtful,
        columns=("Recipe", *(c.description for c in contrasts[all_evidence[0].recipe])),
        rows=tuple(
            (evidence.recipe, *(_effect_cell(evidence, c) for c in contrasts[evidence.recipe]))
            for evidence in all_evidence
        ),
    )


def _effect_cell(evidence: RecipeEvidence, contrast: Contrast) -> str:
    """The estimate as text; without an estimate, the reason."""
    if contrast.estimate is None:
        outcomes = [outcome for outcome in evidence.outcomes if outcome.arm in contrast.arms]
        both_ran = {outcome.arm for outcome in outcomes} == set(contrast.arms)
        neither_crossed = both_ran and all(outcome.upper == math.inf for outcome in outcomes)
        return "neither arm crossed" if neither_crossed else estimate_text(None)
    return estimate_text(contrast.estimate) + ", doubtful" * evidence.doubts(contrast)


def _estimates(page: Page) -> Table:
    rows: list[tuple[str, ...]] = []
    for recipe in page.claim.recipes:
        evidence = page.recipe(recipe)
        for contrast in evidence.contrasts:
            rows.append(_estimate_row(evidence, contrast, page.claim.conditions.get(contrast.name)))
            rows += _images_row(page, evidence, contrast)
    return Table(
        caption="What is compared, by recipe",
        columns=("Recipe", "Compared", "Ours", "Unit", "Method", "Correlation over seeds"),
        rows=tuple(rows),
    )


def _estimate_row(
    evidence: RecipeEvidence, contrast: Contrast, condition: Region | None
) -> tuple[str, ...]:
    comparison = contrast.description
    if contrast.name == DECIDING and len(evidence.contrasts) > 1:
        comparison += " (decides)"
    if condition is not None:
        comparison += f" ({region_text(condition)}, too)"
    estimate = contrast.estimate
    return (
        evidence.recipe,
        comparison,
        _effect_cell(evidence, contrast),
        contrast.unit,
        estimate.method if estimate else "",
        f"{contrast.correlation:.2f}" if contrast.correlation == contrast.correlation else "",
    )


def _images_row(page: Page, evidence: RecipeEvidence, contrast: Contrast) -> list[tuple[str, ...]]:
    """Where both arms test the same nets: how far the effect depends on the test images."""
    nets = nets_tested_twice(contrast, evidence)
    if not nets:
        return []
    estimate = sampled_images(contrast, nets, page.arrays)
    return [
        (
            evidence.recipe,
            "the same nets, over the sampling of test images",
            estimate_text(estimate) if estimate else "outcomes by image not stored",
            contrast.unit,
            estimate.method if estimate else "",
            "",
        )
    ]


def _checks(page: Page) -> Table:
    """How complete the measurement is, and which of its sanity checks failed."""
    rows = []
    for recipe in page.claim.recipes:
        evidence = page.recipe(recipe)
        ends = [ending(o) for o in evidence.outcomes] if isinstance(page.claim, TimeClaim) else []
        rows.append(
            (
                recipe,
                _evaluation_count(page, recipe),
                str(ends.count("censored")) if ends else "",
                str(evidence.diverged),
                "; ".join(evidence.failed_checks) or "none",
                "; ".join(evidence.caveats),
            )
        )
    return Table(
        caption="Checks of the measurement",
        columns=(
            "Recipe",
            "Evaluation trials",
            "Censored",
            "Diverged",
            "Failed sanity checks",
            "Note",
        ),
        rows=tuple(rows),
    )


def _by_seed(
    page: Page, caption: str, arms: Iterable[str], cell: Callable[[Outcome], str]
) -> Table:
    """A row for each recipe and arm, a column for each evaluation seed."""
    seeds = _seeds_shown(page)
    rows: list[tuple[str, ...]] = []
    for recipe, arm in product(page.claim.recipes, arms):
        outcomes = {o.seed: o for o in evaluation_outcomes(page, recipe, arm)}
        cells = (cell(outcomes[seed]) if seed in outcomes else NOT_RUN for seed in seeds)
        rate = page.recipe(recipe).rates[arm].chosen
        rows.append((recipe, arm, NOT_RUN if rate is None else f"{rate:g}", *cells))
    return Table(
        caption=f"{caption}, by evaluation seed",
        columns=("Recipe", "Arm", "Rate", *(f"Seed {seed}" for seed in seeds)),
        rows=tuple(rows),
    )


def _metrics(page: Page) -> Iterator[Table]:
    """A table for each metric that a contrast reads."""
    for metric, arms in metrics_shown(page).items():
        label = metric_facts(metric).label
        caption = f"{label[0].upper()}{label[1:]}"
        yield _by_seed(page, caption, arms, partial(_metric_cell, metric=metric))


def _seeds_shown(page: Page) -> range:
    """The seeds that are needed so far, and those run after the stopping point."""
    recipes = page.evidence.recipes.values()
    seed_counts = (outcome.seed + 1 for recipe in recipes for outcome in recipe.outcomes)
    return range(
        max([page.scale.seeds[0], *(recipe.target_seeds for recipe in recipes), *seed_counts])
    )


def _metric_cell(outcome: Outcome, metric: str) -> str:
    if outcome.status == "diverged":
        return f"diverged at {outcome.epochs:.1f}"
    value = outcome.metrics.get(metric)
    return "not measured" if value is None else f"{metric_facts(metric).factor * value:.4g}"


def _crossing_cell(outcome: Outcome) -> str:
    end = ending(outcome)
    if end == "crossed":
        return crossing((outcome.lower, outcome.upper))
    return f"> {outcome.lower:g}" if end == "censored" else f"diverged at {outcome.epochs:.1f}"


def _rates(page: Page) -> Table:
    rows: list[tuple[str, ...]] = []
    for recipe in page.claim.recipes:
        for arm in page.claim.arms:
            search = page.recipe(recipe).rates[arm]
            rows += [_rate_row(recipe, arm, search, outcome) for outcome in search.outcomes]
    return Table(
        caption="The search for the learning rate, on tuning seeds",
        columns=(
            "Recipe",
            "Arm",
            "Rate",
            "Status",
            "Epochs",
            "Crossed by epoch",
            "Latest error",
            "Note",
        ),
        rows=tuple(rows),
    )


def _rate_row(recipe: str, arm: str, search: RateSearch, outcome: RateOutcome) -> tuple[str, ...]:
    chosen = outcome.rate == search.chosen
    notes = ["chosen"] * chosen + ["at the edge of the grid"] * (chosen and search.at_edge)
    has_run = outcome.status != NOT_RUN
    return (
        recipe,
        arm,
        f"{outcome.rate:g}",
        outcome.status,
        f"{outcome.epochs:.1f}" if has_run else "",
        f"{outcome.crossed:.1f}" if outcome.crossed < float("inf") else "",
        percent(outcome.error),
        ", ".join(notes),
    )


def _clocks(page: Page) -> Table:
    clocks = page.evidence.clocks
    parts = (
        ("training", clocks.train),
        ("evaluation", clocks.evaluate),
        ("everything else", clocks.other),
        ("wall clock", clocks.wall),
    )
    return Table(
        caption="Time and energy of all trials",
        columns=("Part", "Amount", "Share"),
        rows=(
            *(
                (name, duration(seconds), percent(seconds / clocks.wall) if clocks.wall else "")
                for name, seconds in parts
            ),
            (
                "energy of the device",
                energy_text([result.metric("energy") for result in page.results.values()]),
                "",
            ),
        ),
    )


def _provenance(page: Page) -> Table:
    plan, claim = page.plan, page.claim
    scale = page.evidence.scale
    precisions = {
        recipe_for(claim, scale, recipe, arm).precision
        for recipe in claim.recipes
        for arm in claim.arms
    }
    trainer, fingerprint = claim.trainer, plan.fingerprint if plan else NOT_RUN
    rows = [
        ("data", plan.data_title if plan else NOT_RUN),
        (f"fingerprint of the {'files and inputs' if trainer else 'data'}", fingerprint),
        ("registered", registration(page)),
        ("digest of the claim at this scale", claim.digest(scale)),
        ("command", shlex.join(trainer.command))
        if trainer
        else ("precision", ", ".join(sorted(precisions))),
        *(("kind of claim", f"of {name} {which}") for name, which in versions(claim.kind).items()),
    ]
    names = {name for name, _ in rows}
    rows += [
        (name, "; ".join(values))
        for name, values in page.evidence.provenance.items()
        if name not in names
    ]
    return Table(caption="Where the numbers come from", columns=("What", "Value"), rows=tuple(rows))


def registration(page: Page) -> str:
    """When the plan was registered, and how many of its results somebody could have seen then."""
    if page.plan is None:
        return NOT_RUN
    before = page.evidence.finished_before
    if before == 0:
        return f"{page.plan.registered}, before any of its evaluation trials"
    has_search = page.claim.scales[page.evidence.scale].search
    trials = (
        "trials that may be its evaluation trials" if has_search else "of its evaluation trials"
    )
    count = "an unknown number" if before is None else str(before)
    return f"{page.plan.registered}, when {count} {trials} were already there"
