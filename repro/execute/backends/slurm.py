"""Trials as jobs of a Slurm cluster, through submitit: a job for each group of cells.

A job does what a worker of this machine does: it holds its trials' locks in the store, which all
nodes see, and trains. What it has to say comes home through files beside the store: a line for
each event, and at the end submitit's file with how each trial ended. A file named `stop` asks all
jobs to save and end.

A job that Slurm takes back, for another or at its time limit, is told so by a signal: it saves its
trials and is queued again, or ends and leaves that to the driver. One that is gone without a word
is lost, and its trials go on in another job from their last checkpoint.
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
from repro.execute.grouping import in_populations
from repro.execute.machine import Ended, Machine, PlainFlag
from repro.execute.monitor.observer import Event, Measurement, TrainedCell
from repro.execute.worker.device import resolve_device
from repro.execute.worker.work import train_cells
from repro.plan import Cell
from repro.store import Store

try:
    import submitit
    from submitit.core.utils import FailedJobError, FailedSubmissionError, UncompletedJobError
except ImportError as error:
    raise MachineError(
        "submitit is not installed", hint='pip install -e ".[slurm]" in the checkout'
    ) from error

__all__ = ["OnSlurm"]

_MINUTES = 60  # of a job, unless --slurm time=... says more
_JOBS = 64  # at once, unless --workers says otherwise
_GRACE_SECONDS = 60.0  # to save in; Slurm kills 90 s after its signal
_LOOK_SECONDS = 2.0  # at the files of all jobs
_ASK_SECONDS = 30.0  # Slurm, which serves others too
_RETRY_SECONDS = 60.0  # after it took no more jobs
_MISSED = 2  # a job has left the queue before its last file is seen everywhere
_ANY_NUMBER = 10_000  # of time limits: the driver bounds what gets no further

# An older srun takes no notice of the CPUs that sbatch was told of.
_SETUP = '[ -z "$SLURM_CPUS_PER_TASK" ] || export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"'


@dataclass(frozen=True, kw_only=True, slots=True)
class _Work:
    """What a job is given. `events`: where it says how far it is; `stop`: there when it is to."""

    cells: tuple[Cell, ...]
    machine: Machine
    events: Path
    stop: Path


class _StopFile:
    """Set by Slurm's signal in this process, or by the driver's file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.here = PlainFlag()

    def is_set(self) -> bool:
        return self.here.is_set() or self.path.exists()

    def set(self) -> None:
        self.here.set()


class _Job:
    """What runs in a job: submitit calls it, and `checkpoint` when Slurm sends its signal.

    Signals reach the main thread, so another one trains, to the end of its tenth of an epoch.
    """

    def __init__(self, work: _Work) -> None:
        self.work = work

    def __call__(self) -> Ended | ReproError:
        self.stop = _StopFile(self.work.stop)
        self.said = False
        self.ended = Future[Ended]()
        # Also sent where Slurm is not set up to send its signal, and by scancel.
        signal.signal(signal.SIGTERM, lambda *_: self.stop.set())
        threading.Thread(target=self._train, daemon=True).start()
        try:
            return self.ended.result()
        except ReproError as error:  # an answer: submitit would wrap what is raised
            return error

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """What is to be queued in this job's place."""
        self.stop.set()
        wait([self.ended], _GRACE_SECONDS)
        if not self.said:  # else a job that is too short would be queued for ever
            raise WorkerKilledError("Slurm took the job back within its first tenth of an epoch")
        return submitit.helpers.DelayedSubmission(_Job(self.work))

    def _train(self) -> None:
        try:
            machine = replace(self.work.machine, device=resolve_device(self.work.machine.device))
            ended = train_cells(self.work.cells, machine, stop=self.stop, on_event=self._say)
        except BaseException as error:  # noqa: BLE001 - the main thread raises it
            self.ended.set_exception(error)
        else:
            self.ended.set_result(ended)

    def _say(self, event: Event) -> None:
        with self.work.events.open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(asdict(event))}\n")
        self.said = True


@dataclass(kw_only=True, slots=True)
class _Given:
    """A group of cells in Slurm's hands. `job`: None while Slurm takes no more of them."""

    work: _Work
    job: Any = None
    read: int = 0  # bytes of its events
    missed: int = 0  # how often in turn it was not in the queue

    def news(self) -> list[Event]:
        """What it has said since this was last asked, in whole lines."""
        try:
            with self.work.events.open("rb") as file:
                file.seek(self.read)
                said = file.read()
        except FileNotFoundError:
            return []
        whole = said[: said.rfind(b"\n") + 1]
        self.read += len(whole)
        found = []
        for line in whole.splitlines():
            with suppress(ValueError):  # cut off when the job was killed, and then gone on with
                found.append(_event(json.loads(line)))
        return found

    def all_cells(self, ended: TrainedCell | ReproError) -> Ended:
        return {cell.trial.id: ended for cell in self.work.cells}

    def cancel(self) -> None:
        if self.job is not None:
            self.job.cancel(check=False)

    def last_words(self) -> str:
        """Why it ended, as far as its log says."""
        log = self.job.paths.stdout
        lines = log.read_text(errors="replace").split("\n") if log.exists() else []
        said = [line for line in lines if line.strip()]
        if not said:
            return f"job {self.job.job_id} left no log: do its nodes see {log.parent}?"
        return f"job {self.job.job_id} ended without a result: {said[-1]} (all of it: {log})"


def _event(fields: dict[str, Any]) -> Event:
    rows = tuple(Measurement(**row) for row in fields.pop("rows"))
    return Event(**fields, rows=rows)


class OnSlurm:
    """A back-end of the driver: jobs of a Slurm cluster, each with a group of cells.

    `options`: of sbatch, by their long names without dashes; True for one without a value. `time`
    is in minutes. `workers`: most jobs at once. `here`: processes of this machine in Slurm's place,
    to try it out.
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
            data_dirs=tuple(
                place if isinstance(place, str) else place.absolute() for place in machine.data_dirs
            ),
            cache_dir=machine.cache_dir.absolute(),
            profile=None if machine.profile is None else machine.profile.absolute(),
            # What a node's GPU has room for cannot be seen from here: --population says it.
            population=machine.population or 1,
        )
        self.options = {name.replace("-", "_"): value for name, value in options.items()}
        self.minutes = self.options.pop("time", _MINUTES)
        self.workers = workers or _JOBS
        self.here = here
        self.store = Store(self.machine.store)
        self.folder = self.machine.store / ".jobs" / uuid.uuid4().hex
        self.stop_file = self.folder / "stop"
        self._given: dict[Future[Ended], _Given] = {}
        self._look_at = self._ask_at = self._retry_at = 0.0
        self._stopping = False
        self._keep = False  # the logs, since something was lost

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
        where = "processes of this machine" if self.here else "jobs of Slurm"
        return f"{device} in {where}, at most {self.workers} at a time"

    def slots(self) -> int:
        return self.workers

    def grouped(self, cells: Sequence[Cell]) -> list[list[Cell]]:
        return in_populations(cells, self.machine)

    def submit(self, cells: Sequence[Cell]) -> Future[Ended]:
        ended: Future[Ended] = Future()
        if any(self.store.held(cell.trial.id) for cell in cells):
            # No job waits in a queue to find that out; whoever is free will be asked for again.
            ended.set_result({cell.trial.id: TrainedCell(outcome="busy") for cell in cells})
            return ended
        work = _Work(
            cells=tuple(cells),
            machine=self.machine,
            events=self.folder / f"{uuid.uuid4().hex}.jsonl",
            stop=self.stop_file,
        )
        given = _Given(work=work)
        self._hand_in(given)
        self._given[ended] = given
        return ended

    def events(self) -> list[Event]:
        if time.monotonic() < self._look_at:
            return []
        self._look_at = time.monotonic() + (0.0 if self.here else _LOOK_SECONDS)
        states = self._states()
        names = {path.name for path in self.folder.iterdir()} if self.folder.exists() else set()
        found: list[Event] = []
        for ended, given in list(self._given.items()):
            over = given.job is not None and given.job.paths.result_pickle.name in names
            found += given.news()  # after it was seen to be over, so that none is left unheard
            if over or self._is_done_with(given, states):
                del self._given[ended]
                self._settle(ended, given, over=over)
        return found

    def stop(self) -> None:
        self._stopping = True
        self._look_at = self._ask_at = 0.0
        with suppress(OSError):  # then the jobs end by being cancelled
            self.stop_file.touch()

    def kill(self) -> None:
        for given in self._given.values():
            given.cancel()

    def _hand_in(self, given: _Given) -> None:
        if time.monotonic() < self._retry_at:
            return
        try:
            given.job = self._executor.submit(_Job(given.work))
        except (FailedJobError, FailedSubmissionError, OSError) as error:
            if all(one.job is None for one in self._given.values()):
                raise MachineError(
                    f"Slurm took no job: {error}",
                    hint="`--slurm partition=...`, `account=...` and so on are passed to sbatch",
                ) from error
            self._retry_at = time.monotonic() + _RETRY_SECONDS

    def _states(self) -> dict[str, str] | None:
        """What Slurm says of each job that waits or runs; None when it was not asked just now."""
        if self.here:
            jobs = [given.job for given in self._given.values()]
            return {job.job_id: "RUNNING" for job in jobs if not job.done()}
        if time.monotonic() < self._ask_at:
            return None
        self._ask_at = time.monotonic() + _ASK_SECONDS
        command = ["squeue", "--noheader", "--format=%i %T", "--user", getpass.getuser()]
        try:
            asked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)  # noqa: S603 - a command and the user's own name
        except (OSError, subprocess.SubprocessError):
            return None
        return dict(line.split(maxsplit=1) for line in asked.stdout.splitlines() if line)

    def _is_done_with(self, given: _Given, states: dict[str, str] | None) -> bool:
        """Whether there is nothing more to wait for: it is lost, or stops before it has begun."""
        if given.job is None:
            if not self._stopping:
                self._hand_in(given)
            return self._stopping
        if states is None:
            return False
        state = states.get(given.job.job_id)
        given.missed = 0 if state else given.missed + 1
        unheard = given.read == 0 or state != "RUNNING"
        return given.missed >= _MISSED or (self._stopping and unheard)

    def _settle(self, ended: Future[Ended], given: _Given, *, over: bool) -> None:
        if not over:
            given.cancel()  # also what Slurm has queued again by itself
            if self._stopping:
                ended.set_result(given.all_cells(TrainedCell(outcome="paused")))
                return
        try:
            answer = given.job.result() if over else None
        except UncompletedJobError:
            answer = None
        if answer is None:
            self._keep = True
            ended.set_exception(WorkerLost(given.last_words()))
        elif isinstance(answer, WorkerKilledError):  # taken back before it had anything to save
            self._keep = True
            ended.set_exception(WorkerLost(str(answer)))
        elif isinstance(answer, OutOfMemoryError):
            # The job had its node's memory to itself: fewer at once would not help.
            ended.set_result(given.all_cells(answer))
        elif isinstance(answer, Exception):
            ended.set_exception(answer)
        else:
            ended.set_result(answer)
