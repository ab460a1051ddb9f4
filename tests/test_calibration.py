"""What the calibration (`nox -s calibration`) takes for granted."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from repro.train.crossing import decide_crossing, needs_full_pass
from repro.train.progress import Progress
from repro.trial import Result, Row
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


def test_simulated_curves_have_the_full_passes_and_crossings_that_training_makes() -> None:
    """By the median: the schedule of the simulation is a copy, for speed."""
    one, generator = (
        world(BY_NAME["times, read off curves that jump, median", 6.0]),
        (np.random.default_rng(3)),
    )
    curves = one.case.curves
    assert curves is not None
    (trial, *_) = (cell.trial for cell in next_trials(one.claim, "paper", PRINT, {}))
    trial = replace(trial, threshold=0.25, near=curves.near, crossing="median", decided_by="full")
    for crosses in (0.8, 4.0, 24.0):
        rows, seen = curves.trial(generator, crosses, 0)
        passes = {row.epoch: row for row in rows if row.source == "train"}
        progress = Progress()
        for row in (row for row in rows if row.source == "online"):
            progress.windows += 1
            progress.rows.append(row)
            due = needs_full_pass(trial, progress, images=curves.images)
            assert due == (row.epoch in passes)
            progress.rows += [passes[row.epoch]] if due else []
            decide_crossing(trial, progress, 0.25)

        assert seen is not None
        assert progress.crossing_full == pytest.approx(seen)


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


def test_a_bracket_between_full_passes_begins_at_the_last_one_above() -> None:
    """Which a trial does not note: an epoch's passes had no median since epoch 4."""
    one, generator = (
        world(BY_NAME["times, read off curves that jump, median", 6.0]),
        np.random.default_rng(4),
    )
    trials = one.trials(generator)
    name, result = next((n, r) for n, r in trials.results.items() if r.crossing_full is not None)
    trials.results[name] = replace(result, crossing_full=(4.0, 10.6), epochs=11.1)
    trials.curves[name] = [
        Row(9.0, "train", 0.27, 1.0, 1, 0.0),
        Row(10.0, "train", 0.26, 1.0, 1, 0.0),
    ]
    evidence = analyse(one.claim, "paper", PRINT, trials.results, records=trials)
    (outcome,) = (o for o in evidence.recipes["period"].outcomes if o.trial_id == name)

    assert (outcome.lower, outcome.upper) == (10.0, 10.6)


def test_the_tenth_before_the_first_pass_below_is_no_lower_end() -> None:
    """Which a trial notes whether it was measured or not: the curve has the last word."""
    one, generator = world(BY_NAME["times, read off curves", 6.0]), np.random.default_rng(5)
    trials = one.trials(generator)
    name, result = next((n, r) for n, r in trials.results.items() if r.crossing_full is not None)
    trials.results[name] = replace(result, crossing_full=(10.5, 10.6), epochs=10.6)
    trials.curves[name] = []
    evidence = analyse(one.claim, "paper", PRINT, trials.results, records=trials)
    (outcome,) = (o for o in evidence.recipes["period"].outcomes if o.trial_id == name)

    assert (outcome.lower, outcome.upper) == (0.0, 10.6)
