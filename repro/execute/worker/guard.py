"""Between a worker and a trial's command: none of the command's processes outlives it.

Run by itself, with the standard library alone: `guard.py GRACE_SECONDS COMMAND...`. Its standard
input is the worker's hold on it: a byte asks the command to end (SIGTERM, and SIGKILL after the
grace), its end, as when the worker is killed, ends all at once. Exits as the command does, or with
128 and the signal's number, once every descendant is gone: on Linux also those that have left the
group, since the guard adopts them.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_NOT_STARTED = 127  # as a shell has it


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _before_command() -> None:
    """In the command's process: workers ignore signals, and what is ignored stays so in a child."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main(grace: float, command: list[str]) -> int:
    """Run the command to its end, or to ours."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    wake, woken = os.pipe()
    for end in (wake, woken):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(woken)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # select returns, and it is looked at
    try:
        child = subprocess.Popen(  # noqa: S603 - the claim file's, which was trusted
            command,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_before_command,  # noqa: PLW1509 - there is one thread
        )
    except OSError as error:
        print(f"cannot start {command[0]}: {error.strerror}", flush=True)  # noqa: T201 - kept
        return _NOT_STARTED
    status = _wait(child.pid, wake, grace)
    _end_all(child.pid)
    return status


def _wait(child: int, wake: int, grace: float) -> int:
    deadline: float | None = None
    held = [sys.stdin.fileno(), wake]
    while True:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        ready, _, _ = select.select(held, [], [], left)
        if wake in ready:
            os.read(wake, 4096)
        status = _reaped(child)
        if status is not None:
            return status
        if sys.stdin.fileno() in ready:
            held.remove(sys.stdin.fileno())
            asked = os.read(sys.stdin.fileno(), 1)
            deadline = time.monotonic() + (grace if asked else 0.0)
            _signal(child, signal.SIGTERM if asked else signal.SIGKILL)
        elif deadline is not None and time.monotonic() >= deadline:
            deadline = None
            _signal(child, signal.SIGKILL)


def _reaped(child: int) -> int | None:
    """How the command ended, if it has; orphans that ended are let go on the way."""
    while True:
        try:
            gone, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return None
        if gone == 0:
            return None
        if gone == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _signal(group: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _end_all(group: int) -> None:
    _signal(group, signal.SIGKILL)
    while True:
        for orphan in _children():
            with suppress(ProcessLookupError):
                os.kill(orphan, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _children() -> Iterator[int]:
    """Processes whose parent is this one, where the system lists them."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = status.read_text(errors="replace")
        except OSError:  # it has ended
            continue
        if int(text.rpartition(")")[2].split()[1]) == os.getpid():
            yield int(status.parent.name)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
