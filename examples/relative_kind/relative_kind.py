"""A kind of claim, as another package adds it to repro: so many percent less of a metric.

"Dropout cuts the error by a fifth" is no difference in points: 2 of 10 points are as much as 8 of
40. The effect is (metric(higher) - metric(lower)) / metric(higher), seed by seed, in percent.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from repro.claim import Difference, TrainedClaim, arms_of, metric_of
from repro.registry import METRICS
from repro.stats import paired_difference
from repro.text import measured_text
from repro.verdict.effects import (
    DECIDING,
    Contrast,
    Outcome,
    contrasts,
    estimate_or_none,
    values_of,
)

__all__ = ["RelativeClaim"]


class RelativeClaim(TrainedClaim):
    """How many percent less of a metric one arm has than another, paired by seed.

    `contrast`: the arms, as in a difference.
    """

    kind: Literal["relative"]
    contrast: Difference
    sides = ("higher", "lower")
    no_effect = 0.0


@contrasts.register
def _effects(
    claim: RelativeClaim, outcomes: Sequence[Outcome], level: float
) -> tuple[Contrast, ...]:
    arms = arms_of(claim)
    metrics = tuple(metric_of(claim, arm, claim.contrast) for arm in arms)
    more, less = (values_of(outcomes, *one) for one in zip(arms, metrics, strict=True))
    seeds = sorted(more.keys() & less.keys())  # that both arms finished
    higher, lower = (np.array([values[seed] for seed in seeds]) for values in (more, less))
    shares = 100 * (higher - lower) / higher
    return (
        Contrast(
            name=DECIDING,
            arms=arms,
            metrics=metrics,
            unit=f"% of {arms[0]}'s",
            description=f"{METRICS[metrics[0]].title}, how much less {arms[1]} has than {arms[0]}",
            estimate=estimate_or_none(
                paired_difference, shares, np.zeros_like(shares), level=level
            ),
            sd=float(shares.std(ddof=1)) if len(seeds) > 1 else None,
            by_seed=dict(zip(seeds, shares.tolist(), strict=True)),
        ),
    )


@measured_text.register
def _words(claim: RelativeClaim) -> str:
    higher, lower = arms_of(claim)
    title = METRICS[metric_of(claim, higher, claim.contrast)].title
    return f"Seed by seed, by how many percent {lower} has less {title} than {higher}"
