"""Times to a threshold, some of which are only known to be longer than the budget.

They are taken as log-normal in each arm, so the ratio of medians is the ratio of geometric means,
exp(mu_slow - mu_fast). A time is known as an interval in epochs: a tenth of an epoch wide where it
was seen, open above (right-censored) where the budget ended first.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import scipy

from repro.errors import StatisticsError
from repro.stats.censored import Arm, CommonSpread
from repro.stats.estimate import Array, Estimate, exp


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Times:
    """Epochs to a threshold, (lower, upper] of each seed, (n,); upper infinite where censored.

    A lower end of 0 says that nothing was measured before it crossed: how fast it was has no bound.
    `step`: epochs between two measurements; by default the narrowest bracket.
    """

    lower: Array
    upper: Array
    step: float | None = None

    @property
    def unbounded(self) -> bool:
        """Whether one crossed before anything was measured: nothing says how early."""
        return bool((~self.censored & (self.lower == 0)).any())

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
        if (self.censored & (self.lower == 0)).any():
            raise StatisticsError(f"the {arm} arm has a time of which nothing is known")
        return self


def ratio_of_times(slow: Times, fast: Times, *, level: float = 0.95) -> Estimate:
    """Ratio of median times, slow over fast, with an interval honest at 3 to 12 seeds.

    All crossed: Welch's t on log times. Some censored: the same of each arm's own log-normal
    likelihood, profiled, cut off at the value that is exact without censoring. A whole arm
    censored: a one-sided bound, which says nothing beyond the budget, and no more than the other
    arm's spread allows. A time may lie anywhere in its bracket, and all times of an arm at the same
    end of it: each end of the interval is that of the least favourable ones (Imbens and Manski
    2004), and has no bound where a time has none below. Raises StatisticsError when neither arm
    crossed at all.
    """
    slow.checked("slow"), fast.checked("fast")
    if slow.censored.all() and fast.censored.all():
        raise StatisticsError(
            "neither arm crossed the threshold: nothing is known of their ratio",
            hint="give both arms more epochs",
        )
    least, middle, most = (_at_points(slow, fast, share, level) for share in (0.0, 0.5, 1.0))
    low = 0.0 if slow.unbounded else least.low
    high = math.inf if fast.unbounded else most.high
    value = {"lower": low, "upper": high, "two-sided": middle.value}[middle.bound]
    same_side = (least.value > 1) == (most.value > 1)
    bounded = not (slow.unbounded or fast.unbounded)
    p = max(one.p if one.p is not None else 1.0 for one in (least, most))
    return replace(middle, value=value, low=low, high=high, p=p if same_side and bounded else 1.0)


def _at_points(slow: Times, fast: Times, share: float, level: float) -> Estimate:
    """With each slow time at that share of its bracket, and each fast one at the other end."""
    one, two = _points(slow, share), _points(fast, 1 - share)
    if slow.censored.any() or fast.censored.any():
        return _censored(one, two, level)
    return _welch(one, two, level)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Points:
    """Log times, (n,), those of the budget where censored. `least`: variance of what is not seen.

    A scatter below the step of measuring does not show.
    """

    log_time: Array
    censored: npt.NDArray[np.bool_]
    least: float


def _points(times: Times, share: float) -> _Points:
    seen = ~times.censored
    # A time without a lower end needs some point for the estimate; its interval has no bound there.
    low = np.log(np.where(times.lower > 0, times.lower, times.upper / 2))
    high = np.where(seen, np.log(times.upper), low)
    step = high - low
    if times.step is not None:
        step = np.minimum(step, -np.log1p(-times.step / np.maximum(times.upper, 4 * times.step)))
    width = float(step[seen].min()) if seen.any() else 0.0
    return _Points(
        log_time=low + share * (high - low), censored=times.censored, least=width**2 / 12
    )


# All crossed


def _welch(slow: _Points, fast: _Points, level: float) -> Estimate:
    a, b = slow.log_time, fast.log_time
    difference = float(a.mean() - b.mean())
    n = min(len(a), len(b))
    half, p, df = math.inf, 1.0, None
    if n > 1:
        va, vb = (
            max(float(arm.log_time.var(ddof=1)), arm.least) / len(arm.log_time)
            for arm in (slow, fast)
        )
        df = float((va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1)))
        half = float(scipy.special.stdtrit(df, (1 + level) / 2) * math.sqrt(va + vb))
        p = float(2 * scipy.special.stdtr(df, -abs(difference) / math.sqrt(va + vb)))
    return Estimate(
        value=math.exp(difference),
        low=math.exp(difference - half),
        high=exp(difference + half),
        level=level,
        seeds=n,
        method="Welch's t on log epochs",
        p=p,
        df=df,
    )


# Some censored


def _censored(slow: _Points, fast: _Points, level: float) -> Estimate:
    """Each arm's own limits, put together (MOVER; Zou and Donner 2008): Welch's t, censored."""
    one, two = (Arm(arm.log_time, arm.censored, least=arm.least) for arm in (slow, fast))
    difference = one.mean - two.mean
    n = min(len(slow.log_time), len(fast.log_time))
    method = "censored log-normal likelihoods, a sigma for each arm"
    # A bound spends what its side of an interval spends: which of the two there will be is not
    # known beforehand, and together they err no more often than `level` says.
    both = (1 + level) / 2
    below, above = (
        math.hypot(one.reach(side, both), two.reach(-side, both)) for side in (-1.0, 1.0)
    )
    p = _p_of_none(one, two, both, level)
    if slow.censored.all() or fast.censored.all():
        common = CommonSpread(one, two)
        p = min(1.0, max(2 * common.p_of_none(), p))
        if slow.censored.all():
            value = exp(min(difference - below, common.limit(-1.0, both)))
            return Estimate(value=value, low=value, high=math.inf, level=level, seeds=n,
                            method=method, bound="lower", p=p)  # fmt: skip
        value = exp(max(difference + above, common.limit(1.0, both)))
        return Estimate(value=value, low=0.0, high=value, level=level, seeds=n,
                        method=method, bound="upper", p=p)  # fmt: skip
    return Estimate(
        value=exp(difference),
        low=exp(difference - below),
        high=exp(difference + above),
        level=level,
        seeds=n,
        method=method,
        p=p,
    )


def _p_of_none(slow: Arm, fast: Arm, sure: float, level: float) -> float:
    """Two-sided p-value of a ratio of 1: Welch's, by the variances that the limits stand for.

    Where it and the interval would disagree about a ratio of 1, the interval is believed.
    """
    difference = slow.mean - fast.mean
    side = -1.0 if difference > 0 else 1.0  # from the estimate to no effect
    reaches = [(slow.reach(side, sure), slow), (fast.reach(-side, sure), fast)]
    reach = math.hypot(*(far for far, _ in reaches))
    if math.isinf(reach) or reach == 0:
        return 1.0
    degrees = [(arm, max(arm.events - 1, 1)) for _, arm in reaches]
    variances = [
        (far / float(scipy.special.stdtrit(df, sure))) ** 2
        for (far, _), (_, df) in zip(reaches, degrees, strict=True)
    ]
    total = sum(variances)
    df = total**2 / sum(v**2 / d for v, (_, d) in zip(variances, degrees, strict=True))
    p = float(2 * scipy.special.stdtr(df, -abs(difference) / math.sqrt(total)))
    return min(p, 1 - level) if abs(difference) > reach else max(p, 1 - level)
