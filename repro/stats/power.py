"""How many seeds settle something, and what so many seeds can see."""

import math
from bisect import bisect_left

import scipy

__all__ = ["POWER", "half_width", "seeds_needed", "smallest_effect"]

POWER = 0.8


def seeds_needed(
    *, half: float, seeds: int, df: float, gap: float, level: float, most: int = 1000
) -> int | None:
    """Seeds an arm until half of the interval, `half` at so many seeds, is less than `gap`.

    If the scatter stays what it is: then it falls with the root of the seeds, and Student's t with
    `df`, its degrees of freedom, which grow with the seeds less one. Always more than `seeds`;
    None when more than `most` would be needed.
    """
    sure = (1 + level) / 2
    now = float(scipy.special.stdtrit(df, sure))

    def enough(n: int) -> bool:
        then = float(scipy.special.stdtrit(df * (n - 1) / (seeds - 1), sure))
        return half * then / now * math.sqrt(seeds / n) < gap

    first = seeds + 1
    needed = first + bisect_left(range(first, most + 1), True, key=enough)
    return needed if needed <= most else None


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
