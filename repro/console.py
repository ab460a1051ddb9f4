"""What a person sees while trials run: a live table on a terminal, plain lines in a log.

Talk goes to stderr; stdout is for results.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.progress import Progress, TaskID
from rich.table import Table

from repro.execute import Event, TrainedCell
from repro.plan import Cell
from repro.text import duration

__all__ = ["Watcher", "decoding_bar", "say"]

LOG_EVERY_SECONDS = 30.0


def say(text: str) -> None:
    """One line to stderr."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - this is the place that talks


@contextmanager
def decoding_bar() -> Iterator[Callable[[int, int], None]]:
    """A bar for images that are decoded for the first time; nothing is shown when none are."""
    with Progress(console=Console(stderr=True), transient=True) as progress:
        tasks: list[TaskID] = []

        def show(done: int, total: int) -> None:
            if not tasks:
                tasks.append(progress.add_task("decoding images, once", total=total))
            progress.update(tasks[0], completed=done)

        yield show


@dataclass(kw_only=True, slots=True)
class _Row:
    cell: Cell
    event: Event | None = None


@dataclass(kw_only=True)
class Watcher:
    """Follows the trials of a run."""

    clock: Callable[[], float] = time.monotonic
    rows: dict[str, _Row] = field(default_factory=dict)
    finished: int = 0
    said: float = 0.0

    def __post_init__(self) -> None:
        self.console = Console(stderr=True)
        self.live = Live(console=self.console, refresh_per_second=4, transient=True)
        self.said = self.clock()

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.live.stop()

    def start(self, cell: Cell) -> None:
        """A trial begins or goes on."""
        self.rows[cell.trial.id] = _Row(cell=cell)
        self._show()

    def event(self, event: Event) -> None:
        """A tenth of an epoch has passed."""
        if event.trial_id in self.rows:
            self.rows[event.trial_id].event = event
        self._show()

    def finish(self, cell: Cell, ended: TrainedCell) -> None:
        """A trial has ended, was paused, or is in other hands."""
        self.rows.pop(cell.trial.id, None)
        if ended.result is None:
            if ended.outcome == "paused":
                self._say(f"{_name(cell)}: saved, not finished")
            elif ended.outcome == "lost":
                self._say(f"{_name(cell)}: its worker was lost; goes on from its last checkpoint")
            return
        self.finished += 1
        result = ended.result
        crossing = result.crossing_full or result.crossing_online
        when = f" at epoch {crossing[1]:.1f}" if crossing else f" after {result.epochs:.1f} epochs"
        self._say(
            f"{_name(cell)}: {result.status}{when}, training error "
            f"{100 * result.train_error:.1f} %, {duration(result.seconds.wall)}"
        )
        self._show()

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True)

    def _show(self) -> None:
        if self.console.is_terminal:
            self.live.update(self._table())
        elif self.clock() - self.said >= LOG_EVERY_SECONDS:
            self.said = self.clock()
            for row in self.rows.values():
                if row.event is not None:
                    self._say(f"{_name(row.cell)}: {self._progress(row.cell, row.event)}")

    def _table(self) -> Table:
        table = Table(title=f"{self.finished} trials done", box=None, title_justify="left")
        for heading in ("trial", "progress"):
            table.add_column(heading, no_wrap=True)
        for row in self.rows.values():
            known = "starting" if row.event is None else self._progress(row.cell, row.event)
            table.add_row(_name(row.cell), known)
        return table

    def _progress(self, cell: Cell, event: Event) -> str:
        left = max(0.0, cell.until - event.epoch) * event.images / event.images_per_second
        return (
            f"epoch {event.epoch:.1f} of at most {cell.until:g}, training error "
            f"{100 * event.error:.1f} %, {event.images_per_second:,.0f} images/s, "
            f"at most {duration(left)} left"
        )


def _name(cell: Cell) -> str:
    return (
        f"{cell.recipe}/{cell.arm} {cell.purpose} rate {cell.trial.rate:g} seed {cell.trial.seed}"
    )
