"""TensorBoard's event files, one folder a trial: `tensorboard --logdir FOLDER` shows them."""

import json
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from repro.execute.monitor.loggers.fields import final_metrics, measurements, run_name, settings
from repro.execute.monitor.observer import Event, Observer, TrainedCell
from repro.plan import Cell


class Logger(Observer):
    """A writer for each running trial. A continued trial adds a file to its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.writers: dict[str, SummaryWriter] = {}

    def __exit__(self, *_: object) -> None:
        for writer in self.writers.values():
            writer.close()

    def start(self, cell: Cell) -> None:
        """Write the settings as text."""
        writer = SummaryWriter(str(self.folder / run_name(cell)))
        text = json.dumps(dict(settings(cell)), indent=1)
        writer.add_text("settings", f"```json\n{text}\n```")
        self.writers[cell.trial.id] = writer

    def event(self, event: Event) -> None:
        """Write the measurements."""
        writer = self.writers.get(event.trial_id)
        if writer is not None:
            for name, value, step in measurements(event):
                writer.add_scalar(name, value, step)

    def finish(self, cell: Cell, outcome: TrainedCell) -> None:
        """Write the final metrics of a finished trial."""
        writer = self.writers.pop(cell.trial.id, None)
        if writer is None:
            return
        if outcome.result is not None:
            for name, value, step in final_metrics(outcome.result):
                writer.add_scalar(name, value, step)
        writer.close()
