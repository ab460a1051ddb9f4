"""How likely each word is once the seeds to come are run.

Runs are simulated: seeds that are there stay what they are, those to come are normal about a truth
that is supposed, and every look asks the rule of verdicts itself. Of checks that fail, of trials
that diverge or are censored, and of test errors beside a gap nothing is forecast. Times to come
have brackets as wide as those so far; where there are none yet, they are points, and the reader is
told.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np
import scipy

from repro.claim import LEAST_SEEDS, TimeClaim, TrainedClaim, arms_of, is_paired, metric_of
from repro.stats import Array, Estimate
from repro.text import paper_text
from repro.verdict.analysis import Look, RecipeEvidence, planned_looks
from repro.verdict.effects import Outcome, values_of
from repro.verdict.rule import Word, ruling_of, settles

__all__ = ["Chance", "Outlook", "Scatter", "chances", "outlook", "warnings"]

Supposed = Literal["paper", "none", "ours"]

_RUNS: Final = 1000
_LEVEL: Final = 0.8  # of the interval of a scatter that few seeds have shown
_HARDLY: Final = 0.2  # a word that is less likely is warned of
_POINTS: Final = (
    "crossing times are taken as exact, since none was measured yet: their brackets make the CI "
    "wider, and every word less likely"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scatter:
    """Standard deviation over seeds: of the effect, or of one arm where arms are not paired.

    Of logarithms for a ratio. `df`: degrees of freedom that it was measured with; None for one
    that the claim file expects.
    """

    sd: float
    df: int | None = None

    @property
    def sentence(self) -> str:
        """What it rests on."""
        if self.df is None:
            return f"scatter over seeds {self.sd:.3g}, as the claim file expects"
        return (
            f"scatter over seeds {self.sd:.3g}, as {self.df + 1} seeds an arm have it; in "
            "brackets: by the 80 % CI of the scatter"
        )

    def limits(self) -> tuple[float, float]:
        """Between which it lies, 80 times in 100; itself where it was not measured."""
        if self.df is None:
            return self.sd, self.sd
        tails = scipy.special.chdtri(self.df, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
        low, high = self.sd * np.sqrt(self.df / tails)
        return float(low), float(high)


@dataclass(frozen=True, kw_only=True, slots=True)
class Chance:
    """That a run of up to `seeds` an arm ends with `word` if the truth is as supposed.

    `low` and `high`: by the limits of the scatter.
    """

    supposed: Supposed
    truth: float
    word: Word
    seeds: int
    value: float
    low: float
    high: float

    @property
    def sentence(self) -> str:
        """In plain words."""
        truth = {
            "paper": f"the truth is the paper's {self.truth:g}",
            "none": "there is no effect",
            "ours": f"the truth is our {self.truth:.2f}",
        }[self.supposed]
        low, high = _percent(self.low), _percent(self.high)
        span = f" ({low} to {high} %)" if low != high else ""
        return (
            f"{self.word} by {self.seeds} seeds an arm if {truth}: {_percent(self.value)} %{span}"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlook:
    """What the seeds to come may change; no chances where that is settled or not known.

    `points`: times were forecast without the brackets that they will have.
    """

    scatter: Scatter | None
    chances: tuple[Chance, ...]
    points: bool = False

    @property
    def sentences(self) -> tuple[str, ...]:
        """One for each truth that is supposed, and what they rest on."""
        if not self.chances or self.scatter is None:
            return ()
        rests = (self.scatter.sentence, *(_POINTS,) * self.points)
        return (*(chance.sentence for chance in self.chances), *rests)


def outlook(
    claim: TrainedClaim, scale: str, found: RecipeEvidence, *, seeds: int | None = None
) -> Outlook:
    """By the scatter so far, else by the one that the claim file expects.

    `seeds`: an arm, at most; those of the last look by default.
    """
    scatter = measured_scatter(found) or expected_scatter(claim, scale)
    if scatter is None or (found.look is not None and settles(claim, found)):
        return Outlook(scatter=scatter, chances=())
    return Outlook(
        scatter=scatter,
        chances=chances(claim, scale, scatter, found=found, seeds=seeds),
        points=isinstance(claim, TimeClaim) and found.seeds == 0,
    )


def measured_scatter(found: RecipeEvidence) -> Scatter | None:
    """What the seeds so far have shown; None where they have not."""
    sd, estimate = found.deciding.sd, found.estimate
    if sd is None or estimate is None or estimate.bound != "two-sided" or estimate.seeds < 2:
        return None
    return Scatter(sd=max(sd, found.deciding.least_sd), df=estimate.seeds - 1)


def expected_scatter(claim: TrainedClaim, scale: str) -> Scatter | None:
    """What the claim file expects; None where it does not say."""
    expected = claim.scales[scale].scatter
    return None if expected is None else Scatter(sd=expected)


def chances(
    claim: TrainedClaim,
    scale: str,
    scatter: Scatter,
    *,
    found: RecipeEvidence | None = None,
    seeds: int | None = None,
) -> tuple[Chance, ...]:
    """At the paper's value and at no effect; at our own where the paper prints none.

    `found`: what is there by now; nothing by default. `seeds`: an arm, at most; those of the last
    look by default. Empty where no look is to come.
    """
    now = found.look.number if found and found.look else 0
    looks = [
        look
        for look in planned_looks(claim, scale)
        if look.number > now and LEAST_SEEDS <= look.seeds <= (math.inf if seeds is None else seeds)
    ]
    known = _known(claim, found)
    if not looks or known is None:
        return ()
    return tuple(
        _chance(claim, looks, known, scatter, supposed, truth)
        for supposed, truth in _truths(claim, found)
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f}"


def warnings(claim: TrainedClaim) -> Iterator[str]:
    """What of the region a run can hardly come to, as `repro validate` says it."""
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


def _truths(claim: TrainedClaim, found: RecipeEvidence | None) -> Iterator[tuple[Supposed, float]]:
    estimate = found.estimate if found else None
    if {metric_of(claim, arm) for arm in arms_of(claim)} == {"gap"}:
        pass  # what follows from a wider gap hangs on the test error, too
    elif claim.paper.value is not None and claim.paper.value != claim.no_effect:
        yield "paper", claim.paper.value
    elif estimate is not None and estimate.bound == "two-sided":
        yield "ours", estimate.value
    if claim.no_effect is not None:
        yield "none", claim.no_effect


class _Known(NamedTuple):
    """The values so far of the effect, or of an arm, (n,): the middles of their brackets.

    `half`: half the width of each bracket, of logarithms; zero where values are points.
    """

    value: Array
    half: Array

    @classmethod
    def points(cls, values: Sequence[float] | Array) -> "_Known":
        """What was measured exactly."""
        return cls(np.array(values, dtype=float), np.zeros(len(values)))

    @classmethod
    def brackets(cls, outcomes: Sequence[Outcome]) -> "_Known":
        """Times, by their logarithms; infinite where one has no lower or no upper end."""
        with np.errstate(divide="ignore"):
            low, high = np.log([[o.lower, o.upper] for o in outcomes]).reshape(-1, 2).T
        return cls((low + high) / 2, (high - low) / 2)


def _chance(
    claim: TrainedClaim,
    looks: Sequence[Look],
    known: Sequence[_Known],
    scatter: Scatter,
    supposed: Supposed,
    truth: float,
) -> Chance:
    against = supposed == "none" and not claim.region.surrounds(truth)
    word: Word = "not reproduced" if against else "reproduced"
    low, high = scatter.limits()
    at, *ends = (
        _words(claim, looks, known, truth, sd).count(word) / _RUNS for sd in (scatter.sd, low, high)
    )
    return Chance(
        supposed=supposed,
        truth=truth,
        word=word,
        seeds=looks[-1].seeds,
        value=at,
        low=min(at, *ends),
        high=max(at, *ends),
    )


def _known(claim: TrainedClaim, found: RecipeEvidence | None) -> list[_Known] | None:
    """What is there so far: of the effect, or of each arm; None where a value is not known.

    A time that was censored, or a metric that is no number, would have to be guessed.
    """
    arms = 1 if is_paired(claim) else 2
    if found is None:
        return [_Known.points([])] * arms
    counted = [o for o in found.outcomes if o.seed < found.seeds]
    contrast = found.deciding
    if arms == 1:
        values = [_Known.points([contrast.by_seed.get(s, math.nan) for s in range(found.seeds)])]
    elif isinstance(claim, TimeClaim):
        values = [_Known.brackets([o for o in counted if o.arm == arm]) for arm in contrast.arms]
    else:
        values = [
            _Known.points([*values_of(counted, arm, metric_of(claim, arm)).values()])
            for arm in contrast.arms
        ]
    return values if all(np.isfinite(each.value).all() for each in values) else None


def _words(
    claim: TrainedClaim, looks: Sequence[Look], known: Sequence[_Known], truth: float, sd: float
) -> list[Word]:
    """How `_RUNS` runs end."""
    samples = _samples(claim, known, truth, sd, looks[-1].seeds)
    halves = [_halves(each, looks[-1].seeds) for each in known]
    words: list[Word] = ["inconclusive"] * _RUNS
    going = list(range(_RUNS))
    for look in looks:
        estimates = _estimates(claim, samples, halves, look)
        rulings = {run: ruling_of(claim, estimates[run]) for run in going}
        for run, ruling in rulings.items():
            words[run] = ruling.word
        going = [run for run, ruling in rulings.items() if ruling.open]
    return words


def _samples(
    claim: TrainedClaim, known: Sequence[_Known], truth: float, sd: float, seeds: int
) -> list[Array]:
    """(runs, seeds) of the effect, or of each arm about what both have in common."""
    generator = np.random.default_rng(0)  # the same plan says the same
    effect = math.log(truth) if claim.no_effect == 1 else truth
    if len(known) == 1:
        centres = [effect]
    else:
        seen = [each.value.mean() for each in known if len(each.value)]
        common = float(np.mean(seen)) if seen else 0.0
        centres = [common + effect / 2, common - effect / 2]
    return [
        np.concatenate(
            (
                np.broadcast_to(each.value, (_RUNS, len(each.value))),
                generator.normal(centre, sd, (_RUNS, max(seeds - len(each.value), 0))),
            ),
            axis=1,
        )
        for each, centre in zip(known, centres, strict=True)
    ]


def _halves(known: _Known, seeds: int) -> Array:
    """Of the brackets of all seeds, (seeds,): those to come are as wide as those so far."""
    usual = float(known.half.mean()) if len(known.half) else 0.0
    return np.concatenate((known.half, np.full(max(seeds - len(known.half), 0), usual)))


def _estimates(
    claim: TrainedClaim, samples: Sequence[Array], halves: Sequence[Array], look: Look
) -> list[Estimate]:
    """Student's interval of each run at the look, Welch's of two arms.

    Each end is that of the least favourable points in the brackets, as in `ratio_of_times`. Their
    widths are taken as equal within an arm, so that all of them shift it alike.
    """
    n = look.seeds
    parts = [each[:, :n] for each in samples]
    variances = np.array([part.var(1, ddof=1) / n for part in parts])  # (arms, runs)
    value = parts[0].mean(1) - (parts[1].mean(1) if len(parts) == 2 else 0.0)
    total = variances.sum(0)
    df = (n - 1) * total**2 / (variances**2).sum(0)
    half = scipy.special.stdtrit(df, (1 + look.level) / 2) * np.sqrt(total)
    half += sum(each[:n].mean() for each in halves)
    ends = [value, value - half, value + half]
    if claim.no_effect == 1:
        ends = [np.exp(each) for each in ends]
    return [
        Estimate(
            value=middle, low=low, high=high, level=look.level, seeds=n, method="simulated", df=dof
        )
        for middle, low, high, dof in zip(*(each.tolist() for each in (*ends, df)), strict=True)
    ]
