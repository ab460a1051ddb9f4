"""The first steps: is this machine fit, how does a claim begin, what exactly would be run."""

import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from repro.claim import OWN_KINDS, load
from repro.planning import next_cells
from repro.registry import DATASETS
from tests.commands import repro
from tests.test_command import SCRIPT
from tests.worlds import claim_file, tiny_claim

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("kind", OWN_KINDS)
def test_a_claim_begins_valid_and_commented(kind: str, tmp_path: Path) -> None:
    """Under its name, with a smoke scale; the next command is named."""
    done = repro("new", "mine", "--kind", kind, "--claims", tmp_path / "claims")
    path = tmp_path / "claims" / "mine.yaml"

    assert done.exit_code == 0, done.output
    assert done.stdout == f"{path}\n"
    assert f"next: repro run mine --claims {path.parent}" in done.stderr
    assert load(path).kind == kind
    assert path.read_text().count("#") > 5
    assert "my_claim" not in path.read_text()


def test_nothing_that_is_installed_points_to_pages_that_are_not() -> None:
    """The wheel has no docs/: templates and messages name a command."""
    texts = {
        path: path.read_text(encoding="utf-8")
        for room in ("claim", "cli")
        for path in (ROOT / "repro" / room).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }

    assert ROOT / "repro" / "claim" / "scaffold" / "command.yaml" in texts
    assert [path for path, text in texts.items() if "docs/" in text] == []
    assert '{"epoch": 1, "name": "test_error", "value": 0.31}' in repro("new", "--help").stdout


@pytest.mark.parametrize("kind", OWN_KINDS)
def test_texts_of_a_template_are_warned_of_until_they_are_your_own(
    kind: str, tmp_path: Path
) -> None:
    """By their keys; the claim is valid."""
    repro("new", "mine", "--kind", kind, "--claims", tmp_path)
    path = tmp_path / "mine.yaml"

    begun = repro("validate", path)
    path.write_text(
        re.sub(r"confounds: .*", "confounds: The order of the images.", path.read_text())
    )
    edited = repro("validate", path)

    said = (
        "warning: still as in the template: paper.title, paper.authors, paper.link, paper.section"
    )
    assert f"{said}, confounds, reconsidered_if" in begun.output
    assert f"{said}, reconsidered_if" in edited.output
    assert begun.exit_code == edited.exit_code == 0


@pytest.mark.parametrize("kind", ["difference", "exact"])
def test_what_was_begun_runs(kind: str, tmp_path: Path) -> None:
    """Cut short here: an epoch on a few images."""
    repro("new", "mine", "--kind", kind, "--claims", tmp_path)
    path = tmp_path / "mine.yaml"
    path.write_text(
        path.read_text().replace("data: digits", "data: digits\n    images: 160")
        .replace("epochs: 3", "epochs: 1").replace("batch_size: 64", "batch_size: 16")
    )  # fmt: skip
    scale = [] if kind == "exact" else ["--scale", "smoke"]
    done = repro("run", path, "--store", tmp_path / "runs", "--workers", "1", *scale)

    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("mine")


def workflow(project: Path) -> list[str]:
    """What the project's workflow runs, line by line."""
    text = (project / ".github" / "workflows" / "claims.yml").read_text()
    return [step.get("run", "") for step in yaml.safe_load(text)["jobs"]["smoke"]["steps"]]


def run_workflow(project: Path) -> None:
    """Its commands of repro, in the project's folder; each succeeds."""
    commands = [shlex.split(step)[1:] for step in workflow(project) if step.startswith("repro")]
    assert [words[0] for words in commands] == ["validate", "run", "report"]
    for words in commands:
        done = repro(*("claims/mine.yaml" if "*" in word else word for word in words))

        assert done.exit_code == 0, done.output


def test_a_project_of_ones_own_runs_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its claim is found in its folder; what its workflow runs succeeds; what was there stays."""
    (tmp_path / "paper").mkdir()
    (tmp_path / "paper" / "README.md").write_text("mine")
    done = repro("new", "mine", "--kind", "exact", "--project", tmp_path / "paper")
    monkeypatch.chdir(tmp_path / "paper")

    assert f"next: cd {tmp_path / 'paper'} && repro validate && repro run mine\n" in done.stderr
    assert Path("README.md").read_text() == "mine"
    assert Path(".gitignore").exists()
    assert repro("list").stdout.splitlines()[1].startswith("  mine ")
    run_workflow(Path())
    assert Path("report/summary.md").exists()


def test_a_project_of_a_script_works_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy of the script comes along; its workflow trusts it, and has its packages."""
    script, project = tmp_path / "train.py", tmp_path / "elsewhere" / "paper"
    script.write_text(SCRIPT)
    begun = repro("new", "mine", "--command", script, "--project", tmp_path / "paper")
    script.unlink()
    project.parent.mkdir()
    (tmp_path / "paper").rename(project)
    monkeypatch.chdir(project)

    assert f"put what {tmp_path / 'paper' / 'claims' / 'train.py'} imports beside it" in (
        begun.stderr
    )
    assert '"{python}", "train.py", --smoothing' in Path("claims/mine.yaml").read_text()
    assert any("--with-editable ." in step for step in workflow(project))
    run_workflow(project)
    published = repro("publish", "crate")
    assert published.exit_code == 0, published.output
    assert Path("crate/claims/train.py").read_text() == SCRIPT


def test_a_project_has_one_script_of_a_name(tmp_path: Path) -> None:
    """Another one is refused before anything is written; a copy can be executed as its original."""
    script, project = tmp_path / "train.sh", tmp_path / "paper"
    script.touch(mode=0o700)
    first, again = (repro("new", x, "--command", script, "--project", project) for x in "ab")
    script.write_text("exit 1")
    other = repro("new", "c", "--command", script, "--project", project)

    assert first.exit_code == again.exit_code == 0
    assert (project / "claims" / "train.sh").stat().st_mode & 0o100
    assert other.exit_code == 2
    assert f"{project / 'claims' / 'train.sh'} differs from {script}" in other.stderr
    assert not (project / "claims" / "c.yaml").exists()


def test_a_claim_begins_as_a_copy(tmp_path: Path) -> None:
    """Of one that is there, by name or file."""
    source = claim_file(tmp_path)
    done = repro("new", "mine", "--from", source, "--claims", tmp_path)

    assert done.exit_code == 0, done.output
    assert (tmp_path / "mine.yaml").read_text() == source.read_text().replace("tiny", "mine")


def test_a_copy_has_the_script_of_its_trainer_beside_it(tmp_path: Path) -> None:
    """Without it the copy could not be run."""
    source = ROOT / "examples" / "own_script" / "label_smoothing.yaml"
    done = repro("new", "mine", "--from", source, "--claims", tmp_path)

    assert done.exit_code == 0, done.output
    assert (tmp_path / "train.py").read_bytes() == (source.parent / "train.py").read_bytes()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("tiny",), "tiny.yaml exists already"),
        (("a name",), "'a name' is not a valid name: use letters, digits and '_'"),
        (
            ("2012",),
            "'2012' is not a valid name: use letters, digits and '_', not a number",
        ),
        (("1e5",), "'1e5' is not a valid name"),
        (("null",), "'null' is not a valid name"),
        (
            ("x", "--from", str(ROOT / "claims" / "dropout.yaml"), "--kind", "level"),
            "--from copies the kind, too",
        ),
        (("x", "--project", "p"), "--project has a folder of claims: give it or --claims"),
    ],
)
def test_what_cannot_be_begun_is_told(words: tuple[str, ...], message: str, tmp_path: Path) -> None:
    """And leaves the folder as it was."""
    path = claim_file(tmp_path)
    before = path.read_text()
    done = repro("new", *words, "--claims", tmp_path)

    assert done.exit_code == 2
    assert message in done.stderr
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["tiny.yaml"]
    assert path.read_text() == before


def test_a_copy_brings_the_tables_beside_the_claim(tmp_path: Path) -> None:
    """Found by name in the folder of --claims; a table that is there and differs is kept."""
    shutil.copytree(ROOT / "claims" / "paper_data", tmp_path / "old" / "paper_data")
    shutil.copy(ROOT / "claims" / "lrn.yaml", tmp_path / "old" / "mine.yaml")
    path = tmp_path / "old" / "mine.yaml"
    path.write_text(path.read_text().replace("id: lrn", "id: mine"))
    repro("new", "other", "--from", "mine", "--claims", tmp_path / "old")
    done = repro("new", "yours", "--from", path, "--claims", tmp_path / "new")
    table = tmp_path / "new" / "paper_data" / "siblings.csv"

    assert load(tmp_path / "old" / "other.yaml").id == "other"
    assert done.exit_code == 0, done.output
    assert load(tmp_path / "new" / "yours.yaml").paper.siblings == "paper_data/siblings.csv"
    table.write_text("top1_error\n0.4\n0.5\n")
    done = repro("new", "third", "--from", path, "--claims", tmp_path / "new")
    assert done.exit_code == 2
    assert f"{table} differs from {path.parent / 'paper_data' / 'siblings.csv'}" in done.stderr
    assert sorted(each.name for each in table.parent.parent.iterdir()) == [
        "paper_data", "yours.yaml",
    ]  # fmt: skip


def test_a_claim_of_the_paper_is_copied_by_name_into_a_new_folder(tmp_path: Path) -> None:
    """The folder of --claims need not be there, nor hold the claim that is copied."""
    done = repro("new", "mine", "--from", "lrn", "--claims", tmp_path / "new")

    assert done.exit_code == 0, done.output
    assert load(tmp_path / "new" / "mine.yaml").id == "mine"


def test_a_resolved_claim_names_every_trial_and_the_source_of_each_value(tmp_path: Path) -> None:
    """As YAML, with a remark behind each value."""
    path = claim_file(tmp_path)
    path.write_text(
        path.read_text().replace("    seeds:", "    recipe: {momentum: 0.5}\n    seeds:")
    )
    claim = load(path)
    done = repro("show", path, "--resolved", "--store", tmp_path / "runs")
    shown = yaml.safe_load(done.stdout)["scales"]["smoke"]
    fast = shown["recipes"]["period"]["fast"]
    cells = next_cells(claim, "smoke", shown["fingerprint"], {})  # type: ignore[arg-type]

    assert "momentum: 0.5 # scale smoke\n" in done.stdout
    assert "batch_size: 16 # recipe period\n" in done.stdout
    assert "weight_decay: 0.0 # default\n" in done.stdout
    assert "activation: relu # arm fast\n" in done.stdout
    assert fast["recipe"]["momentum"] == 0.5
    assert set(fast["trials"].values()) == {c.trial.id for c in cells if c.arm == "fast"}


def test_a_resolved_scale_that_is_not_there_is_told(tmp_path: Path) -> None:
    """With those that are."""
    done = repro("show", claim_file(tmp_path), "--resolved", "--scale", "paper")

    assert done.exit_code == 2
    assert "tiny has no paper scale (it has: smoke)" in done.stderr


@pytest.mark.parametrize("kept", [True, False])
def test_the_doctor_says_what_makes_starts_slow(
    kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images of containers keep Python from keeping what it compiled."""
    monkeypatch.setattr(sys, "dont_write_bytecode", not kept)
    done = repro("doctor", "--claims", tmp_path, "--store", tmp_path / "runs")

    assert done.exit_code == 0, done.output
    assert ("PYTHONDONTWRITEBYTECODE is set" in done.stdout) is not kept


def test_the_doctor_says_what_can_run(tmp_path: Path) -> None:
    """Missing data are no fault; embedded data always run."""
    tiny_claim(tmp_path)
    path = tmp_path / "tiny.yaml"
    text = path.read_text().replace("deviations: []", "")
    smoke = text[text.index("  smoke:") :]
    real = smoke.replace("smoke:", "proxy:").replace("digits", "cifar10").replace("s: 2", "s: 3")
    path.write_text(f"{text}{real}deviations: []\n")
    done = repro("doctor", "--claims", tmp_path, "--store", tmp_path / "runs", "--json")
    found = json.loads(done.stdout)
    states = {check["name"]: check["state"] for check in found["checks"]}
    can = {one["scale"]: one for one in found["claims"]}

    assert done.exit_code == 0, done.output
    assert states.keys() >= {"torch", "cpu", "store", "cache", *DATASETS}
    assert (states["digits"], states["cifar10"]) == ("ok", "missing")
    assert (can["smoke"]["can"], can["proxy"]["can"]) == (True, False)
    assert "repro data fetch cifar10" in can["proxy"]["why"]
    shown = repro("doctor", "--claims", tmp_path, "--store", tmp_path / "runs").stdout
    assert re.search(r"\ntiny +yes +no\n", shown)
    assert "CIFAR-10 not found (repro data fetch cifar10): 1 at proxy scale\n" in shown


def test_the_doctor_exits_5_when_something_is_broken(tmp_path: Path) -> None:
    """A claim file, or a folder that cannot be written."""
    path = claim_file(tmp_path)
    path.write_text(path.read_text().replace("near:", "nera:"))
    (tmp_path / "runs").write_text("not a folder")
    done = repro("doctor", "--claims", tmp_path, "--store", tmp_path / "runs" / "deep")

    assert done.exit_code == 5
    assert "broken   store" in done.stdout
    assert f"broken   tiny               1 problem: repro validate {path}" in done.stdout
