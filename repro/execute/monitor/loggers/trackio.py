"""Trackio's database, a run a trial: `TRACKIO_DIR=FOLDER trackio show` draws the curves.

Nothing leaves the machine unless Trackio's own variables say so, such as TRACKIO_SPACE_ID.
"""

import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from repro.execute.monitor.loggers.fields import final_metrics, measurements, run_name, settings
from repro.execute.monitor.observer import Event, Observer, TrainedCell
from repro.plan import Cell


class Logger(Observer):
    """A run for each running trial. A continued trial continues its run."""

    def __init__(self, folder: Path) -> None:
        os.environ["TRACKIO_DIR"] = str(folder.resolve())  # which Trackio reads when imported
        import trackio

        self.trackio = trackio
        self.runs: dict[str, Any] = {}

    def __exit__(self, *_: object) -> None:
        for run in self.runs.values():
            run.finish()

    def start(self, cell: Cell) -> None:
        """Begin its run, with the settings."""
        self.runs[cell.trial.id] = self.trackio.init(
            project="repro", name=run_name(cell), group=cell.recipe, config=dict(settings(cell)),
            resume="allow", embed=False, auto_log_gpu=False, auto_log_cpu=False,
        )  # fmt: skip

    def event(self, event: Event) -> None:
        """Write the measurements."""
        if event.trial_id in self.runs:
            _log(self.runs[event.trial_id], measurements(event))

    def finish(self, cell: Cell, outcome: TrainedCell) -> None:
        """Write the final metrics of a finished trial."""
        run = self.runs.pop(cell.trial.id, None)
        if run is None:
            return
        if outcome.result is not None:
            _log(run, final_metrics(outcome.result))
        run.finish()


def _log(run: Any, values: Iterable[tuple[str, float, int]]) -> None:
    steps: defaultdict[int, dict[str, float]] = defaultdict(dict)
    for name, value, step in values:
        steps[step][name] = value
    for step, metrics in steps.items():
        run.log(metrics, step=step)
