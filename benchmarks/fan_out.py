"""What handing out trials costs: `python benchmarks/fan_out.py`, on two cores.

The driver's own time for each trial of a claim, with a back-end that is done at once: planning,
the store, what is told of it, and the verdict. Then equal trials by a plain pool of processes, by
the local executor and by Ray, in turn, as ratios. Start-up is not counted: each pool is warm.
"""

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import contextlib
import io
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import replace
from statistics import median
from typing import Self

import click
import torch

from benchmarks.small import small_claim
from repro.claim import Recipe
from repro.data import open_dataset
from repro.execute import Backend, CellOutcomes, Local, Machine, group_cells, run_cells
from repro.execute.monitor.observer import Event, Observer, TrainedCell
from repro.execute.running import run_claims
from repro.planning import Cell
from repro.store import Store
from repro.train import train
from repro.trial import Clocks, Result, Trial
from repro.trial.numerics import numerics

FanOut = Callable[[Sequence[Cell], Path, Path], float]  # cells, images, store: seconds a trial

WORKERS = 2
RECIPE = Recipe(inputs="standardised", initialisation="he", batch_size=32)


def cells(count: int, folder: Path, *, epochs: float) -> list[Cell]:
    """Trials that differ in their seed alone."""
    data = open_dataset("digits", (folder,), folder)
    trial = Trial(
        model="cifar_80sec",
        arguments={},
        recipe=RECIPE,
        data="digits",
        fingerprint=data.fingerprint,
        images=640,
        rate=0.001,
        seed=0,
        numerics=numerics("cifar_80sec"),
    )
    return [
        Cell(
            recipe="small",
            arm="net",
            purpose="confirm",
            trial=replace(trial, seed=seed),
            until=epochs,
            decides=True,
        )
        for seed in range(count)
    ]


class AtOnce:
    """A back-end that has a result ready for each cell, so that only the driver takes time."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.store = Store(machine.store)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def describe(self) -> str:
        return "nothing"

    def slots(self) -> int:
        return WORKERS

    def group(self, waiting: Sequence[Cell]) -> list[list[Cell]]:
        return group_cells(waiting, self.machine)

    def submit(self, group: Sequence[Cell]) -> Future[CellOutcomes]:
        (cell,) = group
        result = Result(
            trial_id=cell.trial.id,
            status="censored",
            epochs=cell.until,
            crossing_full=None,
            crossing_online=None,
            train_error=0.5,
            epoch_errors=(),
            loss=1.0,
            seconds=Clocks(train=1.0),
        )
        self.store.begin(cell.trial)
        self.store.finish(result)
        done: Future[CellOutcomes] = Future()
        done.set_result({cell.trial.id: TrainedCell(outcome="finished", result=result)})
        return done

    def events(self) -> list[Event]:
        return []

    def stop(self) -> None: ...

    def kill(self) -> None: ...


def plan_of(wanted: Sequence[Cell], folder: Path) -> Callable[[], list[Cell]]:
    store = Store(folder)

    def plan() -> list[Cell]:
        results = store.results()
        return [cell for cell in wanted if not cell.done(results)]

    return plan


def driver_seconds(count: int, folder: Path) -> float:
    """Of the driver for one of so many trials; the first claim that is planned pays for imports."""
    store, path = folder / f"at once {count}", folder / f"of_{count}.yaml"
    claim = small_claim(
        path, rates="rate: {small: 0.01}", epochs=1, seeds=count // 2, threshold=0.25, near=1.0
    )
    machine = Machine(
        device="cpu", workers=WORKERS, store=store, data_dirs=(folder,), cache_dir=folder
    )
    started = time.perf_counter()
    with contextlib.redirect_stderr(io.StringIO()):
        run_claims(
            [claim],
            scale="smoke",
            machine=machine,
            backend=AtOnce(machine),
            max_seeds=None,
            budget=None,
        )
    seconds = time.perf_counter() - started
    assert len(Store(store).results()) == count
    return seconds / count


def one(cell: Cell, folder: Path) -> float:
    """A trial without a store or a driver."""
    data = open_dataset("digits", (folder,), folder)
    train(cell.trial, data, device=torch.device("cpu"), until=cell.until)
    return time.perf_counter()


def between(ends: Sequence[float]) -> float:
    """Seconds a trial from the moment when every worker has ended its first one."""
    ends = sorted(ends)
    return (ends[-1] - ends[WORKERS - 1]) / (len(ends) - WORKERS)


def by_pool(wanted: Sequence[Cell], folder: Path, _: Path) -> float:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(WORKERS, mp_context=context) as pool:
        return between(list(pool.map(one, wanted, [folder] * len(wanted))))


class Ends(Observer):
    """When each trial has ended."""

    def __init__(self) -> None:
        self.at: list[float] = []

    def finish(self, _cell: Cell, _ended: TrainedCell) -> None:
        self.at.append(time.perf_counter())


def by_driver(backend: Callable[[Machine], Backend]) -> FanOut:
    def run(wanted: Sequence[Cell], folder: Path, store: Path) -> float:
        machine = Machine(
            device="cpu", workers=WORKERS, store=store, data_dirs=(folder,), cache_dir=folder
        )
        ends = Ends()
        run_cells(plan_of(wanted, store), backend(machine), observer=ends)
        return between(ends.at)

    return run


def contestants() -> dict[str, FanOut]:
    found = {"plain pool of processes": by_pool, "local executor": by_driver(Local)}
    try:
        from repro.execute.backends.ray import RayBackend
    except Exception:  # noqa: BLE001 - the extra is not installed
        return found
    return found | {"Ray": by_driver(RayBackend)}


@click.command()
@click.option("--trials", default=16, type=click.IntRange(4), show_default=True)
@click.option("--epochs", default=3.0, show_default=True)
@click.option("--rounds", default=3, type=click.IntRange(1), show_default=True)
def main(trials: int, epochs: float, rounds: int) -> None:
    """Time the driver, and fan-out on two workers against a plain pool."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        click.echo("| trials of a claim | driver, ms a trial |\n| --- | --- |")
        driver_seconds(4, folder)
        for count in (20, 200, 1000):
            click.echo(f"| {count} | {1000 * driver_seconds(count, folder):.1f} |")
        wanted = cells(trials, folder, epochs=epochs)
        times: dict[str, list[float]] = {}
        for number in range(rounds):
            for who, run in contestants().items():
                seconds = run(wanted, folder, folder / f"{who} {number}")
                times.setdefault(who, []).append(seconds)
        click.echo("\n| trials by | s a trial | efficiency against the pool |\n| --- | --- | --- |")
        for who, found in times.items():
            ratios = [a / b for a, b in zip(times["plain pool of processes"], found, strict=True)]
            click.echo(f"| {who} | {median(found):.2f} | {median(ratios):.2f} |")


if __name__ == "__main__":
    main()
