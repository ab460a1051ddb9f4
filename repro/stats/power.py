"""What so many seeds can see."""

import math

import scipy

__all__ = ["POWER", "half_width", "smallest_effect"]

POWER = 0.8


def half_width(*, sd: float, seeds: int, level: float) -> float:
    """Half the width of the interval of a mean of `seeds` values; infinite at one."""
    if seeds < 2:
        return math.inf
    return float(scipy.special.stdtrit(seeds - 1, (1 + level) / 2)) * sd / math.sqrt(seeds)


def smallest_effect(*, sd: float, seeds: int, level: float, paired: bool) -> float:
    """The effect that `seeds` an arm tell from none 80 times in 100, in the unit of `sd`.

    `sd`: of one arm's log times, or, if `paired`, of the differences (or the values of one arm).
    Infinite below two seeds.
    """
    samples = 1 if paired else 2
    df = samples * (seeds - 1)
    if df < 1:
        return math.inf
    critical = float(scipy.stats.t.ppf((1 + level) / 2, df))
    shift = scipy.optimize.brentq(
        lambda nc: float(scipy.stats.nct.sf(critical, df, nc)) - POWER, 0.0, 10 * critical + 10
    )
    return float(shift) * sd * math.sqrt(samples / seeds)
