"""Trackio's database, a run a trial: `TRACKIO_DIR=FOLDER trackio show` draws the curves.

Nothing leaves the machine unless Trackio's own variables say so, such as TRACKIO_SPACE_ID.
"""

import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from repro.execute.monitor.loggers.fields import Measurement, TrialLogger, run_name, settings
from repro.planning import Cell


class Logger(TrialLogger):
    """A continued trial continues its run."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        os.environ["TRACKIO_DIR"] = str(folder.resolve())  # which Trackio reads when imported
        import trackio

        self.trackio = trackio

    def begin(self, cell: Cell) -> Any:
        return self.trackio.init(
            project="repro", name=run_name(cell), group=cell.recipe, config=dict(settings(cell)),
            resume="allow", embed=False, auto_log_gpu=False, auto_log_cpu=False,
        )  # fmt: skip

    def write(self, record: Any, values: Iterable[Measurement]) -> None:
        steps: defaultdict[int, dict[str, float]] = defaultdict(dict)
        for name, value, step in values:
            steps[step][name] = value
        for step, metrics in steps.items():
            record.log(metrics, step=step)

    def end(self, record: Any) -> None:
        record.finish()
