"""The display of a run: a live table on a terminal, plain lines in a log.

Messages go to stderr; stdout is for results. rich honours NO_COLOR and TERM=dumb.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import takewhile
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import Progress, TaskID
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from repro.errors import ReproError
from repro.execute.monitor.observer import Event, Observer, TrainedCell
from repro.execute.monitor.progress import Overview, Pace, TrialProgress, begun
from repro.messages import printable, say
from repro.planning import Cell
from repro.text import counted, duration
from repro.trial import Clocks

LOG_EVERY_SECONDS = 30.0
POLL_SECONDS = 1.0
_EMPTY_LOOKS = 5
_WORTH = 0.05  # of the training time

_STOPPING = "saving each trial at its next tenth of an epoch; Ctrl-C again leaves at once"


@contextmanager
def decoding_bar() -> Iterator[Callable[[int, int], None]]:
    """A progress bar for decoding images; hidden while nothing is decoded."""
    progress = Progress(console=Console(stderr=True), transient=True)
    tasks: list[TaskID] = []

    def show(done: int, total: int) -> None:
        if not tasks:
            progress.start()
            tasks.append(progress.add_task("decoding images, once", total=total))
        progress.update(tasks[0], completed=done)

    try:
        yield show
    finally:
        if tasks:  # without a terminal its end is an empty line
            progress.stop()


@dataclass(kw_only=True)
class ConsoleObserver(Observer):
    """Shows the trials of a run.

    Without a terminal each line begins with the time and a keyword to search for: `start`,
    `train`, `done`, `saved`, `lost` or `fault`, then the trial's identity and name; or `plan`, or
    `stop`.
    """

    pace: Pace
    clock: Callable[[], float] = time.monotonic
    rows: dict[str, TrialProgress] = field(default_factory=dict)
    finished_count: int = 0
    stopping: bool = False

    def __post_init__(self) -> None:
        self.console = Console(stderr=True)
        self.interactive = self.console.is_interactive
        self.live = Live(
            console=self.console,
            refresh_per_second=4,
            transient=True,
            get_renderable=self._render,
        )
        self.last_log = self.clock()

    def __enter__(self) -> Self:
        if self.interactive:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def ready(self, place: str) -> None:
        say(f"training on {place}")

    def start(self, cell: Cell) -> None:
        self.rows[cell.trial.id] = begun(cell)
        if not self.interactive:
            self._say("start", cell, f"to at most {cell.until:g} epochs")

    def event(self, event: Event) -> None:
        if event.trial_id in self.rows:
            self.rows[event.trial_id] = self.rows[event.trial_id].after(event)
        if not self.interactive and self.clock() - self.last_log >= LOG_EVERY_SECONDS:
            self.last_log = self.clock()
            for row in list(self.rows.values()):
                if row.seconds_left is not None:
                    self._print("train", f"{row.trial_id} {row.name}: {_progress(row)}")
            self._print("plan", self._summary())

    def finish(self, cell: Cell, outcome: TrainedCell) -> None:
        self.rows.pop(cell.trial.id, None)
        result = outcome.result
        if result is None:
            if outcome.outcome == "paused":
                self._say("saved", cell, "not finished")
            elif outcome.outcome == "lost":
                self._say("lost", cell, "its worker is gone; it continues from its last checkpoint")
            return
        self.finished_count += 1
        crossing = result.crossing_full or result.crossing_online
        when = f" at epoch {crossing[1]:.1f}" if crossing else f" after {result.epochs:.1f} epochs"
        error = result.train_error  # which a command need not measure
        measured = "" if math.isnan(error) else f", last batches' error {100 * error:.1f} %"
        took = f"{duration(result.seconds.wall)}{_waiting(result.seconds)}"
        self._say("done", cell, f"{result.status}{when}{measured}, {took}")

    def fail(self, cell: Cell, error: ReproError) -> None:
        """Show the first line; the full message follows at the end of the run."""
        self.rows.pop(cell.trial.id, None)
        self._say("fault", cell, f"error[{error.code}]: {_in_a_line(str(error))}")

    def stop(self) -> None:
        """Show it at once: saving takes up to a tenth of an epoch."""
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
        seconds = self.pace.seconds_left()
        time_left = "" if seconds is None else f", at most {duration(seconds)} left"
        return f"{counted(self.finished_count, 'trial')} done, {len(self.rows)} running{time_left}"

    def _render(self) -> RenderableType:
        table = _table(list(self.rows.values()))
        hint = _STOPPING if self.stopping else "Ctrl-C saves and stops"
        return Group(table, Text(f"{self._summary()}; {hint}", style="dim"))


def _waiting(seconds: Clocks) -> str:
    """The share of training that passed without images, where it is worth knowing."""
    share = seconds.waiting / seconds.train if seconds.train else 0.0
    return f", {100 * share:.0f} % of training waiting for images" if share >= _WORTH else ""


def _table(trials: Sequence[TrialProgress]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("trial", no_wrap=True)
    table.add_column("", no_wrap=True)
    for heading in ("epoch", "training error", "images/s", "left at most"):
        table.add_column(heading, justify="right", no_wrap=True)
    for trial in trials:
        table.add_row(
            Text(printable(trial.name)),
            ProgressBar(total=trial.until, completed=trial.epoch, width=20),
            f"{trial.epoch:.1f}/{trial.until:g}",
            "" if trial.error is None or math.isnan(trial.error) else f"{100 * trial.error:.1f} %",
            "" if trial.images_per_second is None else f"{trial.images_per_second:,.0f}",
            "starting" if trial.seconds_left is None else duration(trial.seconds_left),
        )
    return table


def _progress(trial: TrialProgress) -> str:
    if trial.error is None or trial.seconds_left is None:
        return "starting"
    parts = [
        f"epoch {trial.epoch:.1f} of at most {trial.until:g}",
        *([] if math.isnan(trial.error) else [f"training error {100 * trial.error:.1f} %"]),
        *([f"{trial.images_per_second:,.0f} images/s"] if trial.images_per_second else []),
        f"at most {duration(trial.seconds_left)} left",
    ]
    return ", ".join(parts)


def overview_lines(state: Overview) -> list[str]:
    return [
        *(f"train {trial.trial_id} {trial.name}: {_progress(trial)}" for trial in state.running),
        *(
            f"fault {fault.trial_id} {fault.name}, {fault.told}: "
            f"error[{fault.code}]: {_in_a_line(fault.message)}\n      next: {fault.hint}"
            for fault in state.faults
        ),
        _count_line(state),
    ]


def _in_a_line(text: str) -> str:
    """The first line of a message; where it ends in a colon, with the last line that it announces.

    That is the last of a program's own lines, which are indented further than what follows them.
    """
    first, *more = text.splitlines() or [""]
    lines = [*takewhile(lambda line: line.startswith("    "), more)] or more
    return f"{first} {lines[-1].strip()}" if lines and first.endswith(":") else first


def _count_line(state: Overview) -> str:
    seconds_left = [
        trial.plan_seconds_left for trial in state.running if trial.plan_seconds_left is not None
    ]
    time_left = f"; at most {duration(max(seconds_left))} left" if seconds_left else ""
    count = len(state.faults)
    again = "which the same `repro run` tries again, unless the claim file or the code has changed"
    fault_note = f"; {count} with a fault, {again}" if count else ""
    return (
        f"{counted(len(state.running), 'trial')} running, {state.finished} finished, "
        f"{state.unfinished} begun and waiting to go on{fault_note}{time_left}"
    )


def watch_store(look: Callable[[], Overview]) -> None:
    """Show a store until no trial runs in it: live on a terminal, else as lines."""
    console = Console()

    def next_state() -> Overview:
        """Look several times: between trials, and while workers start, nothing runs."""
        for _ in range(_EMPTY_LOOKS):
            if (state := look()).running:
                break
            time.sleep(POLL_SECONDS)
        return state

    if not console.is_interactive:
        while True:
            state = next_state()
            _print_lines(console, state)
            if not state.running:
                return
            time.sleep(LOG_EVERY_SECONDS)
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while (state := next_state()).running:
            counts = Text(f"{_count_line(state)}; Ctrl-C leaves the run alone", style="dim")
            live.update(Group(_table(state.running), counts), refresh=True)
            time.sleep(POLL_SECONDS)
    _print_lines(console, state)


def _print_lines(console: Console, state: Overview) -> None:
    for line in overview_lines(state):
        console.print(printable(line), highlight=False, soft_wrap=True, markup=False)
