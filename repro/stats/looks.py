"""Looking more than once: what each look may spend so that all of them err 5 times in 100.

A word is said where an end of an interval lies beyond a number, so each end may err `error` of the
time over all looks (two one-sided tests; Schuirmann 1987). How much of it each look spends follows
a function of the share of seeds (Lan and DeMets 1983): that of O'Brien and Fleming keeps nearly all
for the last look; Pocock's spends evenly. Levels are in terms of Student's t at each look's own
number of seeds: 3 seeds are far from normal.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import scipy

from repro.stats.estimate import Array

ERROR: Final = 0.05  # of each false word, over all looks
SHOWN: Final = 0.95  # level of the interval that is shown

Spending = Literal["obrien_fleming", "pocock"]

_DRAWS = 17  # 2**17 points of a Sobol sequence: the level is known to a hundredth of itself


@lru_cache(maxsize=64)
def look_levels(
    looks: tuple[int, ...],
    *,
    paired: bool,
    spending: Spending = "obrien_fleming",
    error: float = ERROR,
    taken: int = 0,
) -> tuple[float, ...]:
    """Level of the interval that the word is read off, at each look.

    `looks`: seeds an arm, increasing. `paired`: one value a seed; else two independent arms.
    `error`: of each end, over all looks. `taken`: so many looks were taken before under a rule of
    equal intervals that hold together 95 times in 100. They keep their level, and what they have
    left of `error` is for the looks to come.
    """
    if len(looks) == 1 and not taken:
        return (1 - 2 * error if looks[0] > 1 else 1.0,)
    p = _one_sided_p(looks, 1 if paired else 2)
    crossed = np.zeros(len(p), dtype=bool)
    edges = [_equal_edge(looks, paired=paired)] * taken
    for edge, at_look in zip(edges, p.T, strict=False):
        crossed |= at_look <= edge
    spent, begin = float(crossed.mean()), looks[taken - 1] if taken else 0
    for look in range(taken, len(looks)):
        share = (looks[look] - begin) / (looks[-1] - begin)
        spend = spent + max(error - spent, 0.0) * _share(share, spending, error)
        edges.append(_edge(p[:, look], crossed, spend) if looks[look] > 1 else 0.0)
        crossed |= p[:, look] <= edges[-1]
    return tuple(1 - 2 * edge for edge in edges)


def _share(seeds: float, spending: Spending, error: float) -> float:
    """How much of the error is spent by that share of the seeds."""
    if spending == "pocock":
        return float(np.log1p((np.e - 1) * seeds))
    z = scipy.special.ndtri(error / 2) / np.sqrt(seeds)
    return float(2 * scipy.special.ndtr(z) / error)


def _edge(p: Array, crossed: npt.NDArray[np.bool_], spend: float) -> float:
    """The p-value below which a run lies now, or crossed an edge before, `spend` of the time."""
    return float(np.quantile(np.where(crossed, 0.0, p), spend)) if crossed.any() else spend


def _equal_edge(looks: tuple[int, ...], *, paired: bool) -> float:
    """One-sided error of intervals of equal level that hold together 95 times in 100."""
    if len(looks) == 1:
        return ERROR / 2
    return float(np.quantile(_least_p(looks, 1 if paired else 2), ERROR)) / 2


def over_all_looks(p: float, looks: tuple[int, ...], *, paired: bool) -> float:
    """How often any look would give `p` or less if there were no effect.

    A two-sided p-value that holds whatever rule ended the run.
    """
    if len(looks) == 1:
        return p
    least = _least_p(looks, 1 if paired else 2)
    if p < 1e-3:  # too rare to be counted: Bonferroni's bound, which is close there
        return min(len(looks) * p, float(np.mean(least <= 1e-3)))
    return float(np.mean(least <= p))


@lru_cache(maxsize=64)
def _least_p(looks: tuple[int, ...], samples: int) -> Array:
    """Least two-sided p-value over the looks without an effect, (2 ** _DRAWS,)."""
    p = _one_sided_p(looks, samples)[: 2**_DRAWS]
    return np.asarray(2 * np.minimum(p, 1 - p).min(1))


@lru_cache(maxsize=16)
def _one_sided_p(looks: tuple[int, ...], samples: int) -> Array:
    """One-sided p-values without an effect, (2 * 2 ** _DRAWS, looks), by quasi-Monte Carlo.

    The second half are those of the other side. Between two looks m seeds an arm come in: their
    mean, and their sum of squares about it, which is chi-squared, are drawn in place of the seeds
    themselves.
    """
    each = samples + 1  # means of the arms, and a common sum of squares
    sequence = scipy.stats.qmc.Sobol(each * len(looks), scramble=False)
    sequence.fast_forward(2**_DRAWS)  # past the corner, where quantiles are infinite
    uniform = sequence.random(2**_DRAWS).reshape(-1, len(looks), each)
    means = np.zeros((len(uniform), samples))
    squares = np.zeros(len(uniform))
    p = np.full((len(uniform), len(looks)), 0.5)
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
            p[:, look] = scipy.special.stdtr(df, -effect / np.sqrt(squares / df * samples / n))
    return np.concatenate((p, 1 - p))


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
