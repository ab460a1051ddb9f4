"""What a budget can decide, from the times and the spread in the store, else of a few steps."""

from dataclasses import replace
from pathlib import Path

import pytest

from repro.claim import load
from repro.execute.budget import describe_forecast, forecast, forecasts
from repro.execute.machine import Machine
from repro.trial import Clocks, Result
from tests.test_differences import PRINT
from tests.test_looks import OPEN, SETTLED, looking, results


def timed(known: dict[str, Result], *, seconds: float) -> dict[str, Result]:
    """Each of ten epochs took so long."""
    return {name: replace(r, seconds=Clocks(train=10 * seconds)) for name, r in known.items()}


def test_the_last_look_that_fits_is_named_with_what_it_may_say(tmp_path: Path) -> None:
    """Two more seeds of three arms, ten epochs each, ten seconds an epoch, on two workers."""
    claim = looking(tmp_path)
    known = timed(results(claim, OPEN), seconds=10)
    found = forecast(claim, "paper", PRINT, known, workers=2, seconds=301)
    said = describe_forecast(found, 301)

    assert (found.seeds, found.next_look) == (5, 5)
    assert found.seconds == pytest.approx(2 * 3 * 10 * 10 / 2)
    assert {chance.seeds for chance in found.outlook.chances} == {5}
    assert "reproduced by 5 seeds an arm if the truth is the paper's 2: " in said
    assert "not reproduced by 5 seeds an arm if there is no effect: " in said
    assert "scatter over seeds 2.5, as 3 seeds an arm have it" in said


def test_an_hour_that_decides_more_is_worth_more(tmp_path: Path) -> None:
    """The same chances in half the time; a claim that nothing is known of is worth nothing yet."""
    claim = looking(tmp_path)

    def chance_an_hour(seconds: float) -> float:
        known = timed(results(claim, OPEN), seconds=seconds)
        return forecast(claim, "paper", PRINT, known, workers=1, seconds=1e9).chance_an_hour

    assert chance_an_hour(10) == pytest.approx(2 * chance_an_hour(20))
    assert forecast(claim, "paper", None, {}, workers=1, seconds=1).chance_an_hour == 0


def test_a_budget_below_the_next_look_decides_nothing(tmp_path: Path) -> None:
    """And what that look takes is said."""
    claim = looking(tmp_path)
    known = timed(results(claim, OPEN), seconds=10)
    found = forecast(claim, "paper", PRINT, known, workers=2, seconds=299)

    assert found.seeds is None
    assert not found.outlook.chances
    assert "not within 4 min 59 s; the analysis at 5 seeds an arm takes at most 5 min 00 s" in (
        describe_forecast(found, 299)
    )


def test_a_claim_that_is_settled_needs_no_time(tmp_path: Path) -> None:
    """Whatever the budget."""
    claim = looking(tmp_path)
    found = forecast(claim, "paper", PRINT, results(claim, SETTLED), workers=1, seconds=1)

    assert "decided already (reproduced, 3 seeds an arm)" in describe_forecast(found, 1)


def test_a_claim_that_no_seed_can_settle_says_so(tmp_path: Path) -> None:
    """A trial diverged: more of them flatter the arm, and no time helps."""
    claim = looking(tmp_path)
    known = results(claim, SETTLED)
    lost = next(name for name, result in known.items() if result.metrics)
    known[lost] = replace(known[lost], status="diverged")
    found = forecast(claim, "paper", PRINT, known, workers=1, seconds=1)

    assert "no more seeds can change it (inconclusive" in describe_forecast(found, 1)


def test_nothing_measured_is_nothing_said(tmp_path: Path) -> None:
    """No time, no scatter, no chance is made up."""
    found = forecast(looking(tmp_path), "paper", None, {}, workers=1, seconds=1e9)

    assert "no trials in this store; the time is unknown" in describe_forecast(found, 1e9)
    assert found.seconds_an_epoch is found.outlook.scatter is None
    assert found.outlook.chances == ()


def test_without_trials_a_few_steps_are_timed(tmp_path: Path) -> None:
    """Of a claim whose images are here; of the others the time stays unknown."""
    store = tmp_path / "store"
    machine = Machine(device="cpu", workers=2, store=store, data_dirs=(), cache_dir=tmp_path)
    claim = load(Path(__file__).parents[1] / "claims" / "lrn.yaml")
    (here,) = forecasts([claim], "smoke", machine, seconds=1e9)
    (away,) = forecasts([claim], "proxy", machine, seconds=1e9)

    assert here.seconds_an_epoch is not None
    arms, seeds, epochs = 3, 2, 2
    assert here.seconds == pytest.approx(here.seconds_an_epoch * arms * seeds * epochs / 2)
    assert "an epoch on cpu, by a few steps" in describe_forecast(here, 1e9)
    assert away.seconds_an_epoch is None
    assert "the time is unknown: " in describe_forecast(away, 1e9)
    assert not store.exists()


def test_the_scatter_that_the_file_expects_serves_until_one_is_measured(tmp_path: Path) -> None:
    """Of a claim of which nothing was run: the chance by all looks, without a range."""
    claim = looking(tmp_path)
    scale = claim.scales["paper"].model_copy(update={"scatter": 0.4})
    claim = claim.model_copy(update={"scales": {"paper": scale}})
    found = forecast(claim, "paper", None, {}, workers=1, seconds=1)

    assert [chance.seeds for chance in found.outlook.chances] == [12, 12]
    assert all(chance.low == chance.high for chance in found.outlook.chances)
    assert "scatter over seeds 0.4, as the claim file expects" in describe_forecast(found, 1)
