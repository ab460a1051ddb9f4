"""What a budget can decide, from the times and the spread in the store and nothing else."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from repro.claim import Claim
from repro.execute.budget import describe_forecast, forecast, forecast_fields
from repro.stats import look_levels, smallest_effect
from repro.trial import Clocks, Result
from tests.test_differences import PRINT
from tests.test_looks import LOOKS, OPEN, SETTLED, looking, results
from tests.worlds import tiny_claim


def timed(known: dict[str, Result], *, seconds: float) -> dict[str, Result]:
    """Each of ten epochs took so long."""
    return {name: replace(r, seconds=Clocks(train=10 * seconds)) for name, r in known.items()}


def test_the_last_look_that_fits_is_named_with_what_it_can_see(tmp_path: Path) -> None:
    """Two more seeds of three arms, ten epochs each, ten seconds an epoch, on two workers."""
    claim = looking(tmp_path)
    known = timed(results(claim, OPEN), seconds=10)
    found = forecast(claim, "paper", PRINT, known, workers=2, seconds=301)
    level = look_levels(LOOKS, paired=True)[1]
    sd = float(np.std(100 * np.array(OPEN), ddof=1))

    assert (found.seeds, found.next_look) == (5, 5)
    assert found.seconds == pytest.approx(2 * 3 * 10 * 10 / 2)
    assert found.spread == pytest.approx(sd)
    assert found.smallest == pytest.approx(
        smallest_effect(sd=sd, seeds=5, level=level, paired=True)
    )
    assert found.decidable is False
    assert "not enough for the claimed 2" in describe_forecast(found, 301)


def test_a_budget_below_the_next_look_decides_nothing(tmp_path: Path) -> None:
    """And what that look takes is said."""
    claim = looking(tmp_path)
    known = timed(results(claim, OPEN), seconds=10)
    found = forecast(claim, "paper", PRINT, known, workers=2, seconds=299)

    assert found.seeds is None
    assert found.decidable is False
    assert "not within 4 min 59 s; the look at 5 seeds an arm takes at most 5 min 00 s" in (
        describe_forecast(found, 299)
    )


def test_a_claim_that_is_settled_needs_no_time(tmp_path: Path) -> None:
    """Whatever the budget."""
    claim = looking(tmp_path)
    found = forecast(claim, "paper", PRINT, results(claim, SETTLED), workers=1, seconds=1)

    assert found.decidable
    assert "decided already (reproduced, 3 seeds an arm)" in describe_forecast(found, 1)


def test_a_claim_that_no_seed_can_settle_says_so(tmp_path: Path) -> None:
    """A trial diverged: more of them flatter the arm, and no time helps."""
    claim = looking(tmp_path)
    known = results(claim, SETTLED)
    lost = next(name for name, result in known.items() if result.metrics)
    known[lost] = replace(known[lost], status="diverged")
    found = forecast(claim, "paper", PRINT, known, workers=1, seconds=1)

    assert found.decidable is False
    assert "no more seeds can change it (inconclusive" in describe_forecast(found, 1)


def test_nothing_measured_is_nothing_said(tmp_path: Path) -> None:
    """No time, no spread, no power is made up; JSON has null."""
    found = forecast(looking(tmp_path), "paper", None, {}, workers=1, seconds=1e9)
    fields = forecast_fields(found)

    assert found.decidable is None
    assert "nothing of it was measured" in describe_forecast(found, 1e9)
    assert fields["seconds_an_epoch"] is fields["smallest"] is fields["decidable"] is None


def test_times_are_told_as_ratios(tmp_path: Path) -> None:
    """Nothing was measured; the claim is a ratio of 6, and its search is still to come."""
    claim: Claim = tiny_claim(tmp_path, seeds=3)
    found = forecast(claim, "smoke", PRINT, {}, workers=1, seconds=10)  # type: ignore[arg-type]

    assert found.claimed == 6.0
    assert found.unit == "ratio of epochs"


@pytest.mark.parametrize("paired", [True, False])
def test_the_smallest_effect_is_seen_eighty_times_in_a_hundred(*, paired: bool) -> None:
    """By simulation at five seeds."""
    generator = np.random.default_rng(0)
    effect = smallest_effect(sd=1.0, seeds=5, level=0.95, paired=paired)
    one = generator.normal(effect, 1, (20_000, 5))
    two = 0 * one if paired else generator.normal(0, 1, (20_000, 5))
    variance = (one.var(1, ddof=1) + two.var(1, ddof=1)) / 5
    critical = 2.776 if paired else 2.306  # Student's, 4 and 8 degrees
    seen = (one - two).mean(1) > critical * np.sqrt(variance)

    assert seen.mean() == pytest.approx(0.8, abs=0.012)
    assert math.isinf(smallest_effect(sd=1.0, seeds=1, level=0.95, paired=True))
