"""Where trials run. Decides nothing about what runs.

Torch is imported where they are trained, which may be another process.
"""

from repro.execute.device import resolve_device, workers_for
from repro.execute.driver import Backend, Outcome, WorkerLost, run_cells
from repro.execute.local import Local
from repro.execute.machine import Ended, Machine, in_populations

__all__ = [
    "Backend",
    "Ended",
    "Local",
    "Machine",
    "Outcome",
    "WorkerLost",
    "in_populations",
    "resolve_device",
    "run_cells",
    "workers_for",
]
