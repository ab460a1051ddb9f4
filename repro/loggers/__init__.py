"""Loggers: what a run shows on its terminal, sent to a tool that draws curves.

A logger is one class of observer in one file. Training knows none of them; another package adds
one under the entry point group `repro.loggers`, a callable that takes the folder to write into.
"""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from repro.errors import MachineError
from repro.observer import Observer
from repro.registry import LOGGERS

__all__ = ["open_logger"]


def open_logger(name: str, folder: Path) -> Observer:
    """The logger `name`, which writes below `folder`; MachineError when it is not installed."""
    found = LOGGERS[name]
    if isinstance(found, str):
        if find_spec(found) is None:
            raise MachineError(
                f"--log {name} needs the package {found}, which is not installed",
                hint=f"pip install -e '.[{name}]' in the checkout",
            )
        found = import_module(f"repro.loggers.{name}").Logger
    logger: Observer = found(folder)
    return logger
