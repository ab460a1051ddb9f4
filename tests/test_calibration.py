"""What the calibration (`nox -s calibration`) takes for granted."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from repro.trial import Result
from repro.verdict import decide, settles
from repro.verdict.analysis import analyse
from repro.verdict.crossing_lower_end import measured_lower
from repro.verdict.judge import next_trials
from tests.calibration import CASES, PRINT, Case, Rates, compute, faults, rates, world

SMALL = (
    ("difference, normal", 0.0), ("difference, normal", 1.4), ("difference, 200 test images", 1.4),
    ("difference, two looks taken", 1.4), ("difference, Welch", 1.4), ("level, normal", 38.51),
    ("times, normal", 6.0), ("times, seen late, unequally", 2.9), ("times, censored", 2.99),
    ("times, slow all censored", 6.0),
)  # fmt: skip
BY_NAME = {(case.name, case.truth): case for case in CASES}


@pytest.mark.parametrize(
    "case", [BY_NAME[name] for name in SMALL], ids=[f"{n} {t:g}" for n, t in SMALL]
)
def test_a_plan_that_asks_look_by_look_comes_to_the_same_verdict(case: Case) -> None:
    """As one that is given the results of all looks at once, which the simulations do."""
    one, generator = world(case), np.random.default_rng(1)
    for _ in range(3):
        everything = one.trials(generator).results
        known: dict[str, Result] = {}
        while cells := next_trials(one.claim, "paper", PRINT, known):
            known |= {cell.trial.id: everything[cell.trial.id] for cell in cells}
        step, whole = (
            decide(one.claim, analyse(one.claim, "paper", PRINT, given, settles=settles), "period")
            for given in (known, everything)
        )

        assert (step.word, step.look, step.estimate) == (whole.word, whole.look, whole.estimate)
        assert len(known) <= len(everything)


def test_a_line_that_is_finished_is_kept(tmp_path: Path) -> None:
    """Of as many runs as are asked for, or more: nothing is simulated again."""
    lines = tmp_path / "lines.json"
    kept = Rates(runs=50, held=0.123, said={"reproduced": 0.5}, seeds=7)
    lines.write_text(json.dumps({"difference, normal, 0": asdict(kept)}))

    assert CASES[0].name == "difference, normal"
    assert compute([(0, False, 40)], lines) == [kept]


def test_a_crossing_that_is_seen_late_lies_in_its_bracket() -> None:
    """A bracket is read off the simulated curve, whose full passes begin after the crossing."""
    one, generator = world(BY_NAME["times, read off curves", 6.0]), np.random.default_rng(2)
    curves = one.case.curves
    assert curves is not None
    late = 0
    for _ in range(20):
        rows, seen = curves.trial(generator, 24.0, arm=0)
        assert seen is not None
        assert measured_lower(rows, 0.25, seen[1]) < 24.0 < seen[1] + 0.5
        late += seen[0] > 24.0

    assert late > 10


def test_a_search_in_the_loop_chooses_among_its_own_rates() -> None:
    """The tuning trials are simulated, too, and the real search asks for them."""
    case = BY_NAME["times, rates searched by 3 seeds, steps of 3 refined", 6.0]
    trials = world(case).trials(np.random.default_rng(3))
    tuned = [result for result in trials.results.values() if result.epoch_errors]

    assert len(trials.results) - len(tuned) == 2 * case.looks[-1]
    assert len(tuned) >= 2 * 3 * 7  # arms, seeds, rates


def test_what_is_out_of_bounds_is_said() -> None:
    """A session that could not fail would show nothing."""
    case = BY_NAME["difference, normal", 0.0]
    said = {"reproduced": 0.2, "direction only": 0.1, "not reproduced": 0.7}
    found = replace(rates(case, runs=5), held=0.9, said=said)

    assert faults(case, found) == [
        "coverage 90.0 %",
        "falsely reproduced 20.0 %",
        "falsely direction only 10.0 %",
    ]
