"""What a difference may be of: interactions, trends, equivalence, several at once, other arms."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Never

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro.claim import DifferenceClaim, Region, TrainedClaim, arms_of, load
from repro.errors import ClaimError
from repro.planning import cells_of, next_cells
from repro.stats import Estimate
from repro.store import Store
from repro.trial import Result, Row, Status
from repro.verdict import Verdict, decide, settles
from repro.verdict.analysis import analyse, planned_looks
from repro.verdict.effects import Outcome, contrasts
from repro.verdict.rule import ruling_of
from tests.commands import repro
from tests.worlds import planted

CLAIM = Path(__file__).parent / "claims" / "questions.yaml"


@pytest.fixture
def claim() -> DifferenceClaim:
    loaded = load(CLAIM)
    assert isinstance(loaded, DifferenceClaim)
    return loaded


def changed(folder: Path, old: str, new: str) -> Path:
    """The claim with some of its text replaced."""
    text = CLAIM.read_text()
    assert old in text
    path = folder / CLAIM.name
    path.write_text(text.replace(old, new))
    return path


def test_an_interaction_is_the_weighted_sum_seed_by_seed(claim: DifferenceClaim) -> None:
    """Of errors in points; its interval is that of a paired difference of two sums."""
    errors = np.random.default_rng(0).uniform(0.1, 0.9, (5, 4))
    outcomes = [
        Outcome(arm=arm, seed=seed, trial_id="x", status="finished", epochs=1,
                metrics={"test_error": errors[seed, place]})
        for place, arm in enumerate(claim.contrast.terms)
        for seed in range(5)
    ]  # fmt: skip
    effect = contrasts(claim, outcomes, 0.95)[0]
    by_hand = 100 * (errors @ np.array([1, -1, -1, 1]))

    assert list(effect.by_seed.values()) == pytest.approx(by_hand)
    assert effect.estimate is not None
    assert effect.estimate.value == pytest.approx(by_hand.mean())
    assert effect.sd == pytest.approx(by_hand.std(ddof=1))
    assert effect.description == (
        "test error (top-1), tanh_high plus relu_low minus relu_high minus tanh_low"
    )


def interval(low: float, high: float) -> Estimate:
    return Estimate(
        value=(low + high) / 2, low=low, high=high, level=0.9, seeds=5, method="test", df=4.0
    )


@given(
    low=st.floats(-10, 10), width=st.floats(0, 10), margin=st.floats(0.1, 5)
)  # fmt: skip
def test_no_difference_is_reproduced_by_an_interval_inside_alone(
    low: float, width: float, margin: float
) -> None:
    """Two one-sided tests: inside, wholly outside, or open; the sign of the effect is all one."""
    claim = load(CLAIM)
    assert isinstance(claim, DifferenceClaim)
    high = low + width
    same = claim.model_copy(update={"region": Region(low=-margin, high=margin)})
    word = ruling_of(same, interval(low, high)).word

    if -margin <= low and high <= margin:
        assert word == "reproduced"
    elif high < -margin or low > margin:
        assert word == "not reproduced"
    else:
        assert word == "inconclusive"
    assert ruling_of(same, interval(-high, -low)).word == word


@pytest.mark.parametrize(
    ("region", "message"),
    [
        ("{low: -1}", "region.low: -1 is on the wrong side of no effect"),
        ("{low: -1, high: 9}", "ends equally far from it, -x to x"),
        ("{low: 0, high: 1}", "region.low: 0 is on the wrong side of no effect"),
    ],
)
def test_a_slip_is_no_equivalence(region: str, message: str, tmp_path: Path) -> None:
    """One end beyond no effect, or none."""
    with pytest.raises(ClaimError) as caught:
        load(changed(tmp_path, "region: {low: 1}\n", f"region: {region}\n"))

    assert message in str(caught.value)


def test_arms_of_conditions_decide_and_share_the_error(claim: DifferenceClaim) -> None:
    """Half of it for each of two contrasts, so that its intervals are wider."""
    alone = claim.model_copy(update={"also": {}})

    assert set(arms_of(claim)) == {"tanh_high", "relu_high", "tanh_low", "relu_low"}
    assert {cell.arm for cell in next_cells(claim, "smoke", "", {}) if cell.decides} == {
        *arms_of(claim)
    }
    assert planned_looks(claim, "smoke")[0].level == pytest.approx(
        (1 + planned_looks(alone, "smoke")[0].level) / 2
    )


def test_arms_have_rates_nets_and_shares_of_their_own(claim: DifferenceClaim) -> None:
    """What the scale says holds for the others."""
    trials = {cell.arm: cell.trial for cell in next_cells(claim, "smoke", "", {})}

    assert {arm: trial.rate for arm, trial in trials.items()} == {
        "relu_low": 0.01, "tanh_low": 0.01, "relu_high": 0.03, "tanh_high": 0.03, "half": 0.01,
        "other": 0.01,
    }  # fmt: skip
    assert {arm for arm, trial in trials.items() if trial.images == 80} == {"half"}
    assert {arm for arm, trial in trials.items() if trial.model == "cifar_19pct"} == {"other"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("relu_low: 1}", "relu_low: 2}", "contrast: the weights add up to 1, not to 0"),
        ("relu_low: 1}", "relu_low: 1, half: 0}", "an arm without one is left out"),
        ("relu_low: 1}", "relu_low: 1e-9, half: 1}", "weights lie between 0.001 and 1000"),
        ("  low_rate: {", "  contrast: {", "this is the name of the contrast that decides"),
        ("share: 0.5", "share: 0.001", "0 images in batches of 8 (recipe.batch_size) make 0 steps"),
        ("  other: {net", "  a: {}\n  other: {net", "7 arms: figures tell at most 6 apart"),
        ("lower: relu_low, region: {low: -99", "lower: relu_high, region: {low: -99",
         "the arms differ in more than the one factor under test: model.activation, rate"),
        ("region: {low: -99, high: 99}}", "metric: gap, region: {low: 99}}",
         "a gap shows overfitting of two arms alone, as the contrast that decides"),
        ("  relu_high: {", "  relu_high: {metric: train_error, ",
         "`weights` are of one metric, not of test_error and train_error"),
        ("    seeds: 1\n", "    seeds: 3\n    taken: 1\n",
         "analyses that were taken cannot share their error with further contrasts"),
        ("relu_low: 1}}", "relu_low: 1}, metric: train_errr}", "metric 'train_errr' is unknown"),
        ("relu_low: 1}}", "relu_lo: 1}}", "contrast.weights.relu_lo: 'relu_lo' is not an arm"),
        ("{higher: half, lower: relu_low}", "{higher: half}",
         "also.fewer_images: a contrast has `higher` and `lower`, or `weights` of its arms"),
        ("net: cifar_19pct", "net: cifar_19", "arms.other.net: model 'cifar_19' is unknown"),
        ("    images: 160\n", "", "`share` is of the scale's `images`, which it does not say"),
        ("share: 0.5", "share: 0.1", "16 images in batches of 8 (recipe.batch_size) make 2 steps"),
        ("region: {low: 1}\n", "region: {low: 1}\nanalysis: {comparison: welch}\n",
         "a contrast with `weights` is computed seed by seed: paired"),
        ("relu_low: 1}}", "relu_low: 1}, region: {low: 1}}",
         "contrast.region: the claim's `region` is that of its contrast"),
    ],
)  # fmt: skip
def test_each_rule_has_its_sentence(old: str, new: str, message: str, tmp_path: Path) -> None:
    """With the place of the key."""
    with pytest.raises(ClaimError) as caught:
        load(changed(tmp_path, old, new))

    assert message in str(caught.value)


def verdict_of(claim: DifferenceClaim, errors: dict[str, float]) -> Verdict:
    """Of five seeds of these test errors, in points, each arm with a scatter of its own."""
    results = {}
    noise = np.random.default_rng(1).normal(0, 0.1, (len(errors), 5))
    five = claim.scales["smoke"].model_copy(update={"seeds": (5,)})
    claim = claim.model_copy(update={"scales": {"smoke": five}})
    for place, (arm, error) in enumerate(errors.items()):
        rate = claim.arms[arm].rate or 0.01
        for cell in cells_of(claim, "smoke", "small", arm, "").confirming(rate):
            one = planted(cell, crossed=None, error=0.1, epochs=1.0)
            value = (error + noise[place, cell.trial.seed]) / 100
            metrics = {"test_error": value, "initial_loss": 2.3}
            results[cell.trial.id] = replace(one, status="finished", metrics=metrics)
    return decide(claim, analyse(claim, "smoke", "", results, settles=settles), "small")


BASE = {"relu_low": 10.0, "tanh_low": 15.0, "relu_high": 20.0, "tanh_high": 45.0}
LOW_RATE = "{higher: tanh_low, lower: relu_low, region: {low: -99, high: 99}}"


@pytest.mark.parametrize(
    ("condition", "word", "effect"),
    [
        ("{higher: tanh_low, lower: relu_low, region: {low: 1}}", "reproduced", True),
        ("{higher: tanh_low, lower: relu_low, region: {low: 20}}", "direction only", True),
        ("{higher: tanh_low, lower: relu_low, region: {low: -1, high: 1}}", "not reproduced", True),
        ("{higher: relu_low, lower: tanh_low, region: {low: 1}}", "not reproduced", False),
    ],
)
def test_the_weaker_word_of_two_contrasts_counts(
    condition: str, word: str, effect: bool, tmp_path: Path
) -> None:
    """And stands first in the reason; together they have an effect where each has one."""
    loaded = load(changed(tmp_path, LOW_RATE, condition))
    assert isinstance(loaded, DifferenceClaim)
    verdict = verdict_of(loaded, BASE)

    assert verdict.word == word
    assert verdict.reason.startswith("low_rate") == (word != "reproduced")
    assert verdict.effect is not None
    assert (verdict.effect.p < 0.05) == effect


def test_an_interaction_is_run_reported_and_exported(tmp_path: Path) -> None:
    """Six arms, one seed; the page names its sides, and the condition beside it.

    Arms that differ in their rates alone do not share their trials.
    """
    where = ("--store", tmp_path / "runs")
    done = repro("run", CLAIM, *where, "--scale", "smoke", "--workers", "1")
    listed = repro("report", "--claims", CLAIM.parent, *where, "--out", tmp_path / "report")
    page = (tmp_path / "report" / "report.md").read_text()
    shown = json.loads(repro("show", CLAIM, "--json").stdout)

    assert done.exit_code == 0, done.output
    assert len(Store(tmp_path / "runs").results()) == 6
    assert listed.exit_code == 0, listed.output
    assert r"tanh\_high plus relu\_low minus relu\_high minus tanh\_low (decides)" in page
    assert r"tanh\_low minus relu\_low (from -99 to 99, too)" in page
    assert shown["title"] == "Units and rates on handwritten digits, of which nothing is claimed"

    repro("export", tmp_path / "out", *where, "--claims", CLAIM.parent)
    table = pd.read_csv(tmp_path / "out" / "results.csv")
    questions = table[table.claim == "questions"]
    assert sorted(questions.arm) == [
        "half", "other", "relu_high", "relu_low", "tanh_high", "tanh_low",
    ]  # fmt: skip
    assert set(questions[questions.arm.str.endswith("high")].rate) == {0.03}


EPOCHS = CLAIM.with_name("epochs_to_test_error.yaml")


class Curves:
    """A store of curves alone: of each trial, when it was tested and what came out."""

    def __init__(self, tests: Mapping[str, list[tuple[float, float]]]) -> None:
        self.tests = tests

    def rows(self, trial_id: str) -> list[Row]:
        """The curve."""
        return [Row(epoch, "test", error, 1.0, 100, 0.0) for epoch, error in self.tests[trial_id]]

    def arrays(self, _trial_id: str) -> dict[str, Never]:
        """Nothing."""
        return {}


def outcomes_of(
    claim: TrainedClaim, tested: dict[str, tuple[float, ...]], records: Curves | None = None
) -> dict[str, tuple[float, float]]:
    """When each arm crossed, whose test errors these were."""
    results = {
        cell.trial.id: replace(
            planted(cell, crossed=None), status="finished", test_errors=tested[cell.arm]
        )
        for cell in next_cells(claim, "smoke", "", {})
    }
    evidence = analyse(claim, "smoke", "", results, records=records).recipes["small"]
    return {outcome.arm: (outcome.lower, outcome.upper) for outcome in evidence.outcomes}


def test_epochs_to_a_test_error_are_read_off_whole_trials() -> None:
    """In the epoch before the first test at or below the threshold; censored by the budget."""
    claim = load(EPOCHS)
    assert isinstance(claim, TrainedClaim)

    assert {cell.trial.threshold for cell in next_cells(claim, "smoke", "", {})} == {None}
    assert outcomes_of(claim, {"small_rate": (0.9, 0.51), "large_rate": (0.6, 0.5)}) == {
        "small_rate": (2.0, math.inf), "large_rate": (1.0, 2.0)
    }  # fmt: skip
    assert outcomes_of(claim, {"small_rate": (0.9, 0.9, 0.1), "large_rate": (0.4, 0.9)}) == {
        "small_rate": (2.0, math.inf), "large_rate": (0.0, 1.0)
    }  # fmt: skip


def test_a_bracket_is_as_wide_as_a_program_tests_seldom() -> None:
    """By the curve, not by the epochs in between, of which nothing is known."""
    claim = load(EPOCHS)
    assert isinstance(claim, TrainedClaim)
    cells = next_cells(claim, "smoke", "", {})
    records = Curves({cell.trial.id: [(0.5, 0.9), (2.0, 0.1)] for cell in cells})
    seen = outcomes_of(claim, {"small_rate": (0.9, 0.1), "large_rate": (0.9, 0.1)}, records)

    assert set(seen.values()) == {(0.5, 2.0)}


@pytest.mark.parametrize("status", ["diverged", "finished"])
def test_that_one_net_trains_at_a_rate_where_another_does_not_is_decided(
    status: str, tmp_path: Path
) -> None:
    """By the times to a test error, of which one arm has none: it diverges, or stays at chance."""
    text = EPOCHS.read_text().replace("seeds: 1", "seeds: 5\n    checks: {above_chance: false}")
    text = text.replace("{rate: 0.0003}", "{rate: 0.01, model: {activation: sigmoid}}")
    path = tmp_path / EPOCHS.name
    path.write_text(text.replace("epochs: 2", "epochs: 20"))
    claim = load(path)
    assert isinstance(claim, TrainedClaim)
    results: dict[str, Result] = {}
    for cell in next_cells(claim, "smoke", "", {}):
        fails = cell.arm == "small_rate"
        errors = (0.9,) * 20 if fails else (0.8, 0.7, 0.6 - 0.1 * (cell.trial.seed % 2), 0.3)
        one = planted(cell, crossed=None, error=errors[-1], epochs=1 if fails else 20)
        ended: Status = "finished"
        if fails and status == "diverged":
            ended, errors = "diverged", ()
        elif fails:
            one = replace(one, epochs=20.0)
        results[cell.trial.id] = replace(one, status=ended, test_errors=errors)
    verdict = decide(claim, analyse(claim, "smoke", "", results, settles=settles), "small")

    assert verdict.word == "reproduced"
    assert verdict.reason.startswith("no slow trial crossed: the lower bound, ")


def test_a_search_takes_the_rate_that_comes_to_the_test_error_first(tmp_path: Path) -> None:
    """And not that of the lowest error in the end."""
    text = EPOCHS.read_text().replace("{rate: 0.0003}", "{recipe: {momentum: 0.5}}")
    text = text.replace("{rate: 0.01}", "{recipe: {momentum: 0.9}}")
    text = text.replace("    rate: {small: 0.01}", SEARCH)
    path = tmp_path / EPOCHS.name
    path.write_text(text)
    claim = load(path)
    assert isinstance(claim, TrainedClaim)
    results: dict[str, Result] = {}
    while cells := [c for c in next_cells(claim, "smoke", "", results) if c.purpose == "tune"]:
        for cell in cells:
            errors = (0.9, 0.4) if cell.trial.rate == 0.01 else (0.9, 0.6, 0.1)
            one = planted(cell, crossed=None)
            results[cell.trial.id] = replace(one, status="finished", test_errors=errors)
    searches = analyse(claim, "smoke", "", results).recipes["small"].rates

    assert {search.chosen for search in searches.values()} == {0.01}


SEARCH = """\
    search: {small: {rates: [0.003, 0.01, 0.03], rungs: [1, 2], seeds: 1, keep: 0.9, refine: null}}
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("epochs: 2", "epochs: 0.9", "scales.smoke.epochs: the test error is measured after whole"),
        ("epochs: 2", "epochs: 2.5", "scales.smoke.epochs: the test error is measured after whole"),
        ("mixup: 0.2", "patience: 1", "`patience` does not go with times to a test error"),
        ("{rate: 0.01}", "{rate: 0.0003, metric: gap}", "arms.large_rate.metric: has no effect: t"),
        ("threshold: 0.5", "threshold: 0.5\nnear: 0.1", "near: has no effect: the test error is"),
        ("threshold: 0.5", "threshold: 0.5\ndecided_by: full", "decided_by: has no effect"),
        ("threshold: 0.5", "threshold: 0.5\ncrossing: median", "crossing: has no effect"),
        ("metric: test_error", "metric: train_error", "decided_by: missing key"),
        ("metric: test_error", "metric: gap", "'gap' is not one of 'train_error' or 'test_error'"),
        ("metric: test_error", "metric: train_error\ndecided_by: full\nnear: 0.1",
         "`mixup` does not go with times: training errors are"),
    ],
)  # fmt: skip
def test_keys_of_times_go_with_their_error(
    old: str, new: str, message: str, tmp_path: Path
) -> None:
    """Those of a training error have no effect on a test error; mixup goes with the latter."""
    path = tmp_path / EPOCHS.name
    path.write_text(EPOCHS.read_text().replace(old, new))
    with pytest.raises(ClaimError) as caught:
        load(path)

    assert message in str(caught.value)


def test_epochs_to_a_test_error_are_run_and_reported(tmp_path: Path) -> None:
    """Two arms, one seed; the page says to which error."""
    where = ("--store", tmp_path / "runs")
    done = repro("run", EPOCHS, *where, "--scale", "smoke", "--workers", "1")
    repro("report", "--claims", EPOCHS.parent, *where, "--out", tmp_path / "report")
    page = (tmp_path / "report" / "report.md").read_text()

    assert done.exit_code == 0, done.output
    assert "Epochs to 50 % test error (top-1), by evaluation seed" in page
    assert "Test error of small" in page
