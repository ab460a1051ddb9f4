"""The choice between learning rates that tuning seeds cannot tell apart."""

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import scipy

from repro.stats.estimate import Array, Estimate, exp

_ERROR = 0.05  # of a one-sided test against the best rate


def near_best(criterion: Array, best: int) -> npt.NDArray[np.bool_]:
    """Which rates are not significantly worse than the best, (rates,), by one-sided t tests.

    criterion: (rates, tuning seeds), lower is better. All rates share the seeds, so that their
    scatter is that of the residuals of rates and seeds. One seed tells no rates apart.
    """
    rates, seeds = criterion.shape
    df = (rates - 1) * (seeds - 1)
    if df == 0:
        return np.ones(rates, dtype=bool)
    means = criterion.mean(1)
    residuals = criterion - means[:, None] - criterion.mean(0) + criterion.mean()
    error = math.sqrt(2 * float((residuals**2).sum()) / df / seeds)
    return np.asarray(means - means[best] <= scipy.special.stdtrit(df, 1 - _ERROR) * error)


def widened(estimate: Estimate, sd: float, *, log: bool = False) -> Estimate:
    """The estimate with a further, independent error of standard deviation `sd`.

    Each limit moves out: the squares of both distances add up (MOVER; Zou and Donner 2008). `log`:
    the error is of the logarithm of a ratio.
    """
    if sd == 0:
        return estimate
    reach = float(scipy.special.ndtri((1 + estimate.level) / 2)) * sd
    value, low, high = (
        _log(v) if log else v for v in (estimate.value, estimate.low, estimate.high)
    )
    low, high = value - math.hypot(value - low, reach), value + math.hypot(high - value, reach)
    p = _p(estimate, abs(value), sd, excludes_none=low > 0 or high < 0)
    if estimate.bound != "two-sided":
        value = low if estimate.bound == "lower" else high
    if log:
        value, low, high = exp(value), exp(low), exp(high)
    method = f"{estimate.method}, and between near-best rates"
    return replace(estimate, value=value, low=low, high=high, p=p, method=method)


def _p(estimate: Estimate, distance: float, sd: float, *, excludes_none: bool) -> float | None:
    """Two-sided p-value; where it and the interval would disagree, the interval is believed."""
    if estimate.p is None:
        return None
    df = math.inf if estimate.df is None else estimate.df
    t = -float(scipy.special.stdtrit(df, estimate.p / 2))
    wider = distance / math.hypot(distance / t, sd) if t > 0 else 0.0
    p = float(2 * scipy.special.stdtr(df, -wider))
    return min(p, 1 - estimate.level) if excludes_none else max(p, 1 - estimate.level)


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf
