"""The choice between near-best learning rates, in the interval of an effect."""

import math
from dataclasses import replace
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from repro.claim import Search, TimeClaim, TrainedClaim
from repro.planning import TUNING_SEEDS_FROM, Cell
from repro.stats import mean_level, near_best, paired_difference, widened
from repro.trial import Result
from repro.verdict.analysis import RecipeEvidence, analyse
from repro.verdict.forecast import Scatter, chances, outlook
from repro.verdict.judge import next_trials
from tests.test_differences import FINISHED, PRINT, claim_of
from tests.worlds import planted, tiny_claim

VALUES = np.array([1.0, 1.4, 0.9, 1.6, 1.2])
NONE = np.zeros(5)
EFFECT = paired_difference(VALUES, NONE)


def test_rates_that_tuning_cannot_tell_apart_are_near_best() -> None:
    """A clear loser is not; a tie is, and so is a rate that came out better than the chosen one."""
    criterion = np.array([[1.0, 1.1, 0.9], [1.01, 1.05, 0.98], [0.99, 1.1, 0.9], [2.0, 2.1, 1.9]])

    assert near_best(criterion, 0).tolist() == [True, True, True, False]


def test_what_all_rates_of_a_seed_share_hides_no_difference() -> None:
    """Hard and easy seeds: the second rate is worse on each of them."""
    criterion = np.array([[1.0, 5.0, 9.0], [1.5, 5.5, 9.6]])

    assert near_best(criterion, 0).tolist() == [True, False]


def test_one_tuning_seed_tells_no_rates_apart() -> None:
    """There is no scatter to compare with."""
    assert near_best(np.array([[1.0], [5.0]]), 0).tolist() == [True, True]


def test_a_further_error_adds_in_squares() -> None:
    """The distance of each limit, and the normal quantile of the error."""
    wider = widened(EFFECT, 0.3)
    half = math.hypot(EFFECT.high - EFFECT.value, 1.96 * 0.3)

    assert (wider.value, wider.level) == (EFFECT.value, EFFECT.level)
    assert wider.high - wider.value == pytest.approx(half, rel=1e-4)
    assert wider.value - wider.low == pytest.approx(half, rel=1e-4)
    assert EFFECT.p is not None
    assert wider.p is not None
    assert wider.p > EFFECT.p
    assert widened(EFFECT, 0.0) is EFFECT


def test_the_error_of_a_ratio_is_of_its_logarithm() -> None:
    """An interval from a third to three times the ratio stays so."""
    ratio = replace(EFFECT, value=6.0, low=2.0, high=18.0, df=None, p=0.001)
    wider = widened(ratio, 0.5, log=True)

    assert wider.value == pytest.approx(6.0)
    assert wider.high / 6 == pytest.approx(6 / wider.low)
    assert wider.high > 18


def test_what_is_not_bounded_stays_so() -> None:
    """No scatter, no end; a one-sided bound moves away from the region that it bounds."""
    alone = mean_level(np.array([1.0]))
    bound = replace(EFFECT, value=4.0, low=4.0, high=math.inf, bound="lower")
    moved = widened(bound, 0.1, log=True)

    assert widened(alone, 0.3).high == math.inf
    assert moved.high == math.inf
    assert moved.value == moved.low == pytest.approx(4 * math.exp(-0.196), rel=1e-3)


@given(st.floats(-3, 3), st.floats(0.01, 5))
def test_the_p_value_and_the_interval_agree(shift: float, sd: float) -> None:
    """The interval leaves no effect out where p is below what its level leaves."""
    wider = widened(paired_difference(VALUES + shift, NONE), sd)

    assert wider.p is not None
    assert (wider.low > 0 or wider.high < 0) == (wider.p <= 0.05) or wider.p == pytest.approx(0.05)


# Searches of a claim


def searched(claim: TrainedClaim, scale: str, recipe: str, **changes: object) -> TrainedClaim:
    """With a search on three tuning seeds, refined."""
    search = Search(rates=(0.0056, 0.01, 0.018), rungs=(1,)).model_copy(update=changes)
    at = claim.scales[scale].model_copy(update={"search": {recipe: search}, "rate": {}})
    return claim.model_copy(update={"scales": {scale: at}})


NOISE = {
    0.0056: (1, -1, 0),
    0.01: (0, 1, -1),
    0.018: (-1, 0, 1),
}  # of tuning seeds, none on average


def noise(cell: Cell) -> float:
    """A few percent, by seed."""
    seed, rate = cell.trial.seed, cell.trial.rate
    if seed >= TUNING_SEEDS_FROM:
        return 0.05 * NOISE[rate][seed - TUNING_SEEDS_FROM]
    return (0.02, -0.02, 0.0, 0.04, -0.04)[seed]


def evidence_of(claim: TrainedClaim, scale: str, recipe: str, result: object) -> RecipeEvidence:
    known: dict[str, Result] = {}
    while cells := next_trials(claim, scale, PRINT, known):
        known |= {cell.trial.id: result(cell) for cell in cells}  # type: ignore[operator]
    return analyse(claim, scale, PRINT, known).recipes[recipe]


def times(costs: dict[float, float]) -> object:
    """Times of 8 and 48 epochs, and what a rate costs, as a share."""

    def result(cell: Cell) -> Result:
        epochs = {"fast": 8.0, "slow": 48.0}[cell.arm]
        cost = costs[cell.trial.rate]
        crossed = epochs * (1 + cost) * (1 + noise(cell))
        return replace(planted(cell, crossed=crossed), epoch_errors=(0.3 + cost,) * 60)

    return result


TIES = {0.0056: 0.04, 0.01: 0.0, 0.018: 0.02}
CLEAR = {0.0056: 0.5, 0.01: 0.0, 0.018: 0.5}


def time_claim(folder: Path, **changes: object) -> TrainedClaim:
    claim = tiny_claim(folder, epochs=100, seeds=5)
    assert isinstance(claim, TrainedClaim)
    return searched(claim, "smoke", "period", **changes)


def test_a_ratio_includes_the_scatter_between_near_best_rates(tmp_path: Path) -> None:
    """Where another rate may be the best; not where the others are clearly worse."""
    claim = time_claim(tmp_path)
    ties, clear = (evidence_of(claim, "smoke", "period", times(costs)) for costs in (TIES, CLEAR))
    caveat = "the CI includes the scatter between near-best learning rates"

    assert clear.deciding.rate_sd == 0
    assert ties.deciding.rate_sd == pytest.approx(
        math.sqrt(2) * np.log([1, 1.04, 1.02]).std(ddof=1), rel=0.3
    )
    assert ties.estimate is not None
    assert clear.estimate is not None
    assert ties.estimate.value == pytest.approx(clear.estimate.value, rel=0.02)
    assert ties.estimate.high / ties.estimate.low > clear.estimate.high / clear.estimate.low
    assert any(one.startswith(caveat) and "slow 0.0056, 0.01, 0.018" in one for one in ties.caveats)
    assert not any(one.startswith("the CI includes") for one in clear.caveats)


def test_a_search_that_is_not_refined_says_what_the_interval_leaves_out(tmp_path: Path) -> None:
    """Its rates were not trained to the end, so that nothing tells how far they differ."""
    claim = time_claim(tmp_path, refine=None)
    found = evidence_of(claim, "smoke", "period", times(TIES))

    assert found.deciding.rate_sd == 0
    assert "the CI leaves out that another learning rate may be the best" in found.caveats


def test_a_difference_includes_the_scatter_of_its_own_metric(tmp_path: Path) -> None:
    """Rates are chosen by the test error; between near-best ones the gap, half of it, scatters."""
    claim = searched(claim_of(tmp_path), "paper", "authors")

    def result(cell: Cell) -> Result:
        error = 0.4 + 0.02 * (cell.arm == "without") + TIES[cell.trial.rate] + noise(cell)
        metrics = {"test_error": error, "gap": error / 2, "initial_loss": 2.3}
        return replace(
            FINISHED, trial_id=cell.trial.id, epochs=cell.until, metrics=metrics,
            test_errors=(error,) * int(cell.until),
        )  # fmt: skip

    found = evidence_of(claim, "paper", "authors", result)
    effects = {effect.name: effect for effect in found.contrasts}

    assert effects["contrast"].rate_sd == pytest.approx(math.sqrt(2) * 2, rel=0.3)  # points
    assert effects["gap"].rate_sd == pytest.approx(effects["contrast"].rate_sd / 2)
    assert effects["contrast"].estimate is not None
    assert effects["contrast"].estimate.method.endswith("and between near-best rates")


def test_a_forecast_counts_the_choice_of_the_rate(tmp_path: Path) -> None:
    """It makes each word less likely; before the search ends, the reader is told."""
    claim = searched(claim_of(tmp_path), "paper", "authors")
    sure, unsure = (
        chances(claim, "paper", Scatter(sd=0.5, between_rates=sd))[0].value for sd in (0.0, 0.5)
    )
    scale = claim.scales["paper"].model_copy(update={"scatter": 0.5})
    claim = claim.model_copy(update={"scales": {"paper": scale}})
    nothing = analyse(claim, "paper", PRINT, {}).recipes["authors"]

    assert unsure < sure - 0.2
    assert outlook(claim, "paper", nothing).sentences[-1].startswith("how far near-best learning")


def test_a_kind_of_another_package_leaves_the_choice_out(tmp_path: Path) -> None:
    """What a metric is to its effect is not known, and the verdict does not say that it is."""

    class OtherClaim(TimeClaim):
        """As a package may have it."""

    claim = OtherClaim.model_construct(**dict(time_claim(tmp_path)))
    found = evidence_of(claim, "smoke", "period", times(TIES))

    assert found.deciding.rate_sd == 0
    assert "the CI leaves out that another learning rate may be the best" in found.caveats
