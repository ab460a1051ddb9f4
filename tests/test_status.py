"""What is seen of a run: live on a terminal, in lines elsewhere, and from a second terminal."""

import fcntl
import json
import os
import re
import signal
import struct
import subprocess
import sys
import termios
from dataclasses import asdict
from pathlib import Path

import pytest

from repro.claim import TrainedClaim, load
from repro.data import open_dataset
from repro.errors import LockLostError
from repro.execute.monitor.console import ConsoleObserver
from repro.execute.monitor.observer import Event, TrainedCell
from repro.execute.monitor.progress import Pace, ProgressFiles, begun, overview
from repro.planning import Cell, most_epochs_left, next_cells
from repro.store import Store
from repro.trial import Clocks, Result
from tests.commands import repro
from tests.worlds import lasting_claim_file, planted, quick_claim_file, tiny_claim

ROOT = Path(__file__).parents[1]


def cells_of(folder: Path) -> tuple[TrainedClaim, list[Cell]]:
    claim = tiny_claim(folder)
    assert isinstance(claim, TrainedClaim)
    return claim, next_cells(claim, "smoke", "0" * 16, {})


@pytest.mark.process
def test_a_terminal_sees_each_trial_and_a_second_one_follows(tmp_path: Path) -> None:
    """Progress, error, images a second and time left; Ctrl-C saves, and says how to go on."""
    path = lasting_claim_file(tmp_path)
    store = tmp_path / "my runs"
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "repro", "run", path, "--store", store, "--workers", "1"],
        cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs,
        env={**os.environ, "NO_COLOR": "1", "TERM": "xterm", "COLUMNS": "120", "LINES": "30"},
    )  # fmt: skip
    os.close(theirs)
    screen, second = b"", Store(store)
    while process.poll() is None and b"images/s" not in screen:
        screen += os.read(ours, 65536)
    while process.poll() is None and not (
        (found := overview(second)).running and found.running[0].plan_seconds_left
    ):
        screen += os.read(ours, 65536)
    seen = json.loads(repro("status", "--store", store, "--json").stdout)
    process.send_signal(signal.SIGINT)
    while True:
        try:
            screen += os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
    text = screen.decode()

    assert process.wait() == 130, text
    assert re.search(r"period/fast confirm rate 0.01 seed 0 .* \d+\.\d/100000 .* %", text)
    assert re.search(r"0 trials done, 1 running, at most .* left; Ctrl-C saves and stops", text)
    assert f"to go on:\r\n  repro run {path} --store '{store}' --workers 1" in text
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", text)  # NO_COLOR
    (running,) = seen["running"]
    assert 0 < running["epoch"] < 100_000 == running["until"]
    assert running["plan_seconds_left"] > running["seconds_left"] > 0
    assert repro("status", "--store", store).stdout == (
        "0 trials running, 0 finished, 1 begun and waiting to go on\n"
    )


def test_lines_of_a_log_can_be_searched(tmp_path: Path) -> None:
    """Time, word, identity, name; the same words in every run."""
    path = quick_claim_file(tmp_path)
    done = repro("run", path, "--store", tmp_path / "runs", "--workers", "1")
    line = re.compile(
        r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ((start|train|done ) [0-9a-f]{16} "
        r"period/(fast|slow) (tune|confirm) rate \S+ seed \d+: |plan  \d+ trials done)",
    )
    lines = [text for text in done.stderr.splitlines() if re.match(r"\d{4}-", text)]

    assert done.exit_code == 0, done.output
    assert [text for text in lines if not line.match(text)] == []
    starts, ends = ([text for text in lines if word in text] for word in (" start ", " done "))
    assert len(starts) == len(ends) == len(Store(tmp_path / "runs").finished())


def test_a_trial_whose_process_was_killed_does_not_run(tmp_path: Path) -> None:
    """Its file stays behind, its lock does not."""
    _, (cell, *_) = cells_of(tmp_path)
    store = Store(tmp_path / "runs")
    store.begin(cell.trial)
    standing = asdict(begun(cell))
    with store.lock(cell.trial.id):
        store.keep_report(cell.trial.id, "progress.json", json.dumps(standing))
        during = overview(store)
    after = overview(store)

    assert [one.trial_id for one in during.running] == [cell.trial.id]
    assert (after.running, after.unfinished) == ((), 1)


@pytest.mark.parametrize(("waiting", "shown"), [(0.6, True), (0.01, False)])
def test_a_trial_that_waited_for_images_says_so(
    waiting: float, shown: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In its last line, where it is worth knowing."""
    _, (cell, *_) = cells_of(tmp_path)
    result = Result(
        trial_id=cell.trial.id, status="finished", epochs=1.0, crossing_full=None,
        crossing_online=None, train_error=0.5, epoch_errors=(), loss=1.0,
        seconds=Clocks(train=2.0, evaluate=1.0, other=1.0, waiting=2.0 * waiting),
    )  # fmt: skip
    with ConsoleObserver(pace=Pace(epochs_left=lambda: 1.0, workers=1)) as console:
        console.finish(cell, TrainedCell(outcome="finished", result=result))

    assert (", 60 % of training waiting for images" in capsys.readouterr().err) == shown


def test_a_fault_is_listed_until_its_trial_is_begun_again(tmp_path: Path) -> None:
    """Which trial, what, when, and what to do; then the same command, and nothing is left of it."""
    path, store = quick_claim_file(tmp_path), tmp_path / "runs"
    claim = load(path)
    assert isinstance(claim, TrainedClaim)
    data = open_dataset("digits", (), tmp_path)
    first, _ = next_cells(claim, "smoke", data.fingerprint, {})
    lock = store / "trials" / first.trial.id / "lock"
    lock.mkdir(parents=True)
    command = ("run", path, "--store", store, "--workers", "1")
    failed, seen = repro(*command), repro("status", "--store", store)
    (fault,) = json.loads(repro("status", "--store", store, "--json").stdout)["faults"]
    verified = repro("verify", store, "--claims", tmp_path)
    lock.rmdir()
    done, after = repro(*command), repro("status", "--store", store)

    assert (failed.exit_code, done.exit_code) == (5, 0), done.output
    assert re.search(
        rf"\d fault {first.trial.id} period/fast confirm .*: error\[E301\]: ", failed.stderr
    )
    assert seen.stdout == (
        f"fault {first.trial.id} period/fast confirm rate 0.01 seed 0, {fault['told']}: "
        f"error[E301]: cannot lock {lock}: Is a directory\n"
        "      next: choose a folder that can be written with --store\n"
        "0 trials running, 1 finished, 0 begun and waiting to go on; "
        "1 with a fault, which the same `repro run` tries again, unless the claim file or the code "
        "has changed\n"
    )
    assert verified.exit_code == 0, verified.output
    assert after.stdout == "0 trials running, 2 finished, 0 begun and waiting to go on\n"
    assert not list(store.glob("trials/*/fault.json"))


def test_a_fault_is_of_the_last_time_that_its_trial_was_begun(tmp_path: Path) -> None:
    """Not of the one before, nor of a process whose lock another one took, and came to the end."""
    _, (cell, *_) = cells_of(tmp_path)
    store = Store(tmp_path / "runs")
    files = ProgressFiles(store=store, pace=Pace(epochs_left=lambda: 1.0, workers=1))
    lost = LockLostError("the lock was lost")
    files.start(cell)
    files.fail(cell, lost)
    assert [fault.code for fault in overview(store).faults] == ["E305"]
    files.start(cell)
    assert overview(store).faults == ()
    files.fail(cell, lost)
    files.finish(cell, TrainedCell(outcome="busy"))
    assert len(overview(store).faults) == 1
    files.finish(cell, TrainedCell(outcome="finished"))
    assert overview(store).faults == ()


@pytest.mark.parametrize("text", ["{}", '{"seed": "x"}'])
def test_a_fault_that_no_run_wrote_is_named(tmp_path: Path, text: str) -> None:
    """The file, and that it may go."""
    Store(tmp_path).keep_report("x", "fault.json", text)
    done = repro("status", "--store", tmp_path)

    assert done.exit_code == 5
    assert f"error[E500]: {tmp_path / 'trials/x/fault.json'}: not what a run writes" in done.stderr
    assert "no number depends on it" in done.stderr


def test_a_folder_that_is_not_there_is_no_quiet_store(tmp_path: Path) -> None:
    """A slip of the hand looks otherwise than a run that has ended."""
    done = repro("status", "--store", tmp_path / "nowhere")

    assert done.exit_code == 2
    assert "nowhere is not a folder" in done.stderr


def test_watching_ends_when_nothing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a script can wait for a run."""
    monkeypatch.setattr("repro.execute.monitor.console.POLL_SECONDS", 0.0)
    done = repro("status", "--store", tmp_path, "--watch")

    assert done.exit_code == 0
    assert done.stdout.startswith("0 trials running")


def test_the_time_left_falls_with_what_is_trained(tmp_path: Path) -> None:
    """At most: every epoch that the plan may still ask for, at the speed that was seen."""
    _, (cell, *_) = cells_of(tmp_path)
    pace = Pace(epochs_left=lambda: 10.0, workers=2)
    pace.start(cell)
    assert pace.seconds_left() is None
    for epoch, left in ((0.0, 10.0), (1.0, 9.0), (4.0, 6.0)):
        pace.event(
            Event(trial_id=cell.trial.id, epoch=epoch, error=0.5, images_per_second=50, images=100)
        )
        assert pace.seconds_left() == pytest.approx(left * 2 / 2)


def test_epochs_left_are_none_when_all_is_done(tmp_path: Path) -> None:
    """2 arms of 3 rates for an epoch, then 2 seeds of 2 epochs each, at most; then less."""
    claim, _ = cells_of(tmp_path)
    results = {}
    left = [most_epochs_left(claim, "smoke", "0" * 16, results)]
    while cells := next_cells(claim, "smoke", "0" * 16, results):
        for cell in cells:
            results[cell.trial.id] = planted(cell, crossed=None)
        left.append(most_epochs_left(claim, "smoke", "0" * 16, results))

    assert left[0] == 2 * (3 * 1 + 2 * 2)
    assert left[-1] == 0


@pytest.mark.process
def test_a_terminal_folds_lists_of_names_between_words(tmp_path: Path) -> None:
    """Of a key that is unknown; what continues a line is set in."""
    path = quick_claim_file(tmp_path)
    path.write_text(path.read_text().replace("near:", "nera:"))
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    subprocess.run(
        [sys.executable, "-m", "repro", "validate", path.name], cwd=tmp_path,
        stderr=theirs, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    first, *lines = os.read(ours, 4000).decode().splitlines()

    assert "nera: unknown key (did you mean" in first
    assert len(first) <= 80
    assert [line for line in lines if not line.startswith(("    ", "next: "))] == []
    assert len(lines) > 2


@pytest.mark.process
def test_a_terminal_that_cannot_move_its_cursor_gets_lines(tmp_path: Path) -> None:
    """TERM=dumb: no control sequences at all."""
    ours, theirs = os.openpty()
    subprocess.run(
        [sys.executable, "-m", "repro", "status", "--watch", "--store", tmp_path],
        cwd=ROOT, stdout=theirs, check=True, env={**os.environ, "TERM": "dumb"},
    )  # fmt: skip
    screen = os.read(ours, 1000).decode()

    assert screen.startswith("0 trials running")
    assert "\x1b" not in screen
