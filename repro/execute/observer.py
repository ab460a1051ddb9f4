"""Whoever looks on while trials run: the terminal, the files for `repro status`, loggers."""

from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from repro.execute.work import Event, TrainedCell
from repro.plan import Cell

__all__ = ["Observer", "Observers"]


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

    def start(self, cell: Cell) -> None:
        """A trial begins or goes on."""

    def event(self, event: Event) -> None:
        """A tenth of an epoch has passed."""

    def finish(self, cell: Cell, ended: TrainedCell) -> None:
        """A trial has ended, was paused, or is in other hands."""

    def stop(self) -> None:
        """The run was asked to save and stop; what runs is heard of once more."""


class Observers(Observer):
    """Several of them, told one after the other."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self.observers = observers
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        for observer in self.observers:
            self._stack.enter_context(observer)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

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

    def stop(self) -> None:
        """To all."""
        for observer in self.observers:
            observer.stop()
