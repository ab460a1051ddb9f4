"""Claims by name, and what a shell is offered."""

import json
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from repro.claim import SCALES
from repro.cli import main
from tests.commands import repro
from tests.worlds import claim_file

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def in_a_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where `claims/` lies."""
    monkeypatch.chdir(ROOT)


def offered(*line: str) -> list[str]:
    """What a shell offers for the last word of a line."""
    *before, last = line
    found = ShellComplete(main, {}, "repro", "_REPRO_COMPLETE").get_completions(before, last)
    return [item.value for item in found]


def test_a_claim_has_a_name() -> None:
    """In the folder `claims`, or in the one that is named."""
    assert repro("show", "relu_speedup").output == repro("show", "claims/relu_speedup.yaml").output
    assert repro("validate", "lrn", "depth").stdout == "lrn: valid\ndepth: valid\n"
    assert repro("show", "lrn", "--claims", "claims").exit_code == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "relu_sped",
            "in claims, and none that comes with repro (did you mean 'relu_speedup'?)",
        ),
        ("claims/lrm.yaml", "(did you mean 'claims/lrn.yaml'?)"),
        (
            "xyzzy",
            "'xyzzy' in claims, and none that comes with repro: there are architecture, bias_init",
        ),
    ],
)
def test_a_claim_that_is_misspelled_is_guessed(given: str, message: str) -> None:
    """A usage error."""
    done = repro("run", given)

    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder outside of any checkout, with a claim of one's own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "claims").mkdir()
    claim_file(tmp_path / "claims", epochs=1)
    return tmp_path


def test_the_claims_that_come_with_repro_are_found_from_any_folder(elsewhere: Path) -> None:
    """After one's own, which come before them under the same name."""
    (elsewhere / "claims" / "lrn.yaml").write_text(
        (elsewhere / "claims" / "tiny.yaml").read_text().replace("id: tiny", "id: lrn")
    )
    names = [one["id"] for one in json.loads(repro("list", "--json").stdout)]

    assert names[:3] == ["lrn", "tiny", "architecture"]
    assert len(names) == len(set(names)) > 20
    assert json.loads(repro("show", "lrn", "--json").stdout)["title"] == "One arm is faster"
    assert repro("validate", "depth").stdout == "depth: valid\n"
    assert repro("validate").stdout == "".join(f"{name}: valid\n" for name in names)
    assert [one["id"] for one in json.loads(repro("list", "--claims", "claims", "--json").stdout)] \
        == ["lrn", "tiny"]  # fmt: skip


def test_a_report_shows_one_s_own_claims_and_what_was_run(elsewhere: Path) -> None:
    """Not all that could be run; a command names what comes with repro by its name."""
    repro("report", "--store", "runs", "--format", "md")
    before = (elsewhere / "report" / "report.md").read_text()
    assert repro("run", "architecture", "--store", "runs").exit_code == 0
    done = repro("report", "--store", "runs", "--format", "md")
    text = (elsewhere / "report" / "report.md").read_text()

    assert done.exit_code == 0, done.output
    assert "    repro run architecture\n" in text
    assert "headline" not in before + text


def test_a_claim_that_is_not_valid_leaves_the_others_in_the_report(elsewhere: Path) -> None:
    """It is named in its place, and by the exit code."""
    (elsewhere / "claims" / "bad.yaml").write_text("id: [")
    assert repro("run", "architecture", "--store", "runs").exit_code == 0
    done = repro("report", "--store", "runs", "--format", "md", "--format", "html")
    crate = repro("publish", "crate", "--store", "runs")

    assert (done.exit_code, crate.exit_code) == (2, 2)
    assert "error[E100]: claims/bad.yaml:" in done.stderr
    for page in ("report/report.md", "report/report.html", "crate/index.html"):
        text = (elsewhere / page).read_text()
        assert "Claim files that are not valid" in text
        assert "bad.yaml:1:6: YAML: " in text
        assert "Eight learned layers" in text


def test_yml_is_yaml(elsewhere: Path) -> None:
    """For every command; both of one name are refused."""
    own = elsewhere / "claims"
    (own / "tiny.yaml").rename(own / "tiny.yml")

    assert "\n  tiny " in repro("list").stdout
    assert repro("validate", "tiny").output == "tiny: valid\n"
    assert "tiny.yml exists already" in repro("new", "tiny").stderr
    claim_file(own)
    done = repro("report", "--store", "runs")
    assert done.exit_code == 2
    assert "claims/tiny.yaml and claims/tiny.yml are of one name" in " ".join(done.stderr.split())


def test_a_folder_without_claims_says_so(tmp_path: Path) -> None:
    """And which option names another."""
    done = repro("run", "lrn", "--claims", str(tmp_path))

    assert done.exit_code == 2
    assert "--claims names another folder" in " ".join(done.stderr.split())


def test_a_shell_completes_commands_claims_and_scales(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of scales those that the claim has, the best evidence first."""
    assert offered("sche") == ["schema"]
    assert offered("run", "archi") == ["architecture"]
    assert offered("run", "lrn", "--scale", "p") == ["paper", "proxy"]
    assert offered("run", "lrn", "--scale", "") == [*reversed(SCALES)]
    assert offered("run", "headline_2010", "--scale", "") == ["paper", "smoke"]
    monkeypatch.setenv("REPRO_CLAIMS", "nowhere")
    assert offered("run", "lrn") == ["lrn"]  # begun as a path: the shell looks for files
