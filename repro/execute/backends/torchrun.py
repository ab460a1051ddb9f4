"""One trial at a time over all processes that `torchrun` started, each with a device of its own.

The first process plans, writes the store and talks; the others train their part of what it names.
A fault in one ends them all: `torchrun` ends the rest, and starts all again if it was told to. A
trial goes on from its last checkpoint, on any number of processes. What leads and what follows is
the same wherever the processes come from; `repro.execute.backends.ray` starts them on a cluster.
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
from repro.execute.machine import SIGNALS, Ended, Machine, PlainFlag
from repro.execute.monitor.observer import Event
from repro.execute.worker.work import data_for, train_cells
from repro.plan import Cell
from repro.train import Run, train_all
from repro.train.ranks import Ranks
from repro.trial import Trial

__all__ = ["AllRanks", "Group", "follow", "heed_the_first", "join", "lead", "part"]

_PATIENCE = timedelta(days=7)  # between two trials the first process may decode images for hours


@dataclass(frozen=True, kw_only=True, slots=True)
class _Task:
    """What the first process has the others train with it."""

    trial: Trial
    until: float
    checkpoint: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """The processes of this run; `words` carries what they say, beside what they compute."""

    ranks: Ranks
    words: Any

    def say(self, said: object = None, *, of: str = "this run") -> Any:
        """What the first process says, heard by all. WorkerKilledError when one `of` it is lost."""
        box = [said]
        try:
            dist.broadcast_object_list(box, src=0, group=self.words, device=torch.device("cpu"))
        except RuntimeError as error:  # whatever it is: nothing is done here but talking
            raise _lost(of, error) from error
        return box[0]


def join(**place: Any) -> Group:
    """Meet the other processes, by the environment that `torchrun` gives each.

    `place`: what torch.distributed.init_process_group is to know instead.
    """
    # torch 2.15 has no other word yet for buffers that are each process's own.
    warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, **place)
    words = dist.new_group(backend="gloo", timeout=_PATIENCE)
    ranks = Ranks(rank=dist.get_rank(), size=dist.get_world_size())
    return Group(ranks=ranks, words=words)


def part() -> None:
    """Leave the others: threads of theirs that still run when Python ends would abort it."""
    if dist.is_initialized():
        dist.destroy_process_group()


class AllRanks:
    """The driver's back-end in the first process: one trial at a time, over all of them."""

    def __init__(self, machine: Machine, group: Group) -> None:
        self.machine = replace(machine, workers=1, population=1, processes=group.ranks.size)
        self.group = group
        self._stop = PlainFlag()
        self._events = SimpleQueue[Event]()
        self._together = False  # all of them train what they were told
        self._parted: BaseException | None = None
        self._dismissed = self._killed = False
        atexit.register(self._dismiss)  # the others wait also where there was nothing to train

    def __enter__(self) -> Self:
        self._thread = ThreadPoolExecutor(1)
        return self

    def __exit__(self, *_: object) -> None:
        if self._killed:
            return  # a thread ends with the process alone
        self._thread.shutdown()
        self._dismiss()

    def _dismiss(self) -> None:
        """Tell the others that there is no more, once; after a fault they are gone."""
        if self._parted is None and not self._dismissed and not self._killed:
            self._dismissed = True
            self.group.say(None)
            part()

    def describe(self) -> str:
        return f"{self.machine.device.partition(':')[0]}, {self.group.ranks.size} processes a trial"

    def slots(self) -> int:
        return 1

    def grouped(self, cells: Sequence[Cell]) -> list[list[Cell]]:
        return [[cell] for cell in cells]

    def submit(self, cells: Sequence[Cell]) -> Future[Ended]:
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
        """This process leaves, and the others with it."""
        self._killed = True

    def _work(self, cells: Sequence[Cell]) -> Ended:
        if self._parted is not None:
            raise MachineError(
                f"not begun: the processes have parted after a fault ({self._parted})",
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
            if self._together:
                self._parted = error
            raise

    def _train(self, runs: Sequence[Run], *, on_window: Callable[[Run], bool]) -> Iterator[Run]:
        self._together = True
        for run in lead(self.group, runs, on_window=on_window):
            self._together = False
            yield run


def lead(group: Group, runs: Sequence[Run], *, on_window: Callable[[Run], bool]) -> Iterator[Run]:
    """Train one trial with all processes, as the first of them: a trainer for `train_cells`."""
    (run,) = runs
    name = f"trial {run.trial.id}"
    group.say(_Task(trial=run.trial, until=run.until, checkpoint=run.state()), of=name)
    with _telling_the_lost(name):
        yield from train_all(
            runs, on_window=lambda one: group.say(on_window(one), of=name), ranks=group.ranks
        )


def follow(machine: Machine, group: Group) -> None:
    """Train what the first process says, until it says that there is no more."""
    _use(machine)
    while True:
        task = group.say()
        if task is None:
            part()
            return
        _train_along(task, machine, group)


def _train_along(task: _Task, machine: Machine, group: Group) -> None:
    _, data = data_for(task.trial, machine)
    run = Run(task.trial, data, until=task.until, checkpoint=task.checkpoint)
    name = f"trial {task.trial.id}"
    with _telling_the_lost(name):
        for _ in train_all([run], on_window=lambda _: group.say(of=name), ranks=group.ranks):
            pass


def heed_the_first() -> None:
    """Leave signals that reach every process to the first: it saves and says so."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


# What gloo says of a peer that is gone, in a RuntimeError like any other.
_GONE = (
    "gloo/transport/",
    "Connection closed by peer",
    "Connection reset by peer",
    "caused pair closure",
)


@contextmanager
def _telling_the_lost(what: str) -> Iterator[None]:
    """WorkerKilledError where another process of what is under way is gone."""
    try:
        yield
    except RuntimeError as error:
        gone = type(error) is RuntimeError and any(said in str(error) for said in _GONE)
        if gone or isinstance(error, dist.DistError):
            raise _lost(what, error) from error
        raise


def _lost(what: str, error: RuntimeError) -> WorkerKilledError:
    return WorkerKilledError(
        f"a process of {what} was lost: {error}",
        hint="the same command continues from the last checkpoint",
    )


def _use(machine: Machine) -> None:
    if machine.device.startswith("cuda"):
        torch.cuda.set_device(machine.device)  # of this thread
