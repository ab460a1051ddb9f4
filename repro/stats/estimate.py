"""Means and paired differences over seeds, by Student's t.

Metrics of seeds are taken as normal: at 3 to 12 seeds Student's t is honest, and nothing that
resamples so few is. Arms that share seeds share first weights and the order of images, so their
difference is taken seed by seed.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import scipy

from repro.errors import StatisticsError

__all__ = ["Array", "Estimate", "correlation", "mean_level", "paired_difference"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A number and how sure it is. `low` and `high` bound it at `level`, which is one look's.

    `bound`: `two-sided`, or `lower` / `upper` where censoring leaves only one side known (the
    value is then that bound, the open side is infinite or zero). `seeds`: those of the smaller
    arm. `p`: against no effect, at this look alone; None where there is no such thing.
    """

    value: float
    low: float
    high: float
    level: float
    seeds: int
    method: str
    bound: Literal["two-sided", "lower", "upper"] = "two-sided"
    p: float | None = None


def paired_difference(higher: Array, lower: Array, *, level: float = 0.95) -> Estimate:
    """Mean of higher - lower over seeds, (n,) each in the same order, with Student's interval.

    Raises StatisticsError when there is nothing, or something that is no number.
    """
    differences = higher - lower
    found = mean_level(differences, level=level, method="paired t over seeds")
    return replace(found, p=_p_of_zero(differences))


def mean_level(values: Array, *, level: float = 0.95, method: str = "t over seeds") -> Estimate:
    """Mean over seeds, (n,), with Student's interval; infinite at one seed.

    Raises StatisticsError when there is nothing, or something that is no number.
    """
    n = len(values)
    if n == 0:
        raise StatisticsError("no seed has this metric", hint="run more trials")
    if not np.isfinite(values).all():
        raise StatisticsError("a metric is not a number")
    mean = float(values.mean())
    half = math.inf
    if n > 1:
        half = float(
            scipy.special.stdtrit(n - 1, (1 + level) / 2) * values.std(ddof=1) / math.sqrt(n)
        )
    return Estimate(
        value=mean, low=mean - half, high=mean + half, level=level, seeds=n, method=method
    )


def _p_of_zero(values: Array) -> float:
    """Two-sided, of a mean of zero; 1 at one seed, and where all values are zero."""
    n, mean = len(values), abs(float(values.mean()))
    if n < 2 or mean == 0:
        return 1.0
    error = float(values.std(ddof=1)) / math.sqrt(n)
    return float(2 * scipy.special.stdtr(n - 1, -mean / error)) if error > 0 else 0.0


def correlation(one: Array, two: Array) -> float:
    """Pearson's, over seeds, (n,) each: what pairing them has gained. NaN below three seeds."""
    if len(one) < 3 or one.std() == 0 or two.std() == 0:
        return math.nan
    return float(np.corrcoef(one, two)[0, 1])
