"""How many seeds settle something, and what so many seeds can see."""

import math
from bisect import bisect_left

import scipy

__all__ = ["POWER", "half_width", "seeds_needed", "smallest_effect"]

POWER = 0.8


def seeds_needed(
    *, sd: float, gap: float, paired: bool = False, level: float = 0.95, most: int = 1000
) -> int | None:
    """Seeds an arm until the half-width of the interval is below `gap`.

    `sd`: of one arm's log times, or, if `paired`, of the differences (or the values of one arm).
    None when more than `most` would be needed.
    """
    samples = 1 if paired else 2

    def enough(n: int) -> bool:
        critical = float(scipy.special.stdtrit(samples * (n - 1), (1 + level) / 2))
        return critical * sd * math.sqrt(samples / n) < gap

    needed = 2 + bisect_left(range(2, most + 1), True, key=enough)  # more seeds, less width
    return needed if needed <= most else None


def half_width(*, sd: float, seeds: int, level: float) -> float:
    """Half the width of the interval of a mean of `seeds` values; infinite at one."""
    if seeds < 2:
        return math.inf
    return float(scipy.special.stdtrit(seeds - 1, (1 + level) / 2)) * sd / math.sqrt(seeds)


def smallest_effect(*, sd: float, seeds: int, level: float, paired: bool) -> float:
    """The effect that `seeds` an arm tell from none 80 times in 100, in the unit of `sd`.

    `sd` as in `seeds_needed`. Infinite below two seeds.
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
