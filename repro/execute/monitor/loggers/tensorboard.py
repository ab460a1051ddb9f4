"""TensorBoard's event files, one folder a trial: `tensorboard --logdir FOLDER` shows them."""

import json
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from repro.execute.monitor.loggers.fields import measurements, outcome, run_name, settings
from repro.execute.monitor.observer import Event, Observer, TrainedCell
from repro.plan import Cell

__all__ = ["Logger"]


class Logger(Observer):
    """A writer for each running trial. A trial that goes on adds a file to its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.writers: dict[str, SummaryWriter] = {}

    def __exit__(self, *_: object) -> None:
        for writer in self.writers.values():
            writer.close()

    def start(self, cell: Cell) -> None:
        """Its settings as text."""
        writer = SummaryWriter(str(self.folder / run_name(cell)))
        text = json.dumps(dict(settings(cell)), indent=1)
        writer.add_text("settings", f"```json\n{text}\n```")
        self.writers[cell.trial.id] = writer

    def event(self, event: Event) -> None:
        """What was measured."""
        writer = self.writers.get(event.trial_id)
        if writer is not None:
            for name, value, step in measurements(event):
                writer.add_scalar(name, value, step)

    def finish(self, cell: Cell, ended: TrainedCell) -> None:
        """The final metrics, if it has come to its end."""
        writer = self.writers.pop(cell.trial.id, None)
        if writer is None:
            return
        if ended.result is not None:
            for name, value, step in outcome(ended.result):
                writer.add_scalar(name, value, step)
        writer.close()
