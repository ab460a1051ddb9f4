"""Loggers: observers that send measurements to a tool that draws curves.

A logger is an observer class in a file of its own. Another package adds one under the entry point
group `repro.loggers`: a callable that takes the folder to write into.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from repro.errors import MachineError
from repro.execute.monitor.observer import Observer, Observers
from repro.messages import say
from repro.registry import LOGGERS


def open_logger(name: str, folder: Path) -> Observer:
    """The logger `name`, which writes below `folder`; MachineError when it is not installed."""
    logger = LOGGERS[name]
    if isinstance(logger, str):
        if find_spec(logger) is None:
            raise MachineError(
                f"--log {name} needs the package {logger}, which is not installed",
                hint=f"pip install -e '.[{name}]' in the checkout",
            )
        logger = import_module(f"repro.execute.monitor.loggers.{name}").Logger
    return _Guarded(name, logger(folder))


class _Guarded(Observers):
    """A logger that is switched off, with a message, when it fails; the run continues."""

    def __init__(self, name: str, logger: Observer) -> None:
        super().__init__([logger])
        self._name = name
        self._works = True

    def __exit__(self, *error: object) -> None:
        with self._watching():
            super().__exit__(*error)

    def _pass_on(self, call: Callable[[Observer], None]) -> None:
        if self._works:
            with self._watching():
                super()._pass_on(call)

    @contextmanager
    def _watching(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - of another package
            if self._works:
                why = f"{type(error).__name__}: {error}"
                say(f"--log {self._name} has stopped, the run goes on: {why}")
            self._works = False
