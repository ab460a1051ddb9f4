"""Means and differences over seeds, by Student's t.

Metrics of seeds are taken as normal: at 3 to 12 seeds Student's t is honest, and nothing that
resamples so few is. Arms that share seeds share initial weights and the order of images, so that
their difference can be taken seed by seed; where that gains nothing, Welch's t has more degrees of
freedom.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import scipy

from repro.errors import StatisticsError

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A number and how sure it is. `low` and `high` bound it at `level`.

    `bound`: `two-sided`, or `lower` / `upper` where censoring leaves only one side known (the
    value is then that bound, the open side is infinite or zero). `seeds`: those of the smaller
    arm. `p`: against no effect, at this look alone; None where there is no such thing. `df`:
    degrees of freedom of Student's t; None where the interval is not its.
    """

    value: float
    low: float
    high: float
    level: float
    seeds: int
    method: str
    bound: Literal["two-sided", "lower", "upper"] = "two-sided"
    p: float | None = None
    df: float | None = None


def paired_difference(
    higher: Array, lower: Array, *, level: float = 0.95, least: float = 0.0
) -> Estimate:
    """Mean of higher - lower over seeds, (n,) each in the same order, with Student's interval.

    `least`: of the scatter, by another measurement; a smaller one is so by chance.
    Infinite at one seed, and where all seeds differ by the same. Raises StatisticsError when there
    is nothing, or something that is no number.
    """
    sd = scatter(higher - lower, higher, lower)
    floor = None if sd is None else max(sd, least)
    return _student(higher - lower, floor, level=level, method="paired t over seeds")


def welch_difference(higher: Array, lower: Array, *, level: float = 0.95) -> Estimate:
    """Difference of the means of two independent arms, (n,) and (m,), with Welch's interval.

    Infinite where an arm has one seed, or seeds that came out equal. Raises StatisticsError as
    `paired_difference`.
    """
    arms = (_checked(higher), _checked(lower))
    spreads = [scatter(values) for values in arms]
    mean, n = float(higher.mean() - lower.mean()), min(map(len, arms))
    half, p, df = math.inf, 1.0, None
    if all(sd is not None for sd in spreads):
        parts = [sd**2 / len(values) for sd, values in zip(spreads, arms, strict=True) if sd]
        error = math.sqrt(sum(parts))
        bends = (part**2 / (len(values) - 1) for part, values in zip(parts, arms, strict=True))
        df = error**4 / sum(bends)
        half = float(scipy.special.stdtrit(df, (1 + level) / 2) * error)
        p = float(2 * scipy.special.stdtr(df, -abs(mean) / error))
    return Estimate(
        value=mean, low=mean - half, high=mean + half, level=level, seeds=n,
        method="Welch's t over seeds", p=p, df=df,
    )  # fmt: skip


def mean_level(values: Array, *, level: float = 0.95) -> Estimate:
    """Mean over seeds, (n,), with Student's interval; infinite at one seed, and at equal ones.

    Raises StatisticsError when there is nothing, or something that is no number.
    """
    estimate = _student(values, scatter(values), level=level, method="t over seeds")
    return replace(estimate, p=None)  # zero means nothing to a level


def _student(values: Array, sd: float | None, *, level: float, method: str) -> Estimate:
    n = len(_checked(values))
    mean, half, p, df = float(values.mean()), math.inf, 1.0, None
    if sd is not None:
        df = float(n - 1)
        half = float(scipy.special.stdtrit(n - 1, (1 + level) / 2) * sd / math.sqrt(n))
        p = float(2 * scipy.special.stdtr(n - 1, -abs(mean) / (sd / math.sqrt(n))))
    return Estimate(
        value=mean, low=mean - half, high=mean + half, level=level, seeds=n, method=method, p=p,
        df=df,
    )  # fmt: skip


def _checked(values: Array) -> Array:
    if len(values) == 0:
        raise StatisticsError("no seed has this metric", hint="run more trials")
    if not np.isfinite(values).all():
        raise StatisticsError("a metric is not a number")
    return values


def scatter(values: Array, *parts: Array) -> float | None:
    """Standard deviation over seeds, (n,); None where it does not show.

    One seed has none. Seeds that came out equal are no proof that the next one would: a metric
    counts images, and a scatter below one of them is not seen. `parts`: what the values are
    differences of, (n,) each, whose size says by how much these are rounded.
    """
    if len(values) < 2:
        return None
    rounded = 4 * np.finfo(float).eps * np.abs([values, *parts]).max()
    return float(values.std(ddof=1)) if np.ptp(values) > rounded else None


def correlation(one: Array, two: Array) -> float:
    """Pearson's, over seeds, (n,) each: what pairing them has gained. NaN below three seeds."""
    if len(one) < 3 or one.std() == 0 or two.std() == 0:
        return math.nan
    return float(np.corrcoef(one, two)[0, 1])


def exp(value: float) -> float:
    return math.inf if value > 700 else math.exp(value)
