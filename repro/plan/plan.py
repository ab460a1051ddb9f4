"""From a claim at a scale, and what is known so far, to the trials that come next.

The plan is a pure function of the claim and of the results: asking again after each trial gives
the next ones, so a killed run, a second worker and the report all see the same plan.

Each arm's rate is given, the same for all, or searched by successive halving (Jamieson and
Talwalkar 2016) over the same grid with the same budgets on tuning seeds: for the earliest crossing
where a claim is about times, else for the lowest test error. The best rate and those about it are
then trained to the end and compared once more. The effect is measured on other seeds.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Literal

from repro.claim import (
    COMMAND,
    MOST_SEEDS,
    Search,
    TimeClaim,
    TrainedClaim,
    arms_of,
    images_for,
    model_for,
    rate_for,
    recipe_for,
)
from repro.registry.plugins import versions
from repro.trial import LAG, Result, Trial
from repro.trial.numerics import numerics

__all__ = [
    "TUNING_SEEDS_FROM",
    "Cell",
    "RateOutcome",
    "RateSearch",
    "code",
    "confirm_cells",
    "lag",
    "merged",
    "most_epochs_left",
    "next_cells",
    "possible_cells",
    "rate_search",
]

# Tuning seeds are counted from here, evaluation seeds from 0: no seed serves both.
TUNING_SEEDS_FROM = MOST_SEEDS


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """A place in the plan: why a trial is wanted, and to how many epochs it is trained.

    `decides`: the claim's verdict waits for it; the other arms and recipes explain it. `home`:
    where the command runs that trains it.
    """

    recipe: str
    arm: str
    purpose: Literal["tune", "confirm"]
    trial: Trial
    until: float
    decides: bool
    home: Path | None = None

    @property
    def name(self) -> str:
        """As every line about the trial has it."""
        return f"{self.recipe}/{self.arm} {self.wants}"

    @property
    def wants(self) -> str:
        """What tells it from the other trials of its arm."""
        return f"{self.purpose} rate {self.trial.rate:g} seed {self.trial.seed}"

    def done(self, results: Mapping[str, Result]) -> bool:
        """Whether the trial needs no more training for this cell."""
        return self.result(results) is not None

    def result(self, results: Mapping[str, Result]) -> Result | None:
        """The trial's result, if it needs no more training for this cell."""
        result = results.get(self.trial.id)
        done = result is not None and (result.ended or result.epochs >= self.until - 1e-9)
        return result if done else None


@dataclass(frozen=True, kw_only=True, slots=True)
class RateOutcome:
    """What a rate has shown on the tuning seeds: median epoch of crossing, median error."""

    rate: float
    status: str
    epochs: float
    crossed: float  # epochs; infinite when it has not crossed
    error: float  # of training for times, else of test; infinite when it diverged


@dataclass(frozen=True, kw_only=True, slots=True)
class RateSearch:
    """The search of one arm: `chosen` is None while it runs and when every rate diverged.

    `refining`: whether the rates about the best are compared by now.
    """

    outcomes: tuple[RateOutcome, ...]
    chosen: float | None
    done: bool
    at_edge: bool
    trials: tuple[str, ...]  # of all rates and tuning seeds, whether run or not
    wanted: tuple[Cell, ...] = ()
    refining: bool = False


class _Arm:
    """One arm of one recipe at one scale: what names its trials, each named once.

    A search asks for the same cells on every rung and after every trial, and an identity is a hash
    of much.
    """

    def __init__(
        self, claim: TrainedClaim, scale: str, recipe: str, arm: str, fingerprint: str
    ) -> None:
        self.claim = claim
        self.recipe = recipe
        self.arm = arm
        self.at = claim.scales[scale]
        self.decides = recipe == claim.verdict_recipe and arm in arms_of(claim)
        self._first = _first_trial(claim, scale, recipe, arm, fingerprint)
        self._trials: dict[tuple[float, int], Trial] = {}
        self._cells: dict[tuple[str, float, float], tuple[Cell, ...]] = {}

    @property
    def search(self) -> Search:
        return self.at.search[self.recipe]

    def tuning(self, rate: float, until: float = 0.0) -> tuple[Cell, ...]:
        """A rate of the search, on all tuning seeds."""
        seeds = range(TUNING_SEEDS_FROM, TUNING_SEEDS_FROM + self.search.seeds)
        return self._known("tune", rate, until, seeds)

    def confirming(self, rate: float) -> tuple[Cell, ...]:
        """The seeds of all looks."""
        return self._known("confirm", rate, self.at.epochs, range(self.at.seeds[-1]))

    def _known(
        self, purpose: Literal["tune", "confirm"], rate: float, until: float, seeds: range
    ) -> tuple[Cell, ...]:
        key = purpose, rate, until
        if key not in self._cells:
            self._cells[key] = tuple(
                Cell(
                    recipe=self.recipe,
                    arm=self.arm,
                    purpose=purpose,
                    trial=self._trial(rate, seed),
                    until=until,
                    decides=self.decides,
                    home=self.claim.path.parent.absolute() if self.claim.trainer else None,
                )
                for seed in seeds
            )
        return self._cells[key]

    def _trial(self, rate: float, seed: int) -> Trial:
        if (rate, seed) not in self._trials:
            self._trials[rate, seed] = replace(self._first, rate=rate, seed=seed)
        return self._trials[rate, seed]


def _first_trial(claim: TrainedClaim, scale: str, recipe: str, arm: str, fingerprint: str) -> Trial:
    """An arm's trial, of which the others differ in rate and seed."""
    at = claim.scales[scale]
    model, way = model_for(claim, scale, arm), recipe_for(claim, scale, recipe, arm)
    trial = Trial(
        model=model.name,
        arguments=model.arguments,
        recipe=way,
        data=at.data,
        fingerprint=fingerprint,
        images=images_for(claim, scale, arm),
        resample=at.resample,
        further_test=at.further_test,
        rate=math.nan,
        seed=0,
        numerics=code(model.name, at.data, way.optimiser.name),
        trainer=claim.trainer,
    )
    if not isinstance(claim, TimeClaim):
        return trial
    return replace(
        trial,
        threshold=claim.threshold if at.threshold is None else at.threshold,
        near=claim.near,
        decided_by=claim.decided_by,
        crossing=claim.crossing,
    )


class _Itself:
    """A claim as a key: this object, which nothing changes, whatever it holds."""

    def __init__(self, claim: TrainedClaim) -> None:
        self.claim = claim

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and self.claim is other.claim

    def __hash__(self) -> int:
        return id(self.claim)


# The plan is asked after every trial, and naming all of them takes longer than all the rest.
@lru_cache(maxsize=1024)
def _arm(claim: _Itself, scale: str, recipe: str, arm: str, fingerprint: str) -> _Arm:
    return _Arm(claim.claim, scale, recipe, arm, fingerprint)


def code(model: str, data: str, optimiser: str) -> int | str:
    """A trial's `numerics`: our code that it reaches, and packages whose names are among these."""
    if model == COMMAND:
        return 1  # its numbers come from no code of ours
    ours, theirs = numerics(model), versions(model, data, optimiser)
    if not theirs:
        return ours
    return " ".join([str(ours), *(f"{package}={version}" for package, version in theirs.items())])


def rate_search(
    claim: TrainedClaim,
    scale: str,
    recipe: str,
    arm: str,
    fingerprint: str,
    results: Mapping[str, Result],
) -> RateSearch:
    """Where the arm's search stands; `wanted` are the trials that it needs next.

    A best rate at the edge of the grid extends the grid once by its own step on that side.
    """
    given = rate_for(claim, scale, recipe, arm)
    if given is not None:
        return RateSearch(outcomes=(), chosen=given, done=True, at_edge=False, trials=())
    where = _arm(_Itself(claim), scale, recipe, arm, fingerprint)
    grid = where.search.rates
    first = _search(where, grid, results)
    if not first.at_edge:
        return first
    return _search(where, _extend(grid, at=first.chosen), results)


def _search(where: _Arm, grid: tuple[float, ...], results: Mapping[str, Result]) -> RateSearch:
    """Over `grid`, and then about the best of it; that at its edge has too few about it."""
    coarse = _halve(where, grid, results)
    factor = where.search.refine
    if factor is None or coarse.chosen is None or coarse.at_edge:
        return coarse
    return _refine(where, grid, _about(grid, coarse.chosen, factor), results)


def _about(grid: tuple[float, ...], best: float, factor: float) -> tuple[float, ...]:
    """The best rate, and those between it and its neighbours in equal steps of at most a factor.

    A neighbour that is so near is one of them.
    """
    place = grid.index(best)
    found = {best}
    for neighbour in (grid[place - 1], grid[place + 1]):
        steps = _steps(best, neighbour, factor)
        ratio = (neighbour / best) ** (1 / steps)
        found |= {_round(best * ratio**step) for step in range(1, steps)} or {neighbour}
    return tuple(sorted(found))


def _steps(one: float, other: float, factor: float) -> int:
    return math.ceil(abs(math.log(other / one)) / math.log(factor) - 1e-6)


def _refine(
    where: _Arm,
    grid: tuple[float, ...],
    rates: tuple[float, ...],
    results: Mapping[str, Result],
) -> RateSearch:
    """The best of these rates, all of them trained to the end."""
    until = where.at.epochs
    cells = [cell for rate in rates for cell in where.tuning(rate, until)]
    wanted = tuple(cell for cell in cells if not cell.done(results))
    everything = tuple(sorted({*grid, *rates}))
    found = [_outcome(where, rate, results, by=until) for rate in rates]
    best = min(found, key=_speed) if not wanted else None
    chosen = best.rate if best and min(best.crossed, best.error) < math.inf else None
    return RateSearch(
        outcomes=tuple(_outcome(where, rate, results) for rate in everything),
        chosen=chosen,
        done=not wanted,
        at_edge=chosen in (grid[0], grid[-1]),
        trials=tuple(cell.trial.id for rate in everything for cell in where.tuning(rate)),
        wanted=wanted,
        refining=True,
    )


def _halve(where: _Arm, grid: tuple[float, ...], results: Mapping[str, Result]) -> RateSearch:
    """Successive halving over `grid`, as far as the results go."""
    alive = list(grid)
    chosen: float | None = None
    wanted: tuple[Cell, ...] = ()
    for rung in where.search.rungs:
        cells = [cell for rate in alive for cell in where.tuning(rate, rung)]
        wanted = tuple(cell for cell in cells if not cell.done(results))
        if wanted:
            break
        ranked = sorted((_outcome(where, rate, results, by=rung) for rate in alive), key=_speed)
        best = ranked[0]
        if best.crossed < math.inf:
            # Whoever has not crossed by this rung can no longer be the fastest.
            chosen = best.rate
            break
        alive = [r.rate for r in ranked[: math.ceil(len(ranked) * where.search.keep)]]
        chosen = best.rate if best.error < math.inf else None
        if chosen is None:
            break
    done = not wanted
    return RateSearch(
        outcomes=tuple(_outcome(where, rate, results) for rate in grid),
        chosen=chosen if done else None,
        done=done,
        at_edge=done and chosen in (grid[0], grid[-1]),
        trials=tuple(cell.trial.id for rate in grid for cell in where.tuning(rate)),
        wanted=wanted,
    )


def _outcome(
    where: _Arm, rate: float, results: Mapping[str, Result], *, by: float = math.inf
) -> RateOutcome:
    """What the rate had shown `by` that epoch: a rung judges all rates at the same age."""
    cells = where.tuning(rate)
    found = [results[cell.trial.id] for cell in cells if cell.trial.id in results]
    if not found:
        return RateOutcome(
            rate=rate, status="not run", epochs=0.0, crossed=math.inf, error=math.nan
        )
    return RateOutcome(
        rate=rate,
        status=" and ".join(sorted({result.status for result in found})),
        epochs=max(result.epochs for result in found),
        crossed=median(_crossed(where.claim, result, by) for result in found),
        error=median(_error(where.claim, result, by) for result in found),
    )


def _crossed(claim: TrainedClaim, result: Result, by: float) -> float:
    if not isinstance(claim, TimeClaim):
        return math.inf
    crossing = result.crossing(claim.decided_by)
    known = by - lag(claim) + 1e-9
    return math.inf if crossing is None or crossing[1] > known else crossing[1]


def lag(claim: TimeClaim) -> float:
    """Epochs after which a crossing is known."""
    return LAG if (claim.decided_by, claim.crossing) == ("full", "median") else 0.0


def _error(claim: TrainedClaim, result: Result, by: float) -> float:
    if result.status == "diverged" and result.epochs <= by:
        return math.inf
    errors = result.epoch_errors if isinstance(claim, TimeClaim) else result.test_errors
    epochs = min(len(errors), math.floor(by) if by < math.inf else math.inf)
    error = errors[int(epochs) - 1] if epochs >= 1 else result.train_error
    return math.inf if math.isnan(error) else error  # nothing can be sorted by NaN


def _speed(outcome: RateOutcome) -> tuple[float, float]:
    """Sort key: the earlier crossing first, among those without one the lower error."""
    return outcome.crossed, outcome.error


def _extend(grid: tuple[float, ...], *, at: float | None) -> tuple[float, ...]:
    """The grid with one more rate beyond `at`, by the step between its last two on that side."""
    if len(grid) == 1:
        return (grid[0] / 3, *grid, grid[0] * 3)
    if at == grid[0]:
        return (_round(grid[0] ** 2 / grid[1]), *grid)
    return (*grid, _round(grid[-1] ** 2 / grid[-2]))


def _round(rate: float) -> float:
    """Two significant digits: a rate that a person would write, equal on every machine."""
    return float(f"{rate:.1e}")


def confirm_cells(
    claim: TrainedClaim, scale: str, recipe: str, arm: str, fingerprint: str, rate: float
) -> tuple[Cell, ...]:
    """The trials that measure the effect, at the chosen rate, on seeds that tuned nothing.

    Those of all looks, in the order of their seeds.
    """
    return _arm(_Itself(claim), scale, recipe, arm, fingerprint).confirming(rate)


def possible_cells(
    claim: TrainedClaim, scale: str, recipe: str, arm: str, fingerprint: str
) -> tuple[Cell, ...]:
    """The evaluation trials at every rate that the arm's search may choose, or the given one."""
    search, given = claim.scales[scale].search, rate_for(claim, scale, recipe, arm)
    rates = _possible_rates(search[recipe]) if given is None else (given,)
    where = _arm(_Itself(claim), scale, recipe, arm, fingerprint)
    return tuple(cell for rate in rates for cell in where.confirming(rate))


def _possible_rates(search: Search) -> tuple[float, ...]:
    """Those of the grid, extended on either side or not, and those about its inner ones."""
    given = search.rates
    grids = (given, *(_extend(given, at=edge) for edge in (given[0], given[-1])))
    rates = {rate for grid in grids for rate in grid}
    if search.refine is not None:
        rates |= {
            rate
            for grid in grids
            for best in grid[1:-1]
            for rate in _about(grid, best, search.refine)
        }
    return tuple(sorted(rates))


def next_cells(
    claim: TrainedClaim,
    scale: str,
    fingerprint: str,
    results: Mapping[str, Result],
    *,
    seeds: Mapping[str, int] | None = None,
) -> list[Cell]:
    """All that can run now, most valuable first; empty when the plan is done.

    `seeds`: how many evaluation seeds an arm are wanted, by recipe; those of the first look unless
    said otherwise, since only who has seen the results can say whether another look is needed.
    The recipe that decides comes first, and of all recipes the arms that decide before those that
    explain; an arm whose search is done does not wait for another; seed 0 before seed 1, so that
    what is finished early is paired.
    """
    deciding = arms_of(claim)
    first = claim.scales[scale].seeds[0]
    wanted = dict.fromkeys(claim.recipes, first) | dict(seeds or {})
    recipes = sorted(claim.recipes, key=lambda name: name != claim.verdict_recipe)
    cells: list[Cell] = []
    for recipe in recipes:
        tune: list[Cell] = []
        confirm: list[Cell] = []
        for arm in claim.arms:
            search = rate_search(claim, scale, recipe, arm, fingerprint, results)
            tune.extend(search.wanted)
            if search.chosen is not None:
                possible = confirm_cells(claim, scale, recipe, arm, fingerprint, search.chosen)
                confirm.extend(possible[: wanted[recipe]])
        confirm.sort(key=lambda cell: cell.trial.seed)
        cells.extend([*tune, *(cell for cell in confirm if not cell.done(results))])
    return merged(sorted(cells, key=lambda cell: cell.arm not in deciding))


def most_epochs_left(
    claim: TrainedClaim,
    scale: str,
    fingerprint: str,
    results: Mapping[str, Result],
    *,
    max_seeds: int | None = None,
) -> float:
    """Epochs still to be trained when no arm crosses early, no look settles it, no grid grows."""
    cells: list[Cell] = []
    later = 0.0
    for recipe in claim.recipes:
        for arm in claim.arms:
            search = rate_search(claim, scale, recipe, arm, fingerprint, results)
            cells += search.wanted
            rate = search.chosen
            if not search.done:
                halving = claim.scales[scale].search[recipe]
                if not search.refining:
                    later += _later_rungs(halving, now=search.wanted[0].until)
                    later += _refining(halving) * claim.scales[scale].epochs
                rate = halving.rates[0]  # whichever it will be, its trials are as many
            if rate is not None:
                found = confirm_cells(claim, scale, recipe, arm, fingerprint, rate)
                cells += [cell for cell in found[:max_seeds] if not cell.done(results)]
    known = {cell.trial.id: results.get(cell.trial.id) for cell in cells}
    begun = sum(result.epochs for result in known.values() if result is not None)
    return later + sum(cell.until for cell in merged(cells)) - begun


def _later_rungs(search: Search, *, now: float) -> float:
    """Epochs of all rungs above the present one."""
    alive, before, total = len(search.rates), 0.0, 0.0
    for rung in search.rungs:
        if rung > now:
            total += alive * search.seeds * (rung - before)
        alive, before = math.ceil(alive * search.keep), rung
    return total


def _refining(search: Search) -> int:
    """Trials that compare the best rate with those about it, at most; all as if they were new."""
    if search.refine is None or len(search.rates) == 1:
        return 0
    steps = [_steps(one, other, search.refine) for one, other in pairwise(search.rates)]
    return (1 + 2 * max(1, max(steps) - 1)) * search.seeds


def merged(cells: Iterable[Cell]) -> list[Cell]:
    """Those of several claims in the order to train them in, equal trials once.

    What decides one claim comes before what explains another, since time may run out. Of equal
    trials the first has the place, the longest `until` counts.
    """
    longest: dict[str, Cell] = {}
    for cell in sorted(cells, key=lambda cell: not cell.decides):
        known = longest.get(cell.trial.id)
        if known is None or cell.until > known.until:
            longest[cell.trial.id] = cell
    return list(longest.values())
