"""Observers of running trials: the terminal, the files for `repro status`, loggers.

Without torch, so that `repro status` starts fast.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal, Self

from repro.errors import ReproError
from repro.planning import Cell
from repro.trial import Result, Row


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """The progress of a trial.

    `error`: online, of the last window; `images`: training images per epoch; 0 for a command, as
    is `images_per_second`; `rows`: the measurements since the last event.
    """

    trial_id: str
    epoch: float
    error: float
    images_per_second: float  # of training alone
    images: int
    rows: tuple[Row, ...] = ()
    seconds: float = 0.0  # of training, of a command, since its beginning

    @property
    def seconds_an_epoch(self) -> float:
        """By the speed now where images are counted, else the mean so far."""
        if self.images:
            return self.images / self.images_per_second
        return self.seconds / self.epoch if self.epoch else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedCell:
    """How the work on a cell ended.

    `busy`: another process has locked the trial; `lost`: its worker is gone, and the trial
    continues on another one from its last checkpoint.
    """

    outcome: Literal["finished", "paused", "busy", "lost"]
    result: Result | None = None


class Observer:
    """Receives the events of every trial, in the main process; each method is optional.

    Entered before the first trial, and left after the last one, however the run ends.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """The run has ended."""

    def ready(self, place: str) -> None:
        """Trials can begin. `place`: the device and the number of parallel trials."""

    def start(self, cell: Cell) -> None:
        """A trial begins or continues."""

    def event(self, event: Event) -> None:
        """A tenth of an epoch has passed."""

    def finish(self, cell: Cell, outcome: TrainedCell) -> None:
        """A trial has ended, was paused, or is locked by another process."""

    def fail(self, cell: Cell, error: ReproError) -> None:
        """A fault ended a trial; there is no result."""

    def stop(self) -> None:
        """The run saves and stops; one more event of each running trial follows."""


class Observers(Observer):
    """Several observers as one."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self.observers = observers

    def __enter__(self) -> Self:
        with ExitStack() as stack:  # those that are entered are left when a later one fails
            for observer in self.observers:
                stack.enter_context(observer)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.__exit__(*error)  # type: ignore[arg-type] # as Python gives them

    def _pass_on(self, call: Callable[[Observer], None]) -> None:
        for observer in self.observers:
            call(observer)

    def ready(self, place: str) -> None:
        self._pass_on(lambda observer: observer.ready(place))

    def start(self, cell: Cell) -> None:
        self._pass_on(lambda observer: observer.start(cell))

    def event(self, event: Event) -> None:
        self._pass_on(lambda observer: observer.event(event))

    def finish(self, cell: Cell, outcome: TrainedCell) -> None:
        self._pass_on(lambda observer: observer.finish(cell, outcome))

    def fail(self, cell: Cell, error: ReproError) -> None:
        self._pass_on(lambda observer: observer.fail(cell, error))

    def stop(self) -> None:
        self._pass_on(lambda observer: observer.stop())
