"""What notebooks use: claims, plans, runs and results as values and data frames."""

import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

import repro
from repro.errors import ClaimError, UntrustedError
from tests.pages import Planted, planted_page, written_claim
from tests.test_command import changed, claim_file

WHOSE = ["claim", "scale", "recipe", "arm", "seed"]


def test_a_run_gives_tables_that_say_whose_each_row_is(tmp_path: Path) -> None:
    """From a plan to curves, by claim, arm and seed."""
    path, store = claim_file(tmp_path), tmp_path / "store"

    left = repro.plan(path, "smoke", store=store)
    found = repro.run(path, "smoke", store=store, device="cpu", trust=True)

    first = [["good", 0, 2.0], ["bad", 0, 2.0]]
    assert left[["arm", "seed", "epochs"]].to_numpy().tolist()[:2] == first
    assert repro.plan(path, "smoke", store=store).empty
    assert found.verdicts[["claim", "arms"]].to_numpy().tolist() == [["mine", "bad, good"]]
    assert found.effects[["recipe", "arms"]].to_numpy().tolist() == [["command", "bad, good"]]
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
    again = repro.results(store, repro.load(path))
    assert again.verdicts.equals(found.verdicts)


def test_a_store_without_trials_gives_empty_tables(tmp_path: Path) -> None:
    """With their columns, as before the first result."""
    (tmp_path / "runs").mkdir()
    found = repro.results(tmp_path / "runs", claim_file(tmp_path))

    assert found.trials.empty
    assert found.curves.empty
    assert list(found.curves.columns[:2]) == ["claim", "scale"]


def test_an_effect_is_drawn_on_given_axes(tmp_path: Path) -> None:
    """Of the claim that is named, in its unit; what is not there is said with what is."""
    claim, empty = written_claim(tmp_path), pd.DataFrame()
    planted = Planted(fast=(3.9, 4.0), slow=(19.9, 20.0), estimate=None)
    page = planted_page(claim, {"modern": planted})
    found = repro.Results(verdicts=empty, effects=empty, trials=empty, curves=empty, pages=(page,))
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
        repro.run(claim_file(tmp_path), "smoke", store=tmp_path / "store", device="cpu")
    assert not (tmp_path / "ran").exists()


def test_what_is_wrong_with_a_file_is_a_list_of_lines(tmp_path: Path) -> None:
    """Empty where it is valid; `load` raises them all."""
    path = claim_file(tmp_path)
    assert repro.validate(path) == []

    changed(path, "epochs: 2", "epochs: two")
    (line,) = repro.validate(path)
    assert "scales.smoke.epochs" in line
    with pytest.raises(ClaimError, match=r"scales\.smoke\.epochs"):
        repro.load(path)


def test_a_claim_is_named_as_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One's own in `claims/`, then those that come with repro, by each function."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "claims").mkdir()
    claim_file(tmp_path / "claims")

    assert repro.load("mine").path == Path("claims/mine.yaml")
    assert repro.load("lrn").id == "lrn"
    assert repro.validate("lrn") == []
    assert {"without", "with"} <= {*repro.plan("lrn", "smoke")["arm"]}
    with pytest.raises(repro.ReproError, match="there is no folder runs"):
        repro.results("runs")
    (tmp_path / "runs").mkdir()
    assert repro.results("runs", ["lrn", "mine"]).trials.empty
    assert {*repro.results("runs").verdicts["claim"]} == {"mine"}  # of those of repro, none is run
    with pytest.raises(repro.ReproError, match=r"no claim 'lrm' in claims, .*mean 'lrn'"):
        repro.load("lrm")
    with pytest.raises(repro.ReproError, match=r"cannot be read: .*too long|no claim"):
        repro.load("a" * 5000)


def test_every_name_of_the_package_is_there_when_it_is_asked_for() -> None:
    """Also after rooms of the package were imported; others are told as of any module."""
    import repro.planning

    assert all(getattr(repro, name) is getattr(repro.api, name) for name in repro.__all__)
    assert set(repro.__all__) <= {*dir(repro)}
    assert repro.__all__ == repro.api.__all__
    with pytest.raises(AttributeError, match="module 'repro' has no attribute 'nosuch'"):
        repro.nosuch  # noqa: B018 - it is asked for


def test_checkers_of_types_read_the_package_s_own() -> None:
    """They look for this file (PEP 561), which is part of the wheel."""
    assert (files("repro") / "py.typed").is_file()


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("import repro", {"click", "pydantic", "numpy", "pandas", "torch"}),
        ("import repro; repro.load('lrn')", {"numpy", "pandas", "torch"}),
        ("import repro; repro.results('.', 'lrn')", {"torch"}),
    ],
)
def test_what_is_imported_waits_for_nothing_that_it_does_not_need(
    code: str, heavy: set[str]
) -> None:
    """A notebook that only reads needs no torch."""
    code = f"{code}; import sys; print(*sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert heavy.isdisjoint(done.stdout.split())
