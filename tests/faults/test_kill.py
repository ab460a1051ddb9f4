"""kill -9: what was finished stays, what was not goes on, and the numbers are the same bits."""

from pathlib import Path

import pytest

from tests.faults.conftest import Tally
from tests.faults.smoke import (
    MOMENTS,
    POINTS,
    Dies,
    contradictions,
    count,
    finished,
    launch,
    numbers,
    run,
    seeded,
)

pytestmark = pytest.mark.faults

Whole = tuple[Path, dict[str, str]]


def survives(whole: Whole, name: str, dies: Dies, tally: Tally) -> None:
    """Killed there, verified, continued by the same command, and compared."""
    folder, expected = whole
    where = f"{dies}"
    killed = launch(run, folder, name, dies)
    if killed != -9:
        tally.wrong.append(f"{where}: was not killed, but gave {killed}")
        return
    tally.provoked += 1
    before = finished(folder / name)
    tally.wrong += [f"{where}: {each}" for each in contradictions(folder, name)]
    if launch(run, folder, name) != 0:
        tally.wrong.append(f"{where}: could not be continued")
    after = finished(folder / name)
    tally.lost += [f"{where}: {trial}" for trial in before if after.get(trial) != before[trial]]
    tally.wrong += [f"{where}: {each}" for each in contradictions(folder, name)]
    if numbers(folder / name) != expected:
        tally.wrong.append(f"{where}: other numbers")


def test_at_any_moment(whole: Whole, tally: Tally, request: pytest.FixtureRequest) -> None:
    """A run is killed (kill -9) at a random moment. The same command continues it."""
    folder, _ = whole
    tally.random = True
    calls = launch(count, folder, "counted")
    for number, call in enumerate(seeded(calls, request.config.getoption("--kills"))):
        survives(whole, f"call {number}", Dies(call=call), tally)


@pytest.mark.parametrize(
    ("moment", "function", "times"),
    [
        pytest.param(moment, *one, marks=[pytest.mark.slow] if number else [])
        for moment, functions in MOMENTS.items()
        for number, one in enumerate(functions)
    ],
)
def test_in_the_middle(moment: str, function: str, times: int, whole: Whole, tally: Tally) -> None:
    """A run is killed in mid-epoch, mid-evaluation, mid-checkpoint or mid-result. It continues."""
    survives(whole, f"{moment} {function} {times}", Dies(function=function, times=times), tally)


# Written, and not yet under its name, where the next start would miss it most.
BRIEF = {(name, "whole") for name in ("store.json", "checkpoint.pt", "result.json", "SHA256SUMS")}


@pytest.mark.parametrize(
    "point",
    [
        pytest.param(point, id="-".join(point), marks=[] if point in BRIEF else [pytest.mark.slow])
        for point in POINTS
    ],
)
def test_at_every_write(point: tuple[str, str], whole: Whole, tally: Tally) -> None:
    """A run is killed while it writes, renames or removes a file. It continues."""
    survives(whole, "-".join(point), Dies(point=point), tally)
