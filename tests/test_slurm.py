"""Jobs of Slurm: the local executor's bits, whatever becomes of a job; what sbatch is asked for."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import pytest
from click.testing import CliRunner

from repro.cli import main
from repro.errors import MachineError
from repro.execute import Outcome, run_cells
from repro.execute.backends import slurm
from repro.execute.backends.slurm import SlurmBackend
from repro.execute.monitor.observer import Event, Observer
from repro.store import Store
from tests.gated import FREE_STEPS, gate, gated_claim_file
from tests.test_execute import (
    assert_as_local,
    finish,
    machine,
    plan_cells,
    plan_of,
)
from tests.worlds import quick_claim_file

NO_OPTIONS = MappingProxyType[str, str | int | bool]({})

# submitit leaves its processes to themselves.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two trials by the local executor; the gate at which others are held."""
    folder = tmp_path_factory.mktemp("alone")
    gated_claim_file(folder)
    with gate(folder):
        finish(folder)
        yield folder


@dataclass(kw_only=True)
class Run(Observer):
    """The claim in jobs of this machine, held until a fault was provoked on the first's job."""

    folder: Path
    name: str
    fault: Callable[[int, Path], object]
    events: list[Event] = field(default_factory=list)

    def __call__(self) -> Outcome:
        self.gate = self.folder / "gate"
        self.gate.unlink(missing_ok=True)
        where = machine(self.folder, self.name)
        self.backend = SlurmBackend(where, options=NO_OPTIONS, workers=2, here=True)
        return run_cells(plan_of(self.folder, where.store), self.backend, observer=self)

    def event(self, event: Event) -> None:
        self.events.append(event)
        if len(self.events) == FREE_STEPS:
            self.fault(*self._process_and_log(event.trial_id))
            self.gate.touch()

    def _process_and_log(self, trial_id: str) -> tuple[int, Path]:
        """Of the job that trains the trial, below the one that stands for Slurm."""
        (job,) = (
            given.job
            for given in self.backend._submissions.values()
            if trial_id in {cell.trial.id for cell in given.work.cells}
        )
        children = Path(f"/proc/{job.job_id}/task/{job.job_id}/children").read_text()
        return int(children), job.paths.stdout


def has_gone_on(events: list[Event]) -> bool:
    """Whether no tenth of an epoch of any trial was trained twice."""
    told = [(event.trial_id, event.epoch) for event in events]
    return len(told) == len(set(told))


@pytest.mark.cluster
def test_a_job_that_is_taken_back_goes_on_when_it_is_queued_again(alone: Path) -> None:
    """Slurm's signal, to one of two jobs: its trial is saved, and nothing is trained twice."""

    def take_back(process: int, log: Path) -> None:
        os.kill(process, signal.SIGUSR2)
        while "SIGUSR2" not in log.read_text():  # it has heard
            time.sleep(0.02)

    run = Run(folder=alone, name="a Slurm job taken back (SIGUSR2)", fault=take_back)
    outcome = run()

    assert outcome.worker_losses == 0
    assert has_gone_on(run.events)
    assert_as_local(run.folder, run.name, outcome)


@pytest.mark.cluster
def test_a_job_that_is_lost_is_noticed_and_its_trials_go_on_in_another(alone: Path) -> None:
    """By kill -9, as when its node is gone."""
    run = Run(
        folder=alone,
        name="a Slurm job lost (`kill -9`)",
        fault=lambda process, _: os.kill(process, signal.SIGKILL),
    )
    outcome = run()

    assert outcome.worker_losses == 1
    assert_as_local(run.folder, run.name, outcome)


@pytest.mark.cluster
def test_ctrl_c_leaves_no_job_and_what_any_executor_continues(alone: Path) -> None:
    """Saved at the next tenth of an epoch, ended by the local executor."""
    run = Run(
        folder=alone,
        name="Ctrl-C at the driver of Slurm jobs, then local",
        fault=lambda *_: os.kill(os.getpid(), signal.SIGINT),
    )
    outcome = run()

    assert outcome.interrupted
    assert list((alone / run.name).glob("trials/*/checkpoint.pt"))
    assert not any(Store(alone / run.name).held(cell.trial.id) for cell in plan_cells(alone))
    finish(alone, run.name)
    assert_as_local(run.folder, run.name, outcome)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Commands of a Slurm that takes up to two jobs and never starts one; what they were told."""
    folder = tmp_path / "bin"
    folder.mkdir()
    commands = {
        "srun": "",
        "scancel": f'echo "$@" >> {tmp_path}/cancelled',
        "squeue": f"cat {tmp_path}/queue",
        "sbatch": (
            f'grep -q gpu "$1" || {{ echo "invalid partition" >&2; exit 1; }}; '
            f'cp "$1" {tmp_path}/asked; n=$(cat {tmp_path}/queue | wc -l); '
            f'[ $n -lt 2 ] || {{ echo "too many jobs" >&2; exit 1; }}; '
            f'echo "7$n PENDING" >> {tmp_path}/queue; echo Submitted batch job 7$n'
        ),
    }
    for name, text in commands.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    (tmp_path / "queue").touch()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(slurm, "_POLL_SECONDS", 0.0)
    monkeypatch.setattr(slurm, "_ASK_SECONDS", 0.0)
    return tmp_path


def test_sbatch_is_asked_for_what_the_command_line_says(fake: Path) -> None:
    """Options as they are, and the signal that saves; jobs that wait are cancelled at the end."""
    quick_claim_file(fake)
    options = {"partition": "gpu", "time": 240, "gpus-per-node": "1", "exclusive": True}
    backend = SlurmBackend(machine(fake), options=options)
    outcome = run_cells(lambda: plan_cells(fake), backend, seconds=0.0)

    asked = set((fake / "asked").read_text().splitlines())
    wanted = ("partition=gpu", "time=240", "gpus-per-node=1", "exclusive", "signal=USR2@90")
    assert {f"#SBATCH --{option}" for option in wanted} <= asked
    assert outcome.out_of_time
    assert (fake / "cancelled").read_text().split() == ["70", "71"]
    assert not list((fake / "store" / ".jobs").iterdir())


def test_jobs_that_vanish_are_tried_three_times_and_then_told(fake: Path) -> None:
    """Whatever Slurm calls the end of a job that says nothing: it is in the queue no more."""
    quick_claim_file(fake)
    cells = plan_cells(fake)
    backend = SlurmBackend(machine(fake), options={"partition": "gpu"}, workers=1)
    (fake / "bin" / "squeue").write_text(f"#!/bin/sh\ncat {fake}/queue; : > {fake}/queue\n")
    outcome = run_cells(lambda: cells, backend)

    assert outcome.failures.keys() == {cell.trial.id for cell in cells}
    assert "killed 3 times: job 70 left no log: do its nodes see" in str(
        outcome.failures[cells[0].trial.id]
    )


def test_a_refusal_is_told_at_once(fake: Path) -> None:
    """What is wrong with the options is wrong with every job."""
    quick_claim_file(fake)
    backend = SlurmBackend(machine(fake), options={"partition": "cpu"})

    with pytest.raises(MachineError, match=r"Slurm took no job.*invalid partition"):
        run_cells(lambda: plan_cells(fake), backend)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--slurm", "partition=gpu"], "--slurm needs --executor slurm"),
        (["--executor", "slurm", "--slurm", "time=soon"], "write 90, 4:00:00 or 1-12"),
        (["--executor", "slurm", "--slurm", "Partition gpu"], "is no option of sbatch"),
        (["--executor", "slurm", "--address", "auto"], "--address needs --executor ray"),
    ],
)
def test_options_that_cannot_be_meant_are_usage_errors(
    tmp_path: Path, flags: list[str], said: str
) -> None:
    """Before anything is planned."""
    claim = quick_claim_file(tmp_path)
    result = CliRunner().invoke(main, ["run", str(claim), "--store", str(tmp_path / "s"), *flags])

    assert result.exit_code == 2
    assert said in result.output


def test_without_slurm_the_error_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No `srun` on the path."""
    monkeypatch.setenv("PATH", "")
    with (
        pytest.raises(MachineError, match="there is no command `srun`") as caught,
        SlurmBackend(machine(tmp_path), options=NO_OPTIONS),
    ):
        pass

    assert "login node" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("90", 90), ("5:30", 5), ("4:00:00", 240), ("1-12", 2160), ("1-0:30", 1470), ("0:10", 1)],
)
def test_time_is_read_as_sbatch_does(text: str, minutes: int) -> None:
    """Minutes, hours:minutes:seconds, days-hours and so on."""
    from repro.cli.executors import SbatchOption

    assert SbatchOption().convert(f"time={text}", None, None) == ("time", minutes)
