"""MLflow's local store, one run a trial; nothing is sent anywhere.

MLflow keeps such a store in maintenance and asks for MLFLOW_ALLOW_FILE_STORE=true, also of
`mlflow ui --backend-store-uri FOLDER`; its databases would need its whole server here.
"""

import os
import time
from pathlib import Path

from repro.execute.monitor.loggers.fields import measurements, outcome, run_name, settings
from repro.execute.monitor.observer import Event, Observer, TrainedCell
from repro.plan import Cell

__all__ = ["Logger"]

EXPERIMENT = "repro"


class Logger(Observer):
    """A run for each trial, known by its tag `trial`; a trial that goes on keeps its run."""

    def __init__(self, folder: Path) -> None:
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        from mlflow import MlflowClient
        from mlflow.entities import Metric

        self.client = MlflowClient(tracking_uri=folder.resolve().as_uri())
        self.metric = Metric
        found = self.client.get_experiment_by_name(EXPERIMENT)
        self.experiment = (
            found.experiment_id if found else self.client.create_experiment(EXPERIMENT)
        )
        self.runs: dict[str, str] = {}

    def __exit__(self, *_: object) -> None:
        for run in self.runs.values():
            self.client.set_terminated(run, "KILLED")

    def start(self, cell: Cell) -> None:
        """Its settings as parameters."""
        tag = f"tags.trial = '{cell.trial.id}'"
        known = self.client.search_runs([self.experiment], filter_string=tag)
        if known:
            self.runs[cell.trial.id] = known[0].info.run_id
            return
        run = self.client.create_run(
            self.experiment, run_name=run_name(cell), tags={"trial": cell.trial.id}
        )
        self.runs[cell.trial.id] = run.info.run_id
        for name, value in settings(cell).items():
            self.client.log_param(run.info.run_id, name, value)

    def event(self, event: Event) -> None:
        """What was measured."""
        if event.trial_id in self.runs:
            self._log(self.runs[event.trial_id], list(measurements(event)))

    def finish(self, cell: Cell, ended: TrainedCell) -> None:
        """The final metrics, and whether it has come to its end."""
        run = self.runs.pop(cell.trial.id, None)
        if run is None:
            return
        if ended.result is not None:
            self._log(run, list(outcome(ended.result)))
        self.client.set_terminated(run, "KILLED" if ended.result is None else "FINISHED")

    def _log(self, run: str, measured: list[tuple[str, float, int]]) -> None:
        now = int(time.time() * 1000)
        metrics = [self.metric(name, value, now, step) for name, value, step in measured]
        self.client.log_batch(run, metrics=metrics)
