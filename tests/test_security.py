"""Files of strangers: claims and stores that run nothing, leave no folder, steer no terminal."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from repro.claim import load
from repro.cli import main
from repro.errors import ClaimError
from repro.store import Store
from tests.worlds import quick_claim_file

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden"
CLAIM = (GOLDEN / "claims" / "times.yaml").read_text(encoding="utf-8")

EVIL = {
    "code": ("title: ReLU", "title: !!python/object/apply:os.system ['touch ran'] #"),
    "an alias": ("title: ReLU", "title: *anchor #"),
    "a folder above": ("data: digits", "data: folder:../../etc"),
    "an absolute folder": ("data: digits", "data: folder:/etc"),
    "a figure elsewhere": ("value: 2.0", "value: 2.0, figure: ../../../etc/passwd"),
    "a model from the network": ("name: cifar_80sec", "name: 'timm:hf-hub:someone/net'"),
    "an identity that is a path": ("id: times", "id: ../times"),
    "an arm that is a path": ("  relu: {", "  ../relu: {"),
}


@pytest.mark.parametrize("evil", EVIL)
def test_a_claim_runs_nothing_and_leaves_no_folder(
    evil: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused, with its place."""
    monkeypatch.chdir(tmp_path)
    old, new = EVIL[evil]
    assert old in CLAIM
    path = tmp_path / "evil.yaml"
    path.write_text(CLAIM.replace(old, new, 1), encoding="utf-8")

    with pytest.raises(ClaimError, match=r"evil\.yaml:\d+:\d+: "):
        load(path)
    assert [each.name for each in tmp_path.iterdir()] == ["evil.yaml"]


def test_text_of_a_claim_steers_no_terminal(tmp_path: Path) -> None:
    """Escape sequences that YAML allows between quotes come out as text, in every command."""
    path = tmp_path / "times.yaml"
    path.write_text(
        CLAIM.replace("title: ReLU", 'title: "\\e[2J\\e]0;owned\\a\\u202e ReLU').replace(
            "before tanh\n", 'before tanh"\n'
        ),
        encoding="utf-8",
    )
    for command in (["show", str(path)], ["list", "--claims", str(tmp_path)]):
        done = CliRunner().invoke(main, command, color=True)
        assert done.exit_code == 0, done.output
        assert not set(done.output) & STEERING
        assert "\\x1b[2J" in done.output


STEERING = {"\x1b", "\x07", "\u202e", "\r"}
NAME = "\x1b]0;owned\x07\u202e\r"


def test_names_of_files_steer_no_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a command says of a path: results, errors, wrong usage and settings."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / f"claims{NAME}"
    folder.mkdir()
    (folder / f"good{NAME}.yaml").write_text(CLAIM)
    (folder / f"bad{NAME}.yaml").write_text("id: [")
    (tmp_path / f"store{NAME}").mkdir()
    (tmp_path / f"store{NAME}" / "store.json").write_text('{"format": 99}')
    commands = [
        ["doctor", "--claims", str(folder)],
        ["validate", str(folder / f"bad{NAME}.yaml")],
        ["show", str(folder / f"none{NAME}.yaml")],
        ["list", "--claims", str(tmp_path / f"none{NAME}")],
        ["status", "--store", str(tmp_path / f"store{NAME}")],
        ["new", "another", "--claims", str(folder)],
    ]
    for command in commands:
        done = CliRunner().invoke(main, command, color=True)
        assert not set(done.output) & STEERING, command
        assert "\\x1b]0;owned\\x07\\u202e\\r" in done.output, (command, done.output)


def test_what_a_run_says_of_itself_steers_no_terminal(tmp_path: Path) -> None:
    """The file that a running trial keeps may be anyone's."""
    store = Store(tmp_path / "store")
    standing = {
        "trial_id": "x", "recipe": "[red]\x1b[2J", "arm": "a\x07", "purpose": "tune", "rate": 0.1,
        "seed": 0, "epoch": 0.0, "until": 1.0, "told": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    with store.lock("x"):
        store.keep_report("x", "progress.json", json.dumps(standing))
        command = ["status", "--store", str(store.root)]
        done = CliRunner().invoke(main, command, color=True)

    assert not set(done.output) & STEERING
    assert "[red]\\x1b[2J/a\\x07 tune" in done.output


def test_what_a_run_says_of_a_fault_steers_no_terminal(tmp_path: Path) -> None:
    """Nor what an error said, which may repeat what a file holds."""
    fault = {
        "trial_id": "x", "recipe": "[red]\x1b[2J", "arm": "a\x07", "purpose": "tune", "rate": 0.1,
        "seed": 0, "told": "2026-01-01T00:00:00+00:00", "code": "E900",
        "message": "[red]\x1b[2J", "hint": "\x07",
    }  # fmt: skip
    Store(tmp_path).keep_report("x", "fault.json", json.dumps(fault))
    done = CliRunner().invoke(main, ["status", "--store", str(tmp_path)], color=True)

    assert not set(done.output) & STEERING
    assert "error[E900]: [red]\\x1b[2J" in done.output


def test_text_of_a_store_steers_no_terminal(tmp_path: Path) -> None:
    """What another machine wrote into its results is text, too."""
    shutil.copytree(GOLDEN / "store-1", tmp_path / "store")
    for path in (tmp_path / "store").glob("trials/*/result.json"):
        values = json.loads(path.read_text())
        values["provenance"]["device"] = "\x1b]0;owned\x07"
        path.write_text(json.dumps(values))
    command = ["diff", str(GOLDEN / "store-1"), str(tmp_path / "store")]
    done = CliRunner().invoke(main, [*command, "--claims", str(GOLDEN / "claims")])

    assert "owned" in done.output
    assert "\x1b" not in done.output


@pytest.mark.process
def test_a_run_listens_nowhere_and_calls_nobody(tmp_path: Path) -> None:
    """The interpreter tells of every socket that is bound or connected: there is none."""
    code = (
        "import sys\n"
        "def hook(event, args):\n"
        "    if event in ('socket.bind', 'socket.connect', 'socket.getaddrinfo'):\n"
        "        print('SOCKET', event, args[1:], file=sys.stderr)\n"
        "sys.addaudithook(hook)\n"
        "from repro.cli import main\n"
        "main(sys.argv[1:])\n"
    )
    store = str(tmp_path / "runs")
    command = ["run", str(quick_claim_file(tmp_path)), "--store", store, "--workers", "1"]
    done = subprocess.run(
        [sys.executable, "-c", code, *command],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert len(Store(Path(store)).results()) == 2
    assert "SOCKET" not in done.stderr
