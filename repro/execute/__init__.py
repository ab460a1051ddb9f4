"""Where trials run. Decides nothing about what runs."""

from repro.execute.driver import Backend, Outcome, WorkerLost, run_cells
from repro.execute.local import Local
from repro.execute.observer import Observer, Observers
from repro.execute.profile import keep_times
from repro.execute.work import (
    Ended,
    Event,
    Machine,
    Measurement,
    TrainedCell,
    in_populations,
    train_cells,
)

__all__ = [
    "Backend",
    "Ended",
    "Event",
    "Local",
    "Machine",
    "Measurement",
    "Observer",
    "Observers",
    "Outcome",
    "TrainedCell",
    "WorkerLost",
    "in_populations",
    "keep_times",
    "run_cells",
    "train_cells",
]
