"""From stored results to an estimate: which trials count, what is missing, how sure it is.

Computes, and decides nothing: what the estimate means for the claim is said in verdict.py.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from repro.claim import Claim
from repro.errors import StatisticsError
from repro.plan import RateSearch, confirm_cells, rate_search
from repro.stats import Estimate, Times, ratio_of_times
from repro.store import Store
from repro.trial import Clocks, Result

__all__ = ["Crossing", "Evidence", "RecipeEvidence", "analyse"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Crossing:
    """When a confirming trial crossed, (lower, upper] in epochs; upper infinite when it did not.

    A diverged trial never crosses: it counts as censored at the budget, since no further training
    could bring it there.
    """

    arm: str
    seed: int
    lower: float
    upper: float
    trial_id: str
    status: str
    epochs: float


@dataclass(frozen=True, kw_only=True, slots=True)
class RecipeEvidence:
    """What is known under one recipe. `planned` and `missing` count confirming trials.

    `log_sd` is the larger arm's standard deviation of log crossing times, None under two seeds.
    """

    recipe: str
    rates: Mapping[str, RateSearch]
    crossings: tuple[Crossing, ...]
    estimate: Estimate | None
    planned: int
    missing: int
    diverged: int
    log_sd: float | None
    caveats: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """All that the store knows of a claim at a scale. `provenance`: distinct values by key."""

    claim: Claim
    scale: str
    recipes: Mapping[str, RecipeEvidence]
    clocks: Clocks
    provenance: Mapping[str, tuple[str, ...]]
    trials: tuple[str, ...]


def analyse(claim: Claim, scale: str, fingerprint: str | None, store: Store) -> Evidence:
    """What `store` says of `claim` at `scale` on the data set of `fingerprint`.

    Trials that the claim's plan does not name are left out, whoever ran them. `fingerprint` None
    means that nothing was ever planned: the evidence is then empty.
    """
    results = store.results() if fingerprint is not None else {}
    used: dict[str, Result] = {}
    recipes = {
        recipe: _recipe(claim, scale, recipe, fingerprint or "", results, used)
        for recipe in claim.recipes
    }
    return Evidence(
        claim=claim,
        scale=scale,
        recipes=recipes,
        clocks=sum((result.seconds for result in used.values()), Clocks()),
        provenance=_distinct(used.values()),
        trials=tuple(sorted(used)),
    )


def _recipe(
    claim: Claim,
    scale: str,
    recipe: str,
    fingerprint: str,
    results: Mapping[str, Result],
    used: dict[str, Result],
) -> RecipeEvidence:
    rates: dict[str, RateSearch] = {}
    crossings: list[Crossing] = []
    planned = claim.scales[scale].seeds * len(claim.arms)
    for arm in claim.arms:
        search = rate_search(claim, scale, recipe, arm, fingerprint, results)
        rates[arm] = search
        used |= {i: results[i] for i in search.trials if i in results}
        if search.chosen is None:
            continue
        for cell in confirm_cells(claim, scale, recipe, arm, fingerprint, search.chosen):
            if cell.done(results):
                result = results[cell.trial.id]
                used[cell.trial.id] = result
                crossings.append(_crossing(claim, arm, cell.trial.seed, cell.until, result))
    return RecipeEvidence(
        recipe=recipe,
        rates=rates,
        crossings=tuple(crossings),
        estimate=_estimate(claim, crossings),
        planned=planned,
        missing=planned - len(crossings),
        diverged=sum(crossing.status == "diverged" for crossing in crossings),
        log_sd=_log_sd(claim, crossings),
        caveats=tuple(_caveats(claim, planned, crossings)),
    )


def _crossing(claim: Claim, arm: str, seed: int, budget: float, result: Result) -> Crossing:
    seen = result.crossing_full if claim.decided_by == "full" else result.crossing_online
    lower, upper = seen if seen is not None else (budget, math.inf)
    return Crossing(
        arm=arm,
        seed=seed,
        lower=lower,
        upper=upper,
        trial_id=result.trial_id,
        status=result.status,
        epochs=result.epochs,
    )


def _times(crossings: Iterable[Crossing], arm: str) -> Times:
    of_arm = [crossing for crossing in crossings if crossing.arm == arm]
    return Times(
        lower=np.array([crossing.lower for crossing in of_arm]),
        upper=np.array([crossing.upper for crossing in of_arm]),
    )


def _estimate(claim: Claim, crossings: list[Crossing]) -> Estimate | None:
    slow, fast = (_times(crossings, arm) for arm in (claim.contrast.slow, claim.contrast.fast))
    try:
        return ratio_of_times(slow, fast)
    except StatisticsError:
        return None


def _log_sd(claim: Claim, crossings: list[Crossing]) -> float | None:
    spreads = []
    for arm in claim.arms:
        upper = _times(crossings, arm).upper
        seen = upper[np.isfinite(upper)]
        if len(seen) > 1:
            spreads.append(float(np.log(seen).std(ddof=1)))
    return max(spreads) if spreads else None


def _caveats(claim: Claim, planned: int, crossings: list[Crossing]) -> Iterable[str]:
    if 0 < len(crossings) < planned:
        yield f"{len(crossings)} of {planned} planned confirming trials were run"
    for arm in claim.arms:
        of_arm = [crossing for crossing in crossings if crossing.arm == arm]
        open_ended = sum(math.isinf(crossing.upper) for crossing in of_arm)
        if open_ended:
            yield (
                f"{open_ended} of {len(of_arm)} {arm} trials did not cross the threshold and "
                "count as censored"
            )
        diverged = sum(crossing.status == "diverged" for crossing in of_arm)
        if diverged:
            yield f"{diverged} of these diverged"


def _distinct(results: Iterable[Result]) -> dict[str, tuple[str, ...]]:
    found: dict[str, set[str]] = {}
    for result in results:
        for key, value in result.provenance.items():
            found.setdefault(key, set()).add(value)
    return {key: tuple(sorted(values)) for key, values in sorted(found.items())}
