"""Forecast how likely each verdict is with more seeds.

By simulation: measured seeds are fixed, future ones are normal about an assumed truth, and each
interim analysis applies the rule of verdicts. Not simulated: failing checks, diverged and censored
trials, test errors beside a gap, further contrasts that must hold. Future times have brackets as
wide as the measured ones; without measured times they are points, and the text says so.
"""

import math
from bisect import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple

import numpy as np
import scipy

from repro.claim import (
    LEAST_SEEDS,
    DifferenceClaim,
    TimeClaim,
    TrainedClaim,
    arms_of,
    is_paired,
    metric_of,
)
from repro.stats import Array, Estimate
from repro.text import paper_text
from repro.verdict.analysis import Look, RecipeEvidence, is_narrow, planned_looks
from repro.verdict.effects import Outcome, values_of
from repro.verdict.rule import Word, ruling_of, settles

Supposed = Literal["paper", "none", "ours"]

_RUNS: Final = 1000
_LEVEL: Final = 0.8  # of the CI of the scatter
LIKELY: Final = 0.8  # the power that plans are made for
_MOST_SEEDS: Final = 100  # that are asked for, where a plan has no more itself
_HARDLY: Final = 0.2  # `warnings` reports verdicts that are less likely
_POINTS: Final = (
    "crossing times are taken as exact, since none was measured yet: their brackets make the CI "
    "wider, and every word less likely"
)
_RATES: Final = (
    "how far near-best learning rates differ is not known yet: it makes the CI wider, and every "
    "word less likely"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scatter:
    """Standard deviation over seeds: of the effect, or of one arm where arms are not paired.

    Of logarithms for a ratio. `df`: degrees of freedom of the measurement; None for the scatter
    that the claim file expects. `between_rates`: of the effect, between near-best learning rates.
    """

    sd: float
    df: int | None = None
    between_rates: float = 0.0

    @property
    def sentence(self) -> str:
        if self.df is None:
            return f"scatter over seeds {self.sd:.3g}, as the claim file expects"
        return (
            f"scatter over seeds {self.sd:.3g}, as {self.df + 1} seeds an arm have it; in "
            "brackets: by the 80 % CI of the scatter"
        )

    def limits(self) -> tuple[float, float]:
        """Its 80 % CI; the scatter itself if it was not measured."""
        if self.df is None:
            return self.sd, self.sd
        tails = scipy.special.chdtri(self.df, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
        low, high = self.sd * np.sqrt(self.df / tails)
        return float(low), float(high)


@dataclass(frozen=True, kw_only=True, slots=True)
class Chance:
    """The probability that a run of up to `seeds` per arm ends with `word`, given the truth.

    `low` and `high`: at the limits of the scatter. `needed`: seeds per arm of a new plan, with one
    analysis, that give `word` a probability of 80 %; None where 100, or `seeds`, do not.
    """

    supposed: Supposed
    truth: float
    word: Word
    seeds: int
    value: float
    low: float
    high: float
    needed: int | None = None

    @property
    def sentence(self) -> str:
        truth = {
            "paper": f"the truth is the paper's {self.truth:g}",
            "none": "there is no effect",
            "ours": f"the truth is our {self.truth:.3g}",
        }[self.supposed]
        low, high = _percent(self.low), _percent(self.high)
        span = f" ({low} to {high} %)" if low != high else ""
        return (
            f"{self.word} by {self.seeds} seeds an arm if {truth}: {_percent(self.value)} %{span}"
        )

    @property
    def power(self) -> str:
        if self.needed is None:
            most = max(self.seeds, _MOST_SEEDS)
            return f"no new plan of up to {most} seeds an arm makes this 80 % likely"
        return f"a new plan of {self.needed} seeds an arm makes this 80 % likely"


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlook:
    """What more seeds may change; no chances if the claim is decided or the scatter unknown.

    `points`: times were forecast without brackets; `rates`: without the choice of a learning rate
    that is searched. `conditions`: further contrasts that must hold, of which nothing is forecast.
    """

    scatter: Scatter | None
    chances: tuple[Chance, ...]
    points: bool = False
    rates: bool = False
    conditions: tuple[str, ...] = ()

    @property
    def sentences(self) -> tuple[str, ...]:
        """A sentence for each assumed truth, then the scatter."""
        if not self.chances or self.scatter is None:
            return ()
        alone = (
            f"this is of the deciding contrast alone: {', '.join(self.conditions)} must hold, too"
        )
        rests = (
            self.scatter.sentence,
            *(_POINTS,) * self.points,
            *(_RATES,) * self.rates,
            *(alone,) * bool(self.conditions),
        )
        return (*(f"{chance.sentence}; {chance.power}" for chance in self.chances), *rests)


def outlook(
    claim: TrainedClaim, scale: str, evidence: RecipeEvidence, *, seeds: int | None = None
) -> Outlook:
    """The forecast with the measured scatter, else with that of the claim file.

    `seeds`: per arm, at most; by default those of the last analysis.
    """
    scatter = measured_scatter(evidence) or expected_scatter(claim, scale)
    if scatter is None or (evidence.look is not None and settles(claim, evidence)):
        return Outlook(scatter=scatter, chances=())
    return Outlook(
        scatter=scatter,
        chances=tuple(
            replace(chance, needed=seeds_needed(claim, scale, scatter, chance, evidence))
            for chance in chances(claim, scale, scatter, evidence=evidence, seeds=seeds)
        ),
        points=isinstance(claim, TimeClaim) and evidence.seeds == 0,
        rates=_rates_unknown(claim, scale, evidence),
        conditions=tuple(claim.conditions),
    )


def _rates_unknown(claim: TrainedClaim, scale: str, evidence: RecipeEvidence) -> bool:
    """Whether a search that will say how far near-best rates differ has not done so yet."""
    return _refines(claim, scale, evidence.recipe) and any(
        arm.trials and not arm.finalists for arm in evidence.rates.values()
    )


def _refines(claim: TrainedClaim, scale: str, recipe: str) -> bool:
    search = claim.scales[scale].search.get(recipe)
    return search is not None and search.refine is not None


def measured_scatter(evidence: RecipeEvidence) -> Scatter | None:
    """The scatter over the measured seeds; None if it is unknown."""
    sd, estimate = evidence.deciding.sd, evidence.estimate
    if sd is None or estimate is None or estimate.bound != "two-sided" or estimate.seeds < 2:
        return None
    deciding = evidence.deciding
    return Scatter(
        sd=max(sd, deciding.image_sd), df=estimate.seeds - 1, between_rates=deciding.rate_sd
    )


def expected_scatter(claim: TrainedClaim, scale: str) -> Scatter | None:
    expected = claim.scales[scale].scatter
    return None if expected is None else Scatter(sd=expected)


def chances(
    claim: TrainedClaim,
    scale: str,
    scatter: Scatter,
    *,
    evidence: RecipeEvidence | None = None,
    seeds: int | None = None,
) -> tuple[Chance, ...]:
    """For the paper's value, or ours where the paper reports none, and for no effect.

    `evidence`: the results so far; none by default. `seeds`: per arm, at most; by default those of
    the last analysis. Empty if no analysis is left.
    """
    now = evidence.look.number if evidence and evidence.look else 0
    looks = [
        look
        for look in planned_looks(claim, scale)
        if look.number > now and LEAST_SEEDS <= look.seeds <= (math.inf if seeds is None else seeds)
    ]
    samples = _measured_samples(claim, evidence)
    if not looks or samples is None:
        return ()
    return tuple(
        _chance(claim, looks, samples, scatter, supposed, truth)
        for supposed, truth in _truths(claim, evidence)
    )


def seeds_needed(
    claim: TrainedClaim,
    scale: str,
    scatter: Scatter,
    chance: Chance,
    evidence: RecipeEvidence | None = None,
) -> int | None:
    """The fewest evaluation seeds per arm that give the word a probability of 80 %.

    Of a new plan with one analysis, to which no results count; times have brackets as wide as those
    of `evidence`. None where 100 seeds, or those of the plan, are too few.
    """
    new = [
        _Sample(value=np.empty(0), half=sample.half)
        for sample in _measured_samples(claim, evidence) or ()
    ]
    most = max(chance.seeds, _MOST_SEEDS)

    def is_likely(seeds: int) -> bool:
        spec = claim.scales[scale].model_copy(update={"seeds": (seeds,), "taken": 0})
        alone = claim.model_copy(update={"scales": {scale: spec}})
        words = _words(claim, planned_looks(alone, scale), new, chance.truth, scatter)
        return words.count(chance.word) >= LIKELY * _RUNS

    if not is_likely(most):
        return None
    few, enough = LEAST_SEEDS - 1, LEAST_SEEDS
    while not is_likely(enough):
        few, enough = enough, min(2 * enough, most)
    return bisect(range(few + 1, enough), False, key=is_likely) + few + 1


def _percent(share: float) -> str:
    return f"{100 * share:.0f}"


def warnings(claim: TrainedClaim) -> Iterator[str]:
    """Verdicts that the region and seeds make unlikely, for `repro validate`."""
    region, printed = claim.region, claim.paper.value
    if printed is not None and not (
        region.low < printed and (region.high is None or printed < region.high)
    ):
        yield (
            f"region: the paper's {paper_text(claim)} does not lie inside it but on an edge or "
            "outside: a run whose truth is that number can hardly be `reproduced`"
        )
    for name in claim.scales:
        scatter = expected_scatter(claim, name)
        if scatter is None:
            continue
        for chance in chances(claim, name, scatter):
            if chance.value < _HARDLY:
                none = chance.supposed == "none"
                truth = "no effect" if none else f"the paper's {chance.truth:g}"
                yield (
                    f"scales.{name}.seeds: `{chance.word}` comes out in {_percent(chance.value)} % "
                    f"of runs of up to {chance.seeds} seeds an arm if the truth is {truth} "
                    f"(scatter {scatter.sd:g}); more seeds, or an edge of the region further from "
                    "it, would make it likelier"
                )
        if _refines(claim, name, claim.verdict_recipe):
            yield f"scales.{name}.search: {_RATES}; this is not checked"


def _truths(
    claim: TrainedClaim, evidence: RecipeEvidence | None
) -> Iterator[tuple[Supposed, float]]:
    estimate = evidence.estimate if evidence else None
    if _is_of_gap(claim):
        pass  # the verdict on a gap depends on the test error, too
    elif claim.paper.value is not None and claim.paper.value != claim.no_effect:
        yield "paper", claim.paper.value
    elif estimate is not None and estimate.bound == "two-sided":
        yield "ours", estimate.value
    if claim.no_effect is not None:
        yield "none", claim.no_effect


def _is_of_gap(claim: TrainedClaim) -> bool:
    if isinstance(claim, DifferenceClaim):
        return {metric_of(claim, arm, claim.contrast) for arm in claim.contrast.terms} == {"gap"}
    return {metric_of(claim, arm) for arm in arms_of(claim)} == {"gap"}


class _Sample(NamedTuple):
    """Measured values of the effect, or of an arm, (n,): the middles of their brackets.

    `half`: half the width of each bracket, in logarithms; zero for exact values.
    """

    value: Array
    half: Array

    @classmethod
    def points(cls, values: Sequence[float] | Array) -> "_Sample":
        return cls(np.array(values, dtype=float), np.zeros(len(values)))

    @classmethod
    def brackets(cls, outcomes: Sequence[Outcome]) -> "_Sample":
        """Log times; infinite for a bracket that is open at an end."""
        with np.errstate(divide="ignore"):
            low, high = np.log([[o.lower, o.upper] for o in outcomes]).reshape(-1, 2).T
        return cls((low + high) / 2, (high - low) / 2)


def _chance(
    claim: TrainedClaim,
    looks: Sequence[Look],
    samples: Sequence[_Sample],
    scatter: Scatter,
    supposed: Supposed,
    truth: float,
) -> Chance:
    against = supposed == "none" and not claim.region.surrounds(truth)
    word: Word = "not reproduced" if against else "reproduced"
    values = {
        sd: _words(claim, looks, samples, truth, replace(scatter, sd=sd)).count(word) / _RUNS
        for sd in {scatter.sd, *scatter.limits()}  # one, of a scatter that the claim file states
    }
    return Chance(
        supposed=supposed,
        truth=truth,
        word=word,
        seeds=looks[-1].seeds,
        value=values[scatter.sd],
        low=min(values.values()),
        high=max(values.values()),
    )


def _measured_samples(claim: TrainedClaim, evidence: RecipeEvidence | None) -> list[_Sample] | None:
    """The values of the effect, or of each arm; None if one is unknown.

    For example a censored time, or a metric that is NaN.
    """
    arms = 1 if is_paired(claim) else 2
    if evidence is None:
        return [_Sample.points([])] * arms
    outcomes = [o for o in evidence.outcomes if o.seed < evidence.seeds]
    contrast = evidence.deciding
    if arms == 1:
        values = [
            _Sample.points([contrast.by_seed.get(s, math.nan) for s in range(evidence.seeds)])
        ]
    elif isinstance(claim, TimeClaim):
        values = [_Sample.brackets([o for o in outcomes if o.arm == arm]) for arm in contrast.arms]
    else:
        values = [
            _Sample.points([*values_of(outcomes, arm, metric_of(claim, arm)).values()])
            for arm in contrast.arms
        ]
    return values if all(np.isfinite(sample.value).all() for sample in values) else None


def _words(
    claim: TrainedClaim,
    looks: Sequence[Look],
    samples: Sequence[_Sample],
    truth: float,
    scatter: Scatter,
) -> list[Word]:
    """The verdicts of `_RUNS` simulated runs."""
    simulated = _samples(claim, samples, truth, scatter.sd, looks[-1].seeds)
    halves = [_halves(sample, looks[-1].seeds) for sample in samples]
    words: list[Word] = ["inconclusive"] * _RUNS
    going = list(range(_RUNS))
    for look in looks:
        usual, wide = (
            _estimates(claim, simulated, halves, look.seeds, level, scatter.between_rates)
            for level in (look.level, look.both_sides)
        )
        rulings = {}
        for run in going:
            is_wide = is_narrow(claim.region, usual[run], ratio=claim.no_effect == 1)
            rulings[run] = ruling_of(claim, (wide if is_wide else usual)[run])
        for run, ruling in rulings.items():
            words[run] = ruling.word
        going = [run for run, ruling in rulings.items() if ruling.open]
    return words


def _samples(
    claim: TrainedClaim, samples: Sequence[_Sample], truth: float, sd: float, seeds: int
) -> list[Array]:
    """(runs, seeds): the effect, or each arm about their common mean."""
    generator = np.random.default_rng(0)  # deterministic
    effect = math.log(truth) if claim.no_effect == 1 else truth
    if len(samples) == 1:
        centres = [effect]
    else:
        means = [sample.value.mean() for sample in samples if len(sample.value)]
        common = float(np.mean(means)) if means else 0.0
        centres = [common + effect / 2, common - effect / 2]
    return [
        np.concatenate(
            (
                np.broadcast_to(sample.value, (_RUNS, len(sample.value))),
                generator.normal(centre, sd, (_RUNS, max(seeds - len(sample.value), 0))),
            ),
            axis=1,
        )
        for sample, centre in zip(samples, centres, strict=True)
    ]


def _halves(sample: _Sample, seeds: int) -> Array:
    """Half widths of the brackets, (seeds,); future ones have the mean width so far."""
    usual = float(sample.half.mean()) if len(sample.half) else 0.0
    return np.concatenate((sample.half, np.full(max(seeds - len(sample.half), 0), usual)))


def _estimates(
    claim: TrainedClaim,
    samples: Sequence[Array],
    halves: Sequence[Array],
    seeds: int,
    level: float,
    between_rates: float,
) -> list[Estimate]:
    """Student's interval of each run at the analysis; Welch's for two arms.

    Each end uses the least favourable points of the brackets, as in `ratio_of_times`; within an
    arm the brackets have equal widths.
    """
    parts = [part[:, :seeds] for part in samples]
    variances = np.array([part.var(1, ddof=1) / seeds for part in parts])  # (arms, runs)
    value = parts[0].mean(1) - (parts[1].mean(1) if len(parts) == 2 else 0.0)
    total = variances.sum(0)
    df = (seeds - 1) * total**2 / (variances**2).sum(0)
    half = scipy.special.stdtrit(df, (1 + level) / 2) * np.sqrt(total)
    half += sum(part[:seeds].mean() for part in halves)
    half = np.hypot(half, scipy.special.ndtri((1 + level) / 2) * between_rates)
    ends = [value, value - half, value + half]
    if claim.no_effect == 1:
        ends = [np.exp(part) for part in ends]
    return [
        Estimate(
            value=middle, low=low, high=high, level=level, seeds=seeds, method="simulated", df=dof
        )
        for middle, low, high, dof in zip(*(part.tolist() for part in (*ends, df)), strict=True)
    ]
