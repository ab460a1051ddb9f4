"""Sanity checks of a measurement, set in the claim file: medians over seeds.

A failed check of a deciding arm makes the verdict invalid; of another arm it is a note. The verdict
is undertrained where every deciding arm is; where only some arms are, it is a note.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import median
from typing import NamedTuple

from repro.claim import Checks, TimeClaim, TrainedClaim, arms_of
from repro.registry import DATASETS, DatasetFacts
from repro.trial import Result
from repro.verdict.effects import Contrast, Outcome

_SHOWN = 200  # characters of a list of names


def failed_checks(
    claim: TrainedClaim, scale: str, outcomes: Iterable[Outcome], arm: str
) -> Iterator[str]:
    """A sentence for each failed check of the arm's finished trials.

    Checks of the chance level need a known number of classes.
    """
    spec = claim.scales[scale]
    of_arm = _finished_outcomes(outcomes, arm)
    if spec.checks.equal_length and not isinstance(claim, TimeClaim):
        yield from _length(of_arm, arm, spec.epochs)
    facts = DATASETS.get(spec.data)
    if facts is not None:
        yield from _chance(of_arm, arm, facts, spec.checks)
        yield from _initial_loss(of_arm, arm, facts, spec.checks)


class Undertrained(NamedTuple):
    """The arms with a median test error above the floor of the scale, and a sentence about them."""

    arms: frozenset[str] = frozenset()
    sentence: str = ""


def undertrained(claim: TrainedClaim, scale: str, outcomes: Sequence[Outcome]) -> Undertrained:
    """Which arms learned too little: by default, less than half as much as the best that decides.

    None of times: they are of how fast nets learn, and a net that never gets there is censored.
    """
    spec, facts = claim.scales[scale], DATASETS.get(claim.scales[scale].data)
    errors = {arm: _median(_finished_outcomes(outcomes, arm), "test_error") for arm in claim.arms}
    measured = {arm: error for arm, error in errors.items() if not math.isnan(error)}
    best = min((measured[arm] for arm in arms_of(claim) if arm in measured), default=math.nan)
    chance = math.nan if facts is None else _chance_error(facts)
    floor = (chance + best) / 2 if spec.checks.floor is None else spec.checks.floor
    if isinstance(claim, TimeClaim) or math.isnan(floor):
        return Undertrained()
    reported = chance if spec.checks.above_chance else math.nan  # from there on by another check
    poor = {
        arm: error for arm, error in measured.items() if floor < error and not error >= reported
    }
    listed = ", ".join(f"{arm} {100 * error:.1f} %" for arm, error in poor.items())
    sentence = f"early learning only (median test error: {listed}; floor {100 * floor:.1f} %)"
    return Undertrained(frozenset(poor), sentence if poor else "")


def missing_metrics(
    claim: TrainedClaim, scale: str, outcomes: Sequence[Outcome], effects: Iterable[Contrast]
) -> Iterator[str]:
    """How many finished trials lack a metric of an effect, and the command that measures it.

    Such trials were trained before the code had the metric, or without the package that
    measures it. Of a command see `unwritten_metrics`.
    """
    if claim.trainer is not None:
        return
    needed = [pair for effect in effects for pair in zip(effect.arms, effect.metrics, strict=False)]
    for arm, metric in dict.fromkeys(needed):
        trials = _finished_outcomes(outcomes, arm)
        lacking = sum(metric not in outcome.metrics for outcome in trials)
        if lacking:
            yield (
                f"{lacking} of {len(trials)} finished {arm} trials have no {metric}, and are not "
                "trained again for it: where it can be measured by now, "
                f"`repro run {claim.id} --scale {scale} --store NEW` trains them into another "
                "store, from which `repro merge` takes it"
            )


# What a search compares, the first of them that a command writes; and what a metric follows from.
_COMPARED = ("test_error", "train_error", "online_error")
_SOURCES = {"test_loss_rise": "test_loss"}


def unwritten_metrics(
    claim: TrainedClaim,
    scale: str,
    effects: Iterable[Contrast],
    tuning: Mapping[str, Sequence[Result]],
    evaluation: Mapping[str, Sequence[Result]],
) -> str:
    """A sentence about what a command did not write, though the claim asks it; else empty.

    tuning, evaluation: finished trials, by arm. One that was trained to the end is enough: the
    others would lack it, too. What diverged was stopped before it could write all, and at an early
    rung not all may be measured yet.
    """
    needed = [pair for effect in effects for pair in zip(effect.arms, effect.metrics, strict=False)]
    if isinstance(claim, TimeClaim):
        needed = [(arm, _error_of_times(claim)) for arm in claim.arms]
    for arm, metric in needed:
        name = _SOURCES.get(metric, metric)
        to_the_end = (r for r in tuning[arm] if r.epochs >= claim.scales[scale].epochs - 1e-9)
        for result in _ended([*to_the_end, *evaluation[arm]]):
            if name not in result.metrics:
                return f"the program wrote {_names(result)}; the claim asks `{name}`"
    return ""


def unsearched_metrics(tuning: Mapping[str, Sequence[Result]]) -> str:
    """A sentence about a command that wrote no error which its search compares; else empty."""
    for result in _ended(result for results in tuning.values() for result in results):
        if result.metrics.keys().isdisjoint(_COMPARED):
            return (
                f"the search compares `test_error`; the program wrote {_names(result)}: write "
                "`test_error`, too, or give `rate` in place of `search`"
            )
    return ""


def _error_of_times(claim: TimeClaim) -> str:
    return {None: "test_error", "full": "train_error", "online": "online_error"}[claim.decided_by]


def _ended(results: Iterable[Result]) -> Iterator[Result]:
    return (result for result in results if result.status != "diverged")


def _names(result: Result) -> str:
    text = ", ".join(sorted(result.metrics)) or "no metric"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _finished_outcomes(outcomes: Iterable[Outcome], arm: str) -> list[Outcome]:
    return [o for o in outcomes if o.arm == arm and o.status != "diverged"]


def _length(of_arm: Sequence[Outcome], arm: str, budget: float) -> Iterator[str]:
    longer = [o.epochs for o in of_arm if o.epochs > budget + 1e-9]
    if longer:
        yield (
            f"{len(longer)} of {len(of_arm)} {arm} trials were trained to {max(longer):g} epochs, "
            f"for another claim or by an older file, and not to {budget:g}"
        )


def _chance(
    of_arm: Sequence[Outcome], arm: str, facts: DatasetFacts, checks: Checks
) -> Iterator[str]:
    error, chance = _median(of_arm, "test_error"), _chance_error(facts)
    if checks.above_chance and error >= chance:
        yield (
            f"{arm} ended at chance level (median test error {100 * error:.1f} %; chance "
            f"{100 * chance:.1f} %)"
        )


def _initial_loss(
    of_arm: Sequence[Outcome], arm: str, facts: DatasetFacts, checks: Checks
) -> Iterator[str]:
    """The loss at initialisation should be ln(classes) (sec. 5 of the paper).

    A net far from it has a wrong scale of inputs or weights, or wrong labels.
    """
    outcomes = [o for o in of_arm if "initial_loss" in o.metrics]
    if checks.initial_loss is None or not outcomes:
        return
    loss, expected = _median(outcomes, "initial_loss"), math.log(facts.classes)
    if not abs(loss - expected) <= checks.initial_loss:
        value = f"{loss:.2f} nats" if math.isfinite(loss) else "no number"
        yield (
            f"untrained, {arm} had a median loss of {value}; expected ln {facts.classes} = "
            f"{expected:.2f}, give or take {checks.initial_loss:g}"
        )


def _median(of_arm: Sequence[Outcome], metric: str) -> float:
    """The median over seeds; NaN without measurements. A NaN counts as infinite."""
    values = [o.metrics[metric] for o in of_arm if metric in o.metrics]
    return median(math.inf if math.isnan(v) else v for v in values) if values else math.nan


def _chance_error(facts: DatasetFacts) -> float:
    return 1 - 1 / facts.classes
