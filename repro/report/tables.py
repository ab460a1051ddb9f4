"""The tables of a page as plain text, for HTML and Markdown alike."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from repro.claim import TimeClaim, recipe_for
from repro.plan import RateOutcome, RateSearch
from repro.registry import metric_facts
from repro.registry.plugins import versions
from repro.report.page import FactPage, Page
from repro.report.series import confirmed, ending, metrics_shown, tuned
from repro.text import (
    NOT_RUN,
    crossing,
    duration,
    energy_text,
    estimate_text,
    p_text,
    percent,
)
from repro.trial import Result, Trial
from repro.verdict import family
from repro.verdict.analysis import RecipeEvidence, looked_at_twice, sampled_images
from repro.verdict.effects import DECIDING, Contrast, Outcome

__all__ = [
    "Table",
    "TrialRow",
    "evidence_tables",
    "fact_tables",
    "family_table",
    "grid_table",
    "smoke_table",
    "trial_rows",
]


_HELD_IN_MIND = 2  # recipes
_LOOKED_THROUGH = 40  # rows of a search


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Cells as text; the first cell of a row names it. `wide`: long, a reader may skip it."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    wide: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialRow:
    """A finished trial and its place in the plan."""

    recipe: str
    arm: str
    purpose: str
    trial: Trial
    result: Result


def fact_tables(page: FactPage) -> tuple[Table, ...]:
    """What was computed; nothing while nothing was."""
    return (_layers(page), _statements(page)) if page.facts else ()


def _layers(page: FactPage) -> Table:
    """The architecture: a row a layer, a column a quantity; where the paper differs, its number."""
    cells: dict[str, dict[str, str]] = {}
    for fact in page.facts:
        asked = page.claim.facts[fact.name]
        if asked.of is not None:
            slip = "" if fact.holds else f" (printed: {fact.printed:,.10g})"
            cells.setdefault(asked.of, {})[asked.quantity] = f"{fact.ours:,.10g}{slip}"
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
    """What may be said of all claims at once, the surest first; no rows for fewer than two."""
    titles = {page.claim.id: page.claim.title for page in pages}
    found = family(verdict for page in pages if isinstance(page, Page) for verdict in page.verdicts)
    return Table(
        caption=(
            "Whether there is any effect, said of all claims together with 5 % of error (Holm): "
            "the contrast that decides, at the best scale whose measurement is sound. This asks "
            "more than a verdict of its own: a claim can be reproduced and not shown here. Of a "
            "claim about the gap it asks for a wider gap and a higher test error, both. It "
            "holds whatever claims have in common; those that share trials, mostly of a baseline, "
            "tend to err together"
        ),
        columns=("Claim", "Scale", "An effect", "p, over all looks", "p, among all claims",
                 "Shares trials with"),
        rows=tuple(
            (titles[m.verdict.claim_id], m.verdict.scale, m.said, p_text(m.p), p_text(m.adjusted),
             f"{m.sharing} of {len(found) - 1} others")
            for m in found
            if len(found) > 1
        ),
    )  # fmt: skip


def smoke_table(pages: Sequence[Page]) -> Table:
    """What ran at smoke scale: counts, and no verdict that somebody could quote."""
    return Table(
        caption="Smoke runs: these show that the machinery works and are not evidence",
        columns=("Claim", "Recipe", "Evaluation trials", "Ours", "Data", "Device"),
        rows=tuple(
            (
                page.claim.title,
                verdict.recipe,
                _ran(page, verdict.recipe),
                estimate_text(verdict.estimate),
                verdict.data or NOT_RUN,
                verdict.device or NOT_RUN,
            )
            for page in pages
            for verdict in page.verdicts
        ),
    )


def _ran(page: Page, recipe: str) -> str:
    found = page.recipe(recipe)
    if not found.planned:
        return NOT_RUN
    return f"{found.planned - found.missing} of {found.planned}"


def evidence_tables(page: Page) -> tuple[Table, ...]:
    """What the verdicts of a page rest on, from the estimate down to every trial."""
    by_seed = [_crossings(page)] if isinstance(page.claim, TimeClaim) else list(_metrics(page))
    searched = [_rates(page)] if page.scale.search else []
    grid = grid_table(page)
    return (
        *([grid] if grid else []),
        _estimates(page),
        _checks(page),
        *by_seed,
        *searched,
        _clocks(page),
        _provenance(page),
        _trials(page),
    )


def grid_table(page: Page) -> Table | None:
    """Effects, recipe by contrast, where there are more recipes than two to hold in mind."""
    known = [page.recipe(name) for name in page.claim.recipes]
    if len(known) <= _HELD_IN_MIND:
        return None
    alike = {
        found.recipe: [c for c in found.contrasts if c.unit == found.deciding.unit]
        for found in known
    }
    doubtful = any(found.doubts(c) for found in known for c in alike[found.recipe])
    return Table(
        caption=f"Which recipe makes the difference: {page.unit}"
        + "; doubtful: an arm failed a check" * doubtful,
        columns=("Recipe", *(c.says for c in alike[known[0].recipe])),
        rows=tuple(
            (found.recipe, *(_measured(found, c) for c in alike[found.recipe])) for found in known
        ),
    )


def _measured(found: RecipeEvidence, contrast: Contrast) -> str:
    """What came out, in words; without a number, why."""
    if contrast.estimate is None:
        ran = [outcome for outcome in found.outcomes if outcome.arm in contrast.arms]
        both = {outcome.arm for outcome in ran} == set(contrast.arms)
        never = both and all(outcome.upper == math.inf for outcome in ran)
        return "neither arm crossed" if never else estimate_text(None)
    return estimate_text(contrast.estimate) + ", doubtful" * found.doubts(contrast)


def _estimates(page: Page) -> Table:
    rows: list[tuple[str, ...]] = []
    for recipe in page.claim.recipes:
        found = page.recipe(recipe)
        for contrast in found.contrasts:
            rows.append(_estimate_row(found, contrast))
            rows += _images_row(page, found, contrast)
    return Table(
        caption="What is compared, by recipe",
        columns=("Recipe", "Compared", "Ours", "Unit", "Method", "Correlation over seeds"),
        rows=tuple(rows),
    )


def _estimate_row(found: RecipeEvidence, contrast: Contrast) -> tuple[str, ...]:
    what = contrast.says
    if contrast.name == DECIDING and len(found.contrasts) > 1:
        what += " (decides)"
    estimate = contrast.estimate
    return (
        found.recipe,
        what,
        _measured(found, contrast),
        contrast.unit,
        estimate.method if estimate else "",
        f"{contrast.correlation:.2f}" if contrast.correlation == contrast.correlation else "",
    )


def _images_row(page: Page, found: RecipeEvidence, contrast: Contrast) -> list[tuple[str, ...]]:
    """Where the same nets are tested twice: how far it depends on the test images."""
    nets = looked_at_twice(contrast, found)
    if not nets:
        return []
    estimate = sampled_images(contrast, nets, page.arrays)
    return [
        (
            found.recipe,
            "the same, as far as it depends on the test images",
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
        found = page.recipe(recipe)
        ends = [ending(o) for o in found.outcomes] if isinstance(page.claim, TimeClaim) else []
        rows.append(
            (
                recipe,
                _ran(page, recipe),
                str(ends.count("censored")) if ends else "",
                str(found.diverged),
                "; ".join(found.failed_checks) or "none",
                "; ".join(found.caveats),
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


def _metrics(page: Page) -> Iterator[Table]:
    """A table for each metric that a contrast reads: arms by seed."""
    claim, seeds = page.claim, _seeds_shown(page)
    for metric, arms in metrics_shown(page).items():
        facts = metric_facts(metric)
        rows: list[tuple[str, ...]] = []
        for recipe in claim.recipes:
            for arm in arms:
                known = {o.seed: o for o in confirmed(page, recipe, arm)}
                cells = (_metric_cell(known.get(seed), metric) for seed in seeds)
                rows.append((recipe, arm, _chosen_rate(page, recipe, arm), *cells))
        yield Table(
            caption=f"{facts.title.capitalize()} in {facts.unit}, by evaluation seed",
            columns=("Recipe", "Arm", "Rate", *(f"Seed {seed}" for seed in seeds)),
            rows=tuple(rows),
        )


def _seeds_shown(page: Page) -> range:
    """Those that were asked for by now, and those that were run beyond."""
    found = page.evidence.recipes.values()
    ran = (outcome.seed + 1 for recipe in found for outcome in recipe.outcomes)
    return range(max([page.scale.seeds[0], *(recipe.wanted for recipe in found), *ran]))


def _metric_cell(found: Outcome | None, metric: str) -> str:
    if found is None:
        return NOT_RUN
    if found.status == "diverged":
        return f"diverged at {found.epochs:.1f}"
    value = found.metrics.get(metric)
    return "not measured" if value is None else f"{metric_facts(metric).factor * value:.4g}"


def _crossings(page: Page) -> Table:
    seeds = _seeds_shown(page)
    rows: list[tuple[str, ...]] = []
    for recipe in page.claim.recipes:
        for arm in page.claim.arms:
            known = {c.seed: c for c in confirmed(page, recipe, arm)}
            cells = (_crossing_cell(known.get(seed)) for seed in seeds)
            rows.append((recipe, arm, _chosen_rate(page, recipe, arm), *cells))
    return Table(
        caption=f"Epochs to {page.threshold_text} training error, by evaluation seed",
        columns=("Recipe", "Arm", "Rate", *(f"Seed {seed}" for seed in seeds)),
        rows=tuple(rows),
    )


def _crossing_cell(found: Outcome | None) -> str:
    if found is None:
        return NOT_RUN
    ended = ending(found)
    if ended == "crossed":
        return crossing((found.lower, found.upper))
    return f"> {found.lower:g}" if ended == "censored" else f"diverged at {found.epochs:.1f}"


def _chosen_rate(page: Page, recipe: str, arm: str) -> str:
    chosen = page.recipe(recipe).rates[arm].chosen
    return NOT_RUN if chosen is None else f"{chosen:g}"


def _rates(page: Page) -> Table:
    rows: list[tuple[str, ...]] = []
    for recipe in page.claim.recipes:
        for arm in page.claim.arms:
            search = page.recipe(recipe).rates[arm]
            rows += [_rate_row(recipe, arm, search, one) for one in search.outcomes]
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
        wide=len(rows) > _LOOKED_THROUGH,
    )


def _rate_row(recipe: str, arm: str, search: RateSearch, found: RateOutcome) -> tuple[str, ...]:
    chosen = found.rate == search.chosen
    notes = ["chosen"] * chosen + ["at the edge of the grid"] * (chosen and search.at_edge)
    ran = found.status != NOT_RUN
    return (
        recipe,
        arm,
        f"{found.rate:g}",
        found.status,
        f"{found.epochs:.1f}" if ran else "",
        f"{found.crossed:.1f}" if found.crossed < float("inf") else "",
        percent(found.error),
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
        columns=("Of what", "How much", "Share"),
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
    rows = [
        ("data", plan.data_title if plan else NOT_RUN),
        ("fingerprint of the data", plan.fingerprint if plan else NOT_RUN),
        ("registered", _registered(page)),
        ("digest of the claim at this scale", claim.digest(scale)),
        ("precision", ", ".join(sorted(precisions))),
        *(("kind of claim", f"of {name} {which}") for name, which in versions(claim.kind).items()),
    ]
    known = {name for name, _ in rows}
    rows += [
        (name, "; ".join(values))
        for name, values in page.evidence.provenance.items()
        if name not in known
    ]
    return Table(caption="Where the numbers come from", columns=("What", "Value"), rows=tuple(rows))


def _registered(page: Page) -> str:
    if page.plan is None:
        return NOT_RUN
    before = page.evidence.finished_before
    if before == 0:
        return f"{page.plan.registered}, before any of its evaluation trials"
    searched = page.claim.scales[page.evidence.scale].search
    trials = "trials that may be its evaluation trials" if searched else "of its evaluation trials"
    seen = "an unknown number" if before is None else str(before)
    return f"{page.plan.registered}, when {seen} {trials} were already there"


def trial_rows(page: Page) -> Iterator[TrialRow]:
    """Every finished trial of the plan, the confirming ones first."""
    for recipe in page.claim.recipes:
        for arm in page.claim.arms:
            places = [
                ("confirm", page.trials[c.trial_id], page.results[c.trial_id])
                for c in confirmed(page, recipe, arm)
            ]
            places += [("tune", trial, result) for trial, result in tuned(page, recipe, arm)]
            for purpose, trial, result in places:
                yield TrialRow(recipe=recipe, arm=arm, purpose=purpose, trial=trial, result=result)


def _trials(page: Page) -> Table:
    return Table(
        caption="Finished trials",
        columns=(
            "Trial",
            "Recipe",
            "Arm",
            "Purpose",
            "Rate",
            "Seed",
            "Status",
            "Epochs",
            "Crossed, full passes",
            "Crossed, online",
            "Batches' error",
            "Test error",
            "Time",
        ),
        rows=tuple(
            (
                row.trial.id,
                row.recipe,
                row.arm,
                row.purpose,
                f"{row.trial.rate:g}",
                str(row.trial.seed),
                row.result.status,
                f"{row.result.epochs:.1f}",
                crossing(row.result.crossing_full),
                crossing(row.result.crossing_online),
                percent(row.result.train_error),
                percent(row.result.metric("test_error")),
                duration(row.result.seconds.wall),
            )
            for row in trial_rows(page)
        ),
        wide=True,
    )
