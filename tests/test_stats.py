"""Intervals by their coverage, estimates by their slow definitions, edges at n = 0, 1, 2."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from scipy import stats as scipy_stats

from repro.errors import StatisticsError
from repro.stats import (
    Times,
    image_scatter,
    paired_difference,
    ratio_of_times,
    welch_difference,
)
from repro.stats.estimate import Array

TRUE_RATIO = 6.0


def times(*intervals: tuple[float, float]) -> Times:
    lower, upper = zip(*intervals, strict=True) if intervals else ((), ())
    return Times(lower=np.array(lower, dtype=float), upper=np.array(upper, dtype=float))


def seen(*epochs: float) -> Times:
    """Crossings located to a tenth of an epoch."""
    return times(*((e - 0.1, e) for e in epochs))


def draw(
    generator: np.random.Generator, median: float, sigma: float, n: int, budget: float = math.inf
) -> Times:
    """Log-normal times, measured at tenths of an epoch, censored at the budget."""
    exact = np.exp(generator.normal(math.log(median), sigma, n))
    upper = np.ceil(exact * 10) / 10
    late = upper > budget
    return Times(lower=np.where(late, budget, upper - 0.1), upper=np.where(late, math.inf, upper))


@pytest.mark.parametrize("n", [3, 8])
@pytest.mark.parametrize(("fast", "slow"), [(0.1, 0.1), (0.05, 0.15)])
def test_interval_holds_the_truth_95_times_in_100(n: int, fast: float, slow: float) -> None:
    """Between 93 and 97.5 % at 3 to 8 seeds, equal spread and not (2,000 simulations)."""
    generator = np.random.default_rng(n)
    held = 0
    for _ in range(2000):
        estimate = ratio_of_times(draw(generator, 48, slow, n), draw(generator, 8, fast, n))
        held += estimate.low <= TRUE_RATIO <= estimate.high

    assert 0.93 <= held / 2000 <= 0.975


def test_a_time_without_a_lower_end_leaves_the_ratio_unbounded() -> None:
    """How early it crossed is not known: no bound below of the slow arm, none above of the fast."""
    measured, early = times((8, 8.1), (9, 9.1), (8, 8.2)), times((0, 0.1), (0.2, 0.3), (0.2, 0.3))

    assert ratio_of_times(early, measured).low == 0
    assert math.isfinite(ratio_of_times(early, measured).high)
    assert ratio_of_times(measured, early).high == math.inf
    assert ratio_of_times(measured, early).low > 1
    assert ratio_of_times(measured, early).p == 1


@pytest.mark.parametrize("n", [3, 5])
def test_lower_bound_holds_when_a_whole_arm_is_censored(n: int) -> None:
    """Of all draws, at most 5 in 100 give a bound that lies above the truth."""
    generator = np.random.default_rng(n)
    wrong = naive = bounds = 0
    while bounds < 100:
        slow = draw(generator, 48, 0.02, n, budget=46.5)
        if slow.censored.all():
            fast = draw(generator, 8, 0.1, n)
            estimate = ratio_of_times(slow, fast)
            assert estimate.bound == "lower"
            assert estimate.high == math.inf
            bounds += 1
            wrong += estimate.low > TRUE_RATIO
            naive += 46.5 / math.exp(np.log(fast.upper).mean()) > TRUE_RATIO

    assert naive / bounds > 0.1  # as a bound that makes no allowance for scatter is
    assert wrong / bounds <= 0.05


def test_censored_likelihood_recovers_the_ratio_where_imputing_does_not() -> None:
    """81 % of the slow arm censored: imputing the budget flattens 6 to 5.4 or less."""
    generator = np.random.default_rng(0)
    sigma = 0.25
    budget = 48 * math.exp(sigma * scipy_stats.norm.ppf(0.19))
    slow, fast = draw(generator, 48, sigma, 400, budget), draw(generator, 8, sigma, 400)
    assert slow.censored.mean() == pytest.approx(0.81, abs=0.05)
    imputed = np.where(slow.censored, slow.lower, slow.upper)
    naive = math.exp(np.log(imputed).mean() - np.log(fast.upper).mean())

    assert naive < 5.4
    assert ratio_of_times(slow, fast).value == pytest.approx(6.0, rel=0.05)


def test_without_censoring_it_is_welchs_test() -> None:
    """Against scipy's own: each end with all times at that end of their brackets that widens it."""
    slow, fast = seen(40, 44, 52, 49), seen(8, 8.4, 7.7)

    def ends(slow: Array, fast: Array) -> tuple[float, float]:
        test = scipy_stats.ttest_ind(np.log(slow), np.log(fast), equal_var=False)
        interval = test.confidence_interval()
        return interval.low, interval.high

    estimate = ratio_of_times(slow, fast)

    assert math.log(estimate.low) == pytest.approx(ends(slow.lower, fast.upper)[0])
    assert math.log(estimate.high) == pytest.approx(ends(slow.upper, fast.lower)[1])


def test_brackets_that_are_late_unequally_widen_the_interval_to_their_side() -> None:
    """What is only known to lie between 30 and 40 epochs may all have crossed at 30."""
    fast = seen(8, 8.4, 7.7)
    sharp = Times(lower=np.array([39.9, 40.3, 39.1]), upper=np.array([40.0, 40.4, 39.2]))
    wide = Times(lower=sharp.lower - 10, upper=sharp.upper, step=0.1)
    known, late = ratio_of_times(sharp, fast), ratio_of_times(wide, fast)

    assert late.high == pytest.approx(known.high, rel=0.01)
    assert late.low < known.low * 30.5 / 39.5
    assert late.low < 30 / 8 < late.high


def test_censored_fit_agrees_with_scipys() -> None:
    """The same maximum as scipy.stats' censored fit, an arm with its own sigma."""
    generator = np.random.default_rng(4)
    slow, fast = draw(generator, 48, 0.2, 40, 50), draw(generator, 8, 0.2, 40)
    data = scipy_stats.CensoredData(
        uncensored=np.log(slow.upper[~slow.censored]), right=np.log(slow.lower[slow.censored])
    )
    mu, _ = scipy_stats.norm.fit(data)
    fast_mu = np.log(fast.upper).mean()

    assert math.log(ratio_of_times(slow, fast).value) == pytest.approx(mu - fast_mu, abs=0.01)


@pytest.mark.parametrize(("slow", "fast"), [(0.05, 0.3), (0.3, 0.05)])
@pytest.mark.parametrize("crossing", [0.2, 0.5, 0.8])
def test_an_arm_is_not_given_the_spread_of_the_other(
    slow: float, fast: float, crossing: float
) -> None:
    """A slow arm cut off within its own spread: with a common one up to 81 % of intervals erred."""
    generator = np.random.default_rng(12)
    budget = 48 * math.exp(slow * scipy_stats.norm.ppf(crossing))
    found = [
        ratio_of_times(draw(generator, 48, slow, 12, budget), draw(generator, 8, fast, 12))
        for _ in range(60)
    ]

    assert sum(one.low > TRUE_RATIO or one.high < TRUE_RATIO for one in found) <= 6


@pytest.mark.parametrize("n", [3, 12])
def test_a_bound_says_nothing_beyond_the_budget(n: int) -> None:
    """However little the other arm scatters, and however many seeds there are."""
    slow = times(*[(48.0, math.inf)] * n)
    estimate = ratio_of_times(slow, seen(*np.linspace(7.9, 8.1, n).tolist()))

    assert estimate.bound == "lower"
    assert 1 < estimate.low <= 48 / 7.9


@settings(max_examples=20, deadline=None)
@given(data=st.data(), n=st.integers(3, 6), late=st.integers(1, 3))
def test_the_p_value_and_the_interval_agree(data: st.DataObject, n: int, late: int) -> None:
    """No effect lies outside of the interval where p is below its error, and only there."""
    crossed = data.draw(st.lists(st.floats(2, 50), min_size=n, max_size=n))
    fast = data.draw(st.lists(st.floats(2, 50), min_size=n, max_size=n))
    slow = times(*((e, e + 0.1) for e in crossed), *[(51.0, math.inf)] * late)
    estimate = ratio_of_times(slow, times(*((e, e + 0.1) for e in fast)))

    assert estimate.p is not None
    assert 0 <= estimate.p <= 1
    assert (estimate.p < 0.05 - 1e-9) <= (not estimate.low <= 1 <= estimate.high)
    assert (estimate.p > 0.05 + 1e-9) <= (estimate.low <= 1 <= estimate.high)


ARM = st.lists(st.floats(1, 50).map(lambda e: round(e, 1)), min_size=2, max_size=6)


@settings(max_examples=60, deadline=None)
@given(slow=ARM, fast=ARM, factor=st.floats(0.5, 20))
def test_ratio_has_no_unit_and_turns_over_with_the_arms(
    slow: list[float], fast: list[float], factor: float
) -> None:
    """Counting in steps instead of epochs changes nothing; swapping the arms inverts it."""
    a, b = seen(*slow), seen(*fast)
    scaled = [Times(lower=t.lower * factor, upper=t.upper * factor) for t in (a, b)]
    one, two, turned = ratio_of_times(a, b), ratio_of_times(*scaled), ratio_of_times(b, a)

    assert two.value == pytest.approx(one.value)
    assert two.low == pytest.approx(one.low)
    assert turned.value == pytest.approx(1 / one.value)
    assert turned.high == pytest.approx(1 / one.low)


def test_one_seed_gives_an_infinite_interval() -> None:
    """Never a false point."""
    estimate = ratio_of_times(seen(48), seen(8))

    assert estimate.value == pytest.approx(6, rel=0.01)
    assert (estimate.low, estimate.high) == (0.0, math.inf)


def test_equal_times_do_not_give_certainty() -> None:
    """What a tenth of an epoch leaves unknown stays unknown."""
    estimate = ratio_of_times(seen(48, 48, 48), seen(8, 8, 8))

    assert estimate.low < estimate.value < estimate.high


@pytest.mark.parametrize(
    ("slow", "fast", "sentence"),
    [
        (times(), seen(8), "the slow arm has no times"),
        (seen(8), times(), "the fast arm has no times"),
        (times((math.nan, 1.0)), seen(8), "the slow arm has a time that is not a number"),
        (times((2.0, 1.0)), seen(8), "the slow arm has a time whose interval is empty"),
        (times((60, math.inf)), times((60, math.inf)), "neither arm crossed the threshold"),
    ],
)
def test_what_cannot_be_estimated_is_said(slow: Times, fast: Times, sentence: str) -> None:
    """NaN stays NaN until someone decides in writing; two open arms have no ratio."""
    with pytest.raises(StatisticsError, match=sentence):
        ratio_of_times(slow, fast)


def test_an_arm_that_should_be_fast_and_never_crosses_bounds_the_ratio_above() -> None:
    """The other way round is an upper bound."""
    slow, fast = seen(8, 8.3, 7.9), times(*[(60, math.inf)] * 3)
    estimate, swapped = ratio_of_times(slow, fast), ratio_of_times(fast, slow)

    assert estimate.bound == "upper"
    assert estimate.high < 0.2
    assert estimate.low == 0.0
    assert estimate.high == pytest.approx(1 / swapped.low)
    assert estimate.p == pytest.approx(swapped.p)
    assert estimate.p is not None
    assert estimate.p < 0.05


def test_independent_arms_are_compared_by_welch() -> None:
    """Arms of unequal spread and number, against SciPy's own."""
    one, two = np.array([3.0, 4.5, 2.5, 5.0]), np.array([1.0, 1.2, 0.9])
    found = welch_difference(one, two, level=0.9)
    ours = scipy_stats.ttest_ind(one, two, equal_var=False)
    interval = ours.confidence_interval(0.9)

    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.p == pytest.approx(ours.pvalue)
    assert found.df == pytest.approx(ours.df)
    assert welch_difference(one, two[:1]).high == math.inf
    assert welch_difference(one, np.ones(3)).high == math.inf


def test_the_scatter_of_pairs_is_no_less_than_their_images_say() -> None:
    """Nets that err on images at random scatter by what each image does, whatever three say."""
    generator = np.random.default_rng(0)
    p = generator.uniform(0, 1, 1000)
    right = (generator.random((2, 3, 1000)) < p).astype(float)
    floor = image_scatter(right[0] - right[1])

    assert floor == pytest.approx(math.sqrt(2 * (p * (1 - p)).sum()) / 1000, rel=0.1)
    means = np.array([0.5, 0.51, 0.49])
    wide, narrow = (paired_difference(means, 0 * means, least=least) for least in (2 * floor, 0.0))
    assert wide.high - wide.low > narrow.high - narrow.low
    assert image_scatter(right[0][:1]) == 0.0
