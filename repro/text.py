"""Numbers as a reader wants them, in the terminal and in the report."""

import math
from collections.abc import Collection, Mapping, Sequence
from functools import singledispatch

from repro.claim import (
    Claim,
    DifferenceClaim,
    ExactClaim,
    Region,
    TimeClaim,
    TrainedClaim,
    arms_of,
    metric_of,
)
from repro.registry import METRICS, metric_facts
from repro.stats import Estimate

NOT_RUN = "not run"
_MOST_DECIMALS = 9  # a trace of rounding has none


def counted(count: int, noun: str) -> str:
    """`5 trials`, `1 trial`."""
    return f"{count} {noun}{'s' * (count != 1)}"


def seeds_text(seeds: int) -> str:
    """`5 seeds an arm`, `1 seed an arm`."""
    return f"{counted(seeds, 'seed')} an arm"


def percent(fraction: float) -> str:
    """`24.9 %`; empty when nothing was measured."""
    return f"{100 * fraction:.1f} %" if math.isfinite(fraction) else ""


def number(value: float, decimals: int = 2) -> str:
    """With two decimals, if not said otherwise; infinity as its sign."""
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    return f"{value:z.{decimals}f}"


def duration(seconds: float) -> str:
    """`42 s`, `3 min 10 s`, `2 h 05 min`."""
    total = round(seconds)
    if total < 60:
        return f"{total} s"
    minutes, rest = divmod(total, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def energy_text(joules: Sequence[float]) -> str:
    """`3.1 Wh`, `1.20 kWh (28 of 30 trials)` where some trials' are NaN, or `not known`."""
    known = [each for each in joules if math.isfinite(each)]
    if not known:
        return "not known"
    hours = sum(known) * METRICS["energy"].factor
    text = f"{hours / 1000:.2f} kWh" if hours >= 1000 else f"{hours:.1f} Wh"
    return text if len(known) == len(joules) else f"{text} ({len(known)} of {len(joules)} trials)"


def crossing(interval: tuple[float, float] | None) -> str:
    """`5.9 to 6.0` epochs; empty when it was not seen."""
    return "" if interval is None else f"{interval[0]:.1f} to {interval[1]:.1f}"


def estimate_text(estimate: Estimate | None) -> str:
    """`3.10 (95 % CI 2.20 to 4.40)`, `at least 2.10 (95 % bound)`, or `not measured`."""
    if estimate is None:
        return "not measured"
    if estimate.low == -math.inf:  # the seeds came out equal, so that their scatter is not known
        return f"{value_text(estimate)} (no interval)"
    if estimate.bound == "upper" and estimate.high == math.inf:
        return value_text(estimate)
    level = level_percent(estimate.level)
    if estimate.bound != "two-sided":
        return f"{value_text(estimate)} ({level} bound)"
    low, high = _ends(estimate)
    return f"{value_text(estimate)} ({level} CI {low} to {high})"


def level_percent(level: float) -> str:
    """`98.4 %`, with as many digits as it takes to differ from 100 %."""
    digits = next(n for n in range(3, 18) if f"{100 * level:.{n}g}" != "100" or level >= 1)
    return f"{100 * level:.{digits}g} %"


def level_text(estimate: Estimate, edges: Collection[float] = ()) -> str:
    """`the 91.5 % CI, 2.40 to 4.20`, or `the 91.5 % bound, 2.10`.

    An end has as many decimals as tell it from the `edges` that it does not touch.
    """
    is_interval = estimate.bound == "two-sided"
    ends = (estimate.low, estimate.high) if is_interval else (estimate.value,)
    texts = " to ".join(_apart(end, edges, _decimals(estimate)) for end in ends)
    return f"the {level_percent(estimate.level)} {'CI' if is_interval else 'bound'}, {texts}"


def _apart(end: float, edges: Collection[float], decimals: int) -> str:
    """With more decimals where it would read as one of the edges and is another number."""
    texts = [number(end, n) for n in range(decimals, _MOST_DECIMALS + 1)]
    others = [edge for edge in edges if number(edge, _MOST_DECIMALS) != texts[-1]]
    kept = (t for n, t in enumerate(texts, decimals) if all(t != number(e, n) for e in others))
    return next(kept)


def value_text(estimate: Estimate | None) -> str:
    """`3.10`, `at least 2.10` where only a bound is known, or `not measured`."""
    if estimate is None:
        return "not measured"
    decimals = _decimals(estimate)
    if estimate.bound == "lower":
        return f"at least {number(estimate.low, decimals)}"
    if estimate.bound == "upper" and estimate.high == math.inf:  # of one seed
        return "no bound known"
    if estimate.bound == "upper":
        return f"at most {number(estimate.high, decimals)}"
    return number(estimate.value, decimals)


def effect_text(estimate: Estimate | None) -> str:
    """`3.10 [2.20, 4.40]`, as papers print an interval; `at least 2.10` where it is a bound."""
    if estimate is None or estimate.bound != "two-sided" or estimate.low == -math.inf:
        return value_text(estimate)
    return f"{value_text(estimate)} [{', '.join(_ends(estimate))}]"


def _ends(estimate: Estimate) -> tuple[str, str]:
    decimals = _decimals(estimate)
    return number(estimate.low, decimals), number(estimate.high, decimals)


def _decimals(estimate: Estimate) -> int:
    """At least two; two digits of the interval's half width, or of a value without one."""
    half = (estimate.high - estimate.low) / 2
    sizes = map(abs, (half, estimate.value, estimate.low, estimate.high))
    size = next((each for each in sizes if 10**-_MOST_DECIMALS <= each < math.inf), 1.0)
    return min(max(2, 1 - math.floor(math.log10(size))), _MOST_DECIMALS)


def looks_text(seeds: tuple[int, ...]) -> str:
    """`5 evaluation seeds`, or `5, 8 or 12 evaluation seeds`, until a look settles it."""
    if len(seeds) == 1:
        return f"{seeds[0]} evaluation seeds"
    *first, last = seeds
    return f"{', '.join(map(str, first))} or {last} evaluation seeds, until an analysis settles it"


def p_text(p: float) -> str:
    """`0.012`, or `below 0.001`."""
    return "below 0.001" if p < 0.001 else f"{p:.3f}"


def paper_text(claim: Claim) -> str:
    """The printed number: `6`, `more than 1`, or `not reported`."""
    if claim.paper.value is None:
        return "not reported"
    return f"{'more than ' * claim.paper.more_than}{claim.paper.value:g}"


def region_text(region: Region) -> str:
    """`from 3 to 9`, or `at 3 or above`."""
    if region.high is None:
        return f"at {region.low:g} or above"
    return f"from {region.low:g} to {region.high:g}"


def weighted_text(terms: Mapping[str, float]) -> str:
    """A linear contrast of arms: `plain minus residual`, `deep minus 2 times flat plus wide`."""
    positive_first = sorted(terms.items(), key=lambda term: term[1] < 0)
    words: list[str] = []
    for arm, weight in positive_first:
        if weight == 0:
            continue
        times = "" if abs(weight) == 1 else f"{abs(weight):g} times "
        sign = "minus " if weight < 0 else "plus " if words else ""
        words.append(f"{sign}{times}{arm}")
    return " ".join(words)


def contrast_text(
    arms: tuple[str, ...], metrics: tuple[str, ...], terms: Mapping[str, float] | None = None
) -> str:
    """What an effect is, in words: `test error (top-1), without minus with`.

    `terms`: the arms' weights, where they are not 1 and -1.
    """
    if not metrics:
        return f"epochs of {arms[0]} over epochs of {arms[1]}"
    titles = [metric_facts(metric).title for metric in metrics]
    if len(arms) == 1:
        return f"{titles[0]} of {arms[0]}"
    if len(set(titles)) == 1:
        return f"{titles[0]}, {weighted_text(terms or {arms[0]: 1.0, arms[1]: -1.0})}"
    return f"{titles[0]} minus {titles[1]}"


def rule_text(claim: Claim) -> str:
    """How the claim is decided, in one or two sentences."""
    if isinstance(claim, ExactClaim):
        counted = sum(fact.counts for fact in claim.facts.values())
        return f"{counted} facts that need no training. Reproduced when all of them hold."
    assert isinstance(claim, TrainedClaim)
    theirs = (
        "the paper gives no number"
        if claim.paper.value is None
        else f"the paper's value is {paper_text(claim)} ({claim.paper.unit})"
    )
    also = "".join(
        f", and that of {name} {region_text(region)}" for name, region in claim.conditions.items()
    )
    return (
        f"{measured_text(claim)}, with the {claim.verdict_recipe} recipe. Reproduced when the "
        f"whole interval lies {region_text(claim.region)}{also}; {theirs}."
    )


@singledispatch
def measured_text(claim: TrainedClaim) -> str:
    """What is measured to decide the claim, in words; a kind of its own may register others."""
    arms = arms_of(claim)
    titles = dict.fromkeys(metric_facts(metric_of(claim, arm)).title for arm in arms)
    of_arms = f" of {' and '.join(arms)}" if len(arms) > 1 else ""
    return f"{' and '.join(titles).capitalize()}{of_arms}"


@measured_text.register
def _times_text(claim: TimeClaim) -> str:
    how = {
        "full": "by full passes over the training set",
        "online": "by the online error",
        None: "by the test after each epoch",
    }[claim.decided_by]
    return (
        f"Epochs to {100 * claim.threshold:g} % {metric_facts(claim.metric).title} {how}, "
        f"{claim.contrast.slow} over {claim.contrast.fast}"
    )


@measured_text.register
def _difference_text(claim: DifferenceClaim) -> str:
    terms = claim.contrast.terms
    metrics = tuple(metric_of(claim, arm, claim.contrast) for arm in terms)
    return f"Seed by seed, {contrast_text(tuple(terms), metrics, terms)}"
