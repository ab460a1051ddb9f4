"""From a claim at a scale, and the results so far, to the next trials.

The plan is a pure function of the claim and the results. It is asked again after each trial, so an
interrupted run, a second worker and the report see the same plan.

The learning rate of each arm is fixed, or searched on tuning seeds (`rate_search.py`). The effect
is measured on evaluation seeds.
"""

from collections.abc import Iterable, Mapping

from repro.claim import TrainedClaim, arms_of, rate_for
from repro.planning.cells import Cell, cells_of
from repro.planning.rate_search import (
    epochs_of_later_rungs,
    possible_rates,
    rate_search,
    trials_of_refinement,
)
from repro.trial import Result


def next_cells(
    claim: TrainedClaim,
    scale: str,
    fingerprint: str,
    results: Mapping[str, Result],
    *,
    seeds: Mapping[str, int] | None = None,
) -> list[Cell]:
    """The cells that can run now, most important first; empty when the plan is done.

    `seeds`: the number of evaluation seeds per arm, by recipe; by default those of the first
    interim analysis, since the need for another one depends on the results.
    The deciding recipe comes first, and deciding arms before others; an arm with a finished search
    does not wait for other arms; seed 0 comes before seed 1, so that early results are paired.
    """
    deciding = arms_of(claim)
    first = claim.scales[scale].seeds[0]
    seed_counts = dict.fromkeys(claim.recipes, first) | dict(seeds or {})
    recipes = sorted(claim.recipes, key=lambda name: name != claim.verdict_recipe)
    cells: list[Cell] = []
    for recipe in recipes:
        tune: list[Cell] = []
        confirm: list[Cell] = []
        for arm in claim.arms:
            search = rate_search(claim, scale, recipe, arm, fingerprint, results)
            tune.extend(search.pending)
            if search.chosen is not None:
                possible = cells_of(claim, scale, recipe, arm, fingerprint).confirming(
                    search.chosen
                )
                confirm.extend(possible[: seed_counts[recipe]])
        confirm.sort(key=lambda cell: cell.trial.seed)
        cells.extend([*tune, *(cell for cell in confirm if not cell.done(results))])
    return merge_cells(sorted(cells, key=lambda cell: cell.arm not in deciding))


def most_epochs_left(
    claim: TrainedClaim,
    scale: str,
    fingerprint: str,
    results: Mapping[str, Result],
    *,
    max_seeds: int | None = None,
) -> float:
    """Epochs still to train, if no arm crosses early, no analysis decides, no grid grows."""
    cells: list[Cell] = []
    later = 0.0
    for recipe in claim.recipes:
        for arm in claim.arms:
            search = rate_search(claim, scale, recipe, arm, fingerprint, results)
            cells += search.pending
            rate = search.chosen
            if not search.done:
                halving = claim.scales[scale].search[recipe]
                if not search.refining:
                    later += epochs_of_later_rungs(halving, now=search.pending[0].until)
                    later += trials_of_refinement(halving) * claim.scales[scale].epochs
                rate = halving.rates[0]  # the number of trials does not depend on the rate
            if rate is not None:
                evaluation = cells_of(claim, scale, recipe, arm, fingerprint).confirming(rate)
                cells += [cell for cell in evaluation[:max_seeds] if not cell.done(results)]
    latest = {cell.trial.id: results.get(cell.trial.id) for cell in cells}
    trained = sum(result.epochs for result in latest.values() if result is not None)
    return later + sum(cell.until for cell in merge_cells(cells)) - trained


def merge_cells(cells: Iterable[Cell]) -> list[Cell]:
    """The cells of several claims in training order, equal trials once.

    Deciding cells come first, since the time may not suffice for all. Of equal trials, the first
    place and the longest `until` count.
    """
    longest: dict[str, Cell] = {}
    for cell in sorted(cells, key=lambda cell: not cell.decides):
        other = longest.get(cell.trial.id)
        if other is None or cell.until > other.until:
            longest[cell.trial.id] = cell
    return list(longest.values())


def possible_cells(
    claim: TrainedClaim, scale: str, recipe: str, arm: str, fingerprint: str
) -> tuple[Cell, ...]:
    """The evaluation trials at every rate that the arm's search may choose, or the given one."""
    search, rate = claim.scales[scale].search, rate_for(claim, scale, recipe, arm)
    rates = possible_rates(search[recipe]) if rate is None else (rate,)
    arm_cells = cells_of(claim, scale, recipe, arm, fingerprint)
    return tuple(cell for rate in rates for cell in arm_cells.confirming(rate))
