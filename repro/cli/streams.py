"""Standard output and standard error as a command finds them: closed, full, or without a reader.

Results that nobody can read end a command; talk that nobody can read does not.
"""

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, cast

from repro.errors import WriteError

EXIT_READER_GONE = 141  # what a shell reports of a program that SIGPIPE has ended


@contextmanager
def standard_streams() -> Iterator[None]:
    """Whatever they are, what is written to them fails in our words or not at all."""
    _open_closed()
    before = sys.stdout, sys.stderr
    for stream in before:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for letters that it does not have
    sys.stdout = cast("IO[str]", _Guarded(before[0] or io.StringIO(), _no_results))
    sys.stderr = cast("IO[str]", _Guarded(before[1] or io.StringIO(), _no_talk))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _open_closed() -> None:
    """A file that is opened next would take the place of a closed one, and get what is printed."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _no_results(error: OSError) -> None:
    if isinstance(error, BrokenPipeError):
        sys.exit(EXIT_READER_GONE)
    raise WriteError(f"cannot write to standard output: {error.strerror}") from error


def _no_talk(_: OSError) -> None:
    """The command goes on in silence."""


class _Guarded:
    """A stream that calls `failed` once, and from then on leads nowhere."""

    def __init__(self, stream: IO[str], failed: Callable[[OSError], None]) -> None:
        self._stream = stream
        self._failed = failed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        if text != "":  # click tries this out, and does not look at what comes of it
            self._attempt(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._attempt(self._stream.flush)

    def _attempt(self, act: Callable[[], object]) -> None:
        try:
            act()
        except OSError as error:
            self._close()
            self._failed(error)

    def _close(self) -> None:
        """What is left in its buffer must not fail once more."""
        with suppress(OSError), Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), self._stream.fileno())
