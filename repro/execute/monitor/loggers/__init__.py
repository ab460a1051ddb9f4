"""Loggers: observers that send measurements to a tool that draws curves.

A logger is an observer class in a file of its own. Another package adds one under the entry point
group `repro.loggers`: a callable that takes the folder to write into.
"""

from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

from repro.errors import MachineError
from repro.execute.monitor.observer import Forwarding, Observer
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


class _Guarded(Forwarding):
    """A logger that is switched off, with a message, when it fails; the run continues."""

    def __init__(self, name: str, logger: Observer) -> None:
        self._name = name
        self._logger = logger
        self._works = True

    def __enter__(self) -> Self:
        self._logger.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._works:
            self._pass_on(lambda logger: logger.__exit__(kind, error, trace))
        else:
            with suppress(Exception):  # its failure was reported before
                self._logger.__exit__(kind, error, trace)

    def _pass_on(self, call: Callable[[Observer], None]) -> None:
        if not self._works:
            return
        try:
            call(self._logger)
        except Exception as error:  # noqa: BLE001 - of another package
            self._works = False
            say(f"--log {self._name} has stopped, the run goes on: {type(error).__name__}: {error}")
