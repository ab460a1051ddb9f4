"""One trial at a time over all processes of `torchrun`, each with its own device.

Rank 0 plans, writes the store and prints; the other ranks train their part of each batch. After a
fault of one rank `torchrun` ends all, and restarts them if you asked for it. A trial continues from
its last checkpoint, on any number of processes.
"""

import atexit
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from queue import Empty, SimpleQueue
from typing import Any, Self

import torch
from torch import distributed as dist

from repro.errors import MachineError, WorkerKilledError
from repro.execute.machine import SIGNALS, CellOutcomes, Machine, PlainFlag
from repro.execute.monitor.observer import Event
from repro.execute.worker.train_cells import data_for, train_cells
from repro.planning import Cell
from repro.train import Run, train_all
from repro.train.ranks import Ranks
from repro.trial import Trial

# The first process may decode images for hours between two trials.
_MESSAGE_TIMEOUT = timedelta(days=7)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Task:
    """The training that rank 0 sends to the other ranks."""

    trial: Trial
    until: float
    checkpoint: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """The processes of this run; `words`: the gloo group for messages, beside NCCL."""

    ranks: Ranks
    words: Any

    def say(self, message: object = None, *, of: str = "this run") -> Any:
        """Broadcast rank 0's message to all. WorkerKilledError if a rank `of` this is lost."""
        box = [message]
        try:
            dist.broadcast_object_list(box, src=0, group=self.words, device=torch.device("cpu"))
        except RuntimeError as error:  # whatever the cause, communication failed
            raise _lost_error(of, error) from error
        return box[0]


def join_group() -> Group:
    """Join the process group, by the environment that `torchrun` sets."""
    # torch 2.15 has no replacement yet for `broadcast_buffers=False`.
    warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend)
    words = dist.new_group(backend="gloo", timeout=_MESSAGE_TIMEOUT)
    ranks = Ranks(rank=dist.get_rank(), size=dist.get_world_size())
    return Group(ranks=ranks, words=words)


def leave_group() -> None:
    """Leave the process group: its threads would abort Python at exit."""
    if dist.is_initialized():
        dist.destroy_process_group()


class TorchrunBackend:
    """The driver's back-end in rank 0: one trial at a time, over all ranks."""

    def __init__(self, machine: Machine, group: Group) -> None:
        self.machine = replace(machine, workers=1, population=1, processes=group.ranks.size)
        self.peers = group
        self._stop = PlainFlag()
        self._events = SimpleQueue[Event]()
        self._all_training = False  # all ranks are in a trial
        self._fault: BaseException | None = None
        self._ended = self._killed = False
        atexit.register(self._end)  # the other ranks wait, even if there is nothing to train

    def __enter__(self) -> Self:
        self._thread = ThreadPoolExecutor(1)
        return self

    def __exit__(self, *_: object) -> None:
        if self._killed:
            return  # a thread ends with the process alone
        self._thread.shutdown()
        self._end()

    def _end(self) -> None:
        """Tell the other ranks once that there are no more trials; after a fault they are gone."""
        if self._fault is None and not self._ended and not self._killed:
            self._ended = True
            self.peers.say(None)
            leave_group()

    def describe(self) -> str:
        return f"{self.machine.device.partition(':')[0]}, {self.peers.ranks.size} processes a trial"

    def slots(self) -> int:
        return 1

    def group(self, cells: Sequence[Cell]) -> list[list[Cell]]:
        return [[cell] for cell in cells]

    def submit(self, cells: Sequence[Cell]) -> Future[CellOutcomes]:
        return self._thread.submit(self._work, cells)

    def events(self) -> Iterator[Event]:
        while True:
            try:
                yield self._events.get_nowait()
            except Empty:
                return

    def stop(self) -> None:
        self._stop.set()

    def kill(self) -> None:
        """End this process, and with it all ranks."""
        self._killed = True

    def _work(self, cells: Sequence[Cell]) -> CellOutcomes:
        if self._fault is not None:
            raise MachineError(
                f"not started: the process group has ended after a fault ({self._fault})",
                hint="the same command continues from the last checkpoints",
            )
        _use(self.machine)
        try:
            return train_cells(
                cells,
                self.machine,
                stop=self._stop,
                on_event=self._events.put,
                trainer=self._train,
            )
        except Exception as error:
            if self._all_training:
                self._fault = error
            raise

    def _train(self, runs: Sequence[Run], *, on_window: Callable[[Run], bool]) -> Iterator[Run]:
        self._all_training = True
        for run in lead(self.peers, runs, on_window=on_window):
            self._all_training = False
            yield run


def lead(group: Group, runs: Sequence[Run], *, on_window: Callable[[Run], bool]) -> Iterator[Run]:
    """Train one trial on all ranks, as rank 0: a trainer for `train_cells`."""
    (run,) = runs
    name = f"trial {run.trial.id}"
    group.say(_Task(trial=run.trial, until=run.until, checkpoint=run.state()), of=name)
    with _process_errors(name):
        yield from train_all(
            runs, on_window=lambda one: group.say(on_window(one), of=name), ranks=group.ranks
        )


def follow(machine: Machine, group: Group) -> None:
    """Train the trials that rank 0 sends, until there are no more."""
    _use(machine)
    while True:
        task = group.say()
        if task is None:
            leave_group()
            return
        _train_along(task, machine, group)


def _train_along(task: _Task, machine: Machine, group: Group) -> None:
    _, data = data_for(task.trial, machine)
    run = Run(task.trial, data, until=task.until, checkpoint=task.checkpoint)
    name = f"trial {task.trial.id}"
    with _process_errors(name):
        for _ in train_all([run], on_window=lambda _: group.say(of=name), ranks=group.ranks):
            pass


def ignore_signals(rank: int) -> None:
    """Ignore what reaches all ranks: rank 0's driver handles it while trials are trained.

    Once a rank is lost `torchrun` sends SIGTERM to the others, which must not end rank 0 before it
    has said what happened.
    """
    for number in (signal.SIGTERM,) if rank == 0 else SIGNALS:
        signal.signal(number, signal.SIG_IGN)


# Messages of gloo, in a RuntimeError, about a lost peer.
_LOST_PEER = (
    "gloo/transport/",
    "Connection closed by peer",
    "Connection reset by peer",
    "caused pair closure",
)


@contextmanager
def _process_errors(what: str) -> Iterator[None]:
    """Turn errors about a lost rank into WorkerKilledError."""
    try:
        yield
    except RuntimeError as error:
        is_lost = type(error) is RuntimeError and any(text in str(error) for text in _LOST_PEER)
        if is_lost or isinstance(error, dist.DistError):
            raise _lost_error(what, error) from error
        raise


def _lost_error(what: str, error: RuntimeError) -> WorkerKilledError:
    return WorkerKilledError(
        f"a process of {what} was lost: {error}",
        hint="the same command continues from the last checkpoint",
    )


def _use(machine: Machine) -> None:
    if machine.device.startswith("cuda"):
        torch.cuda.set_device(machine.device)  # of this thread
