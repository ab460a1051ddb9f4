"""Trials on this machine, from the store and back into it, wherever the process runs."""

import math
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Protocol

import torch
from torch import nn
from torch.func import functional_call

from repro.data import Dataset, open_dataset
from repro.data.device import DeviceData
from repro.errors import (
    BugError,
    ClaimError,
    DataError,
    IntegrityError,
    MachineError,
    OutOfMemoryError,
    ReproError,
    SourcesMissingError,
    machine_fault,
)
from repro.execute.machine import Ended, Flag, Machine
from repro.execute.monitor.observer import Event, Measurement, TrainedCell
from repro.execute.worker.checkpoints import Checkpoints
from repro.execute.worker.profile import traced
from repro.execute.worker.program import train_by_command
from repro.execute.worker.weights import packed
from repro.plan import Cell, code
from repro.registry.plugins import versions
from repro.store import Store
from repro.store.provenance import provenance
from repro.train import (
    CheckpointError,
    Run,
    Stopwatch,
    device_data,
    perhaps_short_of_memory,
    short_of_memory,
    train_all,
    untrained,
)
from repro.train.pictures import Arrays, kept
from repro.train.population import member_bytes
from repro.train.precision import instructions, kernels
from repro.train.ranks import check_splits
from repro.trial import Result, Row, Trial

__all__ = [
    "Trainer",
    "TrialStore",
    "check_size",
    "data_for",
    "fault_of",
    "fitting",
    "most_abreast",
    "population_bytes",
    "train_cells",
    "train_held",
    "training_images",
]

# Nets are laid abreast until a step has this much to read again: beyond it a step lasts so long
# that launching it no longer counts, and wider is only slower. Not measured on a GPU yet.
_FILLED = 2 * 2**30  # bytes
_MOST = 64
_CONTEXT = 2**30  # bytes, of CUDA and its libraries in each process


def most_abreast(trial: Trial, machine: Machine, memory: int | None) -> int:
    """How many nets of the trial's shape are laid abreast on a GPU: by so many bytes of it.

    None: what is free there now.
    """
    if memory is None:
        memory, _ = torch.cuda.mem_get_info(torch.device(machine.device))
    return max(1, min(_MOST, min(memory // 2, _FILLED) // _member_bytes(trial, machine)))


_bytes_of: dict[str, int] = {}  # one more net of a shape, since building it takes seconds


def _member_bytes(trial: Trial, machine: Machine) -> int:
    if trial.shape not in _bytes_of:
        data = _dataset_of(trial, machine)
        size = trial.recipe.crop or min(data.train.images.shape[1:3])
        with fitting(trial):
            net = untrained(trial, classes=len(data.classes), size=size)
        _bytes_of[trial.shape] = member_bytes(net, batch=trial.recipe.batch_size, size=size)
    return _bytes_of[trial.shape]


def population_bytes(cells: Sequence[Cell], machine: Machine) -> int:
    """What training them as one program takes of a device, about: twice the nets, and the images.

    Images that are streamed count as if they lay there.
    """
    data = _dataset_of(cells[0].trial, machine)
    images = sum(math.prod(split.images.shape) for split in (data.train, data.test))
    nets = len(cells) * _member_bytes(cells[0].trial, machine)
    return _CONTEXT + images + 2 * nets


class TrialStore(Protocol):
    """What training needs of a store, on this machine or at the driver's."""

    def begin(self, trial: Trial) -> None: ...

    def result(self, trial_id: str) -> Result | None: ...

    def checkpoint(self, trial_id: str) -> bytes | None: ...

    def set_aside(self, trial_id: str) -> object: ...

    def save(self, trial_id: str, *, checkpoint: bytes, curve: Sequence[Row]) -> None: ...

    def keep_weights(self, trial_id: str, files: Mapping[str, bytes]) -> None: ...
    def drop_weights(self, trial_id: str) -> None: ...

    def finish(self, result: Result, arrays: Arrays | None = None) -> None: ...


class Trainer(Protocol):
    """`repro.train.train_all`, or what calls it in several processes at once."""

    def __call__(
        self, runs: Sequence[Run], *, on_window: Callable[[Run], bool]
    ) -> Iterator[Run]: ...


def train_cells(
    cells: Sequence[Cell],
    machine: Machine,
    *,
    stop: Flag,
    on_event: Callable[[Event], None],
    trainer: Trainer = train_all,
) -> Ended:
    """Train trials of one shape to their ends, or to a checkpoint once `stop` is set.

    A fault of one is no fault of the others.
    """
    store = Store(machine.store)
    ended: Ended = {}
    mine: list[Cell] = []
    with ExitStack() as locks:
        for cell in cells:
            name = cell.trial.id
            try:
                if locks.enter_context(store.lock(name)):
                    mine.append(cell)
                else:
                    ended[name] = TrainedCell(outcome="busy")
            except ReproError as error:
                ended[name] = error
        return ended | train_held(
            mine, machine, store, stop=stop, on_event=on_event, trainer=trainer
        )


def train_held(
    cells: Sequence[Cell],
    machine: Machine,
    store: TrialStore,
    *,
    stop: Flag,
    on_event: Callable[[Event], None],
    trainer: Trainer = train_all,
) -> Ended:
    """As `train_cells`, where the caller holds the trials' locks."""
    ended: Ended = {}
    left: list[Cell] = []
    for cell in cells:
        name = cell.trial.id
        try:
            _check_code(cell.trial)
            known = store.result(name)  # another process may have finished it just now
            if known is not None and cell.done({name: known}):
                ended[name] = TrainedCell(outcome="finished", result=known)
                continue
            store.begin(cell.trial)
            left.append(cell)
        except ReproError as error:
            ended[name] = error
    if left:
        try:
            for name, one in _trained(left, machine, store, stop, on_event, trainer):
                ended[name] = one
        except Exception as error:  # in these trials; it must not keep the others
            fault = fault_of(error, left[0].trial, machine)
            if not ended:
                raise fault from error
            # Of those that ended before it nothing is lost.
            ended |= {cell.trial.id: fault for cell in left if cell.trial.id not in ended}
            traceback.clear_frames(error.__traceback__)  # they hold nets and images
    return ended


def _trained(
    cells: Sequence[Cell],
    machine: Machine,
    store: TrialStore,
    stop: Flag,
    on_event: Callable[[Event], None],
    trainer: Trainer,
) -> Iterator[tuple[str, TrainedCell]]:
    """By the claim's own command, or by the built-in trainer."""
    if cells[0].trial.trainer is not None:
        assert isinstance(store, Store)  # where it is another machine's, commands are refused
        return train_by_command(cells, machine, store, stop, on_event)
    return _train(cells, machine, store, stop, on_event, trainer)


def fault_of(error: Exception, trial: Trial, machine: Machine) -> ReproError:
    """What an error in training was a fault of."""
    if isinstance(error, ReproError):
        return error
    if short_of_memory(error):
        return OutOfMemoryError(f"out of memory on {machine.device} in trial {trial.id}: {error}")
    if perhaps_short_of_memory(error):
        return MachineError(
            f"{machine.device} cannot compute trial {trial.id}, or has too little memory: {error}",
            hint="a newer cuDNN or driver may; --device cpu does",
        )
    if isinstance(error, torch.AcceleratorError):  # of the driver's: a lost card, its memory
        return MachineError(f"{machine.device} failed in trial {trial.id}: {error}")
    during = f"in trial {trial.id}: "
    return machine_fault(error, during) or BugError(
        f"{during}{type(error).__name__}: {error}", traceback=traceback.format_exc()
    )


def _check_code(trial: Trial) -> None:
    if trial.numerics != code(trial.model, trial.data, trial.recipe.optimiser.name):
        raise SourcesMissingError(
            f"the code that trial {trial.id} reaches has changed since the run began",
            hint="run the same command again",
        )


# What a net that does not fit raises, when it is built or sees its images; anything else is a bug.
UNFIT = (AssertionError, AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError)


@contextmanager
def fitting(
    trial: Trial, why: str = "", *, errors: tuple[type[Exception], ...] = UNFIT
) -> Iterator[None]:
    """ClaimError where what the claim file asks for does not go together. `why`: before the cause.

    Memory that runs out and a device that fails are no fault of the file's.
    """
    try:
        yield
    except errors as error:
        machine = short_of_memory(error) or perhaps_short_of_memory(error)
        if machine or isinstance(error, torch.AcceleratorError):
            raise
        raise ClaimError(
            f"what the claim file asks of trial {trial.id} cannot be built: {why}{error}",
            hint="`repro show CLAIM --resolved` prints its net, recipe and images",
        ) from error


def check_size(trial: Trial, net: nn.Module, side: int) -> None:
    """ClaimError where the trial's net does not take images of so many pixels a side.

    Asked of the CPU, whose errors are of shapes: a device's may be its own, and no claim file's.
    """
    tensors = chain(net.named_parameters(), net.named_buffers())
    there = {name: tensor.cpu() for name, tensor in tensors}
    why = f"{trial.model} takes no images of {side}x{side} pixels: "
    with fitting(trial, why), torch.inference_mode():
        functional_call(net.eval(), there, torch.zeros(1, 3, side, side))


def data_for(trial: Trial, machine: Machine) -> tuple[Dataset, DeviceData]:
    """The trial's images; DataError when they are not those that it was planned on."""
    dataset = _dataset_of(trial, machine)
    if dataset.fingerprint != trial.fingerprint:
        raise DataError(
            f"{dataset.title} has fingerprint {dataset.fingerprint}, but the trial was planned "
            f"on {trial.fingerprint}: the images have changed",
            hint=f"repro data verify {trial.data}",
        )
    training_images(trial, dataset)
    return dataset, device_data(trial, dataset, torch.device(machine.device))


def training_images(trial: Trial, dataset: Dataset) -> int:
    """How many the trial is trained on; ClaimError where there are fewer than it asks for."""
    there, asked = len(dataset.train.labels), (trial.images or 1) + trial.further_test
    if asked > there:
        raise ClaimError(
            f"the claim file asks for {asked} training images, and {dataset.title} has {there}",
            hint="leave `images` and `further_test` of the scale out to train on all",
        )
    return trial.images or there - trial.further_test


def _train(
    cells: Sequence[Cell],
    machine: Machine,
    store: TrialStore,
    stop: Flag,
    on_event: Callable[[Event], None],
    trainer: Trainer,
) -> Iterator[tuple[str, TrainedCell]]:
    clock = Stopwatch(torch.device(machine.device))
    # As of crops that do not fit. Nets of others were tried before: what else goes wrong is a bug.
    with fitting(cells[0].trial, errors=(TypeError, ValueError)):
        dataset, data = data_for(cells[0].trial, machine)
        runs = [_begin(cell, data, clock, store) for cell in cells]
        if machine.processes > 1:
            check_splits(runs[0].model, runs[0].trial)
    check_size(runs[0].trial, runs[0].model, data.size)
    saved = dict.fromkeys(runs, time.monotonic())

    def on_window(run: Run) -> bool:
        on_event(_event(run))
        going = not stop.is_set()
        if run is runs[0]:
            windows_end()
        if not going or time.monotonic() - saved[run] >= machine.checkpoint_seconds:
            checkpoints.take(run)
            saved[run] = time.monotonic()
        return going

    with (
        Checkpoints(store.save) as checkpoints,
        traced(machine.profile, cells[0].trial, torch.device(machine.device)) as windows_end,
    ):
        for run in trainer(runs, on_window=on_window):
            if run.ended:
                checkpoints.take(run)
            checkpoints.settle(run)
            yield run.trial.id, _leave(run, machine, store, dataset)


def _leave(run: Run, machine: Machine, store: TrialStore, dataset: Dataset) -> TrainedCell:
    if not run.ended:
        return TrainedCell(outcome="paused")
    facts = provenance(_device_name(machine.device)) | {"data": dataset.title}
    names = run.trial.model, run.trial.data, run.trial.recipe.optimiser.name
    facts |= versions(*names, *run.metrics, *run.unmeasured)
    if run.unmeasured:
        facts["not measured"] = _unmeasured(run)
    if machine.device == "cpu":
        facts["instructions"] = instructions()
    else:
        facts["kernels"] = kernels(torch.device(machine.device))
    if run.paths:
        facts["paths"] = run.paths
    if run.company > 1:
        facts["population"] = str(run.company)
    if machine.processes > 1:
        facts["processes"] = str(machine.processes)
    pictures = _pictures(run, dataset)
    if machine.keep_weights:
        store.keep_weights(run.trial.id, packed(run))
    else:
        store.drop_weights(run.trial.id)  # those that a shorter training may have left
    result = run.result(facts)
    store.finish(result, pictures)
    return TrainedCell(outcome="finished", result=result)


def _unmeasured(run: Run) -> str:
    """Which metrics of packages the result lacks, and why; a warning of each."""
    sentences = [f"{name}: {why}" for name, why in run.unmeasured.items()]
    for name, sentence in zip(run.unmeasured, sentences, strict=True):
        package = ", ".join(versions(name))
        warnings.warn(f"not measured, a metric of {package}: {sentence}", stacklevel=2)
    return "; ".join(sentences)


def _begin(cell: Cell, data: DeviceData, clock: Stopwatch, store: TrialStore) -> Run:
    def run(checkpoint: bytes | None) -> Run:
        return Run(cell.trial, data, until=cell.until, checkpoint=checkpoint, clock=clock)

    name = cell.trial.id
    try:
        return run(store.checkpoint(name))
    except (CheckpointError, IntegrityError) as error:
        aside = store.set_aside(name)
        warnings.warn(
            f"the checkpoint of trial {name} cannot be continued ({error}); it was moved to "
            f"{aside} and the trial starts again",
            stacklevel=2,
        )
        return run(None)


def _pictures(run: Run, dataset: Dataset) -> Arrays:
    """Nothing of a trial that stops at a threshold: its claim is about time alone."""
    if run.trial.threshold is not None:
        return {}
    return kept(run.tested, run.data, dataset.classes, run.arrays, autocast=run.autocast)


def _event(run: Run) -> Event:
    progress = run.progress
    trained = progress.epoch * run.images
    return Event(
        trial_id=run.trial.id,
        epoch=progress.epoch,
        error=progress.online(1)[0],
        images_per_second=trained / max(progress.seconds.train * run.company, 1e-9),
        images=run.images,
        rows=tuple(
            Measurement(epoch=row.epoch, source=row.source, error=row.error, loss=row.loss)
            for row in progress.rows[-3:]
            if row.epoch == progress.epoch  # a window measures each source once at most
        ),
    )


def _dataset_of(trial: Trial, machine: Machine) -> Dataset:
    return _dataset(trial.data, machine.data_dirs, machine.cache_dir)


@cache
def _dataset(name: str, data_dirs: tuple[Path, ...], cache_dir: Path) -> Dataset:
    return open_dataset(name, data_dirs, cache_dir)


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu"
