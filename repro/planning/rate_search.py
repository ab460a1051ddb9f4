"""The search for an arm's learning rate, on tuning seeds.

Successive halving (Jamieson and Talwalkar 2016): all arms have the same grid and the same budgets.
The criterion is the earliest crossing for a claim about times, else the lowest test error. The best
rate and those about it are then trained to the end and compared once more.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from repro.claim import Search, TimeClaim, TrainedClaim, rate_for, threshold_for
from repro.planning.cells import ArmCells, Cell, cells_of
from repro.trial import LAG, Result, first_below


@dataclass(frozen=True, kw_only=True, slots=True)
class RateOutcome:
    """The results of a rate on the tuning seeds: median epoch of crossing, median error."""

    rate: float
    status: str
    epochs: float
    crossed: float  # epochs; infinite if it has not crossed
    error: float  # training error where it is what is timed, else test error; infinite if diverged


@dataclass(frozen=True, kw_only=True, slots=True)
class Finalist:
    """A rate that was trained to the end on all tuning seeds, and what it is chosen by there.

    `criterion`: by tuning seed, epochs to the crossing, those of the scale if it has not crossed;
    else the test error, 1 if it diverged.
    """

    rate: float
    cells: tuple[Cell, ...]
    criterion: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class RateSearch:
    """The search of one arm: `chosen` is None while it runs, and if no rate has an error.

    Then every rate diverged, or a command wrote no error.

    `pending`: the trials that it needs next. `refining`: it compares the rates about the best.
    `finalists`: these rates, when all are trained.
    """

    outcomes: tuple[RateOutcome, ...]
    chosen: float | None
    done: bool
    at_edge: bool
    trials: tuple[str, ...]  # of all rates and tuning seeds, whether run or not
    pending: tuple[Cell, ...] = ()
    refining: bool = False
    finalists: tuple[Finalist, ...] = ()


def rate_search(
    claim: TrainedClaim,
    scale: str,
    recipe: str,
    arm: str,
    fingerprint: str,
    results: Mapping[str, Result],
) -> RateSearch:
    """The state of the arm's search.

    A best rate at the edge of the grid extends the grid once, by its last step on that side.
    """
    rate = rate_for(claim, scale, recipe, arm)
    if rate is not None:
        return RateSearch(outcomes=(), chosen=rate, done=True, at_edge=False, trials=())
    arm_cells = cells_of(claim, scale, recipe, arm, fingerprint)
    grid = arm_cells.search.rates
    first = _search(arm_cells, grid, results)
    if not first.at_edge:
        return first
    return _search(arm_cells, _extend(grid, at=first.chosen), results)


def _search(
    arm_cells: ArmCells, grid: tuple[float, ...], results: Mapping[str, Result]
) -> RateSearch:
    """Search over `grid`, then about its best rate, unless that is at the edge."""
    coarse = _halve(arm_cells, grid, results)
    factor = arm_cells.search.refine
    if factor is None or coarse.chosen is None or coarse.at_edge:
        return coarse
    return _refine(arm_cells, grid, _rates_about(grid, coarse.chosen, factor), results)


def _rates_about(grid: tuple[float, ...], best: float, factor: float) -> tuple[float, ...]:
    """The best rate, and rates up to its neighbours in equal steps of at most `factor`.

    Includes a neighbour only if it is within one step.
    """
    place = grid.index(best)
    rates = {best}
    for neighbour in (grid[place - 1], grid[place + 1]):
        steps = _steps(best, neighbour, factor)
        ratio = (neighbour / best) ** (1 / steps)
        rates |= {_round(best * ratio**step) for step in range(1, steps)} or {neighbour}
    return tuple(sorted(rates))


def _steps(a: float, b: float, factor: float) -> int:
    return math.ceil(abs(math.log(b / a)) / math.log(factor) - 1e-6)


def _refine(
    arm_cells: ArmCells,
    grid: tuple[float, ...],
    rates: tuple[float, ...],
    results: Mapping[str, Result],
) -> RateSearch:
    until = arm_cells.spec.epochs
    cells = [cell for rate in rates for cell in arm_cells.tuning(rate, until)]
    pending = tuple(cell for cell in cells if not cell.done(results))
    everything = tuple(sorted({*grid, *rates}))
    outcomes = [_outcome(arm_cells, rate, results, by=until) for rate in rates]
    best = min(outcomes, key=_speed) if not pending else None
    chosen = best.rate if best and min(best.crossed, best.error) < math.inf else None
    return RateSearch(
        outcomes=tuple(_outcome(arm_cells, rate, results) for rate in everything),
        chosen=chosen,
        done=not pending,
        at_edge=chosen in (grid[0], grid[-1]),
        trials=tuple(cell.trial.id for rate in everything for cell in arm_cells.tuning(rate)),
        pending=pending,
        refining=True,
        finalists=() if pending else tuple(_finalist(arm_cells, rate, results) for rate in rates),
    )


def _finalist(arm_cells: ArmCells, rate: float, results: Mapping[str, Result]) -> Finalist:
    claim, until = arm_cells.claim, arm_cells.spec.epochs
    cells = arm_cells.tuning(rate, until)
    trials = [results[cell.trial.id] for cell in cells]
    if isinstance(claim, TimeClaim):
        criterion = [min(_crossing_epoch(arm_cells, trial, until), until) for trial in trials]
    else:
        criterion = [min(_error(claim, trial, until), 1.0) for trial in trials]
    return Finalist(rate=rate, cells=cells, criterion=tuple(criterion))


def _halve(
    arm_cells: ArmCells, grid: tuple[float, ...], results: Mapping[str, Result]
) -> RateSearch:
    """Successive halving over `grid`, as far as there are results."""
    rates = list(grid)
    chosen: float | None = None
    pending: tuple[Cell, ...] = ()
    for rung in arm_cells.search.rungs:
        cells = [cell for rate in rates for cell in arm_cells.tuning(rate, rung)]
        pending = tuple(cell for cell in cells if not cell.done(results))
        if pending:
            break
        ranked = sorted((_outcome(arm_cells, rate, results, by=rung) for rate in rates), key=_speed)
        best = ranked[0]
        if best.crossed < math.inf:
            # A rate that has not crossed by this rung cannot be the fastest.
            chosen = best.rate
            break
        rates = [r.rate for r in ranked[: math.ceil(len(ranked) * arm_cells.search.keep)]]
        chosen = best.rate if best.error < math.inf else None
        if chosen is None:
            break
    done = not pending
    return RateSearch(
        outcomes=tuple(_outcome(arm_cells, rate, results) for rate in grid),
        chosen=chosen if done else None,
        done=done,
        at_edge=done and chosen in (grid[0], grid[-1]),
        trials=tuple(cell.trial.id for rate in grid for cell in arm_cells.tuning(rate)),
        pending=pending,
    )


def _outcome(
    arm_cells: ArmCells, rate: float, results: Mapping[str, Result], *, by: float = math.inf
) -> RateOutcome:
    """The outcome of a rate `by` that epoch: a rung compares all rates at the same epoch."""
    cells = arm_cells.tuning(rate)
    known_results = [results[cell.trial.id] for cell in cells if cell.trial.id in results]
    if not known_results:
        return RateOutcome(
            rate=rate, status="not run", epochs=0.0, crossed=math.inf, error=math.nan
        )
    return RateOutcome(
        rate=rate,
        status=" and ".join(sorted({result.status for result in known_results})),
        epochs=max(result.epochs for result in known_results),
        crossed=median(_crossing_epoch(arm_cells, result, by) for result in known_results),
        error=median(_error(arm_cells.claim, result, by) for result in known_results),
    )


def _crossing_epoch(arm_cells: ArmCells, result: Result, by: float) -> float:
    claim, scale = arm_cells.claim, arm_cells.scale
    if not isinstance(claim, TimeClaim):
        return math.inf
    if claim.decided_by is None:
        crossing = first_below(enumerate(result.test_errors, 1), threshold_for(claim, scale))
    else:
        crossing = result.crossing(claim.decided_by)
    latest = by - lag(claim) + 1e-9
    return math.inf if crossing is None or crossing[1] > latest else crossing[1]


def lag(claim: TimeClaim) -> float:
    """Epochs after which a crossing is known."""
    return LAG if (claim.decided_by, claim.crossing) == ("full", "median") else 0.0


def _error(claim: TrainedClaim, result: Result, by: float) -> float:
    if result.status == "diverged" and result.epochs <= by:
        return math.inf
    by_training = isinstance(claim, TimeClaim) and claim.metric == "train_error"
    tests = () if by_training else result.test_errors
    for errors in (tests, result.epoch_errors):  # a command may not have tested by then
        epochs = min(len(errors), math.floor(by) if by < math.inf else math.inf)
        if epochs >= 1 and not math.isnan(error := errors[int(epochs) - 1]):
            return error
    # NaN cannot be sorted.
    return math.inf if math.isnan(result.train_error) else result.train_error


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
    """Two significant digits: readable, and equal on every machine."""
    return float(f"{rate:.1e}")


def possible_rates(search: Search) -> tuple[float, ...]:
    """All rates that a search may choose: of the grid, beside it, and between its rates."""
    coarse = search.rates
    grids = (coarse, *(_extend(coarse, at=edge) for edge in (coarse[0], coarse[-1])))
    rates = {rate for grid in grids for rate in grid}
    if search.refine is not None:
        rates |= {
            rate
            for grid in grids
            for best in grid[1:-1]
            for rate in _rates_about(grid, best, search.refine)
        }
    return tuple(sorted(rates))


def epochs_of_later_rungs(search: Search, *, now: float) -> float:
    count, before, total = len(search.rates), 0.0, 0.0
    for rung in search.rungs:
        if rung > now:
            total += count * search.seeds * (rung - before)
        count, before = math.ceil(count * search.keep), rung
    return total


def trials_of_refinement(search: Search) -> int:
    """Upper bound of the trials that compare the best rate with those about it."""
    if search.refine is None or len(search.rates) == 1:
        return 0
    steps = [_steps(a, b, search.refine) for a, b in pairwise(search.rates)]
    return (1 + 2 * max(1, max(steps) - 1)) * search.seeds
