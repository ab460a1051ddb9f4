"""Run a trial's command so that none of its processes outlives the worker.

A script of its own, with the standard library only: `command_guard.py GRACE_SECONDS COMMAND...`.
The worker controls it through standard input: a byte asks the command to end (SIGTERM, and SIGKILL
after the grace period); end of file, as when the worker is killed, ends all processes at once. It
exits with the command's code, or with 128 plus the signal's number, once every descendant is gone;
on Linux also those that have left the process group, since the guard adopts them.
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
    """Reset signals in the command's process: a child inherits what the worker ignores."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main(grace: float, command: list[str]) -> int:
    """Run the command until it ends, or until the worker does."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    wake, woken = os.pipe()
    for end in (wake, woken):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(woken)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # wakes up `select`
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
    inputs = [sys.stdin.fileno(), wake]
    while True:
        timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
        ready, _, _ = select.select(inputs, [], [], timeout)
        if wake in ready:
            os.read(wake, 4096)
        status = _reap(child)
        if status is not None:
            return status
        if sys.stdin.fileno() in ready:
            inputs.remove(sys.stdin.fileno())
            request = os.read(sys.stdin.fileno(), 1)
            deadline = time.monotonic() + (grace if request else 0.0)
            _signal(child, signal.SIGTERM if request else signal.SIGKILL)
        elif deadline is not None and time.monotonic() >= deadline:
            deadline = None
            _signal(child, signal.SIGKILL)


def _reap(child: int) -> int | None:
    """The exit code of the command, if it has ended. Reaps ended orphans, too."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return None
        if pid == 0:
            return None
        if pid == child:
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
    """Child processes of this one, where the system has /proc."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = status.read_text(errors="replace")
        except OSError:  # it has ended
            continue
        if int(text.rpartition(")")[2].split()[1]) == os.getpid():
            yield int(status.parent.name)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
