"""Settings of the environment: which of them holds, and what they cannot mean."""

from pathlib import Path

import pytest

from tests.commands import repro
from tests.worlds import claim_file


@pytest.fixture(autouse=True)
def in_an_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no claims but the test's."""
    monkeypatch.chdir(tmp_path)


def test_an_option_comes_before_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the environment before the default."""
    claim = str(claim_file(tmp_path))
    monkeypatch.setenv("REPRO_DEVICE", "cuda:5")

    assert "'cuda:5' is not here" in repro("plan", claim).stderr
    assert "'cuda:6' is not here" in repro("plan", claim, "--device", "cuda:6").stderr


def test_where_a_report_goes_and_what_it_holds_are_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as of a CI that wants a summary alone; several values are separated by spaces."""
    claim_file(tmp_path)
    monkeypatch.setenv("REPRO_CLAIMS", ".")
    monkeypatch.setenv("REPRO_OUT", "pages")
    monkeypatch.setenv("REPRO_FORMAT", "summary md")

    assert repro("report").stdout == "pages/report.md\n"
    assert {path.name for path in Path("pages").iterdir()} == {"summary.md", "report.md"}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("REPRO_WORKERS", "0", "0 is not in the range x>=1"),
        ("REPRO_BUDGET", "45", "'45' is no duration"),
        ("REPRO_SLURM", "5", "'5' is no option of sbatch"),
    ],
)
def test_what_a_variable_cannot_mean_is_told(
    name: str, value: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the name of its option; nothing is run."""
    claim = str(claim_file(tmp_path))
    monkeypatch.setenv(name, value)
    done = repro("run", claim)

    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())
    assert not Path("runs").exists()
