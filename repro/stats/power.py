"""How many seeds settle something, and what so many seeds can see."""

import math

from scipy import optimize, stats

__all__ = ["POWER", "seeds_needed", "smallest_effect"]

POWER = 0.8


def seeds_needed(
    *, sd: float, gap: float, paired: bool = False, level: float = 0.95, most: int = 1000
) -> int | None:
    """Seeds an arm until the half-width of the interval is below `gap`.

    `sd`: of one arm's log times, or, if `paired`, of the differences (or the values of one arm).
    None when more than `most` would be needed.
    """
    samples = 1 if paired else 2
    for n in range(2, most + 1):
        width = stats.t.ppf((1 + level) / 2, samples * (n - 1)) * sd * math.sqrt(samples / n)
        if width < gap:
            return n
    return None


def smallest_effect(*, sd: float, seeds: int, level: float, paired: bool) -> float:
    """The effect that `seeds` an arm tell from none 80 times in 100, in the unit of `sd`.

    `sd` as in `seeds_needed`. Infinite below two seeds.
    """
    samples = 1 if paired else 2
    df = samples * (seeds - 1)
    if df < 1:
        return math.inf
    critical = float(stats.t.ppf((1 + level) / 2, df))
    shift = optimize.brentq(
        lambda nc: float(stats.nct.sf(critical, df, nc)) - POWER, 0.0, 10 * critical + 10
    )
    return float(shift) * sd * math.sqrt(samples / seeds)
