"""The written report: complete, self-contained, escaped, and the same every time."""

import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from repro.claim import Claim, load
from repro.report.document import document
from repro.report.drawings import drawings
from repro.report.figure_data import arm_curves, rolling_error
from repro.report.frames import Rows
from repro.report.page import Page
from repro.report.read_pages import pages
from repro.report.tables import evidence_tables
from repro.report.write import write_report
from repro.stats import Estimate
from repro.store import Store
from repro.text import (
    contrast_text,
    duration,
    effect_text,
    estimate_text,
    level_text,
    percent,
)
from repro.trial import Row
from repro.verdict.analysis import Look
from repro.verdict.judge import register
from tests.pages import (
    Planted,
    empty_page,
    planted_cells,
    planted_page,
    planted_rows,
    written_claim,
)

GOLDEN = Path(__file__).parent / "golden" / "report.md"
STORE = GOLDEN.with_name("store-1")
ALL = ["html", "md", "summary", "csv", "svg", "card"]
REGENERATE = "WRITE_GOLDEN=1 python -m pytest tests/test_report.py -k golden"


def estimate(**changes: object) -> Estimate:
    fields = {"value": 1.7, "low": 1.5, "high": 1.9, "level": 0.95, "seeds": 3, "method": "planted"}
    return Estimate(**(fields | {"bound": "two-sided"} | changes))  # type: ignore[arg-type] # fields by name


PERIOD = Planted(
    fast=(6.0, 6.2, 6.5),
    slow=(None, 19.5, None),
    estimate=estimate(value=float("nan"), low=2.9, high=float("inf"), bound="lower"),
    word="inconclusive",
    reason="2 of 3 slow trials did not cross",
)
MODERN = Planted(
    fast=(6.0, 6.1, 6.2),
    slow=(10.0, 10.5, 11.0),
    estimate=estimate(),
    word="direction only",
    reason="1.50 to 1.90 lies below the region",
)


@pytest.fixture
def claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Claim:
    monkeypatch.chdir(tmp_path)
    return written_claim(Path())


@pytest.fixture
def page(claim: Claim) -> Page:
    return planted_page(claim, {"period": PERIOD, "modern": MODERN})


def files(folder: Path) -> dict[str, bytes]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


class Elements(HTMLParser):
    """Every start tag with its attributes, and the visible text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def html(shown: list[Page], out: Path) -> str:
    return write_report(shown, out, ["html"]).read_text()


def test_markdown_is_the_golden_file(claim: Claim, page: Page, tmp_path: Path) -> None:
    """A half-finished claim at smoke scale stands after the evidence."""
    smoke = planted_page(
        claim,
        {"period": Planted(fast=(2.0,), slow=(3.0,), estimate=None)},
        scale="smoke",
    )
    text = write_report([smoke, page], tmp_path / "out", ["md", "svg"]).read_text()
    if os.environ.get("WRITE_GOLDEN"):
        GOLDEN.write_text(text)

    assert text == GOLDEN.read_text(), f"if this is meant: {REGENERATE}"


def test_the_same_pages_give_the_same_bytes(page: Page, tmp_path: Path) -> None:
    """No clock and no chance in any file."""
    first = write_report([page], tmp_path / "one", ALL)
    write_report([page], tmp_path / "two", ALL)

    assert first == tmp_path / "one" / "report.html"
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert set(files(tmp_path / "one")) == {
        "report.html",
        "report.md",
        "summary.md",
        *(f"{name}.csv" for name in ("verdicts", "effects", "facts", "trials", "curves")),
        "claims.png",
        "figures/claims.svg",
        "figures/claims-narrow.svg",
        "figures/planted-paper-curves.svg",
        "figures/planted-paper-crossings.svg",
        "figures/planted-paper-ratio.svg",
        "figures/planted-paper-rates.svg",
    }


def test_only_what_is_asked_for_is_written(page: Page, tmp_path: Path) -> None:
    """Markdown without figures links to none."""
    main = write_report([page], tmp_path / "out", ["md"])

    assert set(files(tmp_path / "out")) == {"report.md"}
    assert "figures/" not in main.read_text()


def test_html_needs_nothing_besides_itself(page: Page, tmp_path: Path) -> None:
    """No file of script, style, image or font from anywhere; links stay in the page."""
    text = html([page], tmp_path)
    elements = Elements(text)
    links = [
        value
        for _, attributes in elements.tags
        for key, value in attributes.items()
        if key in {"src", "href", "xlink:href", "data", "srcset"}
    ]

    assert links
    assert [link for link in links if not str(link).startswith("#")] == []  # it names no paper
    assert {tag for tag, _ in elements.tags} & {"link", "img", "iframe"} == set()
    assert "@import" not in text
    assert re.findall(r"url\((?!#)", text) == []


def test_html_is_semantic(page: Page, tmp_path: Path) -> None:
    """Captions, scopes, one h1, figures with names, ids that occur once, links that lead there."""
    elements = Elements(html([page], tmp_path))
    ids = [a["id"] for _, a in elements.tags if "id" in a]
    targets = [a["href"] for a in elements.all("a")]

    assert len(elements.all("h1")) == 1
    assert len(elements.all("caption")) == len(elements.all("table"))
    assert all(a.get("scope") in {"col", "row"} for a in elements.all("th"))
    figures = elements.all("svg")
    assert all(a.get("role") == "img" and a.get("aria-label") for a in figures)
    assert len(figures) == 6  # all claims twice, once for a narrow screen
    assert len(ids) == len(set(ids))
    assert {str(t).removeprefix("#") for t in targets} <= set(ids)


def test_text_of_a_claim_is_never_markup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim file can say what it likes: it is shown, not executed."""
    monkeypatch.chdir(tmp_path)
    title = "<script>alert(1)</script> | `code` *star*"
    page = planted_page(written_claim(Path(), title=title), {"modern": MODERN})
    write_report([page], tmp_path / "out", ALL)
    elements = Elements((tmp_path / "out" / "report.html").read_text())
    markdown = (tmp_path / "out" / "report.md").read_text()
    (row,) = [line for line in markdown.splitlines() if "direction only" in line and "|" in line]

    assert len(elements.all("script")) == 1  # ours
    assert title in elements.text
    assert "<script>" not in markdown.replace("\\<script\\>", "")
    (head,) = [line for line in markdown.splitlines() if line.startswith("| Claim | Verdict")]
    assert len(re.findall(r"(?<!\\)\|", row)) == head.count("|")
    assert "\\`code\\`" in row


def test_a_reason_cannot_break_a_table(claim: Claim, tmp_path: Path) -> None:
    """Lines and pipes in a reason stay in its cell."""
    planted = Planted(
        fast=(6.0,), slow=(9.0,), estimate=None, word="invalid", reason="one\ntwo | three"
    )
    page = planted_page(claim, {"period": planted})
    text = write_report([page], tmp_path / "out", ["md"]).read_text()

    assert "| one two \\| three |" in text


def test_the_verdict_stands_with_its_company(page: Page, tmp_path: Path) -> None:
    """Word, reason, interval, the paper's number, seeds, data, device, scale, time."""
    text = Elements(html([page], tmp_path)).text

    for expected in (
        "inconclusive",
        "2 of 3 slow trials did not cross",
        "at least 2.90 (95 % bound)",
        "direction only, 1.70 [1.50, 1.90]",
        "1.70 (95 % CI 1.50 to 1.90)",
        "modern (sensitivity)",
        "3 of 3",
        "planted images",
        "a planted device",
        "0123456789abcdef",
        "2026-01-02T03:04:05+00:00",
        page.claim.digest("paper"),
        "repro run planted.yaml --scale paper",
        "> 20",
    ):
        assert expected in text


def looked_at(page: Page, seeds: int) -> Page:
    """The page, of which only so many seeds count."""
    look = Look(number=1, of=2, seeds=seeds, level=0.95)
    found = {name: replace(one, look=look) for name, one in page.evidence.recipes.items()}
    return replace(page, evidence=replace(page.evidence, recipes=found))


def test_excluded_seeds_are_marked(page: Page, tmp_path: Path) -> None:
    """In the curves' legend and in the rows of points, each with its words where there are any."""
    figures = ("curves", "crossings")

    def written(shown: Page, name: str) -> str:
        text = write_report([shown], tmp_path / name, ["md", "svg"]).read_text()
        folder = tmp_path / name / "figures"
        return text + "".join((folder / f"planted-paper-{one}.svg").read_text() for one in figures)

    some, all_ = written(looked_at(page, 2), "some"), written(looked_at(page, 3), "all")
    said = ("median and range of 3 seeds (2 count)", "In brackets", "which are excluded")

    assert [phrase in some for phrase in said] == [True] * 3
    assert [phrase in all_ for phrase in said] == [False] * 3


def test_words_for_a_figure_say_what_decides_and_count_the_rest(page: Page) -> None:
    """Whoever hears them is not read a table of all recipes."""
    crossings = next(one for one in drawings(page) if one.name.endswith("-crossings"))

    assert crossings.alt == (
        "period fast: crossed at 6.0, 6.2, 6.5; "
        "period slow: crossed at 19.5, 2 not crossed by epoch 20; "
        "and 2 more rows in the report's tables"
    )


def test_a_difference_has_the_same_words_in_a_figure_and_in_a_table(page: Page) -> None:
    """Which arm is taken from which: below the recipe in the one, after the metric in the other."""
    arms, metrics = ("slow", "fast"), ("test_error", "test_error")
    says = contrast_text(arms, metrics)
    recipes = {
        name: replace(one, contrasts=(replace(one.deciding, metrics=metrics, description=says),))
        for name, one in page.evidence.recipes.items()
    }
    shown = replace(page, evidence=replace(page.evidence, recipes=recipes))
    effects = next(one for one in drawings(shown) if one.name.endswith(("-effect", "-ratio")))
    compared = next(t for t in evidence_tables(shown) if t.caption.startswith("What is compared"))

    assert effects.alt.startswith("period: slow minus fast: ")
    assert compared.rows[0][1] == "test error (top-1), slow minus fast"


def test_neighbours_have_the_class_of_their_image_whichever_trial_kept_it(page: Page) -> None:
    """The classes of test images are the data's: the net whose pictures are shown may lack them."""
    found = page.evidence.recipes["period"]
    metrics = ("neighbours_features", "neighbours_pixels")
    contrasts = tuple(replace(one, metrics=metrics) for one in found.contrasts)
    shown, other = (outcome.trial_id for outcome in found.outcomes[:2])
    near = {shown: {"near_images": np.zeros((2, 3, 8, 8, 3), dtype=np.uint8)}}
    classes = {other: {"example_labels": np.array(["walrus", "gannet", "owl"])}}

    def drawn(arrays: dict[str, dict[str, npt.NDArray[np.generic]]]) -> str:
        recipes = page.evidence.recipes | {"period": replace(found, contrasts=contrasts)}
        evidence = replace(page.evidence, recipes=recipes)
        figures = drawings(replace(page, evidence=evidence, arrays=arrays))
        return next(one.svg for one in figures if one.name.endswith("-near-images"))

    assert "test image" in drawn(near)
    assert "walrus" not in drawn(near)
    assert {"walrus", "gannet"} <= set(re.findall("[a-z]+", drawn(near | classes)))


def test_many_recipes_stand_in_one_table_first(claim: Claim, tmp_path: Path) -> None:
    """Which of them makes the difference is seen at a glance: a row each, and one legend."""
    text = Path("planted.yaml").read_text()
    others = {"third": "he", "never": "xavier"}
    for name, initialisation in others.items():
        recipe = f"  {name}: {{inputs: centred, initialisation: {initialisation}}}\n"
        rates = f"      {name}: {{rates: [0.0003, 0.001, 0.003], rungs: [4]}}\n"
        text = text.replace("verdict_recipe:", recipe + "verdict_recipe:")
        text = text.replace("      modern: {", rates + "      modern: {")
    Path("planted.yaml").write_text(text)
    never = Planted(fast=[None] * 3, slow=[None] * 3, estimate=None)
    planted = {"period": PERIOD, "modern": MODERN, "never": never}
    page = planted_page(load(Path("planted.yaml")), planted)
    doubtful = replace(page.evidence.recipes["period"], doubtful=frozenset(["slow"]))
    recipes = {**page.evidence.recipes, "period": doubtful}
    page = replace(page, evidence=replace(page.evidence, recipes=recipes))
    text = write_report([page], tmp_path / "out", ["md", "svg"]).read_text()
    curves = (tmp_path / "out" / "figures" / "planted-paper-curves.svg").read_text()
    two = planted_page(claim, {"period": PERIOD, "modern": MODERN})

    grid = text.split("Which recipe makes the difference")[1].split("What is compared")[0]
    assert "What is compared" not in text.split("Which recipe makes the difference")[0]
    assert "| modern | 1.70 (95 % CI 1.50 to 1.90) |" in grid
    assert "| third | not measured |" in grid
    assert "| never | neither arm crossed |" in grid
    assert "; doubtful: an arm failed a check" in grid
    assert "| period | at least 2.90 (95 % bound), doubtful |" in grid
    assert curves.count("fast: median and range") == 1
    assert "Which recipe" not in write_report([two], tmp_path / "two", ["md"]).read_text()


def test_nothing_run_renders_and_says_so(claim: Claim, tmp_path: Path) -> None:
    """A page is there before the first trial."""
    write_report([empty_page(claim)], tmp_path / "out", ALL)
    elements = Elements((tmp_path / "out" / "report.html").read_text())

    assert elements.all("svg") == []
    assert "No results yet." in elements.text
    assert "repro run planted.yaml --scale paper" in elements.text
    assert len(pd.read_csv(tmp_path / "out" / "trials.csv")) == 0
    assert len(pd.read_csv(tmp_path / "out" / "curves.csv")) == 0


def test_what_was_not_run_stands_last_with_what_runs_it(claim: Claim, tmp_path: Path) -> None:
    """Whoever ran something sees that first, in both formats."""
    smoke = planted_page(claim, {"period": MODERN}, scale="smoke")
    write_report([empty_page(claim), smoke], tmp_path / "out", ["html", "md"])
    page = Elements((tmp_path / "out" / "report.html").read_text())
    marked = (tmp_path / "out" / "report.md").read_text()
    command = "repro run planted.yaml --scale paper"

    assert not [tag for tag in page.all("table") if tag.get("class") == "verdicts sortable"]
    assert {"href": "#not-run"} in page.all("a")
    body = page.text.rpartition("No results yet beyond smoke tests.")[2]
    for text in (body, marked):
        smoke_runs, unrun = (text.index(heading) for heading in ("Smoke runs", "Not run"))
        assert smoke_runs < unrun < text.index(command)


def test_no_claims_render(tmp_path: Path) -> None:
    """An empty report is still a page."""
    assert "Reproduction report" in html([], tmp_path)


def test_half_finished_cells_say_not_run(claim: Claim, tmp_path: Path) -> None:
    """One seed of three, one recipe of two: the rest stand there as missing."""
    half = Planted(fast=(6.0,), slow=(), estimate=None, word="inconclusive", reason="seeds missing")
    text = Elements(html([planted_page(claim, {"period": half})], tmp_path)).text

    assert text.count("not run") >= 5
    assert "not measured" in text
    assert "1 of 6" in text


def test_of_smoke_runs_those_are_shown_that_ran(claim: Claim, tmp_path: Path) -> None:
    """One is not looked for among twenty that were not asked for."""
    other = claim.model_copy(update={"id": "other", "title": "Another claim"})
    ran = planted_page(claim, {"period": MODERN}, scale="smoke")
    text = write_report([ran, empty_page(other, "smoke")], tmp_path / "out", ["md"]).read_text()
    none = write_report([empty_page(other, "smoke")], tmp_path / "none", ["md"]).read_text()

    assert "Smoke runs" in text
    assert "Another claim" not in text.partition("## Smoke runs")[2].partition("\n## ")[0]
    assert "Smoke runs" not in none


def test_a_paper_without_results_has_no_part_beside_one_that_has(
    claim: Claim, tmp_path: Path
) -> None:
    """Its claims are among those that were not run; in an empty store each paper is named."""
    paper = claim.paper.model_copy(update={"title": "Another paper", "authors": "Somebody"})
    other = claim.model_copy(update={"id": "other", "title": "Another claim", "paper": paper})
    planted = planted_page(claim, {"period": MODERN, "modern": MODERN})
    one = write_report([planted, empty_page(other)], tmp_path / "one", ["html"]).read_text()
    none = write_report([empty_page(claim), empty_page(other)], tmp_path / "none", ["html"])

    assert "Another paper" not in one
    assert "Another claim" in one
    assert "Another paper" in none.read_text()


@pytest.mark.parametrize(
    ("at_proxy", "leads", "others"),
    [("inconclusive", "proxy", ["paper"]), ("invalid", "paper", ["proxy"]),
     ("not run", "paper", [])],
)  # fmt: skip
def test_a_page_leads_with_the_highest_scale_that_can_be_judged(
    claim: Claim, at_proxy: str, leads: str, others: list[str]
) -> None:
    """Nets that learned too little at a higher one are shown below it."""
    scales = {**claim.scales, "proxy": claim.scales["paper"]}
    both = claim.model_copy(update={"scales": scales})
    planted = {
        "paper": {"period": replace(PERIOD, word="undertrained")},
        "proxy": {"period": replace(PERIOD, word=at_proxy)} if at_proxy != "not run" else {},
    }
    shown = [planted_page(both, planted[scale], scale=scale) for scale in ("paper", "proxy")]
    (section,) = document(shown).claims

    assert section.headline is not None
    assert section.headline.scale == leads
    assert section.best is not None
    assert section.best.title == f"At {leads} scale"
    assert [other.title for other in section.others] == [f"At {name} scale" for name in others]


def test_smoke_is_no_verdict(claim: Claim, tmp_path: Path) -> None:
    """Its table is apart and says what it is; no verdict word, no paper's curve, no region."""
    planted = {"period": MODERN, "modern": MODERN}
    write_report([planted_page(claim, planted, scale="smoke")], tmp_path / "out", ALL)
    text = Elements((tmp_path / "out" / "report.html").read_text()).text
    verdicts = pd.read_csv(tmp_path / "out" / "verdicts.csv")

    assert "are not evidence" in text
    assert "direction only" not in text
    assert "Reproduced when" not in text
    assert "smoke scale, not evidence" in text
    assert not (tmp_path / "out" / "figures" / "planted-smoke-ratio.svg").exists()
    assert list(verdicts["evidence"]) == [False, False]


def test_csv_keeps_every_digit_and_nothing_where_nothing_was_measured(
    page: Page, tmp_path: Path
) -> None:
    """Fractions at full precision; NaN is empty; every finished trial once."""
    write_report([page], tmp_path / "out", ["csv"])
    trials = pd.read_csv(tmp_path / "out" / "trials.csv")
    raw = (tmp_path / "out" / "trials.csv").read_text()
    curves = pd.read_csv(tmp_path / "out" / "curves.csv")
    effects = pd.read_csv(tmp_path / "out" / "effects.csv")

    estimates = [page.evidence.recipes[name].estimate for name in effects["recipe"]]
    assert list(effects["low"]) == [e.low for e in estimates if e is not None]
    assert set(effects["says"]) == {"epochs of slow over epochs of fast"}
    assert sorted(trials["trial"]) == sorted(page.evidence.trials)
    assert set(trials["purpose"]) == {"confirm", "tune"}
    assert trials["test_error"].isna().all()
    assert not re.search(r"\bnan\b", raw, re.IGNORECASE)
    for trial_id, rows in page.curves.items():
        again = curves[curves["trial"] == trial_id]["error"]
        assert again.to_numpy() == pytest.approx([r.error for r in rows], abs=0, nan_ok=True)


def test_a_half_finished_store_renders(claim: Claim, tmp_path: Path) -> None:
    """From the facts on disk to the page, with what is missing named as missing."""
    store = Store(tmp_path / "store")
    half = Planted(fast=(6.0, 6.2, 6.5), slow=(None,), estimate=None)
    cells = planted_cells(claim, "paper", {"period": half})
    register(claim, "paper", fingerprint=cells[0][0].trial.fingerprint, title="set", store=store)
    for cell, result in cells:
        store.begin(cell.trial)
        store.save(cell.trial.id, checkpoint=b"", curve=planted_rows(result))
        store.finish(result)
    write_report(pages([claim], store), tmp_path / "out", ALL)
    text = Elements((tmp_path / "out" / "report.html").read_text()).text
    trials = pd.read_csv(tmp_path / "out" / "trials.csv")

    assert len(trials) == len(cells)
    assert "4 of 6" in text
    assert "> 20" in text
    assert "not run" in text


def test_a_summary_fits_into_a_comment(claim: Claim, page: Page, tmp_path: Path) -> None:
    """Counts, what was measured, and where; what was not run is counted alone."""
    text = write_report([page], tmp_path, ["summary"]).read_text()
    nothing = write_report([empty_page(claim)], tmp_path, ["summary"]).read_text()

    assert text.startswith("0 of 1 measured claim reproduced; 1 inconclusive.")
    assert "| the same, recipe modern (sensitivity) | direction only | paper |" in text
    assert "Measured with planted images, on a planted device." in text
    assert nothing == "No results yet.\n"


def test_the_page_links_only_to_places_in_it(claim: Claim, page: Page, tmp_path: Path) -> None:
    """It is one file: nothing that it shows lies elsewhere."""
    smoke = planted_page(claim, {"period": MODERN}, scale="smoke")
    unrun = empty_page(claim.model_copy(update={"id": "unrun"}))
    path = write_report([page, smoke, unrun], tmp_path, ["html"])
    elements = Elements(path.read_text())
    ids = {attributes["id"] for _, attributes in elements.tags if "id" in attributes}
    links = {a.get("href") or a.get("src") for _, a in elements.tags} - {None, ""}

    assert "#planted" in links
    assert {link for link in links if link and link.startswith("#")} <= {f"#{i}" for i in ids}
    assert all(link and link.startswith(("#", "https://")) for link in links), links


@pytest.mark.parametrize("left_out", ["curves", "results", "plans"])
def test_any_part_of_a_store_renders(claim: Claim, tmp_path: Path, left_out: str) -> None:
    """Files that are not there yet, or no more, are shown as missing in every format."""
    store = Store(tmp_path / "store")
    cells = planted_cells(claim, "paper", {"period": PERIOD})
    if left_out != "plans":
        print_ = cells[0][0].trial.fingerprint
        register(claim, "paper", fingerprint=print_, title="set", store=store)
    for place, (cell, result) in enumerate(cells):
        store.begin(cell.trial)
        if left_out != "curves" or place % 2:
            store.save(cell.trial.id, checkpoint=b"", curve=planted_rows(result))
        if left_out != "results" or place % 2:
            store.finish(result)

    found = pages([claim], store)
    write_report(found, tmp_path / "out", ["html", "md", "summary", "csv", "svg"])
    trials = pd.read_csv(tmp_path / "out" / "trials.csv")

    assert (len(trials) == len(cells)) == (left_out == "curves")


def test_rolling_error_is_the_mean_of_one_epoch_of_windows() -> None:
    """Against the slow definition, with windows of unequal size and a loss that overflows."""
    rows = [Row(k / 10, "online", 1 / k, 1.0, 90 + k, 0.0) for k in range(1, 26)]
    rows.insert(15, Row(1.5, "train", 0.9, 1.0, 1000, 0.0))
    rows.append(Row(2.6, "online", float("nan"), float("nan"), 100, 0.0))
    epochs, errors = rolling_error(rows)
    last = range(16, 26)
    expected = sum((90 + k) / k for k in last) / sum(90 + k for k in last)

    assert len(epochs) == len(errors) == 16
    assert (epochs[0], epochs[-1]) == (1.0, 2.5)
    assert errors[-1] == pytest.approx(expected)


def test_a_curve_is_as_dense_as_its_axis_and_has_no_gap(page: Page) -> None:
    """Its ends are drawn on any axis, and the slow seeds go on from where the band ends."""
    found = [arm_curves(page, "modern", "fast", until=until) for until in (10.0, 25.0, 100.0)]
    bands = [curves.band for curves in found if curves.band is not None]
    points = [len(band.epochs) for band in bands]

    assert points == sorted(points, reverse=True)
    assert points[0] > 4 * points[2]
    for curves, band in zip(found, bands, strict=True):
        assert (band.epochs[0], band.epochs[-1]) == (1.0, bands[0].epochs[-1])
        assert curves.tails
        assert all(epochs[0] == band.epochs[-1] for epochs, _ in curves.tails)


def test_numbers_are_written_for_readers() -> None:
    """Percent here only; infinity and nothing have signs of their own."""
    assert percent(0.2491) == "24.9 %"
    assert percent(float("nan")) == ""
    assert [duration(s) for s in (42.4, 190, 7500)] == ["42 s", "3 min 10 s", "2 h 05 min"]
    assert estimate_text(None) == "not measured"
    assert estimate_text(estimate(high=float("inf"))) == "1.70 (95 % CI 1.50 to ∞)"
    equal = estimate(low=-float("inf"), high=float("inf"))
    assert estimate_text(equal) == "1.70 (no interval)"
    assert estimate_text(estimate(bound="upper")) == "at most 1.90 (95 % bound)"
    unbounded = estimate(bound="upper", high=float("inf"))
    assert estimate_text(unbounded) == "no bound known"


def test_an_interval_has_as_many_decimals_as_its_width_needs() -> None:
    """Two digits of half of it, also for a metric whose effects are thousandths."""
    small = estimate(value=0.0042, low=0.0011, high=0.0073)

    assert estimate_text(small) == "0.0042 (95 % CI 0.0011 to 0.0073)"
    assert effect_text(small) == "0.0042 [0.0011, 0.0073]"
    assert effect_text(estimate(value=-0.0004, low=-0.55, high=0.55)) == "0.00 [-0.55, 0.55]"
    assert effect_text(estimate(value=-3e-15, low=-math.inf)) == "0.00"
    bound = estimate(bound="lower", value=math.nan, low=0.034, high=math.inf)
    assert estimate_text(bound) == "at least 0.034 (95 % bound)"


def test_an_end_close_to_an_edge_does_not_read_as_the_edge() -> None:
    """An end on the edge itself does, and so does a trace of rounding."""
    close = estimate(value=0.25, low=0.0034, high=0.4941)

    assert level_text(close) == "the 95 % CI, 0.00 to 0.49"
    assert level_text(close, (0.0, 0.5)) == "the 95 % CI, 0.003 to 0.49"
    assert level_text(close, (0.494,)) == "the 95 % CI, 0.00 to 0.4941"
    touching = estimate(value=0.25, low=1e-12, high=0.4996)
    assert level_text(touching, (0.0, 0.5)) == "the 95 % CI, 0.00 to 0.4996"
    assert level_text(estimate(low=0.0, high=0.5), (0.0, 0.5)) == "the 95 % CI, 0.00 to 0.50"


def test_each_paper_has_a_part_of_its_own(claim: Claim, page: Page, tmp_path: Path) -> None:
    """Named and linked as the claims say; the one of which something was measured first."""
    paper = {"title": "Some title", "authors": "Some authors", "year": 2020}
    cited = claim.paper.model_copy(update=paper | {"link": "https://example.org/paper"})
    other = claim.model_copy(update={"id": "other", "title": "Another claim", "paper": cited})
    own = claim.paper.model_copy(update={"title": "First title", "authors": "First authors"})
    first = replace(page, claim=claim.model_copy(update={"paper": own}))
    smoke = planted_page(other, {"period": MODERN, "modern": MODERN}, scale="smoke")
    elements = Elements(html([smoke, first], tmp_path))

    assert elements.text.index("First title") < elements.text.index("Some title")
    assert "Some authors (2020)" in elements.text
    assert {"href": "https://example.org/paper"} in elements.all("a")
    assert "0 of 1 measured claim reproduced; 1 inconclusive." in elements.text
    assert "No results yet beyond smoke tests." in elements.text


def test_a_table_has_one_row_in_memory_at_a_time() -> None:
    """Whoever writes it holds a line, however many trials there are; what is not known is empty."""
    made: list[int] = []

    def cells() -> Iterator[dict[str, object]]:
        for trial in range(1000):
            made.append(trial)
            yield {"trial": trial, "error": float("nan"), "note": None}

    lines = Rows(columns=("trial", "error", "note"), cells=cells()).csv()

    assert [next(lines) for _ in range(3)] == ["trial,error,note\n", "0,,\n", "1,,\n"]
    assert made == [0, 1]


@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="figures are drawn by one process there")
def test_figures_of_two_processes_are_those_of_one(tmp_path: Path) -> None:
    """The same bytes; the figures of a second process that is killed are drawn by the first."""
    killed = "drawings._ignore_interrupts = lambda: os._exit(9)"
    many = "drawings._MANY = 1"
    folders = [tmp_path / name for name in ("one", "two", "killed")]
    for folder, code in zip(folders, ("", many, f"{many}; {killed}"), strict=True):
        words = ["report", "--store", str(STORE), "--claims", str(STORE.parent / "claims")]
        script = (
            f"import os; from repro.report import drawings; {code}\n"
            f"from repro.cli import main; main({[*words, '--out', str(folder)]!r})"
        )
        subprocess.run([sys.executable, "-c", script], check=True)

    one, two, alone = ({p.name: p.read_bytes() for p in f.glob("figures/*")} for f in folders)
    assert len(one) > 2
    assert one == two == alone
