"""Claims by name, and what a shell is offered."""

from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from repro.claim import SCALES
from repro.cli import main
from tests.commands import repro

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
    assert repro("validate", "lrn", "depth").output == "lrn: valid\ndepth: valid\n"
    assert repro("show", "lrn", "--claims", "claims").exit_code == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("relu_sped", "no claim 'relu_sped' in claims (did you mean 'relu_speedup'?)"),
        ("claims/lrm.yaml", "(did you mean 'claims/lrn.yaml'?)"),
        ("xyzzy", "no claim 'xyzzy' in claims: there are architecture, bias_init"),
    ],
)
def test_a_claim_that_is_misspelled_is_guessed(given: str, message: str) -> None:
    """A usage error."""
    done = repro("run", given)

    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())


def test_a_folder_without_claims_says_so(tmp_path: Path) -> None:
    """And which option names another."""
    done = repro("run", "lrn", "--claims", str(tmp_path))

    assert done.exit_code == 2
    assert "--claims names another folder" in " ".join(done.stderr.split())


def test_a_shell_completes_commands_claims_and_scales(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of scales those that the claim has, the best evidence first."""
    assert offered("comp") == ["completion"]
    assert offered("run", "archi") == ["architecture"]
    assert offered("run", "lrn", "--scale", "p") == ["paper", "proxy"]
    assert offered("run", "lrn", "--scale", "") == [*reversed(SCALES)]
    assert offered("run", "headline_2010", "--scale", "") == ["paper", "smoke"]
    monkeypatch.setenv("REPRO_CLAIMS", "nowhere")
    assert offered("run", "lrn") == ["lrn"]  # begun as a path: the shell looks for files


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell_is_printed(shell: str) -> None:
    """To be evaluated when the shell starts."""
    done = repro("completion", shell)

    assert done.exit_code == 0
    assert "_REPRO_COMPLETE" in done.stdout
