"""The effects of finished trials: one function a kind of claim.

A kind says here what its effects are; planning, looks, verdicts and pages then treat them alike.
Those of other packages register with `contrasts` as our own do.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial, singledispatch
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from repro.claim import (
    Difference,
    DifferenceClaim,
    LevelClaim,
    TimeClaim,
    TimeContrast,
    TrainedClaim,
    arms_of,
    is_paired,
    metric_of,
)
from repro.errors import MachineError, StatisticsError
from repro.registry import metric_facts
from repro.stats import (
    Estimate,
    Times,
    correlation,
    image_scatter,
    mean_level,
    paired_difference,
    ratio_of_times,
    scatter,
    welch_difference,
)
from repro.stats.estimate import Array
from repro.text import contrast_text, weighted_text
from repro.trial import WINDOWS

DECIDING = "contrast"  # the name of the one that decides, as in the claim file


class Bits(NamedTuple):
    """Which of the test images a net classified correctly, eight images in a byte."""

    packed: npt.NDArray[np.uint8]
    images: int

    def unpacked(self) -> Array:
        """1 for each image that it classified correctly, else 0, (N,)."""
        return np.unpackbits(self.packed, count=self.images).astype(float)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How an evaluation trial ended.

    With a threshold, `lower` and `upper` are when it crossed, (lower, upper] in epochs; upper is
    infinite when it did not, as for a diverged trial, which no further training would bring there.
    `right`: by metric, which test images it had right, where that is known.
    """

    arm: str
    seed: int
    trial_id: str
    status: str
    epochs: float
    metrics: Mapping[str, float]
    lower: float = math.nan
    upper: float = math.nan
    right: Mapping[str, Bits] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Contrast:
    """One effect: what is compared, in which unit, and what came out.

    `arms`: as in the effect, first minus (or over) second; one for a level. `metrics`: of each arm,
    by name; none for times. `description`: in words.
    `weights`: of the arms, where they are not 1 and -1. `correlation`: of the arms over seeds.
    `sd`: of the values that were averaged, of their logarithms for a ratio (of arms that are not
    paired, the larger); None under two seeds, and where all came out equal. `image_sd`: as much as
    the test images alone give. `rate_sd`: standard deviation of the effect, of its logarithm for a
    ratio, between near-best learning rates; the estimate includes it. `by_seed`: the effect at each
    seed that all its arms finished; for times, where both crossed.
    """

    name: str
    arms: tuple[str, ...]
    metrics: tuple[str, ...]
    unit: str
    description: str
    estimate: Estimate | None
    correlation: float = math.nan
    sd: float | None = None
    image_sd: float = 0.0
    rate_sd: float = 0.0
    weights: Mapping[str, float] = field(default_factory=dict)
    by_seed: Mapping[int, float] = field(default_factory=dict)

    @property
    def terms(self) -> Mapping[str, float]:
        return self.weights or dict(zip(self.arms, (1.0, -1.0), strict=False))  # a level has one

    @property
    def comparison(self) -> str:
        """`without minus with`, `tanh over relu`; nothing for a level."""
        if len(self.arms) < 2:
            return ""
        if not self.metrics:
            return f"{self.arms[0]} over {self.arms[1]}"
        return weighted_text(self.terms)


@singledispatch
def contrasts(
    claim: TrainedClaim,
    outcomes: Sequence[Outcome],
    level: float,  # noqa: ARG001 - of those that register
) -> tuple[Contrast, ...]:
    """Every effect that the claim asks for, the deciding one first.

    outcomes: of the evaluation trials that count, of all arms; some may be missing. level: of each
    interval. Chosen by the claim's class: `@contrasts.register` one for a class of your own.
    """
    raise MachineError(
        f"nothing says what a claim of the kind {claim.kind!r} estimates of {len(outcomes)} trials",
        hint="its package has to register a function with repro.verdict.effects.contrasts",
    )


@contrasts.register
def _of_times(claim: TimeClaim, outcomes: Sequence[Outcome], level: float) -> tuple[Contrast, ...]:
    ratios = {DECIDING: claim.contrast, **claim.also}
    by_windows = claim.decided_by is not None and claim.trainer is None
    step = 1 / WINDOWS if by_windows else None  # else what the brackets say
    return tuple(_ratio(name, one, outcomes, level, step) for name, one in ratios.items())


@contrasts.register
def _of_differences(
    claim: DifferenceClaim, outcomes: Sequence[Outcome], level: float
) -> tuple[Contrast, ...]:
    named = {DECIDING: claim.contrast, **claim.also}
    return tuple(_difference(claim, name, one, outcomes, level) for name, one in named.items())


@contrasts.register
def _of_a_level(
    claim: LevelClaim, outcomes: Sequence[Outcome], level: float
) -> tuple[Contrast, ...]:
    (arm,) = arms_of(claim)
    metric = metric_of(claim, arm)
    by_seed = values_of(outcomes, arm, metric)
    values = np.array(list(by_seed.values()))
    return (
        Contrast(
            name=DECIDING,
            arms=(arm,),
            metrics=(metric,),
            unit=metric_facts(metric).unit,
            description=contrast_text((arm,), (metric,)),
            estimate=estimate_or_none(mean_level, values, level=level),
            sd=scatter(values),
            by_seed=by_seed,
        ),
    )


def _ratio(
    name: str,
    contrast: TimeContrast,
    outcomes: Sequence[Outcome],
    level: float,
    step: float | None,
) -> Contrast:
    slow, fast = contrast.slow, contrast.fast
    return Contrast(
        name=name,
        arms=(slow, fast),
        metrics=(),
        unit="ratio of epochs",
        description=contrast_text((slow, fast), ()),
        estimate=estimate_or_none(
            ratio_of_times, _times(outcomes, slow, step), _times(outcomes, fast, step), level=level
        ),
        sd=_log_sd(outcomes, (slow, fast)),
        by_seed=_ratios(outcomes, slow, fast),
    )


def _ratios(outcomes: Iterable[Outcome], slow: str, fast: str) -> dict[int, float]:
    crossings = {(o.arm, o.seed): o.upper for o in outcomes if math.isfinite(o.upper)}
    return {
        seed: time / crossings[fast, seed]
        for (arm, seed), time in sorted(crossings.items())
        if arm == slow and (fast, seed) in crossings
    }


def _times(outcomes: Iterable[Outcome], arm: str, step: float | None = None) -> Times:
    of_arm = [outcome for outcome in outcomes if outcome.arm == arm]
    return Times(
        lower=np.array([outcome.lower for outcome in of_arm]),
        upper=np.array([outcome.upper for outcome in of_arm]),
        step=step,
    )


def _log_sd(outcomes: Sequence[Outcome], arms: tuple[str, ...]) -> float | None:
    uppers = (_times(outcomes, arm).upper for arm in arms)
    return _largest(scatter(np.log(upper[np.isfinite(upper)])) for upper in uppers)


def _largest(spreads: Iterable[float | None]) -> float | None:
    return max((sd for sd in spreads if sd is not None), default=None)


def _difference(
    claim: DifferenceClaim,
    name: str,
    contrast: Difference,
    outcomes: Sequence[Outcome],
    level: float,
) -> Contrast:
    terms = contrast.terms
    arms, metrics = tuple(terms), tuple(metric_of(claim, arm, contrast) for arm in terms)
    by_arm = [values_of(outcomes, arm, metric) for arm, metric in zip(arms, metrics, strict=True)]
    seeds = sorted(set.intersection(*map(set, by_arm)))  # that all arms finished, for pairs
    pairs = np.array([[values[seed] for seed in seeds] for values in by_arm])  # (arms, seeds)
    one, two = _sides(np.array(list(terms.values())), pairs)
    unit = metric_facts(metrics[0]).unit
    paired, arms_apart = is_paired(claim), [np.array(list(v.values())) for v in by_arm]
    floor = _image_scatter(outcomes, terms, metrics, seeds) if paired else 0.0
    return Contrast(
        name=name,
        arms=arms,
        metrics=metrics,
        unit="points" if unit == "%" else unit,
        description=contrast_text(arms, metrics, terms),
        weights=contrast.weights,
        estimate=estimate_or_none(partial(paired_difference, least=floor), one, two, level=level)
        if paired
        else estimate_or_none(welch_difference, *arms_apart, level=level),
        correlation=correlation(one, two),
        sd=scatter(one - two, one, two) if paired else _largest(map(scatter, arms_apart)),
        image_sd=floor,
        by_seed=dict(zip(seeds, (one - two).tolist(), strict=True)),
    )


def _sides(weights: Array, by_arm: Array) -> tuple[Array, Array]:
    """(seeds,) of what counts for the effect, and of what is taken from it."""
    return np.maximum(weights, 0.0) @ by_arm, np.maximum(-weights, 0.0) @ by_arm


def _image_scatter(
    outcomes: Iterable[Outcome],
    terms: Mapping[str, float],
    metrics: Sequence[str],
    seeds: Iterable[int],
) -> float:
    """In points; zero where it is not known of each net which images it had right."""
    by_net = {(outcome.arm, outcome.seed): outcome.right for outcome in outcomes}
    nets = [
        [by_net[arm, seed].get(metric) for arm, metric in zip(terms, metrics, strict=True)]
        for seed in seeds
    ]
    measured = [[right for right in row if right] for row in nets]
    if not measured or any(len(row) < len(terms) for row in measured):
        return 0.0
    weights = np.array(list(terms.values()))
    effects = [weights @ np.array([right.unpacked() for right in row]) for row in measured]
    return 100 * image_scatter(np.array(effects))


def values_of(outcomes: Iterable[Outcome], arm: str, metric: str) -> dict[int, float]:
    """An arm's metric by seed, in the unit in which it is shown; what diverged is left out here.

    The verdict says so: a mean over the others would flatter the arm. A metric that a finished
    trial does not have is not a number, so that there is no mean over fewer seeds either.
    """
    return {
        outcome.seed: metric_facts(metric).factor * outcome.metrics.get(metric, math.nan)
        for outcome in outcomes
        if outcome.arm == arm and outcome.status != "diverged"
    }


def estimate_or_none(
    estimator: Callable[..., Estimate], *samples: Any, level: float
) -> Estimate | None:
    try:
        return estimator(*samples, level=level)
    except StatisticsError:
        return None
