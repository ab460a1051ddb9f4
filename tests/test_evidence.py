"""What is said of the kept evidence is what the kept evidence says."""

from pathlib import Path

import evidence
import pytest

from repro.audit.printed import contradictions
from repro.claim import load_all
from repro.report import figure_data
from repro.report.document import document
from repro.report.markdown import render_markdown
from repro.report.page import Page
from repro.report.read_pages import pages
from repro.report.write import write_report
from repro.store import Store

pytestmark = pytest.mark.evidence

ROOT = Path(__file__).parents[1]
MOST_BYTES = 1_500_000  # of the page that is sent round
AGAIN = "run: python tools/evidence.py"


def test_the_readmes_and_the_kept_report_are_of_the_kept_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every number in them is read from reports/store, by the code as it stands."""
    monkeypatch.chdir(ROOT)
    found = evidence.evidence()
    whole = document(found)
    write_report(found, tmp_path, ["csv"])
    tables = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.glob("*.csv")}
    drawn = {drawing.name for claim in whole.claims for drawing in claim.drawings}
    measured = [part for part in whole.parts if part.measured]  # others have no picture
    drawn |= {f"{part.anchor}{form}" for part in measured for form in ("", "-narrow")}

    assert len(tables) == 5
    del tables[evidence.IN_THE_STORE]
    assert {path.name for path in evidence.REPORT.glob("*.csv")} == tables.keys(), AGAIN
    assert list(contradictions(evidence.REPORT, tables)) == [], AGAIN
    for path, text in evidence.texts(found, whole).items():
        assert path.read_text(encoding="utf-8") == text, f"{path}: {AGAIN}"
    kept = (evidence.REPORT / "report.md").read_text(encoding="utf-8")
    assert kept == render_markdown(whole, figures=True), AGAIN
    assert {path.stem for path in evidence.REPORT.glob("figures/*.svg")} == drawn, AGAIN
    assert (evidence.REPORT / "report.html").stat().st_size < MOST_BYTES


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> dict[str, Page]:
    """Some of the kept pages by name, such as `ten_crop-proxy`."""
    monkeypatch.chdir(ROOT)
    names = ("dropout", "relu_speedup", "relu_speedup_grid", "ten_crop")
    claims = load_all([evidence.CLAIMS / f"{name}.yaml" for name in names])
    found = pages(claims, Store(evidence.STORE))
    return {page.name: page for page in found if isinstance(page, Page)}


def test_figures_show_nothing_twice_and_nothing_on_another_scale(kept: dict[str, Page]) -> None:
    """Ten crops and one are read of the same net; epochs of a tenth of the images are no epochs."""
    once, *others = figure_data.error_series(kept["ten_crop-proxy"], "authors")
    dropout = figure_data.error_series(kept["dropout-proxy"], "authors")

    assert (once.arm, once.test is not None) == ("all arms, one net", True)
    assert {(arm.test, arm.train) for arm in others} == {(None, None)}
    assert [arm.arm for arm in dropout] == list(kept["dropout-proxy"].claim.arms)
    assert all(arm.test for arm in dropout)
    assert [c.arm for c in figure_data.paper_curves(kept["relu_speedup-paper"])] == ["relu", "tanh"]
    assert figure_data.paper_curves(kept["relu_speedup_grid-proxy"]) == ()
