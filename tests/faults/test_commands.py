"""Faults of a claim's command: told as such, and once it is mended the same run goes on."""

import sys
from pathlib import Path

import pytest
from click.testing import Result

from repro.store import Store
from tests import test_command
from tests.commands import repro
from tests.faults.conftest import Tally
from tests.faults.smoke import contradictions, finished
from tests.test_command import changed, claim_file, is_gone

pytestmark = pytest.mark.faults


def claim_at_fault(folder: Path, mode: str) -> None:
    """A claim with two trials, whose program is at fault as long as a file beside it says so."""
    folder.mkdir()
    changed(claim_file(folder), "seeds: 3", "seeds: 1")
    changed(folder / "program.py", "sys.argv[1]", 'open("mode").read()')
    (folder / "mode").write_text(mode)


def run(folder: Path, store: str, *options: str) -> Result:
    """All that is missing, one trial after another."""
    where = ("--scale", "smoke", "--store", folder / store, "--trust", "--workers", "1")
    return repro("run", folder / "mine.yaml", *where, *options)


def numbers(store: Path) -> dict[str, str]:
    """All that was measured, but for clocks, by trial."""
    facts = Store(store)
    return {name: facts.numbers(name) for name in facts.results()}


def provoked(folder: Path, mode: str, tally: Tally, *options: str) -> Result:
    """A run with the fault; then the same command goes on, to the numbers of one without it."""
    claim_at_fault(folder, mode)
    struck = run(folder, "store", *options)
    tally.provoked += 1
    before = finished(folder / "store")
    (folder / "mode").write_text("plain")
    if run(folder, "store").exit_code or run(folder, "whole").exit_code:
        tally.wrong.append(f"{mode}: could not be continued")
    after = finished(folder / "store")
    tally.lost += [name for name in before if after.get(name) != before[name]]
    tally.wrong += contradictions(folder, "store")
    if numbers(folder / "store") != numbers(folder / "whole"):
        tally.wrong.append(f"{mode}: other numbers")
    return struck


def test_a_command_hangs(tally: Tally, tmp_path: Path) -> None:
    """A claim's command hangs, and ignores SIGTERM. It is killed."""
    struck = provoked(tmp_path / "hang", "hang", tally, "--stall-after", "0.5s")

    assert struck.exit_code == 5
    assert "wrote no metric for 0.5 s, and was stopped" in struck.output


def test_a_command_floods(tally: Tally, tmp_path: Path) -> None:
    """A claim's command prints ten megabytes. Of each trial 64 KiB are kept."""
    struck = provoked(tmp_path / "flood", "flood", tally)
    outputs = list((tmp_path / "flood" / "store").glob("trials/*/program/output.txt"))

    assert struck.exit_code == 0
    assert outputs
    assert all(output.stat().st_size <= 1 << 16 for output in outputs)


def test_a_command_measures_no_number(tally: Tally, tmp_path: Path) -> None:
    """A claim's command writes NaN, and hangs. Its trials have diverged, and stay so."""
    claim_at_fault(tmp_path / "nan", "nan")
    run(tmp_path / "nan", "store")
    tally.provoked += 1
    before = finished(tmp_path / "nan" / "store")
    run(tmp_path / "nan", "store")
    results = Store(tmp_path / "nan" / "store").results().values()

    assert [result.status for result in results] == ["diverged", "diverged"]
    tally.wrong += contradictions(tmp_path / "nan", "store")
    if finished(tmp_path / "nan" / "store") != before:
        tally.lost.append("trained again")


@pytest.mark.parametrize("mode", ["nonsense", "percent"])
def test_a_command_writes_nonsense(tally: Tally, tmp_path: Path, mode: str) -> None:
    """A claim's command writes a line that is no measurement. None of it counts."""
    struck = provoked(tmp_path / mode, mode, tally)

    assert struck.exit_code == 5
    assert "wrote what is no measurement" in struck.output


@pytest.mark.parametrize("mode", ["long", "huge"])
def test_a_command_writes_too_much(tally: Tally, tmp_path: Path, mode: str) -> None:
    """A claim's command writes a huge file of metrics, or a line without an end. It is ended."""
    struck = provoked(tmp_path / mode, mode, tally)

    assert struck.exit_code == 5
    assert "error[E306]" in struck.output


def test_a_command_forks(tally: Tally, tmp_path: Path) -> None:
    """A claim's command leaves a child in a process group of its own. It is ended, too."""
    if sys.platform != "linux":
        tally.skip("other systems adopt no orphans")
    provoked(tmp_path / "fork", "daemon", tally)

    assert is_gone(int((tmp_path / "fork" / "daemon").read_text()))


def test_a_command_is_killed(tally: Tally, tmp_path: Path) -> None:
    """A run is killed (kill -9) while a claim's command trains. Nothing of it goes on."""
    if sys.platform != "linux":
        tally.skip("other systems adopt no orphans")
    test_command.test_kill_9_loses_nothing_and_leaves_nothing(tmp_path)
    tally.provoked += 1
