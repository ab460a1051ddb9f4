"""Running cells: processes, interruption, kill -9, damaged checkpoints, other holders."""

import json
import multiprocessing
import os
import signal
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from repro.claim import load
from repro.data import open_dataset
from repro.errors import (
    BugError,
    ClaimError,
    MachineError,
    OutOfMemoryError,
    ReproError,
    WriteError,
)
from repro.execute import (
    CellOutcomes,
    Local,
    Machine,
    Outcome,
    WorkerLost,
    group_cells,
    run_cells,
)
from repro.execute.monitor.observer import Event, Observer, TrainedCell
from repro.execute.worker.train_cells import (
    data_for,
    fault_of,
    population_bytes,
    train_cells,
)
from repro.planning import Cell, next_cells
from repro.store import Store
from repro.train import Run, train_all
from repro.trial import Row
from repro.verdict.judge import judge
from tests.provoked import provoked
from tests.shell import started, wait_for
from tests.worlds import claim_file, lasting_claim_file, quick_claim_file, trial_on

Curves = dict[str, list[str]]


def machine(folder: Path, name: str = "store", *, workers: int = 1) -> Machine:
    return Machine(
        device="cpu",
        workers=workers,
        store=folder / name,
        data_dirs=(folder,),
        cache_dir=folder / "cache",
        checkpoint_seconds=0.0,
    )


def plan_of(folder: Path, store: Path):  # type: ignore[no-untyped-def]  # noqa: ANN201
    """What is left of the tiny claim in the store, asked anew each time."""
    claim = load(folder / "tiny.yaml")
    fingerprint = open_dataset("digits", (folder,), folder / "cache").fingerprint

    def plan() -> list[Cell]:
        return next_cells(claim, "smoke", fingerprint, Store(store).results())

    return plan


def curves(store: Path) -> Curves:
    """All that was measured but the clock, by trial; as text, in which NaN equals NaN."""
    facts = Store(store)
    return {trial: [repr(row[:-1]) for row in facts.rows(trial)] for trial in facts.results()}


def finish(
    folder: Path, name: str = "store", *, workers: int = 1, population: int | None = None
) -> Curves:
    where = replace(machine(folder, name, workers=workers), population=population)
    outcome = run_cells(plan_of(folder, where.store), Local(where))
    assert outcome.failures == {}
    return curves(where.store)


def assert_same(a: Curves, b: Curves) -> None:
    assert a
    assert a == b


def assert_as_local(folder: Path, name: str, outcome: Outcome) -> None:
    """Nothing is lost or doubled: every curve and the verdict are the local executor's."""
    local, here = Store(folder / "store"), Store(folder / name)
    claim = load(folder / "tiny.yaml")
    lost = local.results().keys() - here.results().keys()
    provoked(name, workers=outcome.worker_losses, trials=len(lost))

    assert outcome.failures == {}
    assert_same(curves(here.root), curves(local.root))
    ours, theirs = (judge(claim, "smoke", store).deciding for store in (here, local))
    assert (ours.word, ours.reason) == (theirs.word, theirs.reason)
    assert ours.estimate == theirs.estimate


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Curves]:
    """The tiny claim, run once from start to end in this process."""
    folder = tmp_path_factory.mktemp("whole")
    quick_claim_file(folder)
    return folder, finish(folder)


@pytest.mark.process
def test_two_processes_give_the_bits_of_one(
    uninterrupted: tuple[Path, Curves],
) -> None:
    """Measures do not move with the number of workers, and each is heard before its trial ends."""
    folder, whole = uninterrupted
    where = machine(folder, "two workers", workers=2)
    heard: dict[str, list[float]] = {}
    heard_by_the_end: dict[str, list[float]] = {}

    class Listening(Observer):
        def event(self, event: Event) -> None:
            heard.setdefault(event.trial_id, []).append(event.epoch)

        def finish(self, cell: Cell, ended: TrainedCell) -> None:
            del ended
            heard_by_the_end[cell.trial.id] = list(heard[cell.trial.id])

    outcome = run_cells(plan_of(folder, where.store), Local(where), observer=Listening())

    assert outcome.failures == {}
    assert_same(curves(where.store), whole)
    for trial in whole:
        rows = Store(where.store).rows(trial)
        assert heard_by_the_end[trial] == [row.epoch for row in rows if row.source == "online"]


def test_a_finished_store_asks_for_nothing(
    uninterrupted: tuple[Path, Curves],
) -> None:
    """The same command again runs no trial."""
    folder, _ = uninterrupted
    where = machine(folder)

    def written() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in where.store.rglob("*")}

    before = written()
    run_cells(plan_of(folder, where.store), Local(where))

    assert written() == before != {}


def test_a_budget_pauses_and_the_same_call_goes_on(
    uninterrupted: tuple[Path, Curves],
) -> None:
    """Out of time is no fault; what was trained is kept, and the numbers are the same."""
    folder, whole = uninterrupted
    where = machine(folder, "budget")
    outcome = run_cells(plan_of(folder, where.store), Local(where), seconds=0.0)

    assert outcome.out_of_time
    assert not outcome.failures
    assert_same(finish(folder, "budget"), whole)


def trained_into(store: Store, folder: Path, on_event: Callable[[Event], None]) -> Cell:
    """Three tenths of an epoch, with a checkpoint after each."""
    trial = trial_on(open_dataset("digits", (folder,), folder), data="digits", images=640)
    cell = Cell(recipe="period", arm="fast", purpose="tune", trial=trial, until=0.3, decides=True)
    where = replace(machine(folder), store=store.root)
    train_cells([cell], where, stop=threading.Event(), on_event=on_event)
    return cell


def test_waiting_and_saving_are_parts_of_the_clocks(tmp_path: Path) -> None:
    """Of training, and of the rest."""
    store = Store(tmp_path / "store")
    cell = trained_into(store, tmp_path, lambda _: None)
    result = store.result(cell.trial.id)

    assert result is not None
    assert 0 < result.seconds.waiting < result.seconds.train
    assert 0 < result.seconds.saving < result.seconds.other


def test_a_net_is_trained_on_while_its_checkpoint_is_written(tmp_path: Path) -> None:
    """The first is held back until the second tenth is done; in the end the last one is there."""
    further = threading.Event()

    class HeldBack(Store):
        def save(self, trial_id: str, *, checkpoint: bytes, curve: Sequence[Row]) -> None:
            assert further.wait(600), "training waited for the disk"
            super().save(trial_id, checkpoint=checkpoint, curve=curve)

    def on_event(event: Event) -> None:
        if event.epoch >= 0.2:
            further.set()

    store = HeldBack(tmp_path / "store")
    cell = trained_into(store, tmp_path, on_event)

    assert store.rows(cell.trial.id)[-1].epoch == 0.3
    assert store.checkpoint(cell.trial.id) is not None


def test_a_checkpoint_that_cannot_be_written_is_a_fault_and_no_result(tmp_path: Path) -> None:
    """Told by the trial's next one, or by its end."""
    store = Store(tmp_path / "store")

    def on_event(event: Event) -> None:
        (store.folder(event.trial_id) / "checkpoint.pt").mkdir(exist_ok=True)  # in its place

    with pytest.raises(WriteError, match=r"checkpoint\.pt: Is a directory"):
        trained_into(store, tmp_path, on_event)

    assert store.results() == {}


@pytest.mark.process
@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_kill_9_loses_no_finished_trial_and_changes_no_bit(
    uninterrupted: tuple[Path, Curves], workers: int
) -> None:
    """Killed a few times at moments that the clock picks, then continued; no worker stays."""
    folder, whole = uninterrupted
    store = folder / f"killed {workers}"
    options = ["--workers", str(workers), "--checkpoint-every", "0.001s"]
    done: set[str] = set()
    left_behind = []
    for more in (0, 2):
        process = started("run", folder / "tiny.yaml", "--store", store, *options)
        while process.poll() is None and len(_begun(store)) <= len(done) + more:
            time.sleep(0.02)
        process.kill()  # the parent alone; its workers are left behind
        process.wait()
        left_behind.append(process)
        finished = set(Store(store).results())
        assert done <= finished
        done = finished

    assert_same(finish(folder, store.name), whole)
    for process in left_behind:
        process.communicate()  # until the last worker, which has these pipes too, has ended


def _begun(store: Path) -> list[Path]:
    return list(store.glob("trials/*/curve.csv"))


def test_ctrl_c_saves_and_the_same_command_goes_on(
    uninterrupted: tuple[Path, Curves],
) -> None:
    """Each trial is saved at its next tenth of an epoch; a signal's echo is no second one."""
    folder, whole = uninterrupted
    where = machine(folder, "interrupted")
    seen: list[Event] = []

    class Interrupting(Observer):
        def event(self, event: Event) -> None:
            if not seen:
                seen.append(event)
                os.kill(os.getpid(), signal.SIGINT)
                os.kill(os.getpid(), signal.SIGINT)  # as from a terminal and from torchrun

    outcome = run_cells(plan_of(folder, where.store), Local(where), observer=Interrupting())

    assert outcome.interrupted
    assert len(Store(where.store).finished()) < len(whole)
    assert_same(finish(folder, "interrupted"), whole)


@pytest.mark.process
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_all_processes_loses_nothing(number: signal.Signals, tmp_path: Path) -> None:
    """As `timeout`, batch systems and a lost connection send it: the parent saves for all."""
    path, store = lasting_claim_file(tmp_path), tmp_path / "runs"
    options = ["--workers", "2", "--checkpoint-every", "1h"]
    run = started("run", path, "--store", store, *options, group=True)

    def both_are_trained() -> bool:
        told = [path.read_text() for path in store.glob("trials/*/progress.json")]
        return sum(json.loads(text)["epoch"] > 0 for text in told) == 2

    wait_for(both_are_trained, run)
    os.killpg(run.pid, number)
    _, said = run.communicate()
    begun = [file.parent for file in store.glob("trials/*/trial.json")]

    assert run.returncode == 130
    assert "interrupted: all is saved" in said
    assert len(begun) == 2
    assert all((trial / "checkpoint.pt").exists() for trial in begun)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError("no more"), OutOfMemoryError),
        (RuntimeError("Triton Error [CUDA]: out of memory"), OutOfMemoryError),
        (torch.AcceleratorError("CUDA error: out of memory"), OutOfMemoryError),
        (torch.AcceleratorError("CUDA error: unspecified launch failure"), MachineError),
        (RuntimeError("shapes do not fit"), BugError),
    ],
)
def test_a_fault_is_told_as_what_it_is_of(
    error: Exception, kind: type[ReproError], tmp_path: Path
) -> None:
    """Of memory, of the device, or of this package."""
    trial = trial_on(open_dataset("digits", (tmp_path,), tmp_path))

    assert type(fault_of(error, trial, machine(tmp_path))) is kind


def test_a_fault_takes_nothing_from_those_that_ended_before_it(tmp_path: Path) -> None:
    """Of a population the first was finished and written when memory ran out for the others."""
    claim_file(tmp_path, epochs=1, seeds=1)
    where = machine(tmp_path)
    cells = [cell for cell in plan_cells(tmp_path) if cell.trial.shape == plan_shape(tmp_path)]
    store = Store(where.store)

    def short(runs: Sequence[Run], **hooks: Callable[[Run], bool]) -> Iterator[Run]:
        yield from train_all(runs[:1], **hooks)
        raise MemoryError("no more")

    ended = train_cells(
        cells, where, stop=threading.Event(), on_event=lambda _: None, trainer=short
    )
    first, *others = (ended[cell.trial.id] for cell in cells)

    assert isinstance(first, TrainedCell)
    assert first.result == store.result(cells[0].trial.id)
    assert others
    assert {type(one) for one in others} == {OutOfMemoryError}


def plan_shape(folder: Path) -> object:
    return plan_cells(folder)[0].trial.shape


def test_a_damaged_checkpoint_is_set_aside_and_the_trial_starts_again(
    uninterrupted: tuple[Path, Curves], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A warning, not a crash; the numbers are those of an undamaged run."""
    folder, whole = uninterrupted
    where = machine(folder, "damaged")
    begun, stop = Store(where.store), threading.Event()
    cell, *_ = plan_cells(folder)
    train_cells([cell], where, stop=stop, on_event=lambda _: stop.set())
    (path,) = where.store.glob("trials/*/checkpoint.pt")
    path.write_bytes(path.read_bytes()[:100])
    # What a thread warns of is lost to catch_warnings while another one is in its own.
    told: list[str] = []
    monkeypatch.setattr(warnings, "warn", lambda message, *_, **__: told.append(str(message)))
    numbers = finish(folder, "damaged")

    assert_same(numbers, whole)
    assert any(f"{path.parent.name} cannot be continued" in message for message in told)
    assert (begun.folder(path.parent.name) / "checkpoint.corrupt").exists()


def test_a_fault_of_one_trial_does_not_keep_the_others(tmp_path: Path) -> None:
    """The fault is told, the rest is run, and nothing is called a result."""
    claim_file(tmp_path, epochs=1, seeds=1, rates=(0.01,))
    where = machine(tmp_path)
    plan = plan_of(tmp_path, where.store)
    broken = plan()[0].trial.id
    (where.store / "trials" / broken).mkdir(parents=True)
    (where.store / "trials" / broken / "result.json").mkdir()
    results = Store(where.store)

    def without_broken() -> list[Cell]:
        done = {p.parent.name for p in where.store.glob("trials/*/result.json") if p.is_file()}
        return [cell for cell in cells if cell.trial.id not in done]

    cells = plan_cells(tmp_path)
    outcome = run_cells(without_broken, Local(where))

    assert set(outcome.failures) == {broken}
    assert len(results.finished()) == len(cells)  # with the folder in a result's place
    assert results.folder(broken).exists()


def plan_cells(folder: Path) -> list[Cell]:
    """The first cells of the tiny claim, on an empty store."""
    return plan_of(folder, folder / "no store")()


def test_more_images_than_there_are_is_a_mistake_of_the_claim_file(tmp_path: Path) -> None:
    """Of a folder nobody knows beforehand how many it holds."""
    dataset = open_dataset("digits", (tmp_path,), tmp_path)
    trial = trial_on(dataset, data="digits", images=1438)

    with pytest.raises(ClaimError, match=r"asks for 1438 training images, and .* has 1437"):
        data_for(trial, machine(tmp_path))


def test_populations_are_as_large_as_a_gpus_memory_allows(tmp_path: Path) -> None:
    """Nobody is left out or moved before those of another shape that were there first."""
    claim_file(tmp_path, epochs=1, seeds=1)
    cells = plan_cells(tmp_path)
    where = replace(machine(tmp_path), device="cuda")
    small, large = (group_cells(cells, where, memory=size * 2**20) for size in (1, 80 * 1024))
    shapes = list(dict.fromkeys(cell.trial.shape for cell in cells))
    assert [len(group) for group in small] == [1] * len(cells)
    assert [group[0].trial.shape for group in large] == shapes
    assert [cell for cell in cells if cell.trial.shape == shapes[0]] == large[0]
    assert population_bytes(large[0], where) > population_bytes(large[0][:1], where) > 2**30


class Losing(Local):
    """Loses the worker of each trial the first `times` times, before it gets any further."""

    def __init__(self, where: Machine, times: int) -> None:
        super().__init__(where)
        self.times = times
        self.seen: Counter[str] = Counter()

    def submit(self, cells: Sequence[Cell]) -> Future[CellOutcomes]:
        self.seen.update(cell.trial.id for cell in cells)
        if all(self.seen[cell.trial.id] > self.times for cell in cells):
            return super().submit(cells)
        lost: Future[CellOutcomes] = Future()
        lost.set_exception(WorkerLost("the node is gone"))
        return lost


def test_a_trial_that_loses_its_worker_goes_on_with_another(
    uninterrupted: tuple[Path, Curves],
) -> None:
    """Lost workers are counted and no trial is; the numbers are those of an untroubled run."""
    folder, whole = uninterrupted
    where = machine(folder, "lost once")
    told: list[str] = []

    class Listening(Observer):
        def finish(self, cell: Cell, ended: TrainedCell) -> None:
            del cell
            told.append(ended.outcome)

    outcome = run_cells(plan_of(folder, where.store), Losing(where, 1), observer=Listening())

    assert outcome.failures == {}
    assert outcome.worker_losses == told.count("lost") >= len(whole)
    assert_same(curves(where.store), whole)


class Elsewhere(Local):
    """Finds each trial in the hands of another process the first three times."""

    def __init__(self, where: Machine) -> None:
        super().__init__(where)
        self.seen: Counter[str] = Counter()

    def submit(self, cells: Sequence[Cell]) -> Future[CellOutcomes]:
        self.seen.update(cell.trial.id for cell in cells)
        if all(self.seen[cell.trial.id] > 3 for cell in cells):
            return super().submit(cells)
        busy: Future[CellOutcomes] = Future()
        busy.set_result({cell.trial.id: TrainedCell(outcome="busy") for cell in cells})
        return busy


def test_a_trial_in_other_hands_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it is asked for; once more when it is ours, before anything is heard of it."""
    monkeypatch.setattr("repro.execute.driver._BUSY_SECONDS", 0.0)
    claim_file(tmp_path, epochs=1, seeds=1)
    where = machine(tmp_path)
    (cell, *_) = plan_cells(tmp_path)
    heard: list[str] = []

    class Listening(Observer):
        def start(self, cell: Cell) -> None:
            del cell
            heard.append("start")

        def event(self, event: Event) -> None:
            del event
            heard.append("event")

        def finish(self, cell: Cell, ended: TrainedCell) -> None:
            del cell
            heard.append(ended.outcome)

    done = Store(where.store).results
    run_cells(
        lambda: [] if cell.trial.id in done() else [cell],
        Elsewhere(where),
        observer=Listening(),
    )

    assert heard[:4] == ["start", "busy", "start", "event"]
    assert heard[4:].count("start") == heard[4:].count("busy") == 0
    assert heard[-1] == "finished"


@pytest.mark.process
def test_workers_leave_signals_to_their_parent_and_are_replaced(tmp_path: Path) -> None:
    """While they import as later; an idle one that is killed by another, which is to stop, too."""
    claim_file(tmp_path, epochs=1, seeds=1)
    first, second, *_ = plan_cells(tmp_path)
    before = set(multiprocessing.active_children())
    with Local(machine(tmp_path, workers=2)) as backend:
        future = backend.submit([first])
        started = set(multiprocessing.active_children()) - before
        for process in started:
            assert process.pid is not None
            os.kill(process.pid, signal.SIGINT)  # as Ctrl-C, which reaches the whole group
        done = future.result()[first.trial.id]
        for process in started:
            process.kill()
            process.join()
        backend.stop()
        try:
            ended = backend.submit([second]).result()[second.trial.id]
        except BrokenExecutor:  # it was submitted before the pool knew, which the driver mends
            ended = backend.submit([second]).result()[second.trial.id]

    assert started
    assert isinstance(done, TrainedCell)
    assert done.outcome == "finished"
    assert isinstance(ended, TrainedCell)
    assert ended.outcome == "paused"


def test_a_trial_that_kills_every_worker_is_given_up(tmp_path: Path) -> None:
    """Three workers lost without a step forward: the error says how to go on."""
    claim_file(tmp_path, epochs=1, seeds=1)
    where = machine(tmp_path)
    cells = plan_cells(tmp_path)
    outcome = run_cells(lambda: cells, Losing(where, 99))

    assert outcome.failures.keys() == {cell.trial.id for cell in cells}
    assert "killed 3 times: the node is gone" in str(outcome.failures[cells[0].trial.id])
    assert not Store(where.store).finished()
