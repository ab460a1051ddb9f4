"""Likelihoods of log-normal times of which some are only known to be longer than their budget.

An arm of which some seeds crossed has a spread of its own (`Arm`): arms may scatter differently,
and a spread in common would carry that of one into the tail of the other. An arm of which none
crossed shows no spread at all, and borrows the other's (`CommonSpread`).
"""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import scipy

from repro.stats.estimate import Array

_FAR = 12.0  # log units: a ratio of 160,000 stands for infinity when a whole arm is censored
_FARTHEST = 700.0  # log epochs, beyond which there is no number
_GRID = 25  # values at once
_SMOOTH = 0.02  # log units, within which the likelihood is as good as a line or a parabola

Profile = Callable[[Array], Array]


class Arm:
    """The mean of an arm's log times, with what its own spread leaves open.

    log_time: (n,), the budget's where censored. `least`: variance that no arm can be below, that of
    the width of its intervals. Without a censored time everything is Student's t.
    """

    def __init__(self, log_time: Array, censored: npt.NDArray[np.bool_], *, least: float) -> None:
        self.log_time, self.censored = log_time, censored
        self.events = int((~censored).sum())
        self.sharpest = 1 / math.sqrt(max(least, 1e-6))  # of 1 / sigma
        middle = float(log_time.mean())
        if self.events == 0:
            self.mean = float(log_time.min())  # nothing is said beyond the budget
        elif self.events == len(log_time):
            self.mean = middle
        else:
            self.mean = _highest(self._profile, middle - 0.5, middle + 6)

    def reach(self, side: float, sure: float) -> float:
        """How far to that side of its mean the truth may lie, 1 - `sure` of the time beyond it."""
        n = len(self.log_time)
        if self.events == 0:
            return math.inf if side > 0 else 0.0
        if self.events < n:
            fall = _fall(max(self.events - 1, 1), 1, sure)
            return _distance(self._profile, self.mean, side, fall)
        if n < 2:
            return math.inf
        spread = max(float(self.log_time.std(ddof=1)), 1 / self.sharpest)
        return float(scipy.special.stdtrit(n - 1, sure)) * spread / math.sqrt(n)

    def _profile(self, means: Array) -> Array:
        """Log-likelihood at each mean, (M,), maximised over s = 1 / sigma: it is concave there."""
        x = self.log_time - means[:, None]  # (M, n)
        seen, late = (x[:, ~self.censored] ** 2).sum(1), x[:, self.censored]
        about = seen + (np.maximum(late, 0) ** 2).sum(1)
        s = np.minimum(np.sqrt(self.events / np.maximum(about, 1e-12)), self.sharpest)
        for _ in range(60):
            z = s[:, None] * late
            hazard = _hazard(z)
            slope = self.events / s - s * seen - (late * hazard).sum(1)
            bend = -self.events / s**2 - seen - (late**2 * hazard * (hazard - z)).sum(1)
            better = np.clip(s - slope / bend, s / 4, np.minimum(4 * s, self.sharpest))
            settled = (np.abs(better - s) <= 1e-7 * s).all()
            s = better
            if settled:
                break
        beyond = scipy.special.log_ndtr(-s[:, None] * late).sum(1)
        return np.asarray(self.events * np.log(s) - s**2 * seen / 2 + beyond)


class CommonSpread:
    """The log ratio of two arms of which one was censored wholly, by one sigma for both.

    Its likelihood has no peak, but a plateau towards the arm that was never seen to cross.
    """

    def __init__(self, slow: Arm, fast: Arm) -> None:
        self.is_slow = np.repeat([1.0, 0.0], [len(slow.log_time), len(fast.log_time)])  # (N,)
        self.log_time = np.concatenate((slow.log_time, fast.log_time))
        self.censored = np.concatenate((slow.censored, fast.censored))
        self.events = slow.events + fast.events
        self.sharpest = min(slow.sharpest, fast.sharpest)
        far = _FAR if slow.events == 0 else -_FAR
        self.plateau = float(slow.log_time.mean() - fast.log_time.mean()) + far

    def limit(self, side: float, sure: float) -> float:
        """Log ratio to that side of it beyond which the truth lies 1 - `sure` of the time."""
        fall = _fall(self._degrees, 2, sure)
        return self.plateau + side * _distance(self._profile, self.plateau, side, fall)

    def p_of_none(self) -> float:
        """One-sided p-value of a ratio of 1."""
        top, none = self._profile(np.array([self.plateau, 0.0])).tolist()
        df = self._degrees
        t = math.sqrt(df * math.expm1(max(2 * (top - none), 0.0) / (df + 2)))
        return float(scipy.special.stdtr(df, -t))

    @property
    def _degrees(self) -> int:
        """Censored times count as half known at best, so only crossings count: the wider side."""
        return max(self.events - 2, 1)

    def _profile(self, deltas: Array) -> Array:
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
        hazard = _hazard(z)
        slope = np.where(self.censored, hazard, z)  # of the likelihood in a
        curve = np.where(self.censored, hazard * (hazard - z), 1.0)
        g_a, g_s = slope.sum(1), self.events / s - (x * slope).sum(1)
        h_aa, h_as = -curve.sum(1), (x * curve).sum(1)
        h_ss = -self.events / s**2 - (x**2 * curve).sum(1)
        determinant = h_aa * h_ss - h_as**2
        up_s = np.minimum((h_as * g_a - h_aa * g_s) / determinant, self.sharpest - s)
        return -(g_a + h_as * up_s) / h_aa, up_s


def _hazard(z: Array) -> Array:
    """Density over survival of a standard normal."""
    return np.asarray(np.exp(-(z**2) / 2 - scipy.special.log_ndtr(-z)) / math.sqrt(2 * math.pi))


def _fall(degrees: int, means: int, sure: float) -> float:
    """Fall of the log-likelihood to a limit; exact for normal samples of so many means.

    n log(1 + t^2 / df) is the likelihood ratio of Student's test.
    """
    t = float(scipy.special.stdtrit(degrees, sure))
    return (degrees + means) * math.log1p(t * t / degrees) / 2


def _highest(profile: Profile, low: float, high: float) -> float:
    """Where a likelihood is highest: it has one peak, and its top is a parabola.

    The peak is above `low`; where it is not below `high`, it is looked for further up.
    """
    while True:
        grid = np.linspace(low, high, _GRID)
        values = profile(grid)
        if values.argmax() == _GRID - 1 and high < _FARTHEST:
            low, high = float(grid[-2]), 2 * high - low
            continue
        peak = min(max(int(values.argmax()), 1), _GRID - 2)
        low, high = float(grid[peak - 1]), float(grid[peak + 1])
        if high - low <= _SMOOTH:
            break
    a, b, c = values[peak - 1 : peak + 2].tolist()
    bend = a - 2 * b + c
    shift = 0.5 * (a - c) / bend if bend < 0 else 0.0
    return float(grid[peak]) + min(max(shift, -1.0), 1.0) * (high - low) / 2


def _distance(profile: Profile, best: float, side: float, fall: float) -> float:
    """How far to that side of the best the likelihood has fallen so much; infinite if nowhere."""
    floor = float(profile(np.array([best]))[0]) - fall
    grid = np.concatenate(([0.0], np.geomspace(1e-3, 2 * _FAR, _GRID)))
    while True:
        above = profile(best + side * grid) - floor
        if (above >= 0).all():
            return math.inf
        far = max(int((above < 0).argmax()), 1)
        near = far - 1
        if grid[far] - grid[near] <= _SMOOTH:
            break
        grid = np.linspace(grid[near], grid[far], _GRID)
    share = float(above[near] / (above[near] - above[far]))
    return float(grid[near] + share * (grid[far] - grid[near]))
