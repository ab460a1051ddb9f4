"""Sanity checks of a measurement, as the claim file asks for them: medians over seeds.

An arm that decides and fails one makes the verdict invalid, whatever its numbers; of another arm
it is said. That an arm has learned little is said beside the verdict, whose word it leaves.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from statistics import median

from repro.claim import Checks, TimeClaim, TrainedClaim
from repro.registry import DATASETS, DatasetFacts
from repro.verdict.effects import Contrast, Outcome

__all__ = ["failed_checks", "undertrained", "unmeasured"]


def failed_checks(
    claim: TrainedClaim, scale: str, outcomes: Iterable[Outcome], arm: str
) -> Iterator[str]:
    """A sentence for each check that the arm's finished trials fail.

    Those about chance only where the number of classes is known.
    """
    at = claim.scales[scale]
    of_arm = _finished(outcomes, arm)
    if at.checks.equal_length and not isinstance(claim, TimeClaim):
        yield from _length(of_arm, arm, at.epochs)
    facts = DATASETS.get(at.data)
    if facts is not None:
        yield from _chance(of_arm, arm, facts, at.checks)
        yield from _initial_loss(of_arm, arm, facts, at.checks)


def undertrained(claim: TrainedClaim, scale: str, outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Which arms' test errors are above the floor of the scale, in one sentence.

    Times have none: their threshold says how far every trial has to come.
    """
    at, facts = claim.scales[scale], DATASETS.get(claim.scales[scale].data)
    if isinstance(claim, TimeClaim) or facts is None:
        return
    errors = {arm: _median(_finished(outcomes, arm), "test_error") for arm in claim.arms}
    known = {arm: error for arm, error in errors.items() if not math.isnan(error)}
    if not known:
        return
    half_way = (_chance_error(facts) + min(known.values())) / 2
    floor = half_way if at.checks.floor is None else at.checks.floor
    guessing = _chance_error(facts) if at.checks.above_chance else math.inf  # a check of its own
    poor = [
        f"{arm} {100 * error:.1f} %" for arm, error in known.items() if floor < error < guessing
    ]
    if poor:
        yield (
            f"undertrained: early learning only (median test error: {', '.join(poor)}; "
            f"floor {100 * floor:.1f} %)"
        )


def unmeasured(
    claim: TrainedClaim, scale: str, outcomes: Sequence[Outcome], effects: Iterable[Contrast]
) -> Iterator[str]:
    """Which finished trials lack a metric that an effect is of, and what would give it.

    They are done, whoever trained them: before the code had the metric, or without the package that
    measures it.
    """
    read = [pair for effect in effects for pair in zip(effect.arms, effect.metrics, strict=False)]
    for arm, metric in dict.fromkeys(read):
        of_arm = _finished(outcomes, arm)
        lacking = sum(metric not in outcome.metrics for outcome in of_arm)
        if lacking:
            yield (
                f"{lacking} of {len(of_arm)} finished {arm} trials have no {metric}, and are not "
                "trained again for it: where it can be measured by now, "
                f"`repro run {claim.id} --scale {scale} --store NEW` trains them into another "
                "store, from which `repro merge` takes it"
            )


def _finished(outcomes: Iterable[Outcome], arm: str) -> list[Outcome]:
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
    """Sec. 5 of the paper starts from outputs that know nothing: a loss of ln(classes).

    A net far from it has inputs, weights or labels of the wrong size.
    """
    measured = [o for o in of_arm if "initial_loss" in o.metrics]
    if checks.initial_loss is None or not measured:
        return
    loss, expected = _median(measured, "initial_loss"), math.log(facts.classes)
    if not abs(loss - expected) <= checks.initial_loss:
        value = f"{loss:.2f} nats" if math.isfinite(loss) else "no number"
        yield (
            f"untrained, {arm} had a median loss of {value}; expected ln {facts.classes} = "
            f"{expected:.2f}, give or take {checks.initial_loss:g}"
        )


def _median(of_arm: Sequence[Outcome], metric: str) -> float:
    """NaN where nothing was measured; what is no number counts as the largest."""
    values = [o.metrics[metric] for o in of_arm if metric in o.metrics]
    return median(math.inf if math.isnan(v) else v for v in values) if values else math.nan


def _chance_error(facts: DatasetFacts) -> float:
    return 1 - 1 / facts.classes
