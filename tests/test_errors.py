"""Errors by what is at fault, each with its code; what a shell sees of each, one by one."""

import compileall
import json
import pickle
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from repro.cli import main, options
from repro.errors import BugError, ReproError, known_errors
from repro.messages import printable
from repro.store import Store
from tests import commands, shell
from tests.shell import ROOT, codes, installed, paths
from tests.test_command import claim_file as command_claim
from tests.worlds import FACT, claim_file

GOLDEN = ROOT / "tests" / "golden"
ERRORS = list(known_errors())
UNCOMPILED = shutil.ignore_patterns("__pycache__")

WRONG_FACT = FACT.replace("96", "33")
BUGGY = """\
from torch import nn
from repro.registry import ModelFacts

FACTS = ModelFacts(title="halves", module=__name__, parameters=30730, arguments=("activation",))

class Halves(nn.Linear):
    def forward(self, images):
        return super().forward(images.flatten(1)) / (1.0 / (len(images) - len(images)))

def halves(*, num_classes=10, initialisation="he", activation="relu"):
    return Halves(3 * 32 * 32, num_classes)
"""


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


# From a shell


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """A command, and what is seen of it. `says`: what went wrong, where; `next`: to do.

    `path`: PYTHONPATH, from a shell.
    """

    command: Sequence[str | Path]
    exit_code: int
    says: Sequence[str] = ()
    next: str = ""
    path: str = ""


CLAIMS = ("--claims", GOLDEN / "claims")
TIMES = GOLDEN / "claims" / "times.yaml"


def golden(folder: Path) -> Path:
    """A copy of the golden store."""
    return Path(shutil.copytree(GOLDEN / "store-1", folder / "store"))


def a_store_that_agrees(_folder: Path) -> Seen:
    return Seen(command=["verify", GOLDEN / "store-1", *CLAIMS], exit_code=0)


def a_word_that_is_no_command(_folder: Path) -> Seen:
    return Seen(command=["mesure"], exit_code=2, says=["No such command"])


def a_fact_that_does_not_hold(folder: Path) -> Seen:
    (folder / "fact.yaml").write_text(WRONG_FACT)
    return Seen(command=["run", folder / "fact.yaml", "--store", folder / "runs"], exit_code=3)


def stores_that_differ(folder: Path) -> Seen:
    store = Store(golden(folder))
    (plan,) = (store.plan_file(one) for one in store.plans("levels", "smoke"))
    plan.unlink()
    return Seen(command=["diff", GOLDEN / "store-1", store.root, *CLAIMS], exit_code=3)


def a_claim_that_is_no_yaml(folder: Path) -> Seen:
    (folder / "bad.yaml").write_text("id: [")
    return Seen(
        command=["validate", folder / "bad.yaml"],
        exit_code=2, says=["bad.yaml:1:6", "YAML: expected"], next="repro schema",
    )  # fmt: skip


def a_scale_that_no_claim_has(folder: Path) -> Seen:
    return Seen(
        command=["run", TIMES, "--scale", "paper", "--store", folder / "runs"],
        exit_code=2, says=["no claim that was named has the paper scale"],
        next="repro list",
    )  # fmt: skip


def images_that_are_missing(folder: Path) -> Seen:
    return Seen(
        command=["data", "verify", "cifar10", "--data-dir", folder],
        exit_code=5, says=["CIFAR-10 was not found", str(folder)],
        next="repro data fetch cifar10",
    )  # fmt: skip


def a_device_that_is_not_here(folder: Path) -> Seen:
    return Seen(
        command=["run", TIMES, "--device", "cuda:99", "--store", folder / "runs"],
        exit_code=5, says=["device 'cuda:99' is not here"], next="--device",
    )  # fmt: skip


def a_folder_that_cannot_be_made(folder: Path) -> Seen:
    (folder / "file").touch()
    into = folder / "file" / "into"
    return Seen(
        command=["merge", into, GOLDEN / "store-1"],
        exit_code=5, says=[f"cannot write {into}", "Not a directory"],
        next="choose another folder, then run the same command again",
    )  # fmt: skip


def a_package_without_its_sources(folder: Path) -> Seen:
    """As an image of a container that keeps the compiled files alone."""
    package = Path(shutil.copytree(ROOT / "repro", folder / "repro", ignore=UNCOMPILED))
    assert compileall.compile_dir(package, legacy=True, quiet=1)
    for source in package.rglob("*.py"):
        source.unlink()
    return Seen(
        command=["run", TIMES, "--scale", "smoke", "--store", folder / "runs"],
        exit_code=5, says=["no source of repro.", str(package)],
        next="install the wheel or a checkout", path=str(folder),
    )  # fmt: skip


def a_budget_that_ends_before_there_is_a_number(folder: Path) -> Seen:
    return Seen(
        command=["run", TIMES, "--budget", "0.001s", "--store", folder / "runs", "--workers", "1"],
        exit_code=4,
        says=["no number yet", "times at smoke scale: 0 of 2 evaluation trials are finished"],
        next=f"repro run {TIMES} --budget 0.001s",
    )  # fmt: skip


def a_result_that_was_cut_off(folder: Path) -> Seen:
    store = golden(folder)
    path = min(store.glob("trials/*/result.json"))
    path.write_text("{")
    return Seen(
        command=["export", "--store", store, folder / "out"],
        exit_code=5, says=[f"{path}: not a trial's result"], next="repro verify",
    )  # fmt: skip


def a_store_of_a_later_version(folder: Path) -> Seen:
    (folder / "store.json").write_text('{"format": 99}')
    return Seen(
        command=["verify", folder, *CLAIMS],
        exit_code=5, says=[f"{folder / 'store.json'}: store format 99", "reads 1"],
        next="--store",
    )  # fmt: skip


def other_error(store: Path) -> Path:
    """Writes another training error into a result; which."""
    path = min(store.glob("trials/*/result.json"))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"train_error": 0.123}))
    return path


def a_result_that_contradicts_its_curve(folder: Path) -> Seen:
    store = golden(folder)
    path = other_error(store)
    return Seen(
        command=["verify", store, *CLAIMS],
        exit_code=5, says=[f"{store}: a contradiction: {path}: train_error"],
        next="remove what you do not trust",
    )  # fmt: skip


def a_trial_with_two_results(folder: Path) -> Seen:
    store = golden(folder)
    other_error(store)
    into = Path(shutil.copytree(GOLDEN / "store-1", folder / "into"))
    return Seen(
        command=["merge", into, store],
        exit_code=5, says=[f"{into}: a contradiction: {store}", "kept apart in"],
        next="repro diff A B",
    )  # fmt: skip


def a_store_with_nothing_in_it(folder: Path) -> Seen:
    return Seen(
        command=["verify", folder, *CLAIMS],
        exit_code=4, says=[f"{folder} holds no plan"], next="repro run FILE",
    )  # fmt: skip


def a_report_of_nothing(folder: Path) -> Seen:
    return Seen(
        command=["report", "--store", folder / "no runs", *CLAIMS, "--out", folder / "out"],
        exit_code=4, says=[f"{folder / 'no runs'} has no finished trial"],
        next="repro run FILE",
    )  # fmt: skip


def a_net_that_cannot_be_built(folder: Path) -> Seen:
    """Its argument is known, and its value is not."""
    claim = folder / "dropout.yaml"
    text = (ROOT / "claims" / "dropout.yaml").read_text()
    claim.write_text(text.replace("preset: authors_2012, width: 0.125", "width: 0.125, preset: no"))
    return Seen(
        command=["run", claim, "--scale", "smoke", "--store", folder / "runs", "--workers", "1"],
        exit_code=2,
        says=["what the claim file asks of trial ", "cannot be built: preset 'no' is unknown"],
        next="--resolved",
    )  # fmt: skip


def a_net_of_a_package_with_a_bug(folder: Path) -> Seen:
    """Installed, known by its name, built, and wrong in its first step."""
    entries = {"repro.models": {"halves": "halves:FACTS"}}
    installed(folder / "packages", "halves", entries, BUGGY)
    claim = folder / "times.yaml"
    claim.write_text(TIMES.read_text().replace("name: cifar_80sec", "name: halves"))
    return Seen(
        command=["run", claim, "--store", folder / "runs", "--workers", "1"],
        exit_code=5,
        says=["in trial ", "ZeroDivisionError: float division by zero", "traceback: "],
        next="run again with REPRO_DEBUG=1", path=paths(ROOT, folder / "packages"),
    )  # fmt: skip


def a_command_that_nobody_has_trusted(folder: Path) -> Seen:
    claim = command_claim(folder, mode="fail")
    return Seen(
        command=["run", claim, "--store", folder / "runs"],
        exit_code=2, says=[f"{claim} runs a command: ", "program.py"], next=f"repro trust {claim}",
    )  # fmt: skip


def a_command_that_fails(folder: Path) -> Seen:
    claim = command_claim(folder, mode="fail")
    return Seen(
        command=["run", claim, "--store", folder / "runs", "--trust", "--workers", "1"],
        exit_code=5, says=["the command of trial ", "ended with exit code 3", "no such layer"],
        next="mend the program",
    )  # fmt: skip


Case = Callable[[Path], Seen]
# The error's code, where it is one: a verdict has none, nor what click says of a wrong command.
SEEN: list[tuple[str, Case]] = [
    ("", a_store_that_agrees),
    ("", a_word_that_is_no_command),
    ("", a_fact_that_does_not_hold),
    ("", stores_that_differ),
    ("E100", a_claim_that_is_no_yaml),
    ("E100", a_scale_that_no_claim_has),
    ("E200", images_that_are_missing),
    ("E300", a_device_that_is_not_here),
    ("E301", a_folder_that_cannot_be_made),
    ("E400", a_budget_that_ends_before_there_is_a_number),
    ("E500", a_result_that_was_cut_off),
    ("E501", a_store_of_a_later_version),
    ("E502", a_result_that_contradicts_its_curve),
    ("E502", a_trial_with_two_results),
    ("E600", a_store_with_nothing_in_it),
    ("E600", a_report_of_nothing),
    ("E100", a_net_that_cannot_be_built),
    ("E101", a_command_that_nobody_has_trusted),
    ("E306", a_command_that_fails),
]
# Of a package that is not the one that the tests import, or beside one.
FROM_A_SHELL: list[tuple[str, Case]] = [
    ("E304", a_package_without_its_sources),
    ("E900", a_net_of_a_package_with_a_bug),
]


def assert_seen(seen: Seen, code: str, exit_code: int, talk: str) -> None:
    assert exit_code == seen.exit_code, talk
    assert codes(talk) == {code} - {""}, talk
    for part in seen.says:
        assert part in talk
    if code:
        last = talk.splitlines()[-1]
        assert last.startswith("next: ")
        assert seen.next in last
    assert "Traceback" not in talk


@pytest.mark.parametrize(("code", "case"), SEEN, ids=lambda value: getattr(value, "__name__", None))
def test_an_error_says_what_where_and_what_next(code: str, case: Case, tmp_path: Path) -> None:
    """Each provoked for real: the exit code, and on stderr the error's code and its sentences."""
    seen = case(tmp_path)
    done = commands.repro(*seen.command)

    assert_seen(seen, code, done.exit_code, done.stderr)


@pytest.mark.process
@pytest.mark.parametrize(
    ("code", "case"), FROM_A_SHELL, ids=lambda value: getattr(value, "__name__", None)
)
def test_a_shell_sees_what_where_and_what_next(code: str, case: Case, tmp_path: Path) -> None:
    """The same of packages that only a process of its own can have."""
    seen = case(tmp_path)
    done = shell.repro(*seen.command, path=seen.path, TMPDIR=str(tmp_path))

    assert_seen(seen, code, done.returncode, done.stderr)


@pytest.mark.process
def test_a_process_ends_as_its_command_does(tmp_path: Path) -> None:
    """The exit code and stderr of `python -m repro` are those of the command in this process."""
    done, answer = (run("verify", tmp_path) for run in (shell.repro, commands.repro))

    assert answer.exit_code == 4
    assert (done.returncode, done.stderr) == (answer.exit_code, answer.stderr)


def test_every_code_is_provoked_from_a_shell() -> None:
    """Here, or where a fault takes longer, in tests/faults/test_shell.py."""
    faults = (ROOT / "tests" / "faults" / "test_shell.py").read_text()
    elsewhere = set(re.findall(r'codes\(.*\) == \{"(E\d+)"\}', faults))

    assert {code for code, _ in SEEN + FROM_A_SHELL if code} | elsewhere == {
        error.code for error in ERRORS
    }


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
