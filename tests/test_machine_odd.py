"""Odd machines: no home, no git, no Linux, and streams that are full, closed or not read."""

import io
import os
import platform
import pwd
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import click
import matplotlib as mpl
import pytest
import torch
from click.testing import CliRunner

import repro as package
from repro.claim import TrainedClaim
from repro.cli import main
from repro.cli.command import group
from repro.cli.doctor import checks
from repro.cli.options import Folder
from repro.cli.settings import Setting
from repro.errors import BugError, MachineError, OutOfMemoryError, WriteError, machine_fault
from repro.execute import workers_for
from repro.execute.backends import local
from repro.execute.monitor.observer import TrainedCell
from repro.execute.monitor.progress import Pace, ProgressFiles
from repro.messages import print_error
from repro.planning import next_cells
from repro.report.svg import svg
from repro.store import Store
from repro.store.provenance import code_commit, code_version, cores, sources
from repro.train import device_data
from tests.commands import repro
from tests.shell import ROOT
from tests.worlds import (
    FACT,
    lasting_claim_file,
    quick_claim_file,
    tiny,
    tiny_claim,
    trial_on,
)

ENVIRONMENT = {"PYTHONPATH": str(ROOT)}


def child(
    *words: str | Path, shell: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own; `shell`: redirections, as a shell has them."""
    line = f'exec "$0" -m repro "$@" {shell}'
    return subprocess.run(
        ["sh", "-c", line, sys.executable, *map(str, words)],
        capture_output=True, text=True, check=False,
        env={**os.environ, **ENVIRONMENT, **environment},
    )  # fmt: skip


@pytest.fixture
def unread() -> Iterator[int]:
    """The end of a pipe whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


# Streams


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_letters_that_a_stream_lacks_are_escaped(
    encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the command does all else."""
    (tmp_path / "fact.yaml").write_text(FACT.replace("One layer", "a → b"), encoding="utf-8")
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding=encoding))
    main(["list", "--claims", str(tmp_path)], standalone_mode=False)

    assert b"a \\u2192 b counted" in out.getvalue()


@pytest.mark.parametrize("words", [["--help"], ["explain", "E100"]], ids=" ".join)
def test_results_that_nobody_reads_end_the_command(words: list[str], unread: int) -> None:
    """With the exit code that a shell knows, and without a word."""
    done = subprocess.run(
        [sys.executable, "-m", "repro", *words],
        stdout=unread, stderr=subprocess.PIPE, text=True, check=False, cwd=ROOT,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (141, "")


def test_results_that_find_no_room_are_told() -> None:
    """As any file that cannot be written."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    done = child("explain", "E100", shell="> /dev/full")

    assert done.returncode == 5
    assert "error[E301]: cannot write to standard output: " in done.stderr


@pytest.mark.parametrize(
    ("shell", "words", "exit_code"),
    [
        (">&-", ["explain", "E100"], 0),
        ("<&- >&- 2>&-", ["explain", "E999"], 2),
        ("2> /dev/full", ["explain", "E999"], 2),
    ],
)
def test_streams_that_are_closed_change_no_exit_code(
    shell: str, words: list[str], exit_code: int
) -> None:
    """Nor is anything said in another place."""
    done = child(*words, shell=shell)

    assert (done.returncode, done.stdout, done.stderr) == (exit_code, "", "")


def test_a_reader_of_the_log_that_dies_ends_no_run(
    unread: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every trial is trained, and the verdict is printed."""
    claim, out = quick_claim_file(tmp_path), io.StringIO()
    words = ["run", claim, "--store", tmp_path / "runs", "--workers", "1"]
    with open(unread, "w", closefd=False) as talk:
        monkeypatch.setattr(sys, "stderr", talk)
        monkeypatch.setattr(sys, "stdout", out)
        with pytest.raises(SystemExit) as end:
            main([str(word) for word in words])
        monkeypatch.undo()

    assert end.value.code == 0
    assert out.getvalue().startswith("tiny, ")
    assert len(list(tmp_path.glob("runs/trials/*/result.json"))) == 2


# Errors that nobody caught


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (OSError(28, "No space left on device", "/a/b"), WriteError, "in x: /a/b: No space left"),
        (OSError(30, "Read-only file system", b"/a"), WriteError, "in x: /a: Read-only"),
        (PermissionError(13, "Permission denied", "/a"), MachineError, "in x: /a: Permission"),
        (BlockingIOError(11, "Resource unavailable"), MachineError, "in x: Resource unavailable"),
        (MemoryError(), OutOfMemoryError, "in x: out of memory"),
    ],
)
def test_what_the_system_says_is_a_fault_of_the_machine(
    error: Exception, kind: type[MachineError], says: str
) -> None:
    """With path and reason."""
    fault = machine_fault(error, "in x: ")

    assert type(fault) is kind
    assert str(fault).startswith(says)


@pytest.mark.parametrize("error", [ValueError("x"), OSError("x"), OSError(9, "Bad descriptor")])
def test_what_no_system_says_is_a_bug(error: Exception) -> None:
    """Its traceback is wanted."""
    assert machine_fault(error) is None


def test_a_system_that_starts_no_more_threads_is_no_bug() -> None:
    """As Python says it, of a stack for which no address space has room."""
    size = threading.stack_size(2**46)
    try:
        with pytest.raises(RuntimeError) as caught:
            threading.Thread(target=print).start()
    finally:
        threading.stack_size(size)

    fault = machine_fault(caught.value)

    assert isinstance(fault, MachineError)
    assert "starts no more threads" in str(fault)


def test_a_thread_that_a_full_disk_ends_is_told_in_a_line() -> None:
    """As that of a logger, which has no other who could tell."""

    def write() -> None:
        raise OSError(28, "No space left on device", "logs/x")

    @group()
    def tool() -> None:
        pass

    @tool.command()
    def log() -> None:
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()

    done = CliRunner().invoke(tool, ["log"])

    assert done.exit_code == 0
    assert done.stderr == "a thread has ended early: logs/x: No space left on device\n"


def test_a_traceback_that_no_file_can_hold_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The one word on what went wrong is not lost."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "not there"))
    print_error(BugError("x", traceback="Traceback: line 1\n"))

    assert "traceback: \nTraceback: line 1\n" in capsys.readouterr().err


def test_what_is_only_shown_ends_no_run(tmp_path: Path) -> None:
    """A store that cannot be written any more does not hide the fault that it is to tell of."""
    claim = tiny_claim(tmp_path)
    assert isinstance(claim, TrainedClaim)
    (cell, *_) = next_cells(claim, "smoke", "0" * 16, {})
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "trials").touch()  # a file in place of the folder
    store = Store(tmp_path / "runs")
    files = ProgressFiles(store=store, pace=Pace(epochs_left=lambda: 1.0, workers=1))
    files.start(cell)
    files.fail(cell, WriteError("no room"))
    files.start(cell)
    files.finish(cell, TrainedCell(outcome="paused"))


# Homes and folders


@pytest.fixture
def homeless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As a user id without a name sees it, in a working folder of its own."""

    def nobody(number: int) -> None:
        raise KeyError(number)

    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_who_has_no_home_has_folders_here(homeless: Path) -> None:
    """Each command works, and no folder is named after a tilde."""
    (homeless / "fact.yaml").write_text(FACT)

    assert repro("explain", "E100").exit_code == 0
    assert repro("data", "status").exit_code == 0
    assert repro("run", "fact", "--claims", ".").exit_code == 0
    assert sorted(path.name for path in homeless.iterdir()) == ["fact.yaml", "runs"]


def test_a_home_that_nobody_knows_cannot_be_named(homeless: Path) -> None:
    """Told, where a folder named `~` would be made."""
    (homeless / "fact.yaml").write_text(FACT)
    done = repro("run", "fact", "--claims", ".", "--store", "~/x")

    assert done.exit_code == 2
    assert "~/x: no such home folder is known; write it out" in done.stderr


def folders(command: click.Command) -> Iterator[Setting]:
    """Every setting of a command tree that names a folder."""
    yield from (
        one
        for one in command.params
        if isinstance(one, Setting) and isinstance(one.type, click.Path)
    )
    for inner in command.commands.values() if isinstance(command, click.Group) else ():
        yield from folders(inner)


def test_a_tilde_is_the_home_folder_in_every_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In variables, where no shell expands it."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("REPRO_STORE", "~/x")
    monkeypatch.chdir(tmp_path)
    Path("fact.yaml").write_text(FACT)

    assert repro("run", "fact.yaml").exit_code == 0
    assert (tmp_path / "home" / "x" / "store.json").exists()
    assert not Path("~").exists()
    assert all(isinstance(one.type, Folder) for one in folders(main))


def test_a_working_folder_that_is_gone_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a library that wants it ends the process."""
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    done = repro("doctor")

    assert done.exit_code == 5
    assert "error[E300]: the working folder is gone or cannot be read: " in done.stderr
    assert "next: cd into a folder that is there" in done.stderr


# Git


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package as if in a checkout, and the only folder in which programs are looked up."""
    programs = tmp_path / "bin"
    for folder in (programs, tmp_path / ".git"):
        folder.mkdir()
    monkeypatch.setattr(package, "__file__", str(tmp_path / "bin" / "__init__.py"))
    monkeypatch.setenv("PATH", str(programs))
    code_commit.cache_clear()
    yield programs
    code_commit.cache_clear()


GITS = {
    "missing": ("", "git cannot be run: No such file or directory"),
    "refuses": (
        "#!/bin/sh\necho 'fatal: detected dubious ownership' >&2\nexit 128\n",
        "git refuses: fatal: detected dubious ownership",
    ),
    "hangs": (
        "#!/bin/sh\nPATH=/bin:/usr/bin\nsleep 600\nexit 0\n",
        "git does not answer within 0.5 s",
    ),
}


@pytest.mark.parametrize("git", GITS)
def test_without_git_the_version_has_no_commit(
    git: str, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The doctor says why, and nothing else differs."""
    script, problem = GITS[git]
    # The others answer at their leisure: on a busy machine a shell takes seconds to start.
    monkeypatch.setattr("repro.store.provenance._GIT_SECONDS", 0.5 if git == "hangs" else 600.0)
    if script:
        (checkout / "git").write_text(script)
        (checkout / "git").chmod(0o755)
    first = next(iter(checks((), tmp_path, (), tmp_path)))

    assert code_version() == package.__version__
    assert first.state == "missing"
    assert first.text.endswith(f"results do not say which commit they are of: {problem}")


def test_nodes_know_the_same_code_by_its_sources_alone(tmp_path: Path) -> None:
    """Wherever it lies and whatever is committed beside it; a changed line is other code."""
    for name in ("a", "b"):
        (tmp_path / name / "inner").mkdir(parents=True)
        (tmp_path / name / "inner" / "one.py").write_text("x = 1\n", encoding="utf-8")
    (tmp_path / "b" / "notes.txt").write_text("of no concern", encoding="utf-8")

    assert sources(tmp_path / "a") == sources(tmp_path / "b")

    (tmp_path / "c" / "inner").mkdir(parents=True)
    (tmp_path / "c" / "inner" / "one.py").write_text("x = 2\n", encoding="utf-8")

    assert sources(tmp_path / "c") != sources(tmp_path / "a")


def test_a_commit_is_of_the_packages_own_checkout(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever git's variables say in a hook of another repository."""
    monkeypatch.setattr("repro.store.provenance._GIT_SECONDS", 600.0)
    (checkout / "git").write_text('#!/bin/sh\necho "${GIT_DIR-own}"\n')
    (checkout / "git").chmod(0o755)
    monkeypatch.setenv("GIT_DIR", "/elsewhere/.git")

    assert code_version() == f"{package.__version__}+own"


# Other systems


def test_cores_are_counted_where_no_process_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS, which does not bind processes to cores."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)

    assert workers_for("cpu", None) == cores() == os.cpu_count()


def test_memory_is_counted_where_the_system_does_not_say_what_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS, which says how much there is: images are then held or streamed by that."""
    names = {name: key for name, key in os.sysconf_names.items() if name != "SC_AVPHYS_PAGES"}
    monkeypatch.setattr(os, "sysconf_names", names)
    data = tiny(tmp_path)

    assert device_data(trial_on(data), data, torch.device("cpu")).train.labels.shape == (320,)


@pytest.mark.process
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told to keep it")
def test_freed_memory_is_kept_until_it_is_short() -> None:
    """A hundred maps of four megabytes: most of it goes back then, and not before."""
    code = """
import re, torch
from pathlib import Path
from repro.train.out_of_memory import free, keep_freed

def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

keep_freed()
maps = [torch.ones(2**20) for _ in range(100)]
used = resident()
del maps
kept = resident()
free(torch.device("cpu"), short=True)
print(used - kept, kept - resident())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    at_once, when_short = map(int, done.stdout.split())

    assert at_once < 100_000
    assert when_short > 300_000


# Figures


def test_settings_of_the_users_change_no_figure() -> None:
    """Equal bytes, whatever a matplotlibrc or a notebook has set."""
    panels = [("a", lambda ax: ax.plot([0, 1], [1, 2])[0].axes)]
    usual = svg("figure", panels, inches=(3, 2))
    theirs = {"font.size": 30, "lines.linewidth": 7, "svg.fonttype": "path", "figure.dpi": 30}
    with mpl.rc_context(theirs):  # type: ignore[arg-type] # the stubs want literal keys
        assert svg("figure", panels, inches=(3, 2)) == usual


@pytest.mark.process
def test_a_report_needs_nothing_of_the_users_matplotlib(tmp_path: Path) -> None:
    """A back-end that is not installed, a file that is damaged, a folder that is none."""
    (tmp_path / "matplotlib").mkdir()
    (tmp_path / "matplotlib" / "matplotlibrc").write_bytes(b"axes.grid: \xff")
    golden = ROOT / "tests" / "golden"
    done = child(
        "report", "--store", golden / "store-1", "--claims", golden / "claims",
        "--out", tmp_path / "report", "--format", "summary",
        MPLBACKEND="module://not_here.backend", MPLCONFIGDIR=str(tmp_path / "matplotlib"),
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "")


# Workers


def test_processes_that_cannot_be_started_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container without /dev/shm, where one trial at a time still can be trained."""

    def refused(_workers: int) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(local, "_pool", refused)
    claim = quick_claim_file(tmp_path)
    done = repro("run", claim, "--store", tmp_path / "runs", "--workers", "2")

    assert done.exit_code == 5
    assert "error[E300]: processes cannot be started side by side here: " in done.stderr
    assert "next: --workers 1 trains in this process" in done.stderr


@pytest.mark.process
def test_workers_outlive_namesakes_of_modules_and_the_end_of_a_terminal(tmp_path: Path) -> None:
    """Files in the working folder are none of Python's, and SIGHUP saves without a traceback."""
    for name in ("json", "logging", "random", "types"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not this one')")
    script = tmp_path / "bin" / "repro"  # as it is installed: it begins in no folder of ours
    script.parent.mkdir()
    script.write_text("from repro.cli import main\nif __name__ == '__main__':\n    main()\n")
    claim = lasting_claim_file(tmp_path)
    with subprocess.Popen(
        [sys.executable, script, "run", claim, "--workers", "2", "--store", tmp_path / "runs"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
        cwd=tmp_path, env={**os.environ, **ENVIRONMENT},
    ) as process:  # fmt: skip
        assert process.stderr is not None
        begun = next(line for line in process.stderr if " start " in line)
        os.killpg(process.pid, signal.SIGHUP)
        said = begun + process.stderr.read()

    assert process.returncode == 130, said
    assert "interrupted: all is saved" in said, said
    assert "Traceback" not in said
    assert "resource_tracker" not in said
