"""Trials of a claim's own command: start it, read its metrics, end it.

The program has a folder of its own in the trial's folder. There repro manages two files:
`metrics.jsonl`, which the program writes and which is empty at every start, and `output.txt`, the
end of its output. The metrics read so far are in the trial's checkpoint.
"""

import errno
import fcntl
import json
import math
import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from repro.claim.trainer import OWN_DATA, PLACEHOLDERS, Files, changed_names, command_line
from repro.errors import CommandError, IntegrityError, LockLostError, WriteError
from repro.execute.machine import Flag, Machine
from repro.execute.monitor.observer import Event, TrainedCell
from repro.execute.worker import command_guard
from repro.files import open_handle, open_regular, parse_json, write_atomic
from repro.planning import Cell
from repro.store import Store
from repro.store.provenance import cores, provenance
from repro.trial import Clocks, Trial
from repro.trial.metric_lines import MetricLine, Training, parse_line, result_of, rows_of

GRACE_SECONDS = 10.0  # to save in, after SIGTERM
_POLL_SECONDS = 0.1
_MOST_LINE = 1 << 16  # bytes
_MOST_METRICS = 1 << 26  # bytes, of one start
_MOST_OUTPUT = 1 << 16  # bytes, the last of them
_SHOWN_LINES = 15
_SHOWN_CHARACTERS = 200  # of a line


def train_by_command(
    cells: Sequence[Cell],
    machine: Machine,
    store: Store,
    stop: Flag,
    on_event: Callable[[Event], None],
) -> Iterator[tuple[str, TrainedCell]]:
    """Train the cells one after another; CommandError if the program fails."""
    for cell in cells:
        if stop.is_set():
            yield cell.trial.id, TrainedCell(outcome="paused")
            continue
        program = _Program(cell, machine, store, stop, on_event)
        try:
            trained = program.train()
        except LockLostError:
            if program.lock.exists():
                raise
            raise program.error("has removed its folder and the trial's") from None
        yield cell.trial.id, trained


class _Fault(Exception):  # noqa: N818 - a sentence on its way to an error
    """The program's mistake, as a phrase that follows its name."""


class _Program:
    def __init__(
        self,
        cell: Cell,
        machine: Machine,
        store: Store,
        stop: Flag,
        on_event: Callable[[Event], None],
    ) -> None:
        self.cell, self.machine, self.store, self.stop = cell, machine, store, stop
        self.on_event = on_event
        trial = Store(machine.store).folder(cell.trial.id)
        self.lock, self.folder = trial / "program.lock", trial / "program"
        self.metrics, self.output = self.folder / "metrics.jsonl", self.folder / "output.txt"
        self.training = Training(trial=cell.trial, until=cell.until)
        self.earlier_seconds = 0.0  # seconds of earlier starts
        self.earlier_training = 0.0  # of these, training up to the last measurement
        self.offset = 0  # of `metrics`: bytes read so far
        self.started = self.last_metric = self.saved = time.monotonic()
        self.tail = _Tail()

    def train(self) -> TrainedCell:
        with _program_lock(self.lock, self.stop) as lock:
            if lock is None:
                return TrainedCell(outcome="paused")
            facts = self._facts_of_files()
            self._continue()
            try:
                if self.training.status is None:
                    self._run(lock)
            except _Fault as fault:
                raise self.error(str(fault), changed_names({}, facts)) from None
            finally:
                self._save()
        if self.training.status is None:
            return TrainedCell(outcome="paused")
        data = self.cell.trial.data or OWN_DATA
        origin = {**provenance(self.machine.device, packages=()), "data": data, **facts}
        result = result_of(self.training, self._clocks(), origin)
        self.store.finish(result)
        return TrainedCell(outcome="finished", result=result)

    def error(self, fault: str, files: Sequence[str] = ()) -> CommandError:
        """`fault`: a phrase that follows the program's name. `files`: what makes new trials."""
        trial = self.cell.trial
        lines = self.tail.content().decode(errors="replace").strip().splitlines()
        printed = "".join(f"\n    {_excerpt(line)}" for line in lines[-_SHOWN_LINES:])
        ending = f"; its last lines:{printed}" if printed else "; it printed nothing"
        output = f"\n  output: {self.output.absolute()}" if printed else ""
        return CommandError(
            f"the command of trial {trial.id} (arm {self.cell.arm}, rate {trial.rate:g}, "
            f"seed {trial.seed}) {fault}{ending}\n  ran: {shlex.join(self._words())}{output}",
            cause=f"{self.cell.claim_file}: {fault}{ending}",
            hint=f"mend the program, its packages, or `trainer.command` in {self.cell.claim_file} "
            "(`repro trust` it again), and run again: after a change of "
            f"{' or '.join([*files, 'the command'])} all its trials start anew",
        )

    # Before it starts

    def _facts_of_files(self) -> Mapping[str, str]:
        """CommandError if they are not those of the trial's identity, as after an edit."""
        trial, home = self.cell.trial, self.cell.home
        assert trial.trainer is not None
        assert home is not None
        files = Files.read(trial.trainer, home)
        if files.fingerprint != trial.fingerprint:
            raise CommandError(
                f"trial {trial.id} was not begun: a file of its command has changed since the run "
                "began",
                hint="run the same command again: it trains with the files as they are then; what "
                "the program itself writes must not lie in its `inputs`",
            )
        return files.facts

    def _continue(self) -> None:
        """Load the metrics of earlier starts, the last lines from the file itself."""
        try:
            checkpoint = self.store.checkpoint(self.cell.trial.id)
            if checkpoint is not None:
                self._load(parse_json(checkpoint))
        except (IntegrityError, ValueError, TypeError, KeyError):
            self.store.set_aside(self.cell.trial.id)
        self.folder.mkdir(parents=True, exist_ok=True)
        with suppress(_Fault):  # reported when it was read first
            self._read_metrics(whole=False)
        self.earlier_seconds, self.offset = self._wall(), 0
        self.started = time.monotonic()
        self.earlier_training = self.training.lines[-1].seconds if self.training.lines else 0.0
        self._save()
        with suppress(OSError):
            shutil.rmtree(self.metrics) if self.metrics.is_dir() else self.metrics.unlink()

    def _load(self, state: Mapping[str, Any]) -> None:
        for line in state["reported"]:
            self.training.take(MetricLine(*line))
        self.earlier_seconds, self.offset = float(state["seconds"]), int(state["offset"])

    def _save(self) -> None:
        state = {
            "reported": self.training.lines,
            "seconds": self._wall(),
            "offset": self.offset,
        }
        self.store.save(
            self.cell.trial.id,
            checkpoint=json.dumps(state).encode(),
            curve=rows_of(self.training.lines),
        )
        self.saved = time.monotonic()

    # While it runs

    def _run(self, lock: int) -> None:
        process = self._start(lock)
        code: int | None = None
        try:
            while code is None:
                with suppress(subprocess.TimeoutExpired):
                    code = process.wait(_POLL_SECONDS)
                self._read_metrics(whole=code == 0)
                if code is not None:
                    break
                if self.training.status is not None or self.stop.is_set():
                    code = _terminate(process)
                    self._read_metrics(whole=code == 0)
                self._check_deadlines()
        finally:
            self._close(process)
        self._check_exit(code)

    def _check_deadlines(self) -> None:
        now = time.monotonic()
        if now - self.last_metric >= self.machine.stall_seconds:
            raise _Fault(f"wrote no metric for {self.machine.stall_seconds:g} s, and was stopped")
        if now - self.saved >= self.machine.checkpoint_seconds:
            self._save()

    def _start(self, lock: int) -> "subprocess.Popen[bytes]":
        trial = self.cell.trial
        try:
            process = subprocess.Popen(  # noqa: S603 - the claim file's, which was trusted
                [sys.executable, "-I", command_guard.__file__, str(GRACE_SECONDS), *self._words()],
                cwd=self.cell.home,
                env=_environment(trial, self._values(), self.machine),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # the worker decides about a Ctrl-C
                pass_fds=[lock],
            )
        except OSError as error:
            if error.errno != errno.E2BIG:
                raise
            raise _Fault(
                "was not started: its arguments are longer than the system takes"
            ) from None
        assert process.stdout is not None
        self.tail.follow(process.stdout)
        self.started = self.last_metric = time.monotonic()
        return process

    def _words(self) -> list[str]:
        """The command with the trial's values filled in."""
        trainer = self.cell.trial.trainer
        assert trainer is not None
        return command_line(trainer.command, self._values())

    def _values(self) -> dict[str, object]:
        trial = self.cell.trial
        return {
            **trial.arguments,
            "rate": repr(trial.rate),
            "seed": trial.seed,
            "epochs": f"{self.cell.until:g}",
            "threshold": "" if trial.threshold is None else repr(trial.threshold),
            "device": self.machine.device,
            "folder": self.folder.absolute(),
            "metrics": self.metrics.absolute(),
            "python": sys.executable,
        }

    def _read_metrics(self, *, whole: bool) -> None:
        """Read new lines. `whole`: also a last line without a line end."""
        for text in self._lines(whole=whole):
            try:
                line = parse_line(
                    text,
                    steps_per_epoch=self.cell.trial.trainer.steps_per_epoch,  # type: ignore[union-attr] # it has one
                    seconds=time.monotonic() - self.started,
                )
            except ValueError as error:
                raise _Fault(f"wrote what is no measurement: {error}: {_excerpt(text)}") from None
            if line is not None:
                line = line._replace(seconds=self.earlier_training + line.seconds)
            self.training.take(line)
            self.last_metric = time.monotonic()
            if line is not None:
                self.on_event(self._event(line))

    def _lines(self, *, whole: bool) -> Iterator[str]:
        try:
            with open_regular(self.metrics) as file:
                size = os.fstat(file.fileno()).st_size
                if size < self.offset:  # the program has truncated the file
                    self.offset = 0
                file.seek(self.offset)
                content = file.read(min(size, _MOST_METRICS) - self.offset)
        except FileNotFoundError:
            return
        except OSError as error:
            raise _Fault(f"left no readable file of metrics: {error.strerror}") from error
        complete, end, rest = content.rpartition(b"\n")
        too_long = len(rest) > _MOST_LINE
        chunk = content if whole and not too_long else complete + end
        for raw in chunk.splitlines():
            if raw.strip():
                yield raw.decode(errors="replace")
        self.offset += len(chunk)
        # Only now: the program may have saved what it wrote before, and will not write it again.
        if size > _MOST_METRICS:
            raise _Fault(f"wrote {size} bytes of metrics, of {_MOST_METRICS} at most")
        if too_long:
            raise _Fault(f"wrote a line of metrics of more than {_MOST_LINE} bytes")

    # After it has ended

    def _close(self, process: "subprocess.Popen[bytes]") -> None:
        """End all its processes, and keep the end of its output."""
        assert process.stdin is not None
        with suppress(OSError):
            process.stdin.close()
        process.wait()
        self.tail.close()
        with suppress(WriteError):
            write_atomic(self.output, self.tail.content())

    def _check_exit(self, code: int) -> None:
        training = self.training
        if training.status is not None:
            return
        if code == 0 and training.lines and training.epoch >= training.until - 1e-9:
            training.end()
        elif self.stop.is_set():
            return
        elif code < 0:  # the guard's own; a program that was killed has 128 and the signal
            raise _Fault(
                f"was lost: the process that watches it was killed by signal {-code}, for want of "
                "memory perhaps; look for processes of it that are left"
            )
        elif code != 0:
            raise _Fault(f"ended with exit code {code}")
        elif not training.lines:
            raise _Fault(
                "ended, and wrote no metric: it has to append a line such as "
                '{"epoch": 1, "name": "test_error", "value": 0.31} to the file that REPRO_METRICS '
                f"names, {self.metrics}"
            )
        else:
            raise _Fault(
                f"ended at epoch {training.epoch:g} of {training.until:g} (an epoch counts once it "
                'is done, so the first is 1); one that stops early by itself writes {"ended": true}'
            )

    def _clocks(self) -> Clocks:
        train = self.training.lines[-1].seconds if self.training.lines else 0.0
        return Clocks(train=train, other=max(0.0, self._wall() - train))

    def _wall(self) -> float:
        return self.earlier_seconds + time.monotonic() - self.started

    def _event(self, line: MetricLine) -> Event:
        rows = rows_of([line])
        return Event(
            trial_id=self.cell.trial.id,
            epoch=line.epoch,
            error=next((row.error for row in rows if row.source != "test"), math.nan),
            images_per_second=0.0,
            images=0,
            seconds=line.seconds,
            rows=tuple(rows),
        )


def _excerpt(line: str) -> str:
    return line if len(line) <= _SHOWN_CHARACTERS else f"{line[:_SHOWN_CHARACTERS]}..."


class _Tail:
    """The end of a program's output, in bounded memory."""

    def __init__(self) -> None:
        self._output = b""
        self._thread: threading.Thread | None = None

    def follow(self, pipe: IO[bytes]) -> None:
        """Read the pipe in a thread, so that the program never blocks."""
        self._thread = threading.Thread(target=self._read, args=(pipe,), daemon=True)
        self._thread.start()

    def _read(self, pipe: IO[bytes]) -> None:
        with pipe:
            while chunk := os.read(pipe.fileno(), _MOST_OUTPUT):
                self._output = (self._output + chunk)[-_MOST_OUTPUT:]

    def close(self) -> None:
        """Wait for the end of the output."""
        if self._thread is not None:
            self._thread.join(GRACE_SECONDS)

    def content(self) -> bytes:
        return self._output


@contextmanager
def _program_lock(path: Path, stop: Flag) -> Iterator[int | None]:
    """The program's lock, which its guard holds, too: that of a killed worker may still run.

    None if `stop` is set before the lock is free.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = open_handle(path, os.O_RDWR | os.O_CREAT)
    try:
        while not stop.is_set():
            with suppress(BlockingIOError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield handle
                return
            time.sleep(_POLL_SECONDS)
        yield None
    finally:
        os.close(handle)


def _terminate(process: "subprocess.Popen[bytes]") -> int:
    """Ask the guard to end the command; return its exit code."""
    assert process.stdin is not None
    with suppress(OSError):
        process.stdin.write(b"s")
        process.stdin.flush()
    return process.wait()


def _environment(trial: Trial, values: Mapping[str, object], machine: Machine) -> dict[str, str]:
    placeholders = {name: value for name, value in values.items() if name in PLACEHOLDERS}
    arguments = {name: value for name, value in trial.arguments.items() if name != "arm"}
    threads = max(1, cores() // machine.workers)
    return {
        "OMP_NUM_THREADS": str(threads),
        "PYTHONUNBUFFERED": "1",
        # PYTHONSAFEPATH is for workers; a script may import modules beside it.
        **{name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"},
        **{f"REPRO_{name.upper()}": str(value) for name, value in placeholders.items()},
        "REPRO_ARGUMENTS": json.dumps(arguments),
    }
