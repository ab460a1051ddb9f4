"""Where settings come from, and which of them holds."""

import json
from pathlib import Path

import pytest

from tests.commands import repro
from tests.worlds import claim_file


@pytest.fixture(autouse=True)
def in_an_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no configuration but the test's."""
    monkeypatch.chdir(tmp_path)


def device() -> tuple[str, str]:
    """What `repro run` would take, and where it comes from."""
    found = json.loads(repro("config", "--json").stdout)
    (one,) = (x for x in found if (x["command"], x["key"]) == ("run", "device"))
    return one["value"], one["source"]


def test_each_place_comes_before_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Option, environment, repro.toml or pyproject.toml, the user's folder, default."""
    assert device() == ("auto", "default")

    user = tmp_path / "xdg-config" / "repro" / "config.toml"
    user.parent.mkdir(parents=True)
    user.write_text('device = "cuda:1"\n')
    assert device() == ("cuda:1", str(user))

    Path("pyproject.toml").write_text('[tool.repro]\ndevice = "cuda:2"\n')
    assert device() == ("cuda:2", "pyproject.toml")

    Path("repro.toml").write_text('device = "cuda:3"\n[run]\ndevice = "cuda:4"\n')
    assert device() == ("cuda:4", "repro.toml")
    assert "plan.device        cuda:3 " in repro("config").stdout

    monkeypatch.setenv("REPRO_DEVICE", "cuda:5")
    assert device() == ("cuda:5", "environment, REPRO_DEVICE")
    claim = str(claim_file(tmp_path))
    assert "'cuda:5' is not here" in repro("plan", claim).stderr
    assert "'cuda:6' is not here" in repro("plan", claim, "--device", "cuda:6").stderr


def test_a_setting_of_a_file_is_what_the_command_does(tmp_path: Path) -> None:
    """A folder is meant from where the file lies."""
    user = tmp_path / "xdg-config" / "repro" / "config.toml"
    user.parent.mkdir(parents=True)
    user.write_text('claims = "my claims"\n')
    (user.parent / "my claims").mkdir()
    claim_file(user.parent / "my claims", name="mine")

    assert "mine" in repro("list").stdout
    assert repro("validate", "mine").stdout == "mine: valid\n"


def test_where_a_report_goes_and_what_it_holds_are_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a project, or of a CI that wants a summary alone."""
    claim_file(tmp_path)
    Path("repro.toml").write_text(
        'claims = "."\n[report]\nout = "pages"\nformat = ["summary", "md"]\n'
    )

    assert repro("report").stdout == "pages/report.md\n"
    assert {path.name for path in Path("pages").iterdir()} == {"summary.md", "report.md"}
    monkeypatch.setenv("REPRO_FORMAT", "md csv")
    assert repro("report", "--out", "other").exit_code == 4  # nothing was measured
    assert Path("other/report.md").exists()
    assert not Path("other/summary.md").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("devise = 'cpu'", "repro.toml: unknown key devise (did you mean 'device'?)"),
        ("[run]\nworker = 2", "repro.toml: unknown key run.worker (did you mean 'workers'?)"),
        ("[rum]\nworkers = 2", "repro.toml: unknown key [rum] (did you mean 'run'?)"),
        ("scale = 'paper'", "unknown key scale"),  # what is measured is no setting
        ("workers = 0", "repro.toml: workers: 0 is not in the range x>=1"),
        ("budget = '45'", "repro.toml: budget: '45' is no duration"),
        ("workers = ", "repro.toml: cannot be read"),
        ("budget = 45", "repro.toml: budget: 45 is no duration"),
        ("store = 5", "repro.toml: store: 5 is no"),
        ("[run]\nslurm = [5]", "repro.toml: slurm: 5 is no option of sbatch"),
    ],
)
def test_what_a_file_cannot_mean_is_told(text: str, message: str) -> None:
    """With file, key and the likely meaning; nothing is run."""
    Path("repro.toml").write_text(text)
    done = repro("list")

    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[tool.repro]\n# \xff", "pyproject.toml: cannot be read"),
        (b"[[tool.repro]]\ndevice = 'cpu'", "pyproject.toml: tool.repro is no table"),
    ],
)
def test_a_project_file_that_cannot_be_read_is_told(content: bytes, message: str) -> None:
    """It is no file of ours alone."""
    Path("pyproject.toml").write_bytes(content)
    done = repro("list")

    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())


def test_help_does_not_ask_files() -> None:
    """`repro --help` helps, whatever stands in them."""
    Path("repro.toml").write_text("not toml")

    assert repro("--help").exit_code == 0
