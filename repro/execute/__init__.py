"""Where trials run. Decides nothing about what runs."""

from repro.execute.driver import Backend, Outcome, WorkerLost, run_cells
from repro.execute.local import Local
from repro.execute.work import Event, Machine, TrainedCell, train_cell

__all__ = [
    "Backend",
    "Event",
    "Local",
    "Machine",
    "Outcome",
    "TrainedCell",
    "WorkerLost",
    "run_cells",
    "train_cell",
]
