"""Where trials run. Decides nothing about what runs."""

from repro.execute.device import resolve_device, workers_for
from repro.execute.driver import Backend, Outcome, WorkerLost, run_cells
from repro.execute.local import Local
from repro.execute.profile import keep_times
from repro.execute.work import (
    Ended,
    Machine,
    in_populations,
    train_cells,
)

__all__ = [
    "Backend",
    "Ended",
    "Local",
    "Machine",
    "Outcome",
    "WorkerLost",
    "in_populations",
    "keep_times",
    "resolve_device",
    "run_cells",
    "train_cells",
    "workers_for",
]
