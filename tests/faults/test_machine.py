"""Faults of the machine: told as such, nothing becomes a result, the same command goes on."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from datetime import datetime as real_datetime
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import repro.verdict.judge
from repro.execute import Local, Machine
from repro.execute.monitor.observer import Event
from repro.execute.monitor.progress import overview
from repro.execute.worker.train_cells import CellOutcomes
from repro.planning import Cell
from repro.store import Store
from repro.train import Run, device_data, train_all
from tests.faults import smoke
from tests.faults.conftest import Tally
from tests.faults.smoke import Dies, contradictions, launch, numbers, run
from tests.test_population import BOUND
from tests.worlds import RECIPE, tiny, trial_on

pytestmark = pytest.mark.faults

Whole = tuple[Path, dict[str, str]]


def continued(whole: Whole, name: str, tally: Tally) -> None:
    """The same command once more gives the numbers of an uninterrupted run."""
    folder, expected = whole
    tally.provoked += 1
    if launch(run, folder, name) != 0:
        tally.wrong.append(f"{name}: could not be continued")
    tally.wrong += contradictions(folder, name)
    if numbers(folder / name) != expected:
        tally.wrong.append(f"{name}: other numbers")


# Disks


def on_small_disk(disk: Path) -> str | tuple[int, int, list[str], dict[str, str]]:
    """A disk that is too small, then one that is not; why not, where that is not permitted."""
    refused = smoke.own_mounts() or smoke.small_disk(disk, "1500k")
    if refused:
        return refused
    smoke.claims(disk)
    full = run(disk, "store")
    found = contradictions(disk, "store")
    smoke.small_disk(disk, "64m")
    return full, run(disk, "store"), found, numbers(disk / "store")


def test_disk_full(whole: Whole, tally: Tally, tmp_path: Path) -> None:
    """The disk is full. Once there is space, the same command continues."""
    _, expected = whole
    answer = launch(on_small_disk, tmp_path)
    if isinstance(answer, str):
        tally.skip(f"mounts are not permitted here: {answer}")
    full, again, found, after = answer
    tally.provoked += 1

    assert (full, again) == (5, 0)
    tally.wrong += found
    if after != expected:
        tally.wrong.append("other numbers")


def on_read_only(folder: Path, name: str) -> str | int:
    refused = smoke.own_mounts() or smoke.read_only(folder)
    return refused or run(folder, name)


def test_read_only_folder(whole: Whole, tally: Tally) -> None:
    """The folder of the store is read-only. Nothing is written, not even by root."""
    folder, _ = whole
    answer = launch(on_read_only, folder, "unwritten")
    if isinstance(answer, str):
        tally.skip(f"mounts are not permitted here: {answer}")
    tally.provoked += 1

    assert answer != 0
    assert not (folder / "unwritten").exists()


# Other processes


def test_two_processes_on_one_store(whole: Whole, tally: Tally) -> None:
    """Two processes run the same claims into one store. Each trial is trained once."""
    folder, expected = whole
    runs = [smoke.start(run, folder, "shared") for _ in range(2)]
    tally.provoked += 1

    assert [smoke.answer(each) for each in runs] == [0, 0]
    tally.wrong += contradictions(folder, "shared")
    if numbers(folder / "shared") != expected:
        tally.wrong.append("other numbers")


def without_locks(folder: Path, name: str) -> int:
    """As on a file system that forgets locks: each is free for the next who asks."""
    import fcntl

    fcntl.flock = lambda *_: None
    return run(folder, name)


def test_a_lock_lost(whole: Whole, tally: Tally) -> None:
    """The file system forgets locks. The last process to begin a trial finishes it."""
    folder, expected = whole
    runs = [smoke.start(without_locks, folder, "unlocked") for _ in range(2)]
    tally.provoked += 1
    [smoke.answer(each) for each in runs]
    continued(whole, "unlocked", tally)

    if numbers(folder / "unlocked") != expected:
        tally.wrong.append("other numbers")


# Clocks


class Backwards(real_datetime):
    """A clock that is an hour earlier each time that it is asked."""

    asked = 0

    @classmethod
    def now(cls, tz: Any = None) -> "Backwards":
        cls.asked += 1
        return super().now(tz) - timedelta(hours=cls.asked)


def with_clock_stepping_back(folder: Path, name: str) -> tuple[int, int]:
    repro.verdict.judge.datetime = Backwards  # type: ignore[attr-defined]
    hours = iter(range(10**9))
    start = time.time()
    time.time = lambda: start - 3600.0 * next(hours)
    return run(folder, name), run(folder, name)


def test_clock_stepping_back(whole: Whole, tally: Tally) -> None:
    """The clock goes back an hour at every reading. The first plan's date is kept."""
    folder, _ = whole

    assert launch(with_clock_stepping_back, folder, "clock") == (0, 0)
    assert len(Store(folder / "clock").plan_files()) == 2
    continued(whole, "clock", tally)


# Memory


class Short(Local):
    """Has little memory for training, and enough before and after it."""

    def submit(self, cells: Sequence[Cell]) -> Future[CellOutcomes]:
        smoke.limit_memory(20)
        return super().submit(cells)

    def __exit__(self, *raised: object) -> None:
        super().__exit__(*raised)
        smoke.limit_memory(None)


def out_of_memory(folder: Path, name: str) -> int:
    return run(folder, name, backend=Short)


def test_memory_of_the_device_runs_out(whole: Whole, tally: Tally) -> None:
    """Memory runs out during training. There is no result until there is memory."""
    folder, _ = whole

    assert launch(out_of_memory, folder, "memory") == 5
    store = Store(folder / "memory")
    assert {fault.code for fault in overview(store).faults} == {"E302"}
    assert store.results() == {}
    continued(whole, "memory", tally)


def eight_nets(folder: Path, limit: int | None) -> list[tuple[int, list[float]]]:
    """Of each, with how many others it was trained at most, and its losses."""
    data = tiny(folder, images=640)
    recipe = RECIPE.model_copy(update={"batch_size": 64})
    trials = [trial_on(data, seed=seed, recipe=recipe) for seed in range(8)]
    images = device_data(trials[0], data, torch.device("cpu"))
    runs = [Run(trial, images, until=0.2) for trial in trials]
    if limit is not None:
        smoke.limit_memory(limit)
    for _ in train_all(runs):
        pass
    return [(run.batched_runs, [row.loss for row in run.progress.rows]) for run in runs]


def test_memory_for_some_nets_at_once(tally: Tally, tmp_path: Path) -> None:
    """Memory runs out for several runs batched together. Fewer are batched, with equal results."""
    (most, _), *_ = whole = launch(eight_nets, tmp_path, None)
    assert most == 8
    found = launch(eight_nets, tmp_path, 200)  # MB; 250 suffice for eight, 115 for two
    tally.provoked += 1

    assert max(together for together, _ in found) < 8
    for seed, ((_, one), (_, other)) in enumerate(zip(found, whole, strict=True)):
        if not np.allclose(one, other, rtol=BOUND):
            tally.wrong.append(f"seed {seed} has other numbers")


# Workers


class Loses(Local):
    """Kills one of its processes, by kill -9, when a trial is half way."""

    killed = False

    def events(self) -> Iterator[Event]:
        for event in super().events():
            if event.epoch >= 0.5 and not self.killed:
                self.killed = True
                next(iter(self._pool._processes.values())).kill()  # type: ignore[attr-defined]
            yield event


def with_a_worker_killed(folder: Path, name: str) -> tuple[int, bool]:
    backends: list[Loses] = []

    def backend(machine: Machine) -> Loses:
        backends.append(Loses(machine))
        return backends[0]

    return run(folder, name, workers=2, backend=backend), backends[0].killed


def test_a_worker_killed(whole: Whole, tally: Tally) -> None:
    """A worker process is killed. Another one continues its trial, in the same run."""
    folder, expected = whole
    assert launch(with_a_worker_killed, folder, "bereft") == (0, True)
    tally.provoked += 1

    tally.wrong += contradictions(folder, "bereft")
    if numbers(folder / "bereft") != expected:
        tally.wrong.append("other numbers")


# Damaged files


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "truncated": lambda content: content[: len(content) // 2],
    "overwritten": lambda content: content[:1000] + bytes(2000) + content[3000:],
    "a pickle that would run code": lambda _: b"\x80\x04cposix\nsystem\n(S'touch ran'\ntR.",
}


@pytest.mark.parametrize(
    "damage",
    [pytest.param(each, marks=[pytest.mark.slow] if each == "empty" else []) for each in DAMAGE],
)
def test_checkpoint_damaged(damage: str, whole: Whole, tally: Tally) -> None:
    """A checkpoint is damaged. It is set aside, and the trial starts again."""
    folder, _ = whole
    name = f"damaged {damage}"
    assert launch(run, folder, name, Dies(point=("curve.csv", "placed"), times=4)) == -9
    (path,) = (folder / name).glob("trials/*/checkpoint.pt")
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    continued(whole, name, tally)

    assert path.with_suffix(".corrupt").exists()
    assert not Path("ran").exists()


def test_names_of_folders(tally: Tally, tmp_path: Path, whole: Whole) -> None:
    """Names of folders have spaces, quotes and letters beyond ASCII. A killed run continues."""
    folder = tmp_path / "Läufe vom Montag, 日本 'q' $HOME"
    folder.mkdir()
    smoke.claims(folder)
    assert launch(run, folder, "der Speicher", Dies(point=("result.json", "whole"))) == -9
    continued((folder, whole[1]), "der Speicher", tally)


# Outcomes are no faults


def never_learns(folder: Path, name: str, rate: str, threshold: str) -> int:
    text = (folder / "times.yaml").read_text()
    other = folder / name
    other.mkdir()
    text = text.replace("small: 0.01", f"small: {rate}")
    (other / "times.yaml").write_text(text.replace("threshold: 0.6", f"threshold: {threshold}"))
    return run(other, "store")


@pytest.mark.parametrize(
    ("rate", "threshold", "status"), [("1.0e+8", "0.6", "diverged"), ("1.0e-9", "0.01", "censored")]
)
def test_divergence_and_never_crossing(
    rate: str, threshold: str, status: str, whole: Whole, tally: Tally
) -> None:
    """A run diverges, or never reaches its threshold. It is a result, never run again."""
    folder, _ = whole
    assert launch(never_learns, folder, status, rate, threshold) == 0
    first = smoke.finished(folder / status / "store")
    assert launch(run, folder / status, "store") == 0
    tally.provoked += 1

    results = Store(folder / status / "store").results()
    assert status in {result.status for result in results.values()}
    assert {Store(folder / status / "store").trial(name).seed for name in results} == {0}
    tally.lost += [
        name for name in first if smoke.finished(folder / status / "store")[name] != first[name]
    ]
    tally.wrong += contradictions(folder / status, "store")
