"""What notebooks use: claims, plans, runs and results as values and data frames."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from repro import api
from repro.errors import ClaimError, UntrustedError
from tests.pages import Planted, planted_page, written_claim
from tests.test_command import changed, claim_file

WHOSE = ["claim", "scale", "recipe", "arm", "seed"]


def test_a_run_gives_tables_that_say_whose_each_row_is(tmp_path: Path) -> None:
    """From a plan to curves, by claim, arm and seed."""
    path, store = claim_file(tmp_path), tmp_path / "store"

    left = api.plan(path, "smoke", store=store)
    found = api.run(path, "smoke", store=store, device="cpu", trust=True)

    first = [["good", 0, 2.0], ["bad", 0, 2.0]]
    assert left[["arm", "seed", "epochs"]].to_numpy().tolist()[:2] == first
    assert api.plan(path, "smoke", store=store).empty
    assert found.verdicts["claim"].tolist() == ["mine"]
    assert set(found.trials["trial"]) == set(left["trial"])
    assert not found.curves[WHOSE].isna().any(axis=None)
    last = found.curves.query("arm == 'good' and seed == 1 and source == 'test' and epoch == 2")
    assert last["error"].tolist() == pytest.approx([0.271])
    assert "<table" in found._repr_html_()
    ax = Figure().subplots()
    assert found.draw(ax, "curves") is ax
    legend = [text.get_text().partition(":")[0] for text in ax.get_legend().get_texts()]
    assert set(legend) == {"good", "bad"}
    with pytest.raises(ValueError, match="no effect of that claim and scale; there are none"):
        found.draw(ax)  # a smoke run has none to be held against the paper
    again = api.results(store, api.load(path))
    assert again.verdicts.equals(found.verdicts)


def test_a_store_without_trials_gives_empty_tables(tmp_path: Path) -> None:
    """With their columns, as before the first result."""
    found = api.results(tmp_path / "runs", claim_file(tmp_path))

    assert found.trials.empty
    assert found.curves.empty
    assert list(found.curves.columns[:2]) == ["claim", "scale"]


def test_an_effect_is_drawn_on_given_axes(tmp_path: Path) -> None:
    """Of the claim that is named, in its unit; what is not there is said with what is."""
    claim, empty = written_claim(tmp_path), pd.DataFrame()
    planted = Planted(fast=(3.9, 4.0), slow=(19.9, 20.0), estimate=None)
    page = planted_page(claim, {"modern": planted})
    found = api.Results(verdicts=empty, effects=empty, trials=empty, curves=empty, pages=(page,))
    ax = Figure().subplots()

    assert found.draw(ax, claim="planted", scale="paper") is ax
    assert "ratio of epochs" in ax.get_xlabel()
    with pytest.raises(ValueError, match="there are planted at paper scale"):
        found.draw(ax, claim="lrn")
    with pytest.raises(ValueError, match="planted has no recipe 'old': period, modern"):
        found.draw(ax, "curves", recipe="old")


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
