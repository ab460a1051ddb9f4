"""Times to a threshold, some of which are only known to be longer than the budget.

They are taken as log-normal in each arm, so the ratio of medians is the ratio of geometric means,
exp(mu_slow - mu_fast). A time is known as an interval in epochs: a tenth of an epoch wide where it
was seen, open above (right-censored) where the budget ended first.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy

from repro.errors import StatisticsError
from repro.stats.estimate import Array, Estimate

__all__ = ["Times", "ratio_of_times"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Times:
    """Epochs to a threshold, (lower, upper] of each seed, (n,); upper infinite where censored."""

    lower: Array
    upper: Array

    @property
    def censored(self) -> npt.NDArray[np.bool_]:
        """Which times are only known to be longer than `lower`, (n,)."""
        return np.isinf(self.upper)

    def checked(self, arm: str) -> "Times":
        """Itself; StatisticsError when there is nothing, or something that is no time."""
        if len(self.lower) == 0:
            raise StatisticsError(f"the {arm} arm has no times", hint="run more trials")
        if np.isnan(self.lower).any() or np.isnan(self.upper).any():
            raise StatisticsError(f"the {arm} arm has a time that is not a number")
        if (self.lower < 0).any() or (self.upper <= self.lower).any():
            raise StatisticsError(f"the {arm} arm has a time whose interval is empty")
        return self


def ratio_of_times(slow: Times, fast: Times, *, level: float = 0.95) -> Estimate:
    """Ratio of median times, slow over fast, with an interval honest at 3 to 12 seeds.

    All crossed: Welch's t on log times. Some censored: a log-normal likelihood with one sigma for
    both arms, profiled, cut off at the value that is exact without censoring. A whole arm
    censored: a one-sided bound from the same likelihood. Raises StatisticsError when neither arm
    crossed at all.
    """
    slow.checked("slow"), fast.checked("fast")
    if slow.censored.all() and fast.censored.all():
        raise StatisticsError(
            "neither arm crossed the threshold: nothing is known of their ratio",
            hint="give both arms more epochs",
        )
    if not slow.censored.any() and not fast.censored.any():
        return _welch(slow, fast, level)
    return _censored(slow, fast, level)


# All crossed


def _welch(slow: Times, fast: Times, level: float) -> Estimate:
    a, b = _log_middle(slow), _log_middle(fast)
    difference = float(a.mean() - b.mean())
    n = min(len(a), len(b))
    half, p = math.inf, 1.0
    if n > 1:
        va, vb = _variance(slow) / len(a), _variance(fast) / len(b)
        df = (va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
        half = float(scipy.special.stdtrit(df, (1 + level) / 2) * math.sqrt(va + vb))
        p = float(2 * scipy.special.stdtr(df, -abs(difference) / math.sqrt(va + vb)))
    return Estimate(
        value=math.exp(difference),
        low=math.exp(difference - half),
        high=_exp(difference + half),
        level=level,
        seeds=n,
        method="Welch's t on log epochs",
        p=p,
    )


def _log_middle(times: Times) -> Array:
    """(n,) log of the geometric middle; of half the upper end where the lower is zero."""
    return 0.5 * (np.log(_above_zero(times)) + np.log(times.upper))


def _above_zero(times: Times) -> Array:
    """(n,) lower ends; a quarter of the upper where it crossed before the first measurement."""
    return np.where(times.lower > 0, times.lower, times.upper / 4)


def _width_variance(times: Times) -> float:
    """Variance of a log time that is only known to lie in its interval, averaged."""
    seen = ~times.censored
    if not seen.any():
        return 0.0
    return float(np.mean(np.log(times.upper[seen] / _above_zero(times)[seen]) ** 2) / 12)


def _variance(times: Times) -> float:
    """Of log times; never below what the width of the intervals leaves unknown."""
    return max(float(_log_middle(times).var(ddof=1)), _width_variance(times))


# Some censored


def _censored(slow: Times, fast: Times, level: float) -> Estimate:
    model = _LogNormal(slow, fast)
    n = min(len(slow.lower), len(fast.lower))
    method = "censored log-normal likelihood, common sigma"
    # A bound spends what its side of an interval spends: which of the two there will be is not
    # known beforehand, and together they err no more often than `level` says.
    both = (1 + level) / 2
    if slow.censored.all():
        value, p = _exp(model.limit(-1.0, both)), min(1.0, 2 * model.p_of_none(-1.0))
        return Estimate(value=value, low=value, high=math.inf, level=level, seeds=n,
                        method=method, bound="lower", p=p)  # fmt: skip
    if fast.censored.all():
        value = _exp(model.limit(1.0, both))
        return Estimate(value=value, low=0.0, high=value, level=level, seeds=n,
                        method=method, bound="upper", p=1.0)  # fmt: skip
    return Estimate(
        value=math.exp(model.best),
        low=math.exp(model.limit(-1.0, both)),
        high=_exp(model.limit(1.0, both)),
        level=level,
        seeds=n,
        method=method,
        p=min(1.0, 2 * model.p_of_none(-1.0 if model.best > 0 else 1.0)),
    )


FAR = 12.0  # log units: a ratio of 160,000 stands for infinity when a whole arm is censored
_GRID = 25  # ratios at once
_SMOOTH = 0.02  # log units, within which the likelihood is as good as a line or a parabola


class _LogNormal:
    """Profile likelihood of the log ratio, delta; the mean and sigma are maximised over.

    N times of both arms, D ratios at once.
    """

    def __init__(self, slow: Times, fast: Times) -> None:
        self.is_slow = np.repeat([1.0, 0.0], [len(slow.lower), len(fast.lower)])  # (N,)
        self.censored = np.concatenate((slow.censored, fast.censored))
        lower = np.log(np.concatenate((_above_zero(slow), _above_zero(fast))))
        with np.errstate(invalid="ignore"):
            middle = 0.5 * (lower + np.log(np.concatenate((slow.upper, fast.upper))))
        self.log_time = np.where(self.censored, lower, middle)
        self.events = int((~self.censored).sum())
        floor = max(_width_variance(slow), _width_variance(fast), 1e-6)
        self.sharpest = 1 / math.sqrt(floor)  # of 1 / sigma
        first = len(slow.lower)
        guess = float(self.log_time[:first].mean() - self.log_time[first:].mean())
        if slow.censored.all():
            self.best = guess + FAR
        elif fast.censored.all():
            self.best = guess - FAR
        else:
            self.best = self._highest(guess - 3, guess + 6)
        self.top = float(self.profile(np.array([self.best]))[0])

    def _highest(self, low: float, high: float) -> float:
        """The ratio with the highest likelihood: it has one peak, and its top is a parabola."""
        while True:
            grid = np.linspace(low, high, _GRID)
            values = self.profile(grid)
            peak = min(max(int(values.argmax()), 1), _GRID - 2)
            low, high = float(grid[peak - 1]), float(grid[peak + 1])
            if high - low <= _SMOOTH:
                break
        a, b, c = values[peak - 1 : peak + 2].tolist()
        bend = a - 2 * b + c
        shift = 0.5 * (a - c) / bend if bend < 0 else 0.0
        return float(grid[peak]) + min(max(shift, -1.0), 1.0) * (high - low) / 2

    def profile(self, deltas: Array) -> Array:
        """Log-likelihood at each log ratio, (D,), maximised over the rest by Newton's method.

        It is concave in a = mu / sigma and s = 1 / sigma (Olsen 1978), with s held at `sharpest`.
        """
        x = self.log_time - deltas[:, None] * self.is_slow  # (D, N)
        s = np.minimum(1 / np.maximum(x.std(1), 0.05), self.sharpest)
        a = s * x.mean(1)
        value = self._log_likelihood(x, a, s)
        for _ in range(100):
            up_a, up_s = self._step(x, a, s)
            scale = np.ones_like(s)
            for _ in range(40):
                next_s = np.clip(s + scale * up_s, s / 10, self.sharpest)
                next_value = self._log_likelihood(x, a + scale * up_a, next_s)
                worse = ~(next_value >= value)
                if not worse.any():
                    break
                scale[worse] /= 2
            better = next_value - value
            moved = ~worse
            a, s = np.where(moved, a + scale * up_a, a), np.where(moved, next_s, s)
            value = np.where(moved, next_value, value)
            if not (moved & (better > 1e-9)).any():
                break
        return value

    def _log_likelihood(self, x: Array, a: Array, s: Array) -> Array:
        z = s[:, None] * x - a[:, None]
        seen = np.log(s[:, None]) - z**2 / 2
        each: Array = np.where(self.censored, scipy.special.log_ndtr(-z), seen)
        return np.asarray(each.sum(1))

    def _step(self, x: Array, a: Array, s: Array) -> tuple[Array, Array]:
        """Newton's step, (D,) in a and in s; along the edge where s cannot grow."""
        z = s[:, None] * x - a[:, None]
        hazard = np.exp(-(z**2) / 2 - scipy.special.log_ndtr(-z)) / math.sqrt(2 * math.pi)
        slope = np.where(self.censored, hazard, z)  # of the likelihood in a
        curve = np.where(self.censored, hazard * (hazard - z), 1.0)
        g_a, g_s = slope.sum(1), self.events / s - (x * slope).sum(1)
        h_aa, h_as = -curve.sum(1), (x * curve).sum(1)
        h_ss = -self.events / s**2 - (x**2 * curve).sum(1)
        determinant = h_aa * h_ss - h_as**2
        up_s = np.minimum((h_as * g_a - h_aa * g_s) / determinant, self.sharpest - s)
        return -(g_a + h_as * up_s) / h_aa, up_s

    def limit(self, side: float, sure: float) -> float:
        """Log ratio beyond which, to one side of the best, the truth lies 1 - `sure` of the time.

        There the likelihood has fallen by the cut-off.
        """
        floor = self.top - _cutoff(self.events, sure) / 2
        grid = np.concatenate(([0.0], np.geomspace(1e-3, 2 * FAR, _GRID)))
        while True:
            above = self.profile(self.best + side * grid) - floor
            if (above >= 0).all():
                return side * math.inf
            far = max(int((above < 0).argmax()), 1)
            near = far - 1
            if grid[far] - grid[near] <= _SMOOTH:
                break
            grid = np.linspace(grid[near], grid[far], _GRID)
        share = float(above[near] / (above[near] - above[far]))
        return self.best + side * float(grid[near] + share * (grid[far] - grid[near]))

    def p_of_none(self, side: float) -> float:
        """One-sided p-value of a ratio of 1, which lies to that `side` of the best."""
        fall = 2 * (self.top - float(self.profile(np.zeros(1))[0]))
        if -side * self.best <= 0:
            return 1.0
        df = _degrees(self.events)
        t = math.sqrt(df * math.expm1(max(fall, 0.0) / (df + 2)))
        return float(scipy.special.stdtr(df, -t))


def _degrees(events: int) -> int:
    """Censored times count as half known at best, so only the crossings count: the wider side."""
    return max(events - 2, 1)


def _cutoff(events: int, sure: float) -> float:
    """Fall of twice the log-likelihood; exact for two normal samples of `events` in all.

    n log(1 + t^2 / (n - 2)) is the likelihood ratio of Student's test.
    """
    df = _degrees(events)
    t = float(scipy.special.stdtrit(df, sure))
    return (df + 2) * math.log1p(t * t / df)


def _exp(value: float) -> float:
    return math.inf if value > 700 else math.exp(value)
