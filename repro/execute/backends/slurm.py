"""Trials as jobs of a Slurm cluster, through submitit: a job for each group of cells.

A job does the same as a local worker: it locks its trials in the store, which all nodes share, and
trains. It reports through files in the store: a line for each event, and at the end submitit's
result file. A file named `stop` asks all jobs to save and exit.

Slurm sends a signal before it preempts a job or ends it at its time limit: the job saves its trials
and is queued again, or exits, and the driver submits the trials again. A job that ends without a
result is lost, and its trials continue in another job from their last checkpoint.
"""

import getpass
import json
import shutil
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from repro.errors import MachineError, OutOfMemoryError, ReproError, WorkerKilledError
from repro.execute.driver import WorkerLost
from repro.execute.grouping import group_cells
from repro.execute.machine import CellOutcomes, Machine, PlainFlag
from repro.execute.monitor.observer import Event, TrainedCell
from repro.execute.worker.device import resolve_device
from repro.execute.worker.train_cells import train_cells
from repro.planning import Cell
from repro.store import Store
from repro.trial import Row

try:
    import submitit
    from submitit.core.utils import FailedJobError, FailedSubmissionError, UncompletedJobError
except ImportError as error:
    raise MachineError(
        "submitit is not installed", hint='pip install -e ".[slurm]" in the checkout'
    ) from error

_MINUTES = 60  # of a job, unless --slurm time=... says more
_JOBS = 64  # at once, unless --workers says otherwise
_GRACE_SECONDS = 60.0  # to save in; Slurm kills 90 s after its signal
_POLL_SECONDS = 2.0  # between two looks at the files of all jobs
_ASK_SECONDS = 30.0  # between two calls of squeue
_RETRY_SECONDS = 60.0  # after Slurm refused a job
_MISSED = 2  # polls: a job may leave the queue before all nodes see its last file
_ANY_NUMBER = 10_000  # of requeues: the driver bounds those without progress

# An older srun ignores the --cpus-per-task of sbatch.
_SETUP = '[ -z "$SLURM_CPUS_PER_TASK" ] || export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"'


@dataclass(frozen=True, kw_only=True, slots=True)
class _Work:
    """The input of a job. `events`: the file for its events; `stop`: the stop file."""

    cells: tuple[Cell, ...]
    machine: Machine
    events: Path
    stop: Path


class _StopFile:
    """A flag set by Slurm's signal in this process, or by the driver's stop file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.here = PlainFlag()

    def is_set(self) -> bool:
        return self.here.is_set() or self.path.exists()

    def set(self) -> None:
        self.here.set()


class _Job:
    """The function of a job: submitit calls it, and `checkpoint` after Slurm's signal.

    Signals interrupt the main thread, so a second thread trains, and can end its window.
    """

    def __init__(self, work: _Work) -> None:
        self.work = work

    def __call__(self) -> CellOutcomes | ReproError:
        self.stop = _StopFile(self.work.stop)
        self.has_reported = False
        self.future = Future[CellOutcomes]()
        # Also sent where Slurm is not set up to send its signal, and by scancel.
        signal.signal(signal.SIGTERM, lambda *_: self.stop.set())
        threading.Thread(target=self._train, daemon=True).start()
        try:
            return self.future.result()
        except ReproError as error:  # an answer: submitit would wrap what is raised
            return error

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """The job to queue in place of this one."""
        self.stop.set()
        wait([self.future], _GRACE_SECONDS)
        if not self.has_reported:  # else a job with too short a time limit would be queued for ever
            raise WorkerKilledError("Slurm took the job back within its first tenth of an epoch")
        return submitit.helpers.DelayedSubmission(_Job(self.work))

    def _train(self) -> None:
        try:
            machine = replace(self.work.machine, device=resolve_device(self.work.machine.device))
            outcomes = train_cells(self.work.cells, machine, stop=self.stop, on_event=self._say)
        except BaseException as error:  # noqa: BLE001 - the main thread raises it
            self.future.set_exception(error)
        else:
            self.future.set_result(outcomes)

    def _say(self, event: Event) -> None:
        with self.work.events.open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(asdict(event))}\n")
        self.has_reported = True


@dataclass(kw_only=True, slots=True)
class _Submission:
    """A submitted group of cells. `job`: None while Slurm refuses more jobs."""

    work: _Work
    job: Any = None
    bytes_read: int = 0  # bytes of its events
    missed_polls: int = 0  # consecutive polls without the job in the queue

    def news(self) -> list[Event]:
        """The events since the last call, from complete lines."""
        try:
            with self.work.events.open("rb") as file:
                file.seek(self.bytes_read)
                content = file.read()
        except FileNotFoundError:
            return []
        complete = content[: content.rfind(b"\n") + 1]
        self.bytes_read += len(complete)
        events = []
        for line in complete.splitlines():
            with suppress(ValueError):  # a line cut off when the job was killed
                events.append(_event(json.loads(line)))
        return events

    def all_cells(self, outcome: TrainedCell | ReproError) -> CellOutcomes:
        return {cell.trial.id: outcome for cell in self.work.cells}

    def cancel(self) -> None:
        if self.job is not None:
            self.job.cancel(check=False)

    def last_words(self) -> str:
        log = self.job.paths.stdout
        text = log.read_text(errors="replace") if log.exists() else ""
        lines = [line for line in text.split("\n") if line.strip()]
        if not lines:
            return f"job {self.job.job_id} left no log: do its nodes see {log.parent}?"
        return f"job {self.job.job_id} ended without a result: {lines[-1]} (all of it: {log})"


def _event(fields: dict[str, Any]) -> Event:
    rows = tuple(Row(*row) for row in fields.pop("rows"))
    return Event(**fields, rows=rows)


class SlurmBackend:
    """The back-end for a Slurm cluster: a job for each group of cells.

    `options`: of sbatch, by their long names without dashes; True for a flag. `time` is in minutes.
    `workers`: parallel jobs at most. `here`: run processes on this machine instead of jobs, to try
    it out.
    """

    def __init__(
        self,
        machine: Machine,
        *,
        options: Mapping[str, str | int | bool],
        workers: int | None = None,
        here: bool = False,
    ) -> None:
        self.machine = replace(
            machine,
            store=machine.store.absolute(),
            data_dirs=tuple(place.absolute() for place in machine.data_dirs),
            cache_dir=machine.cache_dir.absolute(),
            # The memory of a node's GPU is unknown here: set --population.
            population=machine.population or 1,
        )
        self.options = {name.replace("-", "_"): value for name, value in options.items()}
        self.minutes = self.options.pop("time", _MINUTES)
        self.workers = workers or _JOBS
        self.here = here
        self.store = Store(self.machine.store)
        self.folder = self.machine.store / ".jobs" / uuid.uuid4().hex
        self.stop_file = self.folder / "stop"
        self._submissions: dict[Future[CellOutcomes], _Submission] = {}
        self._look_at = self._ask_at = self._retry_at = 0.0
        self._stopping = False
        self._keep = False  # keep the logs: a job was lost

    def __enter__(self) -> Self:
        cluster = "local" if self.here else "slurm"
        try:
            self._executor = submitit.AutoExecutor(
                self.folder, cluster=cluster, **{f"{cluster}_max_num_timeout": _ANY_NUMBER}
            )
        except RuntimeError as error:
            raise MachineError(
                "Slurm is not on this machine: there is no command `srun`",
                hint="start it on a login node of the cluster; `--slurm here` tries it out on "
                "this machine, and without --executor the trials run here",
            ) from error
        self._executor.update_parameters(
            name="repro",
            timeout_min=self.minutes,
            stderr_to_stdout=True,
            slurm_setup=[_SETUP],
            slurm_additional_parameters=self.options,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        if not self._keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    def describe(self) -> str:
        device = "each node's device" if self.machine.device == "auto" else self.machine.device
        place = "processes of this machine" if self.here else "jobs of Slurm"
        return f"{device} in {place}, at most {self.workers} at a time"

    def slots(self) -> int:
        return self.workers

    def group(self, cells: Sequence[Cell]) -> list[list[Cell]]:
        return group_cells(cells, self.machine)

    def submit(self, cells: Sequence[Cell]) -> Future[CellOutcomes]:
        future: Future[CellOutcomes] = Future()
        if any(self.store.held(cell.trial.id) for cell in cells):
            # Do not queue a job that would only find its trials locked; the driver asks again.
            future.set_result({cell.trial.id: TrainedCell(outcome="busy") for cell in cells})
            return future
        work = _Work(
            cells=tuple(cells),
            machine=self.machine,
            events=self.folder / f"{uuid.uuid4().hex}.jsonl",
            stop=self.stop_file,
        )
        submission = _Submission(work=work)
        self._hand_in(submission)
        self._submissions[future] = submission
        return future

    def events(self) -> list[Event]:
        if time.monotonic() < self._look_at:
            return []
        self._look_at = time.monotonic() + (0.0 if self.here else _POLL_SECONDS)
        states = self._states()
        names = {path.name for path in self.folder.iterdir()} if self.folder.exists() else set()
        events: list[Event] = []
        for future, submission in list(self._submissions.items()):
            job = submission.job
            is_over = job is not None and job.paths.result_pickle.name in names
            events += submission.news()  # asked after `is_over`, so that no event is missed
            if is_over or self._is_done_with(submission, states):
                del self._submissions[future]
                self._settle(future, submission, is_over=is_over)
        return events

    def stop(self) -> None:
        self._stopping = True
        self._look_at = self._ask_at = 0.0
        with suppress(OSError):  # then `kill` cancels the jobs
            self.stop_file.touch()

    def kill(self) -> None:
        for submission in self._submissions.values():
            submission.cancel()

    def _hand_in(self, submission: _Submission) -> None:
        if time.monotonic() < self._retry_at:
            return
        try:
            submission.job = self._executor.submit(_Job(submission.work))
        except (FailedJobError, FailedSubmissionError, OSError) as error:
            if all(other.job is None for other in self._submissions.values()):
                raise MachineError(
                    f"Slurm took no job: {error}",
                    hint="`--slurm partition=...`, `account=...` and so on are passed to sbatch",
                ) from error
            self._retry_at = time.monotonic() + _RETRY_SECONDS

    def _states(self) -> dict[str, str] | None:
        """The state of each queued or running job; None if Slurm was not asked this time."""
        if self.here:
            jobs = [submission.job for submission in self._submissions.values()]
            return {job.job_id: "RUNNING" for job in jobs if not job.done()}
        if time.monotonic() < self._ask_at:
            return None
        self._ask_at = time.monotonic() + _ASK_SECONDS
        command = ["squeue", "--noheader", "--format=%i %T", "--user", getpass.getuser()]
        try:
            answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)  # noqa: S603 - a command and the user's own name
        except (OSError, subprocess.SubprocessError):
            return None
        return dict(line.split(maxsplit=1) for line in answer.stdout.splitlines() if line)

    def _is_done_with(self, submission: _Submission, states: dict[str, str] | None) -> bool:
        """Whether to stop waiting for a job: it is lost, or it stops before its first event."""
        if submission.job is None:
            if not self._stopping:
                self._hand_in(submission)
            return self._stopping
        if states is None:
            return False
        state = states.get(submission.job.job_id)
        submission.missed_polls = 0 if state else submission.missed_polls + 1
        is_silent = submission.bytes_read == 0 or state != "RUNNING"
        return submission.missed_polls >= _MISSED or (self._stopping and is_silent)

    def _settle(
        self, future: Future[CellOutcomes], submission: _Submission, *, is_over: bool
    ) -> None:
        if not is_over:
            submission.cancel()  # also a job that Slurm has requeued by itself
            if self._stopping:
                future.set_result(submission.all_cells(TrainedCell(outcome="paused")))
                return
        try:
            answer = submission.job.result() if is_over else None
        except UncompletedJobError:
            answer = None
        if answer is None:
            self._keep = True
            future.set_exception(WorkerLost(submission.last_words()))
        elif isinstance(answer, WorkerKilledError):  # preempted before its first checkpoint
            self._keep = True
            future.set_exception(WorkerLost(str(answer)))
        elif isinstance(answer, OutOfMemoryError):
            # The job had the memory to itself: fewer parallel jobs would not help.
            future.set_result(submission.all_cells(answer))
        elif isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
