"""What the calibration (`nox -s calibration`) takes for granted."""

from dataclasses import replace

import numpy as np
import pytest

from repro.trial import Result
from repro.verdict import decide, settles
from repro.verdict.analysis import analyse
from repro.verdict.session import next_trials
from tests.calibration import CASES, PRINT, Case, faults, rates, world

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
        everything = one.results(generator)
        known: dict[str, Result] = {}
        while cells := next_trials(one.claim, "paper", PRINT, known):
            known |= {cell.trial.id: everything[cell.trial.id] for cell in cells}
        step, whole = (
            decide(one.claim, analyse(one.claim, "paper", PRINT, given, settles=settles), "period")
            for given in (known, everything)
        )

        assert (step.word, step.look, step.estimate) == (whole.word, whole.look, whole.estimate)
        assert len(known) <= len(everything)


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
