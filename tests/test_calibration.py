"""What the calibration (`nox -s calibration`) takes for granted."""

import numpy as np
import pytest

from repro.trial import Result
from repro.verdict import decide, settles
from repro.verdict.analysis import analyse
from repro.verdict.session import next_trials
from tests.calibration import CASES, PRINT, Case, faults, rates, world

SMALL = (
    "difference, none", "difference, planted", "difference, 200 test images", "level, just outside",
    "times, planted", "times, censored, too small", "times, slow all censored",
)  # fmt: skip
BY_NAME = {case.name: case for case in CASES}


@pytest.mark.parametrize("case", [BY_NAME[name] for name in SMALL], ids=SMALL)
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
    case = BY_NAME["difference, none"]
    found = rates(case, runs=5)
    narrow = type(found)(runs=5, held=0.9, all_held=0.9, said=0.2, seeds=3.0)

    assert faults(case, narrow) == [
        "coverage at the look that counts 90.0 %",
        "coverage at all looks 90.0 %",
        "falsely reproduced 20.0 %",
    ]
