"""From stored results to estimates: which trials count, what is missing, how sure it is.

Computes, and decides nothing: rule.py says what an estimate means for the claim.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Protocol

import numpy as np
import numpy.typing as npt

from repro.claim import (
    DifferenceClaim,
    Region,
    TimeClaim,
    TrainedClaim,
    arms_of,
    images_for,
    is_paired,
    metric_of,
    model_for,
    rate_for,
    recipe_for,
    threshold_for,
)
from repro.claim.trainer import unused_note
from repro.planning import Cell, RateSearch, cells_of, lag, rate_search
from repro.stats import SHOWN, Estimate, look_levels, over_images
from repro.text import counted
from repro.trial import LAG, WINDOWS, Clocks, Result, Row, first_below
from repro.verdict.checks import (
    failed_checks,
    missing_metrics,
    undertrained,
    unsearched_metrics,
    unwritten_metrics,
)
from repro.verdict.crossing_lower_end import last_above, measured_lower
from repro.verdict.effects import DECIDING, Bits, Contrast, Outcome, contrasts
from repro.verdict.rate_sensitivity import (
    TuningOutcomes,
    near_best_rates,
    rate_caveats,
    with_rate_choice,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """An interim analysis: number `number` of `of`, at `seeds` seeds per arm.

    `level`: of the interval that decides; `both_sides`: likewise, where it may miss a narrow region
    on either side. `shown`: of the interval that is shown, the same for an analysis under the older
    rule.
    """

    number: int
    of: int
    seeds: int
    level: float
    both_sides: float = SHOWN
    shown: float = SHOWN


@dataclass(frozen=True, kw_only=True, slots=True)
class RecipeEvidence:
    """The evidence under one recipe. `planned` and `missing` count evaluation trials.

    `look`: the interim analysis that counts: the first that decides the claim, else the last with
    complete seeds; None before the first. `outcomes`: of all seeds; `contrasts`: at the look, or of
    all seeds before the first, the deciding one first; `bases`: the same at the level that decides.
    `seeds`: finished in all deciding arms, without a gap. `target_seeds`: needed per arm so far.
    `failed_checks`: a sentence for each failed sanity check of a deciding arm, which makes the
    verdict invalid. `doubtful`: all arms that failed a check. `undertrained`: a sentence if every
    deciding arm is, at a look; else it is among the `caveats`. `unwritten`: a sentence, also among
    them, if a command does not write what the claim decides by, or what its search compares
    (`unsearched`): nothing more is trained then.
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
    undertrained: str = ""
    unwritten: str = ""
    unsearched: str = ""
    look: Look | None = None
    bases: tuple[Contrast, ...] = ()
    seeds: int = 0
    target_seeds: int = 0

    @property
    def deciding(self) -> Contrast:
        return self.contrasts[0]

    @property
    def basis(self) -> Estimate | None:
        """The estimate of the deciding contrast at the level that decides."""
        return self.bases[0].estimate if self.bases else None

    @property
    def estimate(self) -> Estimate | None:
        """The estimate of the deciding contrast, as shown."""
        return self.deciding.estimate

    def doubts(self, contrast: Contrast) -> bool:
        return not self.doubtful.isdisjoint(contrast.arms)


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """The evidence for a claim at a scale. `provenance`: distinct values by key.

    `finished_before`: evaluation trials that were finished when the plan was registered; None if
    the record does not say.
    """

    scale: str
    recipes: Mapping[str, RecipeEvidence]
    clocks: Clocks
    provenance: Mapping[str, tuple[str, ...]]
    trials: tuple[str, ...]
    finished_before: int | None = 0


class Records(Protocol):
    """Curves and arrays of trials, as in a store; empty if they were not kept."""

    def rows(self, trial_id: str) -> Sequence[Row]:
        """The trial's curve."""

    def arrays(self, trial_id: str) -> Mapping[str, npt.NDArray[np.generic]]:
        """The trial's arrays."""


Settles = Callable[[TrainedClaim, RecipeEvidence], bool]


def analyse(
    claim: TrainedClaim,
    scale: str,
    fingerprint: str | None,
    results: Mapping[str, Result],
    *,
    settles: Settles = lambda _claim, _evidence: False,
    records: Records | None = None,
) -> Evidence:
    """The evidence for `claim` at `scale` on the data set of `fingerprint`.

    Uses only trials of the claim's plan. `fingerprint` None: nothing was planned, and the evidence
    is empty. `settles`: whether an interim analysis ends the run, by the rule of verdicts; later
    seeds, run for other claims, do not change it. `records`: curves, for lower ends of crossings,
    and arrays, for the images that a net classified correctly.
    """
    if fingerprint is None:
        results = {}
    trials_by_recipe = {
        recipe: _trials(claim, scale, recipe, fingerprint or "", results, records)
        for recipe in claim.recipes
    }
    used = {
        trial: results[trial] for trials in trials_by_recipe.values() for trial in trials.trial_ids
    }
    return Evidence(
        scale=scale,
        recipes={
            recipe: _recipe(claim, scale, recipe, trials, settles)
            for recipe, trials in trials_by_recipe.items()
        },
        clocks=sum((result.seconds for result in used.values()), Clocks()),
        provenance=_distinct(used.values()),
        trials=tuple(sorted(used)),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Trials:
    """The trials of a claim under one recipe: searches by arm, evaluation outcomes, all ids.

    `near_best`: by arm, the tuning outcomes of each rate that may be the best. `tuning`,
    `evaluation`: finished trials by arm.
    """

    rates: Mapping[str, RateSearch]
    near_best: Mapping[str, TuningOutcomes]
    outcomes: tuple[Outcome, ...]
    tuning: Mapping[str, list[Result]]
    evaluation: Mapping[str, list[Result]]

    @property
    def trial_ids(self) -> tuple[str, ...]:
        """Of all of them."""
        results = (*self.tuning.values(), *self.evaluation.values())
        return tuple(result.trial_id for of_arm in results for result in of_arm)

    def sample(self, look: Look | None) -> list[Outcome]:
        """The evaluation outcomes that count at an analysis; all before the first."""
        return [o for o in self.outcomes if look is None or o.seed < look.seeds]


def _trials(
    claim: TrainedClaim,
    scale: str,
    recipe: str,
    fingerprint: str,
    results: Mapping[str, Result],
    records: Records | None,
) -> _Trials:
    rates: dict[str, RateSearch] = {}
    near_best: dict[str, TuningOutcomes] = {}
    outcomes: list[Outcome] = []
    for arm in claim.arms:
        search = rate_search(claim, scale, recipe, arm, fingerprint, results)
        rates[arm] = search
        if search.chosen is None:
            continue
        near_best[arm] = {
            finalist.rate: [
                _outcome(claim, scale, arm, cell, results[cell.trial.id], records)
                for cell in finalist.cells
            ]
            for finalist in near_best_rates(claim, search)
        }
        for cell in cells_of(claim, scale, recipe, arm, fingerprint).confirming(search.chosen):
            result = cell.result(results)
            if result is not None:
                outcomes.append(_outcome(claim, scale, arm, cell, result, records))
    return _Trials(
        rates=rates,
        near_best=near_best,
        outcomes=tuple(outcomes),
        tuning={
            arm: [results[name] for name in search.trials if name in results]
            for arm, search in rates.items()
        },
        evaluation={
            arm: [results[one.trial_id] for one in outcomes if one.arm == arm] for arm in claim.arms
        },
    )


def _recipe(
    claim: TrainedClaim, scale: str, recipe: str, trials: _Trials, settles: Settles
) -> RecipeEvidence:
    """The evidence at the first analysis that decides the claim, else at the last complete one."""
    seeds, looks = _complete(claim, trials.outcomes), planned_looks(claim, scale)
    evidence, target_seeds = None, looks[0].seeds
    for look, after in zip(looks, (*looks[1:], looks[-1]), strict=True):
        if look.seeds > seeds:
            break
        evidence = _evidence_at(claim, scale, recipe, trials, look)
        if settles(claim, evidence):
            target_seeds = look.seeds
            break
        target_seeds = after.seeds
    if evidence is None:
        evidence = _evidence_at(claim, scale, recipe, trials, None)
    elif evidence.look is not None and evidence.look.shown != evidence.look.level:
        shown = _effects(claim, trials, evidence.look, evidence.look.shown)
        evidence = replace(evidence, contrasts=shown)
    return _with_counts(claim, scale, replace(evidence, seeds=seeds), target_seeds)


def _evidence_at(
    claim: TrainedClaim, scale: str, recipe: str, trials: _Trials, look: Look | None
) -> RecipeEvidence:
    """The evidence at an analysis; of all seeds before the first."""
    sample, deciding = trials.sample(look), arms_of(claim)
    effects = _effects(claim, trials, look, look.level if look else SHOWN)
    doubts = {arm: tuple(failed_checks(claim, scale, sample, arm)) for arm in claim.arms}
    notes = (sentence for arm in claim.arms if arm not in deciding for sentence in doubts[arm])
    poor = undertrained(claim, scale, sample)
    is_all = look is not None and poor.arms.issuperset(deciding)
    unsearched = unwritten = further = ""
    if claim.trainer is not None:
        decide = [one for one in effects if one.name in (DECIDING, *claim.conditions)]
        unsearched = unsearched_metrics(trials.tuning)
        unwritten, further = (
            unwritten_metrics(claim, scale, some, trials.tuning, trials.evaluation)
            for some in (decide, effects)
        )
    return RecipeEvidence(
        recipe=recipe,
        rates=trials.rates,
        outcomes=trials.outcomes,
        contrasts=effects,
        planned=0,
        missing=0,
        diverged=sum(outcome.status == "diverged" for outcome in trials.outcomes),
        caveats=(
            *notes,
            *([f"undertrained: {poor.sentence}"] if poor.arms and not is_all else ()),
            *missing_metrics(claim, scale, sample, effects),
            *(sentence for sentence in (unsearched, further) if sentence),
            *rate_caveats(claim, trials.rates, trials.near_best),
        ),
        failed_checks=tuple(sentence for arm in deciding for sentence in doubts[arm]),
        doubtful=frozenset(arm for arm, sentences in doubts.items() if sentences),
        undertrained=poor.sentence if is_all else "",
        unwritten=unwritten or unsearched,
        unsearched=unsearched,
        look=look,
        bases=_bases(claim, trials, look, effects) if look else (),
    )


def _effects(
    claim: TrainedClaim, trials: _Trials, look: Look | None, level: float
) -> tuple[Contrast, ...]:
    effects = contrasts(claim, trials.sample(look), level)
    return tuple(with_rate_choice(claim, effect, trials.near_best) for effect in effects)


def _bases(
    claim: TrainedClaim, trials: _Trials, look: Look, effects: tuple[Contrast, ...]
) -> tuple[Contrast, ...]:
    """The effects at the level that decides, which is another one for a narrow region."""
    regions = {DECIDING: claim.region, **claim.conditions}
    narrow = [
        effect.name in regions
        and is_narrow(regions[effect.name], effect.estimate, ratio=claim.no_effect == 1)
        for effect in effects
    ]
    wider = _effects(claim, trials, look, look.both_sides) if any(narrow) else effects
    return tuple(
        wide if is_wide else effect
        for effect, wide, is_wide in zip(effects, wider, narrow, strict=True)
    )


def is_narrow(region: Region, estimate: Estimate | None, *, ratio: bool) -> bool:
    """Whether the interval may well miss the region on either side, not on one alone.

    It may where the region is narrower than half the interval, on a log scale for a ratio: each
    side then has half the error.
    """
    if estimate is None or estimate.bound != "two-sided" or region.high is None:
        return False
    ends = np.array([region.low, region.high, estimate.low, estimate.high])
    if ratio:
        with np.errstate(divide="ignore"):
            ends = np.log(np.maximum(ends, 0))
    with np.errstate(invalid="ignore"):
        return bool(ends[1] - ends[0] < (ends[3] - ends[2]) / 2)


def planned_looks(claim: TrainedClaim, scale: str) -> tuple[Look, ...]:
    """All interim analyses of the claim at the scale, with their levels."""
    spec, rule = claim.scales[scale], claim.analysis
    error = rule.error / (1 + len(claim.conditions))  # each of them may err
    levels, both_sides = (
        look_levels(
            spec.seeds,
            paired=is_paired(claim),
            spending=rule.spending,
            error=part,
            taken=spec.taken,
        )
        for part in (error, error / 2)
    )
    return tuple(
        Look(
            number=number,
            of=len(levels),
            seeds=n,
            level=level,
            both_sides=wider,
            shown=level if number <= spec.taken else SHOWN,
        )
        for number, (n, level, wider) in enumerate(
            zip(spec.seeds, levels, both_sides, strict=True), 1
        )
    )


def _with_counts(
    claim: TrainedClaim, scale: str, evidence: RecipeEvidence, target_seeds: int
) -> RecipeEvidence:
    """Add the counts of planned and missing trials, and the caveats.

    Arms that differ only in their metric share trials, except those of a command.
    """

    def counts(arms: Collection[str]) -> tuple[int, int]:
        """Finished and planned trials of these arms."""
        done = {
            outcome.trial_id
            for outcome in evidence.outcomes
            if outcome.arm in arms and outcome.seed < target_seeds
        }
        nets = [
            (
                model_for(claim, scale, arm),
                recipe_for(claim, scale, evidence.recipe, arm),
                rate_for(claim, scale, evidence.recipe, arm),
                images_for(claim, scale, arm),
            )
            for arm in arms
        ]
        return len(done), target_seeds * sum(net not in nets[:at] for at, net in enumerate(nets))

    finished, planned = counts(claim.arms)
    deciding = arms_of(claim)
    explaining = {arm: counts([arm]) for arm in claim.arms if arm not in deciding}
    return replace(
        evidence,
        target_seeds=target_seeds,
        planned=planned,
        missing=planned - finished,
        caveats=(
            *_unfinished(*counts(deciding), explaining, evidence.look),
            *_caveats(claim, evidence),
            *evidence.caveats,
        ),
    )


def _complete(claim: TrainedClaim, outcomes: Iterable[Outcome]) -> int:
    """Seeds that all deciding arms have finished, counted from 0 to the first gap."""
    finished = {(outcome.arm, outcome.seed) for outcome in outcomes}
    return next(
        seed for seed in count() if any((arm, seed) not in finished for arm in arms_of(claim))
    )


def _outcome(
    claim: TrainedClaim, scale: str, arm: str, cell: Cell, result: Result, records: Records | None
) -> Outcome:
    lower, upper = math.nan, math.nan
    if isinstance(claim, TimeClaim):
        lower, upper = _times(claim, scale, cell, result, records)
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


def _needed_metrics(claim: TrainedClaim) -> set[str | None]:
    contrasts = [claim.contrast, *claim.also.values()] if isinstance(claim, DifferenceClaim) else []
    return {metric_of(claim, arm) for arm in claim.arms} | {one.metric for one in contrasts}


_RISE = "test_loss_rise"


def _metrics(claim: TrainedClaim, result: Result, records: Records | None) -> Mapping[str, float]:
    """With what the trial's curve says of its test loss, where the claim asks for it.

    It is read at the end of the result, above the least of any epoch before; NaN of a loss that
    is no number.
    """
    if records is None or _RISE not in _needed_metrics(claim):
        return result.metrics
    rows = records.rows(result.trial_id)  # of one that is trained further, beyond the result, too
    losses = [r.loss for r in rows if r.source == "test" and r.epoch <= result.epochs + 1e-9]
    return (
        {**result.metrics, _RISE: losses[-1] - float(np.min(losses))} if losses else result.metrics
    )


def _times(
    claim: TimeClaim, scale: str, cell: Cell, result: Result, records: Records | None
) -> tuple[float, float]:
    """(lower, upper] in epochs; another claim may have trained it beyond this one's budget."""
    budget = cell.until - lag(claim)
    if claim.decided_by is None:
        rows = () if records is None else records.rows(result.trial_id)  # a command's, at any time
        tests = [(row.epoch, row.error) for row in rows if row.source == "test"]
        crossing = first_below(
            tests or [*enumerate(result.test_errors, 1)], threshold_for(claim, scale)
        )
    else:
        crossing = result.crossing(claim.decided_by)
    if crossing is None or crossing[1] > budget + 1e-9:
        return budget, math.inf
    lower, upper = crossing
    # By the median: else the epoch before had too few full passes to have one.
    by_passes = claim.crossing == "median" and upper - lower < 1.5 / WINDOWS
    # A command says each of its full passes.
    is_exact = claim.decided_by != "full" or by_passes or claim.trainer is not None
    if is_exact or records is None or cell.trial.threshold is None:
        return crossing
    rows, threshold = records.rows(result.trial_id), cell.trial.threshold
    above = 0.0  # of the first pass below, the trial noted the tenth before, measured or not
    if claim.crossing == "median":
        above = max(lower, last_above(rows, threshold, upper - LAG))
    return above or measured_lower(rows, threshold, upper), upper


# The same nets, tested in two ways


_BITS = {"test_error": "right_centre", "test_error_ten_crop": "right_ten_crop"}


def _right(claim: TrainedClaim, result: Result, records: Records) -> dict[str, Bits]:
    """By metric, which test images the net classified correctly."""
    if _BITS.keys().isdisjoint(_needed_metrics(claim)):
        return {}
    arrays = records.arrays(result.trial_id)
    return {
        metric: _bits(arrays, name)
        for metric, name in _BITS.items()
        if name in arrays and "test_images" in arrays
    }


def _bits(arrays: Mapping[str, npt.NDArray[np.generic]], name: str) -> Bits:
    return Bits(packed=arrays[name].astype(np.uint8), images=int(arrays["test_images"]))


def nets_tested_twice(contrast: Contrast, evidence: RecipeEvidence) -> tuple[str, ...]:
    """The trials of a contrast that tests the same nets in two ways; empty for others."""
    points = len(contrast.arms) == 2 and contrast.unit == "points"
    if not points or any(metric not in _BITS for metric in contrast.metrics):
        return ()
    last = evidence.look.seeds if evidence.look else math.inf
    first, second = (
        {o.seed: o.trial_id for o in evidence.outcomes if o.arm == arm and o.seed < last}
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
    net_arrays = [arrays.get(trial, {}) for trial in nets]
    names = [_BITS[metric] for metric in contrast.metrics]
    if not net_arrays or any(
        name not in net for net in net_arrays for name in (*names, "test_images")
    ):
        return None
    right, other_right = (
        np.array([_bits(net, name).unpacked() for net in net_arrays]) for name in names
    )
    first, second = contrast.terms.values()
    return over_images(-100.0 * (first * right + second * other_right))


# Caveats


def _unfinished(
    finished: int, planned: int, explaining: Mapping[str, tuple[int, int]], look: Look | None
) -> Iterable[str]:
    """What is missing of the arms that decide, else of the others that were begun."""
    if finished < planned:
        if look:
            yield f"so far: {finished} of {planned} evaluation trials of the next analysis were run"
        elif finished:
            yield f"{finished} of {planned} planned evaluation trials were run"
        return
    for arm, (done, of) in explaining.items():
        if 0 < done < of:
            yield f"{arm}, which does not decide, has {done} of {of} seeds"


def _caveats(claim: TrainedClaim, evidence: RecipeEvidence) -> Iterable[str]:
    look, outcomes = evidence.look, evidence.outcomes
    excluded = [outcome for outcome in outcomes if look and outcome.seed >= look.seeds]
    if look and excluded:
        seeds = counted(len({outcome.seed for outcome in excluded}), "seed")
        arm, *others = {outcome.arm for outcome in excluded}
        whose = "" if others else f" of {arm}"
        yield f"{seeds}{whose} beyond the analysis at n = {look.seeds}: shown, not counted"
    estimate = evidence.estimate
    if estimate and estimate.seeds > 1 and estimate.low == -math.inf:
        cause = unused_note(claim, "seed") or "do the arms use their seeds, each in its own way?"
        same = "differences of the arms" if is_paired(claim) else "seeds of an arm"
        yield f"all {same} came out equal ({cause})"
    deciding = evidence.deciding if evidence.contrasts else None
    if look and deciding and deciding.sd is not None and 0 < deciding.sd < deciding.image_sd:
        yield (
            f"the scatter is that of single test images, {deciding.image_sd:.2g}, not the seeds', "
            f"{deciding.sd:.2g}"
        )
    by_seed = [*deciding.by_seed.values()] if deciding else []
    if len(by_seed) > 1 and {*by_seed} == {claim.no_effect}:
        yield "the arms gave the same numbers at every seed: is the factor under test in use?"
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
    values: dict[str, set[str]] = {}
    for result in results:
        for key, value in result.provenance.items():
            values.setdefault(key, set()).add(value)
    return {key: tuple(sorted(values)) for key, values in sorted(values.items())}
