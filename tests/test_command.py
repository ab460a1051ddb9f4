"""A command as trainer: trusted once, heard by its metrics, ended with all that it has started."""

import csv
import errno
import hashlib
import html
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from repro.claim import TrainedClaim, load
from repro.claim.trainer import command_line, fingerprint_of
from repro.errors import ClaimError, CommandError, ReproError
from repro.execute import Machine
from repro.execute.machine import PlainFlag
from repro.execute.monitor.observer import Event, TrainedCell
from repro.execute.worker.train_cells import train_cells
from repro.planning import Cell, next_cells, rate_search
from repro.store import Store
from repro.trial import Clocks, Result, Trial
from repro.trial.metric_lines import MetricLine, Training, by_epoch, parse_line, result_of
from repro.verdict import decide
from repro.verdict.analysis import analyse
from repro.verdict.judge import next_trials
from tests.commands import repro
from tests.shell import started, wait_for
from tests.worlds import quick_claim_file

ROOT = Path(__file__).parents[1]

PROGRAM = """\
import json, os, pathlib, shutil, signal, subprocess, sys, time

mode, rate, seed, epochs, folder = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), \\
    float(sys.argv[4]), pathlib.Path(sys.argv[5])
home = pathlib.Path(__file__).parent
(home / "ran").touch()
saved = folder / "epoch"
first = int(saved.read_text()) if saved.exists() else 0


def say(epoch, name, value):
    with open(os.environ["REPRO_METRICS"], "a") as file:
        file.write(json.dumps({"epoch": epoch, "name": name, "value": value}) + "\\n")


with open(home / "starts", "a") as file:
    print(os.environ["REPRO_ARM"], seed, first, epochs, file=file)
for epoch in range(first + 1, int(epochs) + 1):
    worse = 1.0 if os.environ["REPRO_ARM"] == "good" else 1.5
    error = (0.5 / epoch + seed % 10 * 0.001) * worse
    say(epoch, "train_error", error)
    say(epoch, "online_error", error)
    say(epoch, "test_error", error + 0.02)
    say(epoch, "depth", 10 * epoch + seed)
    saved.write_text(str(epoch))
    print("epoch", epoch, flush=True)
    if mode == "wait" and epoch == 1 and not (home / "gate").exists():
        child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
        pids = home / f"pids-{seed}-{os.environ['REPRO_ARM']}"
        pids.write_text(f"{os.getpid()} {child.pid}\\n")
        time.sleep(1000)
if mode == "fail":
    print("no such layer")
    sys.exit(3)
if mode == "nonsense":
    with open(os.environ["REPRO_METRICS"], "a") as file:
        file.write("loss: 3\\n")
if mode == "percent":
    say(epochs, "test_error", 31.0)
if mode == "long":
    with open(os.environ["REPRO_METRICS"], "a") as file:
        file.write("x" * 100_000)
    time.sleep(1000)
if mode == "huge":
    with open(os.environ["REPRO_METRICS"], "a") as file:
        file.truncate(1 << 40)
    time.sleep(1000)
if mode == "fifo":
    os.unlink(os.environ["REPRO_METRICS"])
    os.mkfifo(os.environ["REPRO_METRICS"])
    time.sleep(1000)
if mode == "nan":
    say(epochs, "train_loss", float("nan"))
    time.sleep(1000)
if mode == "flood":
    for _ in range(200):
        sys.stdout.write("y" * 50_000 + "\\n")
if mode == "shout":
    print("z" * 50_000)
    sys.exit(3)
if mode == "hang":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(1000)
if mode == "signals":
    heeded = [s for s in ("SIGHUP", "SIGINT", "SIGTERM")
              if signal.getsignal(getattr(signal, s)) != signal.SIG_IGN]
    (home / "heeded").write_text(" ".join(heeded))
if mode == "removed":
    shutil.rmtree(folder.parent)
if mode == "unwatched":
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(1000)
if mode == "on":
    say(epochs + 1, "test_error", 0.0)
    time.sleep(1000)
if mode == "daemon":
    code = "import os, time; open('daemon', 'w').write(str(os.getpid())); time.sleep(1000)"
    subprocess.Popen([sys.executable, "-c", code], cwd=home, start_new_session=True)
    while not (home / "daemon").exists() or not (home / "daemon").read_text():
        time.sleep(0.01)
"""

CLAIM = """\
version: 1
id: mine
title: The good arm is better
kind: difference
paper: {section: sec. 1, states: It is better., unit: points of test error}
question: Test error of the bad arm less that of the good one.
confounds: None.
deviations: []
trainer:
  command: ["{python}", program.py, "{mode}", "{rate}", "{seed}", "{epochs}", "{folder}"]
metric: test_error
arms: {good: {}, bad: {}}
contrast: {higher: bad, lower: good}
region: {low: 0.5}
scales:
  smoke: {epochs: 2, seeds: 3, rate: 0.1, arguments: {mode: plain}}
"""


def claim_file(folder: Path, *, mode: str = "plain") -> Path:
    """The claim and its program, which does what the mode says."""
    (folder / "program.py").write_text(PROGRAM)
    path = folder / "mine.yaml"
    path.write_text(CLAIM.replace("mode: plain", f"mode: {mode}"))
    return path


def changed(path: Path, old: str, new: str) -> Path:
    """The file with one text in place of another."""
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    return path


def trained_claim(path: Path) -> TrainedClaim:
    """The claim of the file."""
    claim = load(path)
    assert isinstance(claim, TrainedClaim)
    return claim


def cells_of(path: Path, store: Path) -> list[Cell]:
    """What is left to run."""
    claim = trained_claim(path)
    return next_cells(claim, "smoke", fingerprint_of(claim), Store(store).results())


def machine(folder: Path, *, stall_seconds: float = 600.0) -> Machine:
    """One worker, which keeps what it hears at once."""
    return Machine(
        device="cpu", workers=1, store=folder / "store", data_dirs=(folder,),
        cache_dir=folder / "cache", checkpoint_seconds=0.0, stall_seconds=stall_seconds,
    )  # fmt: skip


def train(path: Path, *, stall_seconds: float = 600.0) -> TrainedCell | ReproError:
    """How the first trial has ended."""
    folder = path.parent
    cell = cells_of(path, folder / "store")[0]
    there = machine(folder, stall_seconds=stall_seconds)
    try:
        ended = train_cells([cell], there, stop=PlainFlag(), on_event=lambda _: None)
    except ReproError as error:
        return error
    return ended[cell.trial.id]


def is_gone(pid: int) -> bool:
    """Whether no process has the number; one that has ended and waits for its parent is gone."""
    try:
        os.kill(pid, 0)
    except OSError as error:
        return error.errno == errno.ESRCH
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_command_decides_a_claim(tmp_path: Path) -> None:
    """From a claim file to a verdict, a report and a store that agrees with itself."""
    path, store = claim_file(tmp_path), tmp_path / "store"

    ran = repro("run", path, "--scale", "smoke", "--store", store, "--trust", "--workers", "1")
    report = tmp_path / "report"
    told = repro("report", "--claims", tmp_path, "--store", store, "--out", report)
    verified = repro("verify", store, "--claims", tmp_path, "--report", report)

    assert ran.exit_code == 0, ran.output
    assert "mine, command recipe, smoke scale (not evidence)" in ran.output
    assert "ours   12." in ran.output
    assert told.exit_code == 0, told.output
    assert verified.exit_code == 0, verified.output
    trials = csv.DictReader((report / "trials.csv").read_text().splitlines())
    assert [row["depth"] for row in trials][:3] == ["20.0", "21.0", "22.0"]
    program = hashlib.sha256((tmp_path / "program.py").read_bytes()).hexdigest()[:12]
    for name in ("report.md", "report.html"):
        text = re.sub(r"\\|</?t[hrd][^>]*>", "", html.unescape((report / name).read_text()))
        assert "program.py '{mode}' '{rate}'" in text
        assert re.search(f"file program.py[ |]*{program}", text), text
        assert "torch" not in text.rpartition("Where the numbers come from")[2].partition("##")[0]


PYKEEN = """\
import json, pathlib, sys

assert sys.argv[1] == "train", sys.argv
given = dict(zip(sys.argv, sys.argv[1:]))
rank = {"transe": 0.25, "rotate": 0.5}[sys.argv[2]] + 0.01 * int(given["--random-seed"])
losses = [1.0] * int(given["--number-epochs"])
ranks = {"inverse_harmonic_mean_rank": rank, "hits_at_10": 0.9}
folder = pathlib.Path(given["--output-directory"])
folder.mkdir()
found = {"losses": losses, "metrics": {"both": {"realistic": ranks}}, "times": {}}
(folder / "results.json").write_text(json.dumps(found))
"""


def test_the_command_line_of_an_installed_package_decides_a_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The example's lines around it, by a small stand-in: PyKEEN itself may not be installed."""
    example = shutil.copytree(ROOT / "examples" / "pykeen", tmp_path / "example")
    (tmp_path / "pykeen").mkdir()
    (tmp_path / "pykeen" / "__main__.py").write_text(PYKEEN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    where = ("--store", tmp_path / "store", "--trust", "--workers", "1")
    ran = repro("run", example / "rotation.yaml", "--scale", "smoke", *where)
    results = Store(tmp_path / "store").results().values()

    assert ran.exit_code == 0, ran.output
    assert "ours   0.25 " in ran.output
    assert "nan" not in ran.output
    assert {result.metrics["hits_at_10"] for result in results} == {0.9}


def test_a_command_runs_only_from_a_file_that_was_trusted_as_it_stands(tmp_path: Path) -> None:
    """The error shows the command; trust is of the content, and ends where that changes."""
    path = claim_file(tmp_path)
    run = ("run", path, "--scale", "smoke", "--store", tmp_path / "store", "--workers", "1")

    refused = repro(*run)
    assert refused.exit_code == 2
    assert "error[E101]" in refused.output
    assert "program.py '{mode}'" in refused.output
    assert not (tmp_path / "ran").exists()

    assert "program.py" in repro("trust", path).output
    assert repro(*run).exit_code == 0
    changed(path, "None.", "Many.")
    assert "error[E101]" in repro(*run).output


def test_no_other_command_runs_it(tmp_path: Path) -> None:
    """Also once the file is trusted."""
    path, store = claim_file(tmp_path), tmp_path / "store"
    here = ("--claims", tmp_path)
    assert repro("trust", path).exit_code == 0

    for words in (
        ("validate", path),
        ("list", *here),
        ("show", path),
        ("show", path, "--resolved"),
        ("plan", path, "--scale", "smoke"),
        ("plan", path, "--scale", "smoke", "--register", "--store", store),
        ("report", *here, "--store", store, "--out", tmp_path / "report"),
        ("doctor", *here),
    ):
        assert "Traceback" not in repro(*words).output

    assert not (tmp_path / "ran").exists()


def test_a_program_that_fails_always_is_told_of_once(tmp_path: Path) -> None:
    """One error, and a count: after three faults in a row no other of the six trials is begun."""
    path, store = claim_file(tmp_path, mode="fail"), tmp_path / "store"

    ran = repro("run", path, "--scale", "smoke", "--store", store, "--trust", "--workers", "1")

    assert ran.exit_code == 5
    assert "after a change of program.py or the command all its trials start anew" in ran.output
    assert "; its last lines: no such layer" in ran.output
    errors = [line for line in ran.output.splitlines() if line.startswith("error[E306]")]
    assert len(errors) == 1
    assert "the same error in 2 more trials" in ran.output
    assert (
        f"{path}: three trials of its command failed in a row: the others were not begun"
        in ran.output
    )
    assert len((tmp_path / "starts").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [("program.py", "sys.exit(3)", "sys.exit(4)"), ("mine.yaml", "{mode}", "--mode={mode}")],
)
def test_trials_of_a_command_that_was_mended_are_continued_by_no_run(
    tmp_path: Path, file: str, old: str, new: str
) -> None:
    """Whether its words were, or a file that it names; of other claims' trials nobody can tell."""
    path, store = claim_file(tmp_path, mode="fail"), tmp_path / "store"
    others = tmp_path / "others"
    others.mkdir()
    quick_claim_file(others)

    repro(*smoke_run(path, store))
    before = repro("verify", store, "--claims", tmp_path).output
    changed(tmp_path / file, old, new)
    after = repro("verify", store, "--claims", tmp_path).output
    elsewhere = repro("verify", store, "--claims", others).output

    interrupted = "note: 3 trials are unfinished, as after an interruption: `repro run` continues"
    assert interrupted in before
    assert "note: 3 unfinished trials are of a command, or of files of it, that no claim" in after
    assert "`repro run` continues them" not in after
    assert interrupted in elsewhere


def test_an_error_of_a_program_says_what_ran_and_where_to_look(tmp_path: Path) -> None:
    """Most first faults are wrong options in the claim's command: their place is told, too."""
    path = claim_file(tmp_path, mode="fail")

    ended = train(path)

    assert isinstance(ended, CommandError)
    assert "(arm good, rate 0.1, seed 0) ended with exit code 3" in str(ended)
    (output,) = (tmp_path / "store").glob("trials/*/program/output.txt")
    *_, ran, kept = str(ended).splitlines()
    assert ran == f"  ran: {sys.executable} program.py fail 0.1 0 2 {output.parent}"
    assert kept == f"  output: {output}"
    assert "no such layer" in output.read_text()
    assert f"or `trainer.command` in {path} (`repro trust` it again)" in ended.hint


def test_a_program_that_fails_stops_no_other_of_the_same_name(tmp_path: Path) -> None:
    """Both claims start `program.py` of their own folder in the same words."""
    for name in ("fails", "trains"):
        (tmp_path / name).mkdir()
    fails = claim_file(tmp_path / "fails", mode="fail")
    trains = claim_file(tmp_path / "trains", mode="fail")
    changed(trains, "id: mine", "id: other").rename(tmp_path / "trains" / "other.yaml")
    changed(tmp_path / "trains" / "program.py", "sys.exit(3)", "sys.exit(0)")

    ran = repro(
        "run", fails, tmp_path / "trains" / "other.yaml", "--scale", "smoke",
        "--store", tmp_path / "store", "--trust", "--workers", "1",
    )  # fmt: skip

    assert f"{fails}: three trials of its command failed in a row" in ran.output
    assert len((tmp_path / "fails" / "starts").read_text().splitlines()) == 3
    assert len((tmp_path / "trains" / "starts").read_text().splitlines()) == 6


def test_a_program_that_fails_in_one_arm_alone_trains_the_other(tmp_path: Path) -> None:
    """Its faults are not in a row; once more they are, and then there is no other to begin."""
    path, store = claim_file(tmp_path), tmp_path / "store"
    changed(path, "{good: {}, bad: {}}", "{good: {}, bad: {arguments: {mode: fail}}}")
    words = ("run", path, "--scale", "smoke", "--store", store, "--trust", "--workers", "1")

    ran, again = repro(*words), repro(*words)

    assert ran.exit_code == 5
    assert "the same error in 2 more trials" in ran.output
    assert "were not begun" not in ran.output + again.output
    assert len(Store(store).results()) == 3


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("fail", r"ended with exit code 3; its last lines:\n.*epoch 2\n    no such layer"),
        ("shout", r"its last lines:\n(    .{0,203}\n)+  ran: "),
        ("nonsense", "wrote what is no measurement: .*: loss: 3"),
        ("percent", "test_error is a fraction from 0 to 1, not 31"),
        ("long", "wrote a line of metrics of more than 65536 bytes"),
        ("huge", "wrote 1099511627776 bytes of metrics"),
        ("fifo", "left no readable file of metrics: not a regular file"),
        ("removed", "has removed its folder and the trial's"),
        ("unwatched", "the process that watches it was killed by signal 9"),
        ("x" * 200_000, "its arguments are longer than the system takes"),
    ],
    ids=lambda value: value[:20],
)
def test_a_program_that_fails_is_told_of(tmp_path: Path, mode: str, said: str) -> None:
    """An error with what it did; the trial has no result, and is begun again."""
    path = claim_file(tmp_path, mode=mode)

    ended = train(path)

    assert isinstance(ended, CommandError)
    assert re.search(said, str(ended), re.DOTALL), str(ended)
    assert ended.code == "E306"
    assert not Store(tmp_path / "store").results()
    again = train(claim_file(tmp_path, mode=mode))
    assert isinstance(again, CommandError)


def test_a_program_that_hangs_is_stopped(tmp_path: Path) -> None:
    """Also one that does not heed SIGTERM; what it said is told as all that it said."""
    ended = train(claim_file(tmp_path, mode="hang"), stall_seconds=0.5)

    assert isinstance(ended, CommandError)
    assert "wrote no metric for 0.5 s, and was stopped" in str(ended)


def test_a_program_heeds_signals_though_its_worker_ignores_them(tmp_path: Path) -> None:
    """So that SIGTERM ends it at once, and not the SIGKILL after it."""
    numbers = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        train(claim_file(tmp_path, mode="signals"))
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)

    assert (tmp_path / "heeded").read_text() == "SIGHUP SIGINT SIGTERM"


def test_what_is_not_a_number_is_a_result(tmp_path: Path) -> None:
    """The trial has diverged, and its program is stopped."""
    ended = train(claim_file(tmp_path, mode="nan"))

    assert isinstance(ended, TrainedCell)
    assert ended.result is not None
    assert ended.result.status == "diverged"


def test_a_program_is_stopped_at_its_budget(tmp_path: Path) -> None:
    """What it says of later epochs does not count."""
    ended = train(claim_file(tmp_path, mode="on"))

    assert isinstance(ended, TrainedCell)
    assert ended.result is not None
    assert (ended.result.status, ended.result.epochs) == ("finished", 2.0)
    assert ended.result.metric("test_error") == pytest.approx(0.27)


def test_a_program_ends_before_its_budget_only_where_it_says_so(tmp_path: Path) -> None:
    """Else epochs were counted from zero, or an error was swallowed."""
    path = claim_file(tmp_path)
    program = tmp_path / "program.py"
    changed(program, "int(epochs) + 1", "int(epochs)")

    early = train(path)
    assert isinstance(early, CommandError)
    assert "ended at epoch 1 of 2" in str(early)

    program.write_text(
        program.read_text() + 'open(os.environ["REPRO_METRICS"], "a").write(\'{"ended": true}\')\n'
    )
    ended = train(path)
    assert isinstance(ended, TrainedCell)
    assert ended.result is not None
    assert (ended.result.status, ended.result.epochs) == ("plateaued", 1.0)


def test_however_much_is_printed_only_its_end_is_kept(tmp_path: Path) -> None:
    """Ten megabytes neither stop the program nor fill the store."""
    ended = train(claim_file(tmp_path, mode="flood"))

    assert isinstance(ended, TrainedCell)
    assert ended.outcome == "finished"
    (output,) = (tmp_path / "store").glob("trials/*/program/output.txt")
    assert output.stat().st_size <= 1 << 16


@pytest.mark.skipif(sys.platform != "linux", reason="other systems adopt no orphans")
def test_no_process_of_a_program_is_left(tmp_path: Path) -> None:
    """Not even one that has left its group."""
    ended = train(claim_file(tmp_path, mode="daemon"))

    assert isinstance(ended, TrainedCell)
    assert is_gone(int((tmp_path / "daemon").read_text()))


def test_a_program_that_is_paused_goes_on_in_its_folder(tmp_path: Path) -> None:
    """It is asked to end, and started again where it left off."""
    path, stop = claim_file(tmp_path, mode="wait"), PlainFlag()
    cell = cells_of(path, tmp_path / "store")[0]

    def stop_at_once(_: Event) -> None:
        stop.set()

    (paused,) = train_cells([cell], machine(tmp_path), stop=stop, on_event=stop_at_once).values()
    assert isinstance(paused, TrainedCell)
    assert paused.outcome == "paused"

    (tmp_path / "gate").touch()
    ended = train(path)
    assert isinstance(ended, TrainedCell)
    assert ended.result is not None
    assert ended.result.test_errors == pytest.approx((0.52, 0.27))


@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="other systems adopt no orphans")
def test_kill_9_loses_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    """The program ends with its worker; the same command continues, with the same numbers."""
    path, whole = claim_file(tmp_path, mode="wait"), tmp_path / "whole"
    words = ("run", path, "--scale", "smoke", "--trust", "--workers", "1", "--store")
    process = started(*map(str, words), tmp_path / "store", group=True)
    pids = tmp_path / "pids-0-good"
    wait_for(lambda: pids.exists() and pids.read_text().endswith("\n"), process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()

    (tmp_path / "gate").touch()
    assert repro(*words, tmp_path / "store").exit_code == 0
    assert repro(*words, whole).exit_code == 0

    for pid in map(int, pids.read_text().split()):
        assert is_gone(pid)
    one, two = Store(tmp_path / "store"), Store(whole)
    assert one.results().keys() == two.results().keys()
    for name in two.results():
        assert one.numbers(name) == two.numbers(name)


def test_a_threshold_ends_a_trial(tmp_path: Path) -> None:
    """Between the two measurements around it."""
    path = claim_file(tmp_path)
    changed(path, "kind: difference", "kind: time_to_threshold\nnear: 0\ndecided_by: full")
    changed(path, "metric: test_error", "metric: train_error\nthreshold: 0.3")
    changed(path, "{higher: bad, lower: good}", "{slow: bad, fast: good}")
    changed(path, "{low: 0.5}", "{low: 1.2}")
    changed(path, "epochs: 2,", "epochs: 9,")

    ended = train(path)

    assert isinstance(ended, TrainedCell)
    assert ended.result is not None
    assert (ended.result.status, ended.result.crossing_full) == ("crossed", (1.0, 2.0))


def test_a_search_trains_the_same_folders_further(tmp_path: Path) -> None:
    """Each rung continues where the one before ended."""
    path = claim_file(tmp_path)
    changed(
        path, "rate: 0.1", "search: {rates: [0.1, 0.2, 0.3], rungs: [1, 2], seeds: 1, refine: null}"
    )

    ran = repro(
        "run", path, "--scale", "smoke", "--store", tmp_path / "store", "--trust", "--workers", "1"
    )

    assert "reproduced" in ran.output or "inconclusive" in ran.output, ran.output
    assert "good 1000 1 2.0" in (tmp_path / "starts").read_text().splitlines()


def test_files_that_the_command_names_and_its_inputs_are_its_identity(tmp_path: Path) -> None:
    """Another program or input makes other trials; nothing else does."""
    path = claim_file(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x.txt").write_text("1")
    changed(path, "trainer:\n", "trainer:\n  inputs: [data]\n")
    first = fingerprint_of(trained_claim(path))

    (tmp_path / "other.txt").touch()
    assert fingerprint_of(trained_claim(path)) == first
    (tmp_path / "data" / "x.txt").write_text("2")
    second = fingerprint_of(trained_claim(path))
    assert second != first
    changed(tmp_path / "program.py", "0.001", "0.002")
    assert fingerprint_of(trained_claim(path)) not in (first, second)


def test_files_of_linked_folders_are_part_of_an_input(tmp_path: Path) -> None:
    """Where many keep their data; a link to a folder about it adds nothing, without end."""
    home = tmp_path / "home"
    home.mkdir()
    path = claim_file(home)
    (home / "data").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x.txt").write_text("1")
    (home / "data" / "linked").symlink_to(tmp_path / "elsewhere")
    (home / "data" / "round").symlink_to(home / "data")
    changed(path, "trainer:\n", "trainer:\n  inputs: [data]\n")
    first = fingerprint_of(trained_claim(path))

    (tmp_path / "elsewhere" / "x.txt").write_text("2")
    assert fingerprint_of(trained_claim(path)) != first


def test_any_file_name_can_be_an_input(tmp_path: Path) -> None:
    """Also one that is no text."""
    path = claim_file(tmp_path)
    (tmp_path / "data").mkdir()
    changed(path, "trainer:\n", "trainer:\n  inputs: [data]\n")
    before = fingerprint_of(trained_claim(path))
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/data/a\xff")).touch()
    except OSError:
        pytest.skip("this file system has names in UTF-8 alone")

    assert fingerprint_of(trained_claim(path)) != before


def test_scales_of_different_lengths_share_no_trial(tmp_path: Path) -> None:
    """The program would go on from the shorter one; other data or arguments tell them apart."""
    scale = "  smoke: {epochs: 2, seeds: 3, rate: 0.1, arguments: {mode: plain}}\n"
    longer = scale.replace("smoke", "proxy").replace("2,", "8,")
    path = changed(claim_file(tmp_path), scale, scale + longer)

    with pytest.raises(ClaimError, match=r"scales.proxy.epochs: the smoke scale has the same tria"):
        load(path)
    assert load(changed(path, longer, longer.replace("{epochs", "{data: more, epochs")))


def test_a_trial_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    """With its command, arm and arguments."""
    trial = cells_of(claim_file(tmp_path), tmp_path / "store")[0].trial

    assert TypeAdapter(Trial).validate_json(trial.to_json()) == trial
    assert trial.arguments == {"mode": "plain", "arm": "good"}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            '"{mode}"',
            '"{mood}"',
            r"command: \{mood\} has no value in any arm or scale \(did you mean",
        ),
        ("metric:", "verdict_recipe: x\nmetric:", "verdict_recipe: has no effect: the command"),
        ("good: {}", "good: {model: {a: 1}}", "arms.good.model: has no effect: the command"),
        ("mode: plain", "seed: 3", "arguments.seed: the command has this placeholder anyway"),
        ("trainer:\n", "trainer:\n  inputs: [nowhere]\n", "there is no 'nowhere' in the claim"),
        ("trainer:\n", "trainer:\n  data: x\n", r"unknown key \(known: command, inputs, steps"),
        ("rate: 0.1, ", "", "the command has no rates here: add `rate: 0.01`, or a `search`"),
        ('"{mode}"', r'"\0"', "trainer.command: a word has a NUL"),
        ("mode: plain", r'mode: "\0"', "scales.smoke.arguments.mode: a NUL, with which no"),
        ("metric: test_error", "metric: test-error", "metric: no program can write 'test-error'"),
    ],
)
def test_what_a_command_cannot_be_told_is_named(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    """With the key, and what there is instead."""
    path = changed(claim_file(tmp_path), old, new)

    with pytest.raises(ClaimError, match=said):
        load(path)


@pytest.mark.parametrize(
    ("arms", "scale", "said"),
    [
        (
            "good: {arguments: {depth: 1}}, bad: {}", "mode: plain",
            "arms.bad.arguments: {depth} has no value: add `arguments: {depth: ...}`",
        ),
        (
            "good: {arguments: {depth: 1}}, bad: {arguments: {deph: 2}}", "mode: plain",
            "arms.bad.arguments: {depth} has no value: add `arguments: {depth: ...}`, in place of "
            "'deph'",
        ),
        (
            "good: {}, bad: {}", "mode: plain}}\n  proxy: {data: more, epochs: 2, seeds: 3, "
            "rate: 0.1, arguments: {mode: plain, depth: 3",
            "scales.smoke.arguments: {depth} has no value: add `arguments: {depth: ...}`",
        ),
    ],
)  # fmt: skip
def test_an_argument_that_lacks_is_one_problem_at_the_arm_or_scale_that_lacks_it(
    tmp_path: Path, arms: str, scale: str, said: str
) -> None:
    """Not a second factor of the arms as well."""
    path = changed(claim_file(tmp_path), '"{mode}"', '"{mode}", "{depth}"')
    changed(changed(path, "good: {}, bad: {}", arms), "mode: plain", scale)

    with pytest.raises(ClaimError) as error:
        load(path)

    (problem,) = str(error.value).splitlines()
    assert problem.endswith(said)


def test_arguments_belong_to_a_command(tmp_path: Path) -> None:
    """A claim without one has nothing that would read them."""
    path = claim_file(tmp_path)
    text = path.read_text()
    path.write_text(re.sub(r"trainer:\n.*\n", "", text))

    with pytest.raises(ClaimError) as error:
        load(path)

    assert "scales.smoke.arguments: only a `trainer`'s command has arguments" in str(error.value)
    assert "recipes: missing key" in str(error.value)
    assert "scales.smoke.model: missing key" in str(error.value)


def test_a_command_whose_program_is_an_empty_argument_is_refused(tmp_path: Path) -> None:
    """It would start the word after it, or nothing."""
    path = changed(claim_file(tmp_path, mode='""'), '"{python}", program.py, "{mode}"', '"{mode}"')

    with pytest.raises(ClaimError, match="mode: empty, but it is the first word of the command"):
        load(path)


# Lines


@given(st.one_of(st.text(), st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(
        st.sampled_from(["epoch", "step", "name", "value", "images", "seconds"]), inner),
).map(json.dumps)))  # fmt: skip
def test_any_line_is_a_measurement_or_a_sentence(text: str) -> None:
    """Whatever a program writes."""
    try:
        line = parse_line(text, steps_per_epoch=None, seconds=0.0)
    except ValueError:
        return
    assert line is None or line.epoch >= 0


def training(tmp_path: Path) -> Training:
    """Of a trial that has begun."""
    trial = cells_of(claim_file(tmp_path), tmp_path / "store")[0].trial
    return Training(trial=trial, until=3.0)


def test_a_program_that_goes_on_takes_back_what_it_said_since_its_checkpoint(
    tmp_path: Path,
) -> None:
    """As after kill -9 between a line and the checkpoint that follows it."""
    found = training(tmp_path)
    for epoch, value in ((1, 0.5), (2, 0.4), (3, 0.3), (2, 0.45)):
        found.take(MetricLine(float(epoch), "test_error", value))

    assert [(one.epoch, one.value) for one in found.lines] == [(1.0, 0.5), (2.0, 0.45)]


@pytest.fixture(scope="module")
def a_trial(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    return training(tmp_path_factory.mktemp("trial")).trial


@given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from("abc"), st.integers(0, 9))))
def test_lines_are_those_that_nothing_took_back(
    a_trial: Trial, said: list[tuple[int, str, int]]
) -> None:
    """A line takes back its own name at its epoch, and all of later epochs."""
    found = Training(trial=a_trial, until=3.0)
    left: list[tuple[int, str, int]] = []
    for epoch, name, value in said:
        found.take(MetricLine(float(epoch), name, float(value)))
        left = [one for one in left if one[0] <= epoch and one[:2] != (epoch, name)]
        left.append((epoch, name, value))

    assert [(line.epoch, line.name, line.value) for line in found.lines] == left


def test_steps_are_epochs_by_what_the_claim_says() -> None:
    """Without it there is no budget to hold them against."""
    text = json.dumps({"step": 50, "name": "test_error", "value": 0.5})

    line = parse_line(text, steps_per_epoch=100, seconds=0.0)

    assert line is not None
    assert line.epoch == 0.5
    with pytest.raises(ValueError, match="'step' needs `steps_per_epoch`"):
        parse_line(text, steps_per_epoch=None, seconds=0.0)


def test_an_empty_argument_leaves_no_word() -> None:
    """A flag of one arm alone; other empty words stay."""
    command = ("train.py", "{flag}", "--to={flag}", "", "{threshold}")
    filled = command_line(command, {"flag": "", "threshold": ""})

    assert filled == ["train.py", "--to=", "", ""]
    assert command_line(command, {"flag": "--fast", "threshold": 0.1})[1] == "--fast"


def test_a_program_without_metrics_is_told_what_to_write(tmp_path: Path) -> None:
    """A line, and the file."""
    path = claim_file(tmp_path)
    (tmp_path / "program.py").write_text("print('epoch 1: 0.31')")

    ended = train(path)

    assert isinstance(ended, CommandError)
    assert 'wrote no metric: it has to append a line such as {"epoch": 1, "name": ' in str(ended)


def test_errors_by_epoch_are_the_newest_by_then() -> None:
    """Whatever the program's own rhythm."""
    said = [MetricLine(epoch, "test_error", value) for epoch, value in ((0.5, 0.9), (2.0, 0.5))]

    assert by_epoch(said, "test_error") == (0.9, 0.5)


def test_times_of_a_command_decide_a_claim(tmp_path: Path) -> None:
    """With a search, from the store alone, and derived once more from its curves."""
    path, store = claim_file(tmp_path), tmp_path / "store"
    changed(path, "kind: difference", "kind: time_to_threshold\nnear: 0\ndecided_by: full")
    changed(path, "metric: test_error", "metric: train_error\nthreshold: 0.12")
    changed(path, "{higher: bad, lower: good}", "{slow: bad, fast: good}")
    changed(path, "{low: 0.5}", "{low: 1.2}")
    changed(path, "epochs: 2,", "epochs: 9,")

    ran = repro("run", path, "--scale", "smoke", "--store", store, "--trust", "--workers", "1")
    report = tmp_path / "report"
    told = repro("report", "--claims", tmp_path, "--store", store, "--out", report)
    verified = repro("verify", store, "--claims", tmp_path, "--report", report)

    assert ran.exit_code == 0, ran.output
    assert "ours   1.4" in ran.output
    assert told.exit_code == 0, told.output
    assert verified.exit_code == 0, verified.output


def test_times_of_a_command_need_the_error_that_is_timed(tmp_path: Path) -> None:
    """Not censored trials, and a verdict on these."""
    path, store = accurate(tmp_path), tmp_path / "store"
    changed(path, "kind: difference", "kind: time_to_threshold\nnear: 0\ndecided_by: full")
    changed(path, "metric: test_error", "metric: train_error\nthreshold: 0.12")
    changed(path, "{higher: bad, lower: good}", "{slow: bad, fast: good}")
    changed(path, "{low: 0.5}", "{low: 1.2}")

    ran = repro(*smoke_run(path, store))

    assert ran.exit_code == 5
    assert "the program wrote accuracy; the claim asks `train_error`" in ran.output
    assert starts(tmp_path) == 1


def test_a_changed_program_is_said_to_make_new_trials(tmp_path: Path) -> None:
    """By the next run, and by `repro why`, of a claim file wherever it lies."""
    path, store = claim_file(tmp_path), tmp_path / "store"
    run = ("run", path, "--scale", "smoke", "--store", store, "--trust", "--workers", "1")
    first = repro(*run, "--max-seeds", "1")
    again = repro(*run, "--max-seeds", "1")
    changed(tmp_path / "program.py", "import", "# a remark\nimport")
    last = repro(*run, "--max-seeds", "1")
    why = repro("why", path, "--store", store)

    said = "mine at smoke scale was planned for other files or inputs of the command"
    assert [said in ran.output for ran in (first, again, last)] == [False, False, True]
    assert why.exit_code == 0, why.output
    assert "the command's files and inputs, which have changed" in why.output


def smoke_run(path: Path, store: Path) -> tuple[str, ...]:
    """The words of a run of the claim at smoke scale, in one worker."""
    return (
        "run",
        str(path),
        "--scale",
        "smoke",
        "--store",
        str(store),
        "--trust",
        "--workers",
        "1",
    )


def texts_about(path: Path, store: Path) -> dict[str, str]:
    """What each command that reads a store says of the claim."""
    report = path.parent / "report"
    ran = repro("report", "--claims", path.parent, "--store", store, "--out", report)
    assert "Traceback" not in ran.output
    return {
        "why": repro("why", path, "--store", store).output,
        "verify": repro("verify", store, "--claims", path.parent).output,
        "report.md": (report / "report.md").read_text(),
        "report.html": (report / "report.html").read_text(),
    }


def test_after_an_edit_why_names_it_once_and_a_fault_goes_with_its_program(tmp_path: Path) -> None:
    """All trials differ from those of before in the files alone; mended, none has a fault."""
    path, store = claim_file(tmp_path, mode="fail"), tmp_path / "store"
    words = ("run", path, "--scale", "smoke", "--store", store, "--trust", "--workers", "1")
    repro(*words)
    failed = repro("status", "--store", store)
    changed(tmp_path / "program.py", "sys.exit(3)", "sys.exit(0)")
    repro(*words)
    mended = repro("status", "--store", store)
    changed(tmp_path / "program.py", "0.001", "0.002")
    asked = repro("why", path, "--store", store)

    assert "3 with a fault" in failed.output
    assert "fault" not in mended.output
    assert "  command/good confirm rate 0.1 seed 0 and 5 more: not run; the nearest" in asked.output
    (difference,) = [line for line in asked.output.splitlines() if ", stored is " in line]
    assert "fingerprint (of the command's files and inputs" in difference


def test_every_command_says_that_results_are_of_another_version_of_a_file(tmp_path: Path) -> None:
    """By one rule: the present files, and before their first run the newest plan."""
    path, store, program = claim_file(tmp_path), tmp_path / "store", tmp_path / "program.py"
    assert repro(*smoke_run(path, store)).exit_code == 0
    before, first = program.read_text(), texts_about(path, store)
    changed(program, "0.001", "0.002")
    edited = texts_about(path, store)
    (tmp_path / "gate").touch()
    repro(*smoke_run(path, store), "--max-seeds", "1")
    run_again = texts_about(path, store)
    program.write_text(before)
    reverted = texts_about(path, store)

    assert not [name for name, text in first.items() if "another version" in text]
    assert all(
        "easured with another version of program.py than the command has now" in text
        for text in edited.values()
    ), edited
    assert "6 trials are hits, 6 are wanted next" in edited["why"]
    said = "6 trials with another version of program.py do not count (3 seeds an arm)"
    assert all(said in text for text in plain(run_again).values()), run_again
    assert "2 trials are hits, 4 are wanted next" in run_again["why"]
    said = "2 trials with another version of program.py do not count (1 seed an arm)"
    assert all(said in text for text in plain(reverted).values()), reverted
    assert "6 trials are hits, 0 are wanted next" in reverted["why"]
    assert "nothing contradicts anything" in reverted["verify"]


def test_a_claim_whose_present_program_fails_is_not_run_and_says_what_another_one_gave(
    tmp_path: Path,
) -> None:
    """Beside the command that would run it, in both formats."""
    path, store = claim_file(tmp_path), tmp_path / "store"
    changed(path, "smoke: {", "proxy: {")
    run = ("run", path, "--store", store, "--trust", "--workers", "1")
    repro(*run)
    changed(tmp_path / "program.py", "import json", "import nothing, json")
    assert repro(*run).exit_code == 5

    texts = plain(texts_about(path, store))

    said = "6 trials with another version of program.py do not count (reproduced, 3 seeds an arm)"
    for name in ("report.md", "report.html"):
        assert said in texts[name].rpartition("Not run")[2]


def plain(texts: dict[str, str]) -> dict[str, str]:
    """Without the backslashes of Markdown."""
    return {name: text.replace("\\", "") for name, text in texts.items()}


def test_a_program_that_is_edited_while_a_run_goes_on_trains_none_of_its_trials(
    tmp_path: Path,
) -> None:
    """They would carry the identity of the earlier program."""
    path = claim_file(tmp_path)
    cell = cells_of(path, tmp_path / "store")[0]
    changed(tmp_path / "program.py", "0.001", "0.002")

    with pytest.raises(CommandError, match="was not begun: a file of its command has changed"):
        train_cells([cell], machine(tmp_path), stop=PlainFlag(), on_event=lambda _: None)

    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("program.py", "nosuch.py", "there is no file 'nosuch.py' in {home}, where the command"),
        ("program.py", "{home}/program.py", "its changes make no new trials: write program.py"),
        ('"{seed}", ', '"0", ', "the command has no {seed}: every seed trains the same, unless"),
        ('"{rate}", ', '"0", ', "the command has no {rate}: every rate trains the same, unless"),
    ],
)
def test_what_is_probably_a_mistake_in_a_command_is_warned_of(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    """The claim stays valid: files may come later, and a program may read its environment."""
    path = claim_file(tmp_path)
    assert "warning" not in repro("validate", path).output
    changed(path, old, new.replace("{home}", str(tmp_path)))

    warned = repro("validate", path)

    assert warned.exit_code == 0
    assert f"warning: {said.replace('{home}', str(tmp_path))}" in warned.output.replace(
        f"{tmp_path}/program.py is not hashed, so ", ""
    )


def test_a_program_that_reads_its_seed_is_not_warned_of(tmp_path: Path) -> None:
    """From the environment, in place of an argument."""
    path = changed(claim_file(tmp_path), '"{seed}", ', '"0", ')
    changed(tmp_path / "program.py", "int(sys.argv[3])", "int(os.environ['REPRO_SEED'])")

    assert "warning" not in repro("validate", path).output


def test_a_file_that_an_arm_names_is_hashed_as_an_input_alone(tmp_path: Path) -> None:
    """The command has only its placeholder: the warning says where it has to stand, too."""
    path = changed(claim_file(tmp_path), "good: {}", "good: {arguments: {mode: plain.txt}}")
    (tmp_path / "plain.txt").touch()

    warned = repro("validate", path).output
    changed(path, "trainer:\n", "trainer:\n  inputs: [plain.txt]\n")

    assert (
        "plain.txt is not hashed, so its changes make no new trials: add it to `inputs`" in warned
    )
    assert "warning" not in repro("validate", path).output


def test_a_large_input_that_changes_makes_new_trials(tmp_path: Path) -> None:
    """Though its hash is kept while it stays the same."""
    path = changed(claim_file(tmp_path), "trainer:\n", "trainer:\n  inputs: [big]\n")
    with (tmp_path / "big").open("wb") as file:
        file.truncate(1 << 24)
    first, again = (fingerprint_of(trained_claim(path)) for _ in range(2))
    with (tmp_path / "big").open("ab") as file:
        file.write(b"1")

    assert first == again
    assert fingerprint_of(trained_claim(path)) != first


def test_code_that_makes_no_new_trials_is_named(tmp_path: Path) -> None:
    """Before the first run, by `repro trust` and `repro plan`."""
    path = claim_file(tmp_path)
    (tmp_path / "helper.py").touch()
    plan = ("plan", path, "--scale", "smoke", "--store", tmp_path / "store")

    said = "hashed: program.py; not hashed: helper.py (`inputs` adds them)"
    assert said in repro("trust", path).output
    assert said in repro(*plan).output
    changed(path, "trainer:\n", "trainer:\n  inputs: [helper.py]\n")
    assert "hashed: program.py, helper.py\n" in repro(*plan).output


def test_equal_seeds_of_a_command_without_a_seed_have_a_cause(tmp_path: Path) -> None:
    """As have rates: the verdict names what the command does not hand on."""
    path, store = claim_file(tmp_path), tmp_path / "store"
    changed(path, '"{rate}", "{seed}", ', '"0.1", "0", ')
    search = "search: {rates: [0.1, 0.2, 0.3], rungs: [1], seeds: 1, refine: null}"
    equal_seeds = repro(*smoke_run(path, store)).output
    changed(path, "rate: 0.1", search)
    equal_rates = repro(*smoke_run(path, store)).output

    assert "the command has no {seed}: every seed trains the same" in " ".join(equal_seeds.split())
    assert "the command has no {rate}: every rate trains the same" in " ".join(equal_rates.split())


# Metrics that the claim or its search does not find

ACCURATE = """\
import json, os

with open("starts", "a") as file:
    print(os.environ["REPRO_ARM"], file=file)
accuracy = {"good": 0.9, "bad": 0.8}[os.environ["REPRO_ARM"]]
with open(os.environ["REPRO_METRICS"], "a") as file:
    for epoch in range(1, int(os.environ["REPRO_EPOCHS"]) + 1):
        value = accuracy + 0.001 * epoch + 0.001 * (int(os.environ["REPRO_SEED"]) % 10)
        file.write(json.dumps({"epoch": epoch, "name": "accuracy", "value": value}) + "\\n")
"""
SEARCH = "search: {rates: [0.003, 0.01, 0.03], rungs: [1]}"


def accurate(folder: Path) -> Path:
    """The claim, which asks `test_error`, with a program that writes its accuracy alone."""
    path = claim_file(folder)
    (folder / "program.py").write_text(ACCURATE)
    return path


def starts(folder: Path) -> int:
    """How often the program was started."""
    return len((folder / "starts").read_text().splitlines())


def test_a_metric_that_the_program_does_not_write_ends_the_run_after_one_trial(
    tmp_path: Path,
) -> None:
    """With both names; once the claim asks for the right one, that trial counts."""
    path, store = accurate(tmp_path), tmp_path / "store"

    ran = repro(*smoke_run(path, store))
    planned = repro("plan", path, "--scale", "smoke", "--store", store)
    again = repro(*smoke_run(path, store))
    why = "the program wrote accuracy; the claim asks `test_error`"

    assert (ran.exit_code, again.exit_code) == (5, 5)
    assert f"error[E306]: mine at smoke scale: {why}" in ran.output
    assert f"next: mend the program or {path}" in ran.output
    assert "merge" not in ran.output
    assert f"mine at smoke scale: nothing more is run: {why}" in planned.output
    assert starts(tmp_path) == 1

    changed(path, "metric: test_error", "metric: accuracy")
    changed(path, "{higher: bad, lower: good}", "{higher: good, lower: bad}")
    changed(path, "points of test error", "accuracy")
    changed(path, "low: 0.5", "low: 0.05")
    mended = repro(*smoke_run(path, store))

    assert mended.exit_code == 0, mended.output
    assert starts(tmp_path) == 6


def test_a_search_that_finds_nothing_to_compare_ends_after_one_trial(tmp_path: Path) -> None:
    """No rate has diverged; the same run once more, and the plan, say what to mend."""
    path, store = accurate(tmp_path), tmp_path / "store"
    changed(path, "metric: test_error", "metric: accuracy")
    changed(path, "rate: 0.1", SEARCH)

    ran = repro(*smoke_run(path, store))
    planned = repro("plan", path, "--scale", "smoke", "--store", store)
    again = repro(*smoke_run(path, store))
    why = (
        "the search compares `test_error`; the program wrote accuracy: write `test_error`, too, "
        "or give `rate` in place of `search`"
    )

    assert (ran.exit_code, again.exit_code) == (5, 5)
    for told in (ran, planned, again):
        assert why in told.output
        assert "diverged" not in told.output
    assert starts(tmp_path) == 1


def searched_to_the_end(
    claim: TrainedClaim, follow: Callable[..., Sequence[Cell]], **first: int
) -> dict[str, Result]:
    """Results of all trials that come next, with these metrics, from their first epochs on."""
    results: dict[str, Result] = {}
    while cells := follow(claim, "smoke", fingerprint_of(claim), results):
        for cell in cells:
            heard = Training(trial=cell.trial, until=cell.until)
            for epoch in range(1, int(cell.until) + 1):
                for name in (name for name in first if epoch >= first[name]):
                    heard.take(MetricLine(epoch, name, 0.5 / epoch + cell.trial.rate))
            heard.end()
            results[cell.trial.id] = result_of(heard, Clocks(), {})
    return results


def test_no_rate_of_trials_that_finished_is_said_to_diverge(tmp_path: Path) -> None:
    """Also of a store whose searches ended without a number, by an earlier version."""
    path = changed(claim_file(tmp_path), "metric: test_error", "metric: accuracy")
    claim = trained_claim(changed(path, "rate: 0.1", SEARCH))
    results = searched_to_the_end(claim, next_cells, accuracy=1)

    verdict = decide(claim, analyse(claim, "smoke", fingerprint_of(claim), results), "command")

    assert len(results) == 18
    assert verdict.word == "inconclusive"
    assert "no search could compare its learning rates; the search compares" in verdict.reason
    assert "diverged" not in verdict.reason


def test_a_search_compares_training_errors_at_a_rung_before_the_first_test(tmp_path: Path) -> None:
    """Also once some of its trials were trained further and tested."""
    path = claim_file(tmp_path)
    search = "search: {rates: [0.01, 0.02, 0.03], rungs: [1, 2], seeds: 1, refine: null}"
    claim = trained_claim(changed(path, "rate: 0.1", search))

    results = searched_to_the_end(claim, next_trials, train_error=1, test_error=2)
    found = rate_search(claim, "smoke", "command", "good", fingerprint_of(claim), results)

    assert found.chosen is not None
    assert results[found.trials[-1]].epochs == 1  # the highest rate, dropped at the first rung


def test_a_further_metric_that_is_not_written_ends_no_run(tmp_path: Path) -> None:
    """It decides nothing; the verdict says that it is missing."""
    path = claim_file(tmp_path)
    also = "also: {far: {higher: bad, lower: good, metric: fid}}\nregion:"
    claim = trained_claim(changed(path, "region:", also))

    results = searched_to_the_end(claim, next_trials, test_error=1)
    verdict = decide(claim, analyse(claim, "smoke", fingerprint_of(claim), results), "command")

    one = dict([results.popitem()])
    assert len(next_trials(claim, "smoke", fingerprint_of(claim), one)) == 5
    assert "the program wrote test_error; the claim asks `fid`" in verdict.reason


def blind(path: Path) -> Path:
    """The claim of a program that does not look who it is, with a factor under test."""
    changed(
        path, "good: {}, bad: {}", "good: {arguments: {depth: 1}}, bad: {arguments: {depth: 2}}"
    )
    changed(path.with_name("program.py"), "REPRO_ARM", "REPRO_SEED")
    return path


OWN_METRIC = """\
import json, os
seed, is_bad = int(os.environ["REPRO_SEED"]), os.environ["REPRO_ARM"] == "bad"
value = 0.8 + 0.01 * seed + is_bad * (0.004 + 0.0005 * (-1) ** seed)
with open(os.environ["REPRO_METRICS"], "w") as file:
    file.write(json.dumps({"epoch": 1, "name": "word_f1", "value": value}) + "\\n")
"""


def test_a_metric_of_ones_own_is_told_of_by_its_name_and_with_its_digits(tmp_path: Path) -> None:
    """Of thousandths, without a unit, and without errors by epoch that a figure could show."""
    path = changed(claim_file(tmp_path), "metric: test_error", "metric: word_f1")
    changed(path, "  smoke: {epochs: 2, seeds: 3,", "  proxy: {data: words, epochs: 1, seeds: 4,")
    changed(path, "low: 0.5", "low: 0.002")
    (tmp_path / "program.py").write_text(OWN_METRIC)
    ran = repro("run", path, "--store", tmp_path / "store", "--trust", "--workers", "1")
    out = ("--claims", tmp_path, "--store", tmp_path / "store", "--out", tmp_path / "report")
    told = repro("report", *out)
    figures = {each.name: each.read_text() for each in (tmp_path / "report").rglob("mine*.svg")}

    assert ran.exit_code == 0, ran.output
    assert "ours   0.00400 (95 % CI 0.00308 to 0.00492)" in ran.output
    assert told.exit_code == 0, told.output
    assert figures.keys() == {"mine-proxy-effect.svg", "mine-proxy-metric.svg"}
    assert "0.00400" in figures["mine-proxy-effect.svg"]
    assert all("word f1" in text for text in figures.values())
    assert not any(f"{mark}word f1" in text for text in figures.values() for mark in (": ", "in "))
    assert "mine: word f1, 4 seeds an arm" in (tmp_path / "report" / "report.html").read_text()


@pytest.mark.parametrize("command", ["validate", "trust"])
def test_arms_that_a_command_cannot_tell_apart_are_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Both would train the same, for a clean result of no effect."""
    monkeypatch.chdir(tmp_path)
    path = blind(claim_file(tmp_path))
    program = path.with_name("program.py").read_text()
    same = "the command is the same for the arms bad and good"

    def told() -> str:
        done = repro(command, path)
        assert done.exit_code == 0
        return done.output

    assert same in told()
    path.with_name("program.py").write_text(program + '# name.startswith("REPRO_")')
    assert same not in told()
    path.with_name("program.py").write_text(program)
    changed(path, '"{mode}"', '"{mode}-{depth}"')
    assert "warning" not in told()


def test_an_argument_that_no_placeholder_uses_is_warned_of(tmp_path: Path) -> None:
    """Unless the program looks for it, or for its arm, in its environment."""
    path = blind(claim_file(tmp_path))
    changed(path, '"{mode}"', '"{mode}-{depth}"')
    changed(path, "mode: plain", "mode: plain, width: 3")

    warned = repro("validate", path).output
    changed(tmp_path / "program.py", "import json", "# REPRO_ARGUMENTS\nimport json")
    read = repro("validate", path).output

    assert "the command has no {width}: this argument has no effect, unless the program" in warned
    assert "warning" not in read


SCRIPT = """\
import json, os, sys

given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
error = 0.5 - 0.1 * float(given["--smoothing"]) + 0.001 * int(given["--seed"])
with open(os.environ["REPRO_METRICS"], "a") as file:
    for epoch in range(1, int(given["--epochs"]) + 1):
        file.write(json.dumps({"epoch": epoch, "name": "test_error", "value": error}) + "\\n")
"""


def test_a_claim_begun_for_a_script_runs_it_where_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the folder of claims, with the options of the template, which this script takes."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(SCRIPT)

    begun = repro("new", "smooth", "--command", "train.py")
    validated = repro("validate", "smooth")
    ran = repro("run", "smooth", "--scale", "smoke", "--trust", "--workers", "1")

    assert begun.exit_code == 0, begun.output
    assert "next: give its command the options of your script, then repro trust smooth" in (
        begun.output
    )
    assert '"{python}", "../train.py", --smoothing' in Path("claims/smooth.yaml").read_text()
    assert "no file" not in validated.output
    assert "../train.py lies outside of the claim file's folder" in validated.output
    assert ran.exit_code == 0, ran.output
    assert re.search(r"ours +1\b", ran.output), ran.output


def test_a_script_that_lies_elsewhere_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says where it has to lie: the claim file is valid, and would not."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(SCRIPT)
    repro("new", "smooth", "--command", "train.py")

    refused = repro("publish", "crate")

    assert refused.exit_code == 2
    assert "smooth.yaml names '../train.py': a crate holds files that lie beside it" in (
        refused.stderr
    )
    assert "next: move it beside the claim file, and name it there as it lies" in refused.stderr


@pytest.mark.parametrize("option", [("--kind", "level"), ("--from", "lrn")])
def test_a_script_goes_with_one_kind_of_template(tmp_path: Path, option: tuple[str, str]) -> None:
    """The others are told to change the file."""
    (tmp_path / "train.py").touch()

    refused = repro("new", "x", "--command", tmp_path / "train.py", *option, "--claims", tmp_path)

    assert refused.exit_code == 2
    assert "--command begins a claim of the kind difference" in refused.output
    assert not (tmp_path / "x.yaml").exists()
