"""One trial on this machine, from the store and back into it, wherever the process runs."""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, Protocol

import torch

from repro.data import Dataset, open_dataset
from repro.errors import DataError, MachineError
from repro.plan import Cell
from repro.provenance import provenance
from repro.store import Store
from repro.train import CheckpointError, Run, train
from repro.trial import Result

__all__ = ["Event", "Flag", "Machine", "TrainedCell", "train_cell"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """What the command line says of the machine; nothing here changes a trial's numbers."""

    device: str
    workers: int
    store: Path
    data_dirs: tuple[Path, ...]
    cache_dir: Path
    checkpoint_seconds: float = 30.0


class Flag(Protocol):
    """A threading or multiprocessing event."""

    def is_set(self) -> bool: ...

    def set(self) -> None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """A trial's progress, for whoever looks on.

    `error`: online, of the last window; `images`: training images of an epoch.
    """

    trial_id: str
    epoch: float
    error: float
    images_per_second: float  # of training alone
    images: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedCell:
    """How the work on a cell ended.

    `busy`: another process holds the trial; `lost`: its worker is gone, and the trial goes on
    with another one from its last checkpoint.
    """

    outcome: Literal["finished", "paused", "busy", "lost"]
    result: Result | None = None


def train_cell(
    cell: Cell, machine: Machine, *, stop: Flag, on_event: Callable[[Event], None]
) -> TrainedCell:
    """Train the cell's trial to its end, or to its next checkpoint once `stop` is set."""
    store = Store(machine.store)
    with store.lock(cell.trial.id) as mine:
        if not mine:
            return TrainedCell(outcome="busy")
        known = store.result(cell.trial.id)  # another process may have finished it just now
        if known is not None and cell.done({cell.trial.id: known}):
            return TrainedCell(outcome="finished", result=known)
        store.begin(cell.trial)
        try:
            return _train(cell, machine, store, stop, on_event)
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise MachineError(
                f"out of memory on {machine.device} in trial {cell.trial.id}: {error}",
                hint="run again with fewer --workers; what was finished is kept",
            ) from error


def _train(
    cell: Cell,
    machine: Machine,
    store: Store,
    stop: Flag,
    on_event: Callable[[Event], None],
) -> TrainedCell:
    trial = cell.trial
    dataset = _dataset(trial.data, machine.data_dirs, machine.cache_dir)
    if dataset.fingerprint != trial.fingerprint:
        raise DataError(
            f"{dataset.title} has fingerprint {dataset.fingerprint}, but the trial was planned "
            f"on {trial.fingerprint}: the images have changed",
            hint=f"repro data verify {trial.data}",
        )
    saved = time.monotonic()

    def on_window(run: Run) -> bool:
        nonlocal saved
        on_event(_event(run))
        going = not stop.is_set()
        if not going or time.monotonic() - saved >= machine.checkpoint_seconds:
            store.save(trial.id, checkpoint=run.state(), curve=run.progress.curve())
            saved = time.monotonic()
        return going

    def attempt(checkpoint: bytes | None) -> Run:
        return train(
            trial,
            dataset,
            device=torch.device(machine.device),
            until=cell.until,
            checkpoint=checkpoint,
            on_window=on_window,
        )

    try:
        run = attempt(store.checkpoint(trial.id))
    except CheckpointError as error:
        aside = store.set_aside(trial.id)
        warnings.warn(
            f"the checkpoint of trial {trial.id} cannot be continued ({error}); it was moved to "
            f"{aside} and the trial starts again",
            stacklevel=2,
        )
        run = attempt(None)
    if not run.ended(cell.until):
        return TrainedCell(outcome="paused")
    store.save(trial.id, checkpoint=run.state(), curve=run.progress.curve())
    result = run.result(provenance(_device_name(machine.device)) | {"data": dataset.title})
    store.finish(result, run.arrays)
    return TrainedCell(outcome="finished", result=result)


def _event(run: Run) -> Event:
    progress = run.progress
    trained = progress.epoch * run.images
    return Event(
        trial_id=run.trial.id,
        epoch=progress.epoch,
        error=progress.online(1)[0],
        images_per_second=trained / max(progress.seconds.train, 1e-9),
        images=run.images,
    )


@cache
def _dataset(name: str, data_dirs: tuple[Path, ...], cache_dir: Path) -> Dataset:
    return open_dataset(name, data_dirs, cache_dir)


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu"
