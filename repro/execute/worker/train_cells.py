"""The job of a worker: load a trial from the store, train it, and store checkpoints and result."""

import math
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
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
from repro.execute.machine import CellOutcomes, Flag, Machine
from repro.execute.monitor.observer import Event, TrainedCell
from repro.execute.worker.checkpoint_thread import Checkpoints
from repro.execute.worker.program import train_by_command
from repro.execute.worker.weights import weight_files
from repro.planning import Cell, code
from repro.registry.plugins import versions
from repro.store import Store
from repro.store.provenance import provenance
from repro.train import (
    CheckpointError,
    Run,
    Stopwatch,
    device_data,
    is_out_of_memory,
    may_be_out_of_memory,
    train_all,
    untrained,
)
from repro.train.pictures import Arrays, arrays_to_store
from repro.train.precision import instructions, kernels
from repro.train.ranks import check_splits
from repro.train.steps import member_bytes
from repro.trial import Trial

# Nets are batched until a step reads this much memory: beyond it the launch overhead no longer
# counts, and a larger batch of nets is only slower. Not measured on a GPU yet.
_MAX_NET_BYTES = 2 * 2**30  # bytes
_MAX_POPULATION = 64
_CONTEXT_BYTES = 2**30  # bytes, of CUDA and its libraries in each process


def max_population(trial: Trial, machine: Machine, memory: int | None) -> int:
    """How many nets of the trial's shape to train together on a GPU with `memory` bytes.

    None: the free memory of the device.
    """
    if memory is None:
        memory, _ = torch.cuda.mem_get_info(torch.device(machine.device))
    nets = min(memory // 2, _MAX_NET_BYTES) // _member_bytes(trial, machine)
    return max(1, min(_MAX_POPULATION, nets))


# Memory of one more net of a shape, cached since building it takes seconds.
_bytes_of: dict[str, int] = {}


def _member_bytes(trial: Trial, machine: Machine) -> int:
    if trial.shape not in _bytes_of:
        data = _dataset_of(trial, machine)
        size = trial.recipe.crop or min(data.train.images.shape[1:3])
        with claim_errors(trial):
            net = untrained(trial, classes=len(data.classes), size=size)
        _bytes_of[trial.shape] = member_bytes(net, batch=trial.recipe.batch_size, size=size)
    return _bytes_of[trial.shape]


def population_bytes(cells: Sequence[Cell], machine: Machine) -> int:
    """About the device memory for training the cells together: twice the nets, and the images.

    Streamed images count in full.
    """
    data = _dataset_of(cells[0].trial, machine)
    images = sum(math.prod(split.images.shape) for split in (data.train, data.test))
    nets = len(cells) * _member_bytes(cells[0].trial, machine)
    return _CONTEXT_BYTES + images + 2 * nets


class Trainer(Protocol):
    """`repro.train.train_all`, or a function that runs it on several ranks."""

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
) -> CellOutcomes:
    """Train trials of equal shape to their end, or to a checkpoint once `stop` is set.

    A fault of one trial does not affect the others.
    """
    store = Store(machine.store)
    outcomes: CellOutcomes = {}
    remaining: list[Cell] = []
    with ExitStack() as locks:
        for cell in cells:
            name = cell.trial.id
            try:
                if not locks.enter_context(store.lock(name)):
                    outcomes[name] = TrainedCell(outcome="busy")
                    continue
                _check_code(cell.trial)
                result = store.result(name)  # another process may have finished it just now
                if result is not None and cell.done({name: result}):
                    outcomes[name] = TrainedCell(outcome="finished", result=result)
                    continue
                store.begin(cell.trial)
                remaining.append(cell)
            except ReproError as error:
                outcomes[name] = error
        if not remaining:
            return outcomes
        try:
            for name, outcome in _train_all(remaining, machine, store, stop, on_event, trainer):
                outcomes[name] = outcome
        except Exception as error:  # in these trials; trials that have ended are not affected
            fault = fault_of(error, remaining[0].trial, machine)
            if not outcomes:
                raise fault from error
            outcomes |= {
                cell.trial.id: fault for cell in remaining if cell.trial.id not in outcomes
            }
            traceback.clear_frames(error.__traceback__)  # they hold nets and images
    return outcomes


def _train_all(
    cells: Sequence[Cell],
    machine: Machine,
    store: Store,
    stop: Flag,
    on_event: Callable[[Event], None],
    trainer: Trainer,
) -> Iterator[tuple[str, TrainedCell]]:
    if cells[0].trial.trainer is not None:
        return train_by_command(cells, machine, store, stop, on_event)
    return _train_builtin(cells, machine, store, stop, on_event, trainer)


def fault_of(error: Exception, trial: Trial, machine: Machine) -> ReproError:
    if isinstance(error, ReproError):
        return error
    if is_out_of_memory(error):
        return OutOfMemoryError(f"out of memory on {machine.device} in trial {trial.id}: {error}")
    if may_be_out_of_memory(error):
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
    if trial.numerics != code(trial.model, trial.data, trial.recipe):
        raise SourcesMissingError(
            f"the code that trial {trial.id} reaches has changed since the run began",
            hint="run the same command again",
        )


# Errors of a net that does not fit its arguments or images; all others are bugs.
_BUILD_ERRORS = (
    AssertionError,
    AttributeError,
    IndexError,
    KeyError,
    RuntimeError,
    TypeError,
    ValueError,
)


@contextmanager
def claim_errors(
    trial: Trial, why: str = "", *, errors: tuple[type[Exception], ...] = _BUILD_ERRORS
) -> Iterator[None]:
    """Turn errors about a net that does not fit into ClaimError. `why`: text before the cause.

    Out-of-memory and device errors pass unchanged.
    """
    try:
        yield
    except errors as error:
        machine = is_out_of_memory(error) or may_be_out_of_memory(error)
        if machine or isinstance(error, torch.AcceleratorError):
            raise
        raise ClaimError(
            f"what the claim file asks of trial {trial.id} cannot be built: {why}{error}",
            hint="`repro show CLAIM --resolved` prints its net, recipe and images",
        ) from error


def check_size(trial: Trial, net: nn.Module, side: int) -> None:
    """ClaimError if the trial's net does not take images with `side` pixels.

    Tried on the CPU, where an error is about shapes; on a GPU it might be the device's.
    """
    tensors = chain(net.named_parameters(), net.named_buffers())
    cpu_tensors = {name: tensor.cpu() for name, tensor in tensors}
    why = f"{trial.model} takes no images of {side}x{side} pixels: "
    with claim_errors(trial, why), torch.inference_mode():
        functional_call(net.eval(), cpu_tensors, torch.zeros(1, 3, side, side))


def data_for(trial: Trial, machine: Machine) -> tuple[Dataset, DeviceData]:
    """The trial's images; DataError if they have changed since it was planned."""
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
    """The number of training images; ClaimError if the data set has fewer than needed."""
    total, needed = len(dataset.train.labels), (trial.images or 1) + trial.further_test
    if needed > total:
        raise ClaimError(
            f"the claim file asks for {needed} training images, and {dataset.title} has {total}",
            hint="omit `images` and `further_test` of the scale to train on all",
        )
    return trial.images or total - trial.further_test


def _train_builtin(
    cells: Sequence[Cell],
    machine: Machine,
    store: Store,
    stop: Flag,
    on_event: Callable[[Event], None],
    trainer: Trainer,
) -> Iterator[tuple[str, TrainedCell]]:
    clock = Stopwatch(torch.device(machine.device))
    # For example a crop that does not fit. Other nets were tried before: other errors are bugs.
    with claim_errors(cells[0].trial, errors=(TypeError, ValueError)):
        dataset, data = data_for(cells[0].trial, machine)
        runs = [_begin(cell, data, clock, store) for cell in cells]
        if machine.processes > 1:
            check_splits(runs[0].model, runs[0].trial)
    check_size(runs[0].trial, runs[0].model, data.size)
    saved = dict.fromkeys(runs, time.monotonic())

    def on_window(run: Run) -> bool:
        on_event(_event(run))
        going = not stop.is_set()
        if not going or time.monotonic() - saved[run] >= machine.checkpoint_seconds:
            checkpoints.take(run)
            saved[run] = time.monotonic()
        return going

    with Checkpoints(store) as checkpoints:
        for run in trainer(runs, on_window=on_window):
            if run.ended:
                checkpoints.take(run)
            checkpoints.settle(run)
            yield run.trial.id, _finish(run, machine, store, dataset)


def _finish(run: Run, machine: Machine, store: Store, dataset: Dataset) -> TrainedCell:
    if not run.ended:
        return TrainedCell(outcome="paused")
    is_gpu = machine.device.startswith("cuda")
    device = torch.cuda.get_device_name(machine.device) if is_gpu else "cpu"
    facts = provenance(device) | {"data": dataset.title}
    names = run.trial.model, run.trial.data, *run.trial.recipe.names
    facts |= versions(*names, *run.metrics, *run.metric_errors)
    if run.metric_errors:
        facts["not measured"] = _unmeasured(run)
    if machine.device == "cpu":
        facts["instructions"] = instructions()
    else:
        facts["kernels"] = kernels(torch.device(machine.device))
    if run.paths:
        facts["paths"] = run.paths
    if run.batched_runs > 1:
        facts["population"] = str(run.batched_runs)
    if machine.processes > 1:
        facts["processes"] = str(machine.processes)
    pictures = _pictures(run, dataset)
    if machine.keep_weights:
        store.keep_weights(run.trial.id, weight_files(run))
    else:
        store.drop_weights(run.trial.id)  # of an earlier, shorter training
    result = run.result(facts)
    store.finish(result, pictures)
    return TrainedCell(outcome="finished", result=result)


def _unmeasured(run: Run) -> str:
    """Which metrics of packages the result lacks, and why; a warning of each."""
    sentences = [f"{name}: {why}" for name, why in run.metric_errors.items()]
    for name, sentence in zip(run.metric_errors, sentences, strict=True):
        package = ", ".join(versions(name))
        warnings.warn(f"not measured, a metric of {package}: {sentence}", stacklevel=2)
    return "; ".join(sentences)


def _begin(cell: Cell, data: DeviceData, clock: Stopwatch, store: Store) -> Run:
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
    """Arrays for figures; none for a trial with a threshold, whose claim is about time."""
    if run.trial.threshold is not None:
        return {}
    return arrays_to_store(
        run.tested_model, run.data, dataset.classes, run.arrays, autocast=run.autocast
    )


def _event(run: Run) -> Event:
    progress = run.progress
    images_trained = progress.epoch * run.images
    return Event(
        trial_id=run.trial.id,
        epoch=progress.epoch,
        error=progress.online(1)[0],
        images_per_second=images_trained / max(progress.seconds.train * run.batched_runs, 1e-9),
        images=run.images,
        # A window measures each source at most once.
        rows=tuple(row for row in progress.rows[-3:] if row.epoch == progress.epoch),
    )


def _dataset_of(trial: Trial, machine: Machine) -> Dataset:
    return _dataset(trial.data, machine.data_dirs, machine.cache_dir)


@cache
def _dataset(name: str, data_dirs: tuple[Path, ...], cache_dir: Path) -> Dataset:
    return open_dataset(name, data_dirs, cache_dir)
