"""What a person sees while trials run: a live table on a terminal, plain lines in a log.

Talk goes to stderr; stdout is for results. NO_COLOR and TERM=dumb are honoured by rich.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import Progress, TaskID
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from repro.errors import ReproError
from repro.execute.monitor.observer import Event, Observer, TrainedCell
from repro.execute.monitor.progress import Fault, Overview, Pace, Standing, standing_of
from repro.plan import Cell
from repro.talk import printable, say
from repro.text import duration

__all__ = ["Watcher", "decoding_bar", "follow", "overview_lines"]

LOG_EVERY_SECONDS = 30.0
LOOK_EVERY_SECONDS = 1.0
_EMPTY_LOOKS = 5

_STOPPING = "saving each trial at its next tenth of an epoch; Ctrl-C again leaves at once"


@contextmanager
def decoding_bar() -> Iterator[Callable[[int, int], None]]:
    """A bar for images that are decoded now; nothing is shown when none are."""
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

    @property
    def standing(self) -> Standing:
        return standing_of(self.cell, self.event, now=datetime.now(UTC))


@dataclass(kw_only=True)
class Watcher(Observer):
    """Follows the trials of a run.

    Without a terminal each line begins with the time and a word that can be searched for: `start`,
    `train`, `done`, `saved`, `lost` or `fault` before a trial's identity and name, or `plan` or
    `stop`.
    """

    pace: Pace
    clock: Callable[[], float] = time.monotonic
    rows: dict[str, _Row] = field(default_factory=dict)
    finished: int = 0
    stopping: bool = False

    def __post_init__(self) -> None:
        self.console = Console(stderr=True)
        self.interactive = self.console.is_interactive
        self.live = Live(
            console=self.console,
            refresh_per_second=4,
            transient=True,
            get_renderable=self._picture,
        )
        self.said = self.clock()

    def __enter__(self) -> Self:
        if self.interactive:
            self.live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.live.stop()

    def ready(self, where: str) -> None:
        """Trials can begin: on what, and how many at a time."""
        say(f"training on {where}")

    def start(self, cell: Cell) -> None:
        """A trial begins or goes on."""
        self.rows[cell.trial.id] = _Row(cell=cell)
        if not self.interactive:
            self._say("start", cell, f"to at most {cell.until:g} epochs")

    def event(self, event: Event) -> None:
        """A tenth of an epoch has passed."""
        if event.trial_id in self.rows:
            self.rows[event.trial_id].event = event
        if not self.interactive and self.clock() - self.said >= LOG_EVERY_SECONDS:
            self.said = self.clock()
            for row in list(self.rows.values()):
                if row.event is not None:
                    self._say("train", row.cell, _progress(row.standing))
            self._print("plan", self._summary())

    def finish(self, cell: Cell, ended: TrainedCell) -> None:
        """A trial has ended, was paused, or is in other hands."""
        self.rows.pop(cell.trial.id, None)
        result = ended.result
        if result is None:
            if ended.outcome == "paused":
                self._say("saved", cell, "not finished")
            elif ended.outcome == "lost":
                self._say("lost", cell, "its worker is gone; goes on from its last checkpoint")
            return
        self.finished += 1
        crossing = result.crossing_full or result.crossing_online
        when = f" at epoch {crossing[1]:.1f}" if crossing else f" after {result.epochs:.1f} epochs"
        self._say(
            "done",
            cell,
            f"{result.status}{when}, last batches' error {100 * result.train_error:.1f} %, "
            f"{duration(result.seconds.wall)}",
        )

    def fail(self, cell: Cell, error: ReproError) -> None:
        """At once, and in full when the run has ended."""
        self.rows.pop(cell.trial.id, None)
        self._say("fault", cell, f"error[{error.code}]: {_first_line(str(error))}")

    def stop(self) -> None:
        """Said at once: saving takes up to a tenth of an epoch."""
        self.stopping = True
        if not self.interactive:
            self._print("stop", _STOPPING)

    def _say(self, word: str, cell: Cell, text: str) -> None:
        self._print(word, f"{cell.trial.id} {cell.name}: {text}")

    def _print(self, word: str, text: str) -> None:
        when = "" if self.interactive else f"{datetime.now(UTC).astimezone():%Y-%m-%d %H:%M:%S} "
        self.console.print(
            f"{when}{word:5} {printable(text)}", highlight=False, soft_wrap=True, markup=False
        )

    def _summary(self) -> str:
        left = self.pace.seconds_left()
        known = "" if left is None else f", at most {duration(left)} left"
        return f"{self.finished} trials done, {len(self.rows)} running{known}"

    def _picture(self) -> RenderableType:
        table = _table([row.standing for row in list(self.rows.values())])
        what = _STOPPING if self.stopping else "Ctrl-C saves and stops"
        return Group(table, Text(f"{self._summary()}; {what}", style="dim"))


def _table(standings: Sequence[Standing]) -> Table:
    """A line for each running trial."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("trial", no_wrap=True)
    table.add_column("", no_wrap=True)
    for heading in ("epoch", "training error", "images/s", "left at most"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in standings:
        table.add_row(
            Text(printable(one.name)),
            ProgressBar(total=one.until, completed=one.epoch, width=20),
            f"{one.epoch:.1f}/{one.until:g}",
            "" if one.error is None or math.isnan(one.error) else f"{100 * one.error:.1f} %",
            "" if one.images_per_second is None else f"{one.images_per_second:,.0f}",
            "starting" if one.seconds_left is None else duration(one.seconds_left),
        )
    return table


def _progress(one: Standing) -> str:
    """The same in a line."""
    if one.error is None or one.seconds_left is None:
        return "starting"
    known = [
        f"epoch {one.epoch:.1f} of at most {one.until:g}",
        *([] if math.isnan(one.error) else [f"training error {100 * one.error:.1f} %"]),
        *([f"{one.images_per_second:,.0f} images/s"] if one.images_per_second else []),
        f"at most {duration(one.seconds_left)} left",
    ]
    return ", ".join(known)


def overview_lines(found: Overview) -> list[str]:
    """A store at a glance, for `repro status`."""
    return [
        *(f"train {one.trial_id} {one.name}: {_progress(one)}" for one in found.running),
        *map(_fault, found.faults),
        _counts(found),
    ]


def _fault(one: Fault) -> str:
    what = f"error[{one.code}]: {_first_line(one.message)}"
    return f"fault {one.trial_id} {one.name}, {one.told}: {what}\n      next: {one.hint}"


def _first_line(text: str) -> str:
    return text.partition("\n")[0]


def _counts(found: Overview) -> str:
    left = [one.plan_seconds_left for one in found.running if one.plan_seconds_left is not None]
    known = f"; at most {duration(max(left))} left" if left else ""
    count = len(found.faults)
    again = f"; {count} with a fault, which the same `repro run` tries again" if count else ""
    return (
        f"{len(found.running)} trials running, {found.finished} finished, "
        f"{found.unfinished} begun and waiting to go on{again}{known}"
    )


def follow(look: Callable[[], Overview], *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Show a store until nothing runs in it any more: live on a terminal, else in lines."""
    console = Console()

    def settled() -> Overview:
        """Between two trials nothing runs for a moment, and while workers start for seconds."""
        for _ in range(_EMPTY_LOOKS):
            if (found := look()).running:
                break
            sleep(LOOK_EVERY_SECONDS)
        return found

    if not console.is_interactive:
        while True:
            found = settled()
            _print_lines(console, found)
            if not found.running:
                return
            sleep(LOG_EVERY_SECONDS)
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while (found := settled()).running:
            counts = Text(f"{_counts(found)}; Ctrl-C leaves the run alone", style="dim")
            live.update(Group(_table(found.running), counts), refresh=True)
            sleep(LOOK_EVERY_SECONDS)
    _print_lines(console, found)


def _print_lines(console: Console, found: Overview) -> None:
    for line in overview_lines(found):
        console.print(printable(line), highlight=False, soft_wrap=True, markup=False)
