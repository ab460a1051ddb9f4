"""What a back-end is given, and gives back: without torch.

Where trials are trained by other processes, the one that starts them need not import it.
"""

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from repro.errors import ReproError
from repro.execute.monitor.observer import TrainedCell

__all__ = ["SIGNALS", "Ended", "Flag", "Machine", "PlainFlag"]

# They reach the whole group, from a terminal (its Ctrl-C, and its end), from `timeout` and from a
# batch system; one process alone decides what they mean.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """What the command line says of the machine; nothing here changes a trial's numbers.

    `population`: trials of one shape that a worker trains as one program; None: by the device.
    `stall_seconds`: after which a command that says nothing is taken to hang.
    `profile`: folder for traces of what time goes on.
    `processes`: how many train each trial together.
    """

    device: str
    workers: int
    store: Path
    data_dirs: tuple[Path, ...]
    cache_dir: Path
    checkpoint_seconds: float = 30.0
    stall_seconds: float = 3600.0
    population: int | None = None
    profile: Path | None = None
    processes: int = 1
    keep_weights: bool = False  # of each trial, when it ends


class Flag(Protocol):
    """Whether trials are to be saved and paused."""

    def is_set(self) -> bool: ...

    def set(self) -> None: ...


class PlainFlag:
    """Nobody waits for it, and a signal's handler may set it at any moment.

    Threading's event has a lock, for which a handler would wait for ever that interrupts its set().
    """

    def __init__(self) -> None:
        self._is_set = False

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True


# How the work on each cell ended, by the identity of its trial.
Ended = dict[str, TrainedCell | ReproError]
