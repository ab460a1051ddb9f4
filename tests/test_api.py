"""What notebooks use: claims, plans, runs and results as values and data frames."""

import subprocess
import sys
from pathlib import Path

import pytest

from repro import api
from repro.errors import ClaimError, UntrustedError
from tests.test_command import changed, claim_file

WHOSE = ["claim", "scale", "recipe", "arm", "seed"]


def test_a_run_gives_tables_that_say_whose_each_row_is(tmp_path: Path) -> None:
    """From a plan to curves, by claim, arm and seed."""
    path, store = claim_file(tmp_path), tmp_path / "store"

    left = api.plan(path, "smoke", store=store)
    found = api.run(path, "smoke", store=store, device="cpu", trust=True)

    first = [["good", 0, 2.0], ["bad", 0, 2.0]]
    assert left[["arm", "seed", "epochs"]].values.tolist()[:2] == first
    assert api.plan(path, "smoke", store=store).empty
    assert found.verdicts["claim"].tolist() == ["mine"]
    assert set(found.trials["trial"]) == set(left["trial"])
    assert not found.curves[WHOSE].isna().any(axis=None)
    last = found.curves.query("arm == 'good' and seed == 1 and source == 'test' and epoch == 2")
    assert last["error"].tolist() == pytest.approx([0.271])
    assert "<table" in found._repr_html_()
    again = api.results(store, api.load(path))
    assert again.verdicts.equals(found.verdicts)


def test_a_command_is_trusted_from_python_too(tmp_path: Path) -> None:
    """As on the command line."""
    with pytest.raises(UntrustedError, match="runs a command"):
        api.run(claim_file(tmp_path), "smoke", store=tmp_path / "store", device="cpu")
    assert not (tmp_path / "ran").exists()


def test_what_is_wrong_with_a_file_is_a_list_of_lines(tmp_path: Path) -> None:
    """Empty where it is valid; `load` raises them all."""
    path = claim_file(tmp_path)
    assert api.validate(path) == []

    changed(path, "epochs: 2", "epochs: two")
    (line,) = api.validate(path)
    assert "scales.smoke.epochs" in line
    with pytest.raises(ClaimError, match=r"scales\.smoke\.epochs"):
        api.load(path)


def test_importing_it_imports_no_torch() -> None:
    """A notebook that only reads waits for nothing."""
    code = "import sys; from repro import api; print('torch' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"
