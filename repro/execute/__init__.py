"""Where trials run. Decides nothing about what runs."""

from repro.execute.local import Outcome, run_cells
from repro.execute.work import Event, Machine, TrainedCell, train_cell

__all__ = ["Event", "Machine", "Outcome", "TrainedCell", "run_cells", "train_cell"]
