"""Errors by what is at fault, each with its code; what a shell sees of each, one by one."""

import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from repro.cli import main, options
from repro.errors import BugError, ReproError, known_errors
from repro.store import Store
from repro.talk import printable
from tests.worlds import claim_file

ROOT = Path(__file__).parents[1]
ERRORS = list(known_errors())


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.code)
def test_every_error_is_explained(error: type[ReproError]) -> None:
    """Cause, where to look, next command."""
    done = CliRunner().invoke(main, ["explain", error.code])

    assert done.exit_code == 0
    for part in ("cause: ", "where: ", "next:  "):
        (line,) = [line for line in done.stdout.splitlines() if line.startswith(part)]
        assert len(line) > len(part) + 10
    assert f"exit code {error.exit_code}" in done.stdout


def test_codes_are_used_once_and_are_listed() -> None:
    """In the order of their classes."""
    listed = CliRunner().invoke(main, ["explain"]).stdout.splitlines()

    assert [line.split()[0] for line in listed] == sorted({error.code for error in ERRORS})
    assert len(listed) == len(ERRORS)


def test_an_unknown_code_is_a_usage_error() -> None:
    """With how to see the known ones."""
    done = CliRunner().invoke(main, ["explain", "E999"])

    assert done.exit_code == 2
    assert "`repro explain` lists all codes" in done.stderr


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.code)
def test_errors_come_home_from_workers_whole(error: type[ReproError]) -> None:
    """Processes send them as pickles: message, hint, traceback and class."""
    sent = error("what", hint="do this")
    back = pickle.loads(pickle.dumps(sent))

    assert (type(back), str(back), back.hint) == (error, "what", "do this")
    assert error("what").hint == error.remedy
    assert pickle.loads(pickle.dumps(BugError("x", traceback="line"))).traceback == "line"


def shell(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "repro", *map(str, arguments)],
        cwd=ROOT, text=True, capture_output=True, check=False, env={**os.environ, **environment},
    )  # fmt: skip


def cases(folder: Path) -> Iterator[tuple[int, str, list[str | Path]]]:
    """Exit code, what stderr says, and the command."""
    golden = ROOT / "tests" / "golden"
    claims = ("--claims", golden / "claims")
    yield 0, "", ["explain", "E100"]
    yield 0, "", ["verify", golden / "store-1", *claims]
    damaged = folder / "damaged"
    shutil.copytree(golden / "store-1", damaged)
    next(path for path in damaged.glob("trials/*/result.json")).write_text("{")
    fewer = folder / "fewer"
    shutil.copytree(golden / "store-1", fewer)
    levels = Store(fewer).plans("levels", "smoke")
    (plan,) = (Store(fewer).plan_path(one) for one in levels)
    plan.unlink()
    yield 3, "", ["diff", golden / "store-1", fewer, *claims]
    yield 5, "error[E300]", ["run", golden / "claims" / "times.yaml", "--device", "cuda:99",
                             "--store", folder / "none"]  # fmt: skip
    yield 5, "error[E500]", ["export", "--store", damaged, folder / "out"]
    yield 2, "no such command", ["mesure"]
    yield 2, "error[E100]", ["explain", "E1"]
    (folder / "bad.yaml").write_text("id: [")
    yield 2, "error[E100]", ["validate", folder / "bad.yaml"]
    (folder / "empty").mkdir()
    yield 4, "error[E600]", ["verify", folder / "empty", *claims]
    yield 4, "error[E600]", ["export", "--store", folder / "empty", folder / "out"]
    yield 5, "error[E200]", ["data", "verify", "cifar10", "--data-dir", folder]
    (folder / "new").mkdir()
    (folder / "new" / "store.json").write_text('{"format": 99}')
    yield 5, "error[E501]", ["verify", folder / "new", *claims]
    (folder / "file").touch()
    yield 5, "error[E301]", ["merge", folder / "file" / "into", golden / "store-1"]


def test_exit_codes_seen_from_a_shell(tmp_path: Path) -> None:
    """One by one, each with the error's code."""
    for exit_code, said, command in cases(tmp_path):
        done = shell(*command)
        assert done.returncode == exit_code, (command, done.stderr)
        assert said in done.stderr.lower() + done.stderr, (command, done.stderr)


def test_what_nobody_foresaw_is_a_bug_with_a_traceback_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two lines for the user, all of it for whoever repairs it, and REPRO_DEBUG to see it."""

    def broken(_paths: object) -> None:
        raise ZeroDivisionError("nobody\x1b[31m foresaw")

    monkeypatch.setattr("repro.claim.load_all", broken)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    command = ["validate", str(claim_file(tmp_path))]
    done = CliRunner().invoke(main, command)
    (kept,) = tmp_path.glob("repro-bug-*.txt")
    seen = CliRunner().invoke(main, command, env={"REPRO_DEBUG": "1"})

    assert done.exit_code == 5
    assert "error[E900]: ZeroDivisionError: nobody\\x1b[31m foresaw" in done.stderr
    assert f"traceback: {kept}" in done.stderr
    assert "Traceback" not in done.stderr
    assert "in broken" in kept.read_text()
    assert isinstance(seen.exception, ZeroDivisionError)


def test_no_text_steers_a_terminal() -> None:
    """Escape sequences, text that runs backwards, halves of letters; other letters stay."""
    assert printable("a\x1b[2Jb\r\u202ec\ud800") == "a\\x1b[2Jb\\r\\u202ec\\ud800"
    assert printable("Läufe\tvom 1. März:\n≈ 2") == "Läufe\tvom 1. März:\n≈ 2"
    assert options.printable is printable
