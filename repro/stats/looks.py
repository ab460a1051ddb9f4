"""Looking more than once: what each look may spend so that all of them err 5 times in 100.

The interval of each look is as much wider as keeps the truth inside all of them at once, 95 times
in 100 (repeated confidence intervals; Jennison and Turnbull 1989). Whatever made a run stop, the
interval at which it stopped then errs at most 5 times in 100. Every look spends the same (Pocock
1977), in terms of Student's t at its own number of seeds: 3 seeds are far from normal.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import numpy as np
import scipy

from repro.stats.estimate import Array

__all__ = ["ERROR", "holm", "look_level", "over_all_looks"]

ERROR: Final = 0.05  # over all looks

_DRAWS = 17  # 2**17 points of a Sobol sequence: the level is known to a hundredth of itself


@lru_cache(maxsize=64)
def look_level(looks: tuple[int, ...], *, paired: bool) -> float:
    """Level of the interval at each look, such as 0.984 at 3, 5, 8 and 12 paired seeds.

    `looks`: seeds an arm, increasing. `paired`: one value a seed; else two independent arms.
    """
    if len(looks) == 1:
        return 1 - ERROR
    return 1 - float(np.quantile(_least_p(looks, 1 if paired else 2), ERROR))


def over_all_looks(p: float, looks: tuple[int, ...], *, paired: bool) -> float:
    """How often any look would give `p` or less if there were no effect.

    The p-value that goes with the intervals: it is below 5 % where no effect is outside of them.
    """
    if len(looks) == 1:
        return p
    least = _least_p(looks, 1 if paired else 2)
    if p < 1e-3:  # too rare to be counted: Bonferroni's bound, which is close there
        return min(len(looks) * p, float(np.mean(least <= 1e-3)))
    return float(np.mean(least <= p))


@lru_cache(maxsize=64)
def _least_p(looks: tuple[int, ...], samples: int) -> Array:
    """Least p-value over the looks without an effect, (2**_DRAWS,), by quasi-Monte Carlo.

    Between two looks m seeds an arm come in: their mean, and their sum of squares about it, which
    is chi-squared, are drawn in place of the seeds themselves.
    """
    each = samples + 1  # means of the arms, and a common sum of squares
    sequence = scipy.stats.qmc.Sobol(each * len(looks), scramble=False)
    sequence.fast_forward(2**_DRAWS)  # past the corner, where quantiles are infinite
    uniform = sequence.random(2**_DRAWS).reshape(-1, len(looks), each)
    means = np.zeros((len(uniform), samples))
    squares = np.zeros(len(uniform))
    least = np.ones(len(uniform))
    before = 0
    for look, n in enumerate(looks):
        more = n - before
        new = scipy.special.ndtri(uniform[:, look, :samples]) / np.sqrt(more)
        squares += ((new - means) ** 2).sum(1) * before * more / n
        if more > 1:
            squares += scipy.special.chdtri(samples * (more - 1), uniform[:, look, -1])
        means += (new - means) * more / n
        before = n
        if n > 1:
            df = samples * (n - 1)
            effect = means @ np.array([1.0, -1.0][:samples])
            t = np.abs(effect) / np.sqrt(squares / df * samples / n)
            least = np.minimum(least, 2 * scipy.special.stdtr(df, -t))
    return least


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p-values adjusted for the whole family (Holm 1979), the smallest first.

    Those at most 5 % hold together: all of them are right 95 times in 100.
    """
    adjusted: dict[str, float] = {}
    most = 0.0
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        most = max(most, min(1.0, (len(p_values) - rank) * p))
        adjusted[name] = most
    return adjusted
