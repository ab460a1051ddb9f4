"""Whoever looks on while trials run: the terminal, the files for `repro status`, loggers.

What they are told, without torch: who only reads what they left waits for nothing.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

from repro.errors import ReproError
from repro.plan import Cell
from repro.trial import Result

__all__ = ["Event", "Measurement", "Observer", "Observers", "TrainedCell"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """One row of a trial's curve: `error` is a fraction, `loss` in nats."""

    epoch: float
    source: str  # online, train or test
    error: float
    loss: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """A trial's progress, for whoever looks on.

    `error`: online, of the last window; `images`: training images of an epoch, 0 where a command
    trains, whose `images_per_second` are 0, too; `rows`: all that was measured since the last
    event.
    """

    trial_id: str
    epoch: float
    error: float
    images_per_second: float  # of training alone
    images: int
    rows: tuple[Measurement, ...] = ()
    seconds: float = 0.0  # of training, of a command, since its beginning

    @property
    def seconds_an_epoch(self) -> float:
        """So far."""
        if self.images:
            return self.images / self.images_per_second
        return self.seconds / self.epoch if self.epoch else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedCell:
    """How the work on a cell ended.

    `busy`: another process holds the trial; `lost`: its worker is gone, and the trial goes on
    with another one from its last checkpoint.
    """

    outcome: Literal["finished", "paused", "busy", "lost"]
    result: Result | None = None


class Observer:
    """Told of every trial of a run, in the process that drives it; a method may be left out.

    Entered before the first trial and left after the last one, however the run ends.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing more will come."""

    def ready(self, where: str) -> None:
        """Trials can begin: on what, and how many at a time."""

    def start(self, cell: Cell) -> None:
        """A trial begins or goes on."""

    def event(self, event: Event) -> None:
        """A tenth of an epoch has passed."""

    def finish(self, cell: Cell, ended: TrainedCell) -> None:
        """A trial has ended, was paused, or is in other hands."""

    def fail(self, cell: Cell, error: ReproError) -> None:
        """A fault kept a trial from its end; nothing of it became a result."""

    def stop(self) -> None:
        """The run was asked to save and stop; what runs is heard of once more."""


class Observers(Observer):
    """Several of them, told one after the other."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self.observers = observers

    def __enter__(self) -> Self:
        with ExitStack() as stack:  # those that are entered are left when a later one fails
            for observer in self.observers:
                stack.enter_context(observer)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def ready(self, where: str) -> None:
        """To all."""
        for observer in self.observers:
            observer.ready(where)

    def start(self, cell: Cell) -> None:
        """To all."""
        for observer in self.observers:
            observer.start(cell)

    def event(self, event: Event) -> None:
        """To all."""
        for observer in self.observers:
            observer.event(event)

    def finish(self, cell: Cell, ended: TrainedCell) -> None:
        """To all."""
        for observer in self.observers:
            observer.finish(cell, ended)

    def fail(self, cell: Cell, error: ReproError) -> None:
        """To all."""
        for observer in self.observers:
            observer.fail(cell, error)

    def stop(self) -> None:
        """To all."""
        for observer in self.observers:
            observer.stop()
