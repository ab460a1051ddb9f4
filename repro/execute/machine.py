"""Input and output of a back-end. Without torch.

Where other processes train, the process that starts them need not import torch.
"""

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from repro.errors import ReproError
from repro.execute.monitor.observer import TrainedCell

# A terminal (Ctrl-C or its end), `timeout` and batch systems send these to the whole process
# group; only the main process handles them.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """The machine options of the command line; nothing here changes a trial's numbers.

    `population`: trials of equal shape that a worker trains together; None: by the device.
    `stall_seconds`: after which a command without a new metric counts as hanging.
    `processes`: ranks that train each trial together.
    """

    device: str
    workers: int
    store: Path
    data_dirs: tuple[Path, ...]
    cache_dir: Path
    checkpoint_seconds: float = 30.0
    stall_seconds: float = 3600.0
    population: int | None = None
    processes: int = 1
    keep_weights: bool = False  # of each trial, when it ends


class Flag(Protocol):
    """Set when trials are to be saved and paused."""

    def is_set(self) -> bool: ...

    def set(self) -> None: ...


class PlainFlag:
    """A flag without a lock, which a signal handler may set at any moment.

    threading.Event has a lock: a handler that interrupts its set() would wait for ever.
    """

    def __init__(self) -> None:
        self._is_set = False

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True


# How the work on each cell ended, by the identity of its trial.
CellOutcomes = dict[str, TrainedCell | ReproError]
