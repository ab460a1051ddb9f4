"""Where and how trials run, and what is shown meanwhile. Decides nothing about what runs.

May import all but `report`, `audit` and `cli`.

Torch is imported where they are trained, which may be another process.
"""

from repro.execute.backends.local import Local
from repro.execute.driver import Backend, Outcome, WorkerLost, run_cells
from repro.execute.grouping import group_cells
from repro.execute.machine import CellOutcomes, Machine
from repro.execute.worker.device import resolve_device, workers_for
