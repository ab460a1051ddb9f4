"""Weights & Biases, offline: one run a trial, in files; nothing is sent anywhere.

`wandb sync FOLDER/wandb/offline-run-*` sends them later, from wherever there is an account; with
`--append`, since a trial that goes on adds a run under the same id.
"""

from pathlib import Path

import wandb

from repro.execute.monitor.loggers.fields import measurements, outcome, run_name, settings
from repro.execute.monitor.observer import Event, Observer, TrainedCell
from repro.plan import Cell

__all__ = ["Logger"]

PROJECT = "repro"


class Logger(Observer):
    """A run for each trial, whose id is the trial's."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        # Whatever the environment says; neither code nor what is printed goes into the files.
        self.offline = wandb.Settings(
            mode="offline", console="off", silent=True, disable_code=True, disable_git=True
        )
        self.runs: dict[str, wandb.Run] = {}

    def __exit__(self, *_: object) -> None:
        for run in self.runs.values():
            run.finish(exit_code=1)

    def start(self, cell: Cell) -> None:
        """Its settings as the run's configuration."""
        self.runs[cell.trial.id] = wandb.init(
            project=PROJECT,
            dir=self.folder,
            id=cell.trial.id,
            name=run_name(cell),
            config=dict(settings(cell)),
            settings=self.offline,
            reinit="create_new",  # trials run side by side
        )

    def event(self, event: Event) -> None:
        """What was measured."""
        run = self.runs.get(event.trial_id)
        if run is not None:
            for name, value, step in measurements(event):
                run.log({name: value}, step=step)

    def finish(self, cell: Cell, ended: TrainedCell) -> None:
        """The final metrics, and whether it has come to its end."""
        run = self.runs.pop(cell.trial.id, None)
        if run is None:
            return
        if ended.result is not None:
            run.summary.update({name: value for name, value, _step in outcome(ended.result)})
        run.finish(exit_code=0 if ended.result is not None else 1)
