"""How far an effect depends on which of several near-best learning rates a search has chosen.

Tuning seeds rank the rates with an error, so that another rate may be the best. The scatter of the
effect between rates that they cannot tell from the best is a variance component of the effect.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from repro.claim import DifferenceClaim, LevelClaim, TimeClaim, TrainedClaim, arms_of
from repro.planning import Finalist, RateSearch
from repro.stats import near_best, widened
from repro.verdict.effects import Contrast, Outcome, values_of

_KINDS = (TimeClaim, DifferenceClaim, LevelClaim)
TuningOutcomes = Mapping[float, Sequence[Outcome]]  # of an arm's near-best rates


def near_best_rates(claim: TrainedClaim, search: RateSearch) -> Iterator[Finalist]:
    """The rates of a refined search that its tuning seeds cannot tell from the chosen one.

    None for a kind of another package: what a metric is to its effect is not known here.
    """
    finalists = search.finalists
    if search.chosen is None or not finalists or type(claim) not in _KINDS:
        return
    criterion = np.array([finalist.criterion for finalist in finalists])
    if isinstance(claim, TimeClaim):
        criterion = np.log(criterion)
    best = [finalist.rate for finalist in finalists].index(search.chosen)
    for finalist, is_near in zip(finalists, near_best(criterion, best), strict=True):
        if is_near:
            yield finalist


def with_rate_choice(
    claim: TrainedClaim, contrast: Contrast, rates: Mapping[str, TuningOutcomes]
) -> Contrast:
    """The contrast with the scatter between near-best rates, by arm, in its estimate."""
    if not any(rates.values()):
        return contrast
    metrics = contrast.metrics or (None,) * len(contrast.arms)
    parts = [
        weight * _scatter(rates.get(arm, {}).values(), arm, metric)
        for (arm, weight), metric in zip(contrast.terms.items(), metrics, strict=True)
    ]
    sd, log = math.hypot(*parts), claim.no_effect == 1
    estimate = contrast.estimate and widened(contrast.estimate, sd, log=log)
    return replace(contrast, rate_sd=sd, estimate=estimate)


def _scatter(rates: Iterable[Sequence[Outcome]], arm: str, metric: str | None) -> float:
    """Standard deviation between the rates' means; zero for a single rate."""
    means = [_mean(outcomes, arm, metric) for outcomes in rates]
    finite = [mean for mean in means if math.isfinite(mean)]
    return float(np.std(finite, ddof=1)) if len(finite) > 1 else 0.0


def _mean(outcomes: Sequence[Outcome], arm: str, metric: str | None) -> float:
    """Of the metric, or of log times, those of the budget where it did not cross."""
    if metric is None:
        values = [math.log(o.lower if math.isinf(o.upper) else o.upper) for o in outcomes]
    else:
        values = [*values_of(outcomes, arm, metric).values()]
    return float(np.mean(values)) if values else math.nan


def rate_caveats(
    claim: TrainedClaim, searches: Mapping[str, RateSearch], rates: Mapping[str, TuningOutcomes]
) -> Iterator[str]:
    """Whether the interval includes the choice between near-best rates, and between which."""
    chosen = [arm for arm in arms_of(claim) if searches[arm].trials and searches[arm].chosen]
    near = {arm: ", ".join(f"{rate:g}" for rate in rates[arm]) for arm in chosen if rates[arm]}
    ties = [f"{arm} {names}" for arm, names in near.items() if len(rates[arm]) > 1]
    if ties:
        yield f"the CI includes the scatter between near-best learning rates ({'; '.join(ties)})"
    if len(near) < len(chosen):
        yield "the CI leaves out that another learning rate may be the best"
