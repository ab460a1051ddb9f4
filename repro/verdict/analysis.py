"""From stored results to estimates: which trials count, what is missing, how sure it is.

Computes, and decides nothing: what an estimate means for the claim is said in verdict.py.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Protocol

import numpy as np
import numpy.typing as npt

from repro.claim import (
    DifferenceClaim,
    TimeClaim,
    TrainedClaim,
    arms_of,
    images_for,
    is_paired,
    metric_of,
    model_for,
    rate_for,
    recipe_for,
)
from repro.plan import Cell, RateSearch, confirm_cells, lag, rate_search
from repro.stats import SHOWN, Estimate, look_levels, over_images
from repro.stats.estimate import Array
from repro.trial import Clocks, Result, Row
from repro.verdict.checks import failed_checks, undertrained, unmeasured
from repro.verdict.crossings import measured_lower
from repro.verdict.effects import Contrast, Outcome, contrasts

__all__ = [
    "Evidence",
    "Look",
    "RecipeEvidence",
    "Records",
    "analyse",
    "looked_at_twice",
    "planned_looks",
    "sampled_images",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """A look at the results: the `number`-th of `of`, at so many seeds an arm.

    `level`: of the interval that the word is read off; `shown`: of the one beside it, the same
    where the look was taken under the older rule.
    """

    number: int
    of: int
    seeds: int
    level: float
    shown: float = SHOWN


@dataclass(frozen=True, kw_only=True, slots=True)
class RecipeEvidence:
    """What is known under one recipe. `planned` and `missing` count evaluation trials.

    `outcomes`: of all seeds that were run; `contrasts`, the deciding one first, of those of the
    `look` that counts: the first that settles the claim, else the last whose seeds are complete;
    None before the first look, whose seeds so far are then shown. `bases`: the same
    at the look's level, which the word is read off. `seeds`: finished in all arms that decide,
    without a gap. `wanted`: seeds an arm that are asked for by now. `failed_checks`: checks of the
    measurement that failed, a sentence each: with one of them no number counts.
    `doubtful`: the arms that failed one, those that do not decide among them.
    """

    recipe: str
    rates: Mapping[str, RateSearch]
    outcomes: tuple[Outcome, ...]
    contrasts: tuple[Contrast, ...]
    planned: int
    missing: int
    diverged: int
    caveats: tuple[str, ...]
    failed_checks: tuple[str, ...] = ()
    doubtful: frozenset[str] = frozenset()
    look: Look | None = None
    bases: tuple[Contrast, ...] = ()
    seeds: int = 0
    wanted: int = 0

    @property
    def deciding(self) -> Contrast:
        """The contrast that the verdict is about."""
        return self.contrasts[0]

    @property
    def basis(self) -> Estimate | None:
        """The deciding contrast's at the level of the look, which the word is read off."""
        return self.bases[0].estimate if self.bases else None

    @property
    def estimate(self) -> Estimate | None:
        """The deciding contrast's."""
        return self.deciding.estimate

    def doubts(self, contrast: Contrast) -> bool:
        """Whether an arm of the contrast failed a check, so that its number says nothing."""
        return not self.doubtful.isdisjoint(contrast.arms)


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """All that the store knows of a claim at a scale. `provenance`: distinct values by key.

    `finished_before`: evaluation trials that there were when the plan was registered; None where
    that was not written down.
    """

    scale: str
    recipes: Mapping[str, RecipeEvidence]
    clocks: Clocks
    provenance: Mapping[str, tuple[str, ...]]
    trials: tuple[str, ...]
    finished_before: int | None = 0


class Records(Protocol):
    """What of a trial is not in its result, as a store has it; empty where it was not kept."""

    def rows(self, trial_id: str) -> Sequence[Row]:
        """The trial's curve."""

    def arrays(self, trial_id: str) -> Mapping[str, npt.NDArray[np.generic]]:
        """What its pictures need."""


Settles = Callable[[TrainedClaim, RecipeEvidence], bool]


def analyse(
    claim: TrainedClaim,
    scale: str,
    fingerprint: str | None,
    results: Mapping[str, Result],
    *,
    settles: Settles = lambda _claim, _found: False,
    records: Records | None = None,
) -> Evidence:
    """What `results` say of `claim` at `scale` on the data set of `fingerprint`.

    Trials that the claim's plan does not name are left out, whoever ran them. `fingerprint` None
    means that nothing was ever planned: the evidence is then empty. `settles`: whether a look ends
    the run, which the rule of verdicts knows; seeds beyond that look, which other claims may have
    asked for, cannot undo it. `records`: of the trials, for what their results do not say: since
    when a full error can have been below the threshold, and which images a net had right.
    """
    if fingerprint is None:
        results = {}
    found = {
        recipe: _trials(claim, scale, recipe, fingerprint or "", results, records)
        for recipe in claim.recipes
    }
    used = {trial: results[trial] for trials in found.values() for trial in trials.used}
    return Evidence(
        scale=scale,
        recipes={
            recipe: _recipe(claim, scale, recipe, trials, settles)
            for recipe, trials in found.items()
        },
        clocks=sum((result.seconds for result in used.values()), Clocks()),
        provenance=_distinct(used.values()),
        trials=tuple(sorted(used)),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Trials:
    """What was run of a claim under one recipe: searches by arm, confirming outcomes, all names."""

    rates: Mapping[str, RateSearch]
    outcomes: tuple[Outcome, ...]
    used: tuple[str, ...]


def _trials(
    claim: TrainedClaim,
    scale: str,
    recipe: str,
    fingerprint: str,
    results: Mapping[str, Result],
    records: Records | None,
) -> _Trials:
    rates: dict[str, RateSearch] = {}
    outcomes: list[Outcome] = []
    for arm in claim.arms:
        search = rate_search(claim, scale, recipe, arm, fingerprint, results)
        rates[arm] = search
        if search.chosen is None:
            continue
        for cell in confirm_cells(claim, scale, recipe, arm, fingerprint, search.chosen):
            result = cell.result(results)
            if result is not None:
                outcomes.append(_outcome(claim, arm, cell, result, records))
    tuned = [name for search in rates.values() for name in search.trials if name in results]
    confirmed = [outcome.trial_id for outcome in outcomes]
    return _Trials(rates=rates, outcomes=tuple(outcomes), used=(*tuned, *confirmed))


def _recipe(
    claim: TrainedClaim, scale: str, recipe: str, trials: _Trials, settles: Settles
) -> RecipeEvidence:
    """The evidence at the first look that settles the claim, or else at the last complete one."""
    outcomes = trials.outcomes
    seeds = _complete(claim, outcomes)
    looks, deciding = planned_looks(claim, scale), arms_of(claim)

    def counted_at(look: Look | None) -> list[Outcome]:
        return [o for o in outcomes if look is None or o.seed < look.seeds]

    def at(look: Look | None) -> RecipeEvidence:
        counted = counted_at(look)
        effects = contrasts(claim, counted, look.level if look else SHOWN)
        doubts = {arm: tuple(failed_checks(claim, scale, counted, arm)) for arm in claim.arms}
        return RecipeEvidence(
            recipe=recipe,
            rates=trials.rates,
            outcomes=outcomes,
            contrasts=effects,
            planned=0,
            missing=0,
            diverged=sum(outcome.status == "diverged" for outcome in outcomes),
            caveats=(
                *(said for arm in claim.arms if arm not in deciding for said in doubts[arm]),
                *undertrained(claim, scale, counted),
                *unmeasured(claim, scale, counted, effects),
            ),
            failed_checks=tuple(said for arm in deciding for said in doubts[arm]),
            doubtful=frozenset(arm for arm, said in doubts.items() if said),
            look=look,
            bases=effects if look else (),
            seeds=seeds,
        )

    found, wanted = None, looks[0].seeds
    for look, after in zip(looks, (*looks[1:], looks[-1]), strict=True):
        if look.seeds > seeds:
            break
        found = at(look)
        if settles(claim, found):
            wanted = look.seeds
            break
        wanted = after.seeds
    if found is None:
        return _asked(claim, scale, at(None), wanted)
    if found.look is not None and found.look.shown != found.look.level:
        effects = contrasts(claim, counted_at(found.look), found.look.shown)
        found = replace(found, contrasts=effects)
    return _asked(claim, scale, found, wanted)


def planned_looks(claim: TrainedClaim, scale: str) -> tuple[Look, ...]:
    """All looks of the claim at the scale, each with its levels."""
    at, rule = claim.scales[scale], claim.analysis
    levels = look_levels(
        at.seeds,
        paired=is_paired(claim),
        spending=rule.spending,
        error=rule.error / (1 + len(claim.conditions)),  # each of them may err
        taken=at.taken,
    )
    return tuple(
        Look(
            number=number,
            of=len(levels),
            seeds=n,
            level=level,
            shown=level if number <= at.taken else SHOWN,
        )
        for number, (n, level) in enumerate(zip(at.seeds, levels, strict=True), 1)
    )


def _asked(claim: TrainedClaim, scale: str, found: RecipeEvidence, wanted: int) -> RecipeEvidence:
    """With the count of the trials of so many seeds, and what a reader has to know.

    Arms that differ in what is read alone share their trials, but for those of a command.
    """
    ran = len({outcome.trial_id for outcome in found.outcomes if outcome.seed < wanted})
    nets = [
        (
            model_for(claim, scale, arm),
            recipe_for(claim, scale, found.recipe, arm),
            rate_for(claim, scale, found.recipe, arm),
            images_for(claim, scale, arm),
        )
        for arm in claim.arms
    ]
    asked = wanted * sum(net not in nets[:place] for place, net in enumerate(nets))
    return replace(
        found,
        wanted=wanted,
        planned=asked,
        missing=asked - ran,
        caveats=(*_caveats(claim, ran, asked, found), *found.caveats),
    )


def _complete(claim: TrainedClaim, outcomes: Iterable[Outcome]) -> int:
    """Seeds that all deciding arms have finished, counted from 0 to the first gap."""
    ended = {(outcome.arm, outcome.seed) for outcome in outcomes}
    return next(seed for seed in count() if any((arm, seed) not in ended for arm in arms_of(claim)))


def _outcome(
    claim: TrainedClaim, arm: str, cell: Cell, result: Result, records: Records | None
) -> Outcome:
    lower, upper = math.nan, math.nan
    if isinstance(claim, TimeClaim):
        lower, upper = _times(claim, cell, result, records)
    return Outcome(
        arm=arm,
        seed=cell.trial.seed,
        lower=lower,
        upper=upper,
        trial_id=result.trial_id,
        status=result.status,
        epochs=result.epochs,
        metrics=_metrics(claim, result, records),
        right={} if records is None else _right(claim, result, records),
    )


def _asked_metrics(claim: TrainedClaim) -> set[str | None]:
    """All that a contrast may read."""
    contrasts = [claim.contrast, *claim.also.values()] if isinstance(claim, DifferenceClaim) else []
    return {metric_of(claim, arm) for arm in claim.arms} | {one.metric for one in contrasts}


_RISE = "test_loss_rise"


def _metrics(claim: TrainedClaim, result: Result, records: Records | None) -> Mapping[str, float]:
    """With what the trial's curve says of its test loss, where the claim asks for it.

    It is read at the end of the result, above the least of any epoch before; NaN of a loss that
    is no number.
    """
    if records is None or _RISE not in _asked_metrics(claim):
        return result.metrics
    rows = records.rows(result.trial_id)  # of one that is trained further, beyond the result, too
    losses = [r.loss for r in rows if r.source == "test" and r.epoch <= result.epochs + 1e-9]
    return (
        {**result.metrics, _RISE: losses[-1] - float(np.min(losses))} if losses else result.metrics
    )


def _times(
    claim: TimeClaim, cell: Cell, result: Result, records: Records | None
) -> tuple[float, float]:
    """(lower, upper] in epochs; another claim may have trained it beyond this one's budget."""
    seen, budget = result.crossing(claim.decided_by), cell.until - lag(claim)
    if seen is None or seen[1] > budget + 1e-9:
        return budget, math.inf
    measured = claim.decided_by == "online" or (claim.crossing == "median" and seen[0] > 0)
    measured = measured or claim.trainer is not None  # a command says each of its full passes
    if measured or records is None or cell.trial.threshold is None:
        return seen
    return measured_lower(records.rows(result.trial_id), cell.trial.threshold, seen[1]), seen[1]


# The same nets, looked at twice


_BITS = {"test_error": "right_centre", "test_error_ten_crop": "right_ten_crop"}


def _right(claim: TrainedClaim, result: Result, records: Records) -> dict[str, Array]:
    """By metric, 1 for each test image that the net had right and 0 for the others, (N,)."""
    if _BITS.keys().isdisjoint(_asked_metrics(claim)):
        return {}
    kept = records.arrays(result.trial_id)
    return {
        metric: _unpacked(kept[name], kept["test_images"])
        for metric, name in _BITS.items()
        if name in kept and "test_images" in kept
    }


def _unpacked(bits: npt.NDArray[np.generic], images: npt.NDArray[np.generic]) -> Array:
    return np.unpackbits(bits.astype(np.uint8), count=int(images)).astype(float)


def looked_at_twice(contrast: Contrast, found: RecipeEvidence) -> tuple[str, ...]:
    """The trials of a contrast that reads the same nets twice, image by image; else nothing."""
    points = len(contrast.arms) == 2 and contrast.unit == "points"
    if not points or any(metric not in _BITS for metric in contrast.metrics):
        return ()
    last = found.look.seeds if found.look else math.inf
    first, second = (
        {o.seed: o.trial_id for o in found.outcomes if o.arm == arm and o.seed < last}
        for arm in contrast.arms
    )
    return tuple(first.values()) if first == second else ()


def sampled_images(
    contrast: Contrast,
    nets: Sequence[str],
    arrays: Mapping[str, Mapping[str, npt.NDArray[np.generic]]],
) -> Estimate | None:
    """How far the contrast of these nets depends on the test images, in its unit.

    `arrays`: of each trial, by name. None where the outcomes by image were not kept.
    """
    kept = [arrays.get(trial, {}) for trial in nets]
    names = [_BITS[metric] for metric in contrast.metrics]
    if not kept or any(name not in one for one in kept for name in (*names, "test_images")):
        return None
    right, right_too = (
        np.array([_unpacked(one[name], one["test_images"]) for one in kept]) for name in names
    )
    first, second = contrast.terms.values()
    return over_images(-100.0 * (first * right + second * right_too))


# What a reader has to know beside the number


def _caveats(claim: TrainedClaim, ran: int, asked: int, found: RecipeEvidence) -> Iterable[str]:
    look, outcomes = found.look, found.outcomes
    if 0 < ran < asked:
        yield f"{ran} of {asked} planned evaluation trials were run"
    beyond = {outcome.seed for outcome in outcomes if look and outcome.seed >= look.seeds}
    if look and beyond:
        some = "1 seed" if len(beyond) == 1 else f"{len(beyond)} seeds"
        yield f"{some} beyond the analysis at n = {look.seeds}: shown, not counted"
    estimate = found.estimate
    if estimate and estimate.seeds > 1 and estimate.low == -math.inf:
        yield "all seeds of an arm, or all differences, came out equal: no scatter, no interval"
    for arm in claim.arms:
        of_arm = [outcome for outcome in outcomes if outcome.arm == arm]
        open_ended = sum(math.isinf(outcome.upper) for outcome in of_arm)
        if open_ended:
            yield (
                f"{open_ended} of {len(of_arm)} {arm} trials did not cross the threshold and "
                "count as censored"
            )
        early = sum(outcome.lower == 0 for outcome in of_arm)
        if early:
            yield (
                f"{early} of {len(of_arm)} {arm} trials crossed before anything was measured: how "
                "early is not known, and the CI has no bound on that side"
            )
        diverged = sum(outcome.status == "diverged" for outcome in of_arm)
        if diverged:
            yield f"{diverged} of {len(of_arm)} {arm} trials diverged"


def _distinct(results: Iterable[Result]) -> dict[str, tuple[str, ...]]:
    found: dict[str, set[str]] = {}
    for result in results:
        for key, value in result.provenance.items():
            found.setdefault(key, set()).add(value)
    return {key: tuple(sorted(values)) for key, values in sorted(found.items())}
