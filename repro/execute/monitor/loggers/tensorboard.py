"""TensorBoard's event files, one folder a trial: `tensorboard --logdir FOLDER` shows them."""

import json
from collections.abc import Iterable
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from repro.execute.monitor.loggers.fields import Measurement, TrialLogger, run_name, settings
from repro.planning import Cell


class Logger(TrialLogger):
    """A continued trial adds a file to its folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def begin(self, cell: Cell) -> SummaryWriter:
        writer = SummaryWriter(str(self.folder / run_name(cell)))
        text = json.dumps(dict(settings(cell)), indent=1)
        writer.add_text("settings", f"```json\n{text}\n```")
        return writer

    def write(self, record: SummaryWriter, values: Iterable[Measurement]) -> None:
        for name, value, step in values:
            record.add_scalar(name, value, step)

    def end(self, record: SummaryWriter) -> None:
        record.close()
