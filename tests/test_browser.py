"""The report in a real browser, headless: it works from disk, alone, and for everyone.

    nox -s browser

Chromium is the system's own (Debian: apt-get install chromium); the tests skip where there is none.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from repro.report.write import write_report
from repro.stats import Estimate
from tests.pages import Planted, empty_page, planted_page, written_claim

pytestmark = pytest.mark.browser

sync_api = pytest.importorskip("playwright.sync_api", reason="nox -s browser installs Playwright")

ROOT = Path(__file__).parents[1]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
MOST_BYTES = 200_000  # of a claim that was run at two scales, with two recipes
CURVES = "#planted > .figures figure >> nth=1"  # the effect is the first

RATIO = Estimate(
    value=3.1, low=2.5, high=4.0, level=0.95, seeds=3, method="planted", bound="two-sided"
)
SMALL = replace(RATIO, value=2.0, low=1.5)
PLANTED = {
    "period": Planted(
        fast=(6.0, 6.2, 6.5), slow=(None, 19.5, 19.0), estimate=RATIO, word="reproduced"
    ),
    "modern": Planted(fast=(6.0, 6.1), slow=(10.0, 10.5), estimate=None, word="inconclusive"),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of one planted claim: measured at one scale, and run at smoke scale.

    `two`: a report of it and of another claim, of which nothing was run. `several`: of three
    claims, of which one has no number.
    """
    folder = tmp_path_factory.mktemp("written")
    claim = written_claim(folder)
    shown = [planted_page(claim, PLANTED), planted_page(claim, PLANTED, scale="smoke")]
    write_report(shown, folder, ["html"])
    another = claim.model_copy(update={"id": "another", "title": "Another claim"})
    write_report([*shown, empty_page(another)], folder / "two", ["html"])
    words = {"second": ("direction only", SMALL), "third": ("inconclusive", None)}
    several = [
        planted_page(
            claim.model_copy(update={"id": name, "title": f"The {name} claim"}),
            {"period": replace(PLANTED["period"], word=word, estimate=estimate)},
        )
        for name, (word, estimate) in words.items()
    ]
    report = write_report([shown[0], *several], folder / "more", ["html"])
    report.rename(folder / "several.html")
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator["sync_api.Browser"]:
    if CHROMIUM is None:
        pytest.skip("no chromium on the path: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser: "sync_api.Browser") -> Iterator["sync_api.Page"]:
    """A page that complains of nothing and asks for nothing but files, to the end of the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(120_000)  # milliseconds
    complaints: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    yield page
    context.close()
    assert complaints == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []


def column(page: "sync_api.Page", number: int) -> list[str]:
    cells = page.locator(f".verdicts tbody tr:visible > :nth-child({number})")
    return [text.strip() for text in cells.all_inner_texts()]


def test_the_page_is_small(written: Path) -> None:
    """A report of many claims can be sent in a mail."""
    assert (written / "report.html").stat().st_size < MOST_BYTES


def test_verdicts_are_sorted_by_their_numbers(open_page: "sync_api.Page", written: Path) -> None:
    """Up, then down; what has no number stays at the end; the heading says so to all readers."""
    page = open_page
    page.goto((written / "several.html").as_uri())
    header = page.locator(".verdicts").get_by_role("columnheader", name="Effect")
    button = header.get_by_role("button")
    up = ["2.00 [1.50, 4.00]", "3.10 [2.50, 4.00]", "not measured"]

    assert header.get_attribute("aria-sort") is None
    button.click()
    assert header.get_attribute("aria-sort") == "ascending"
    assert column(page, 3) == up
    button.focus()
    page.keyboard.press("Enter")
    assert header.get_attribute("aria-sort") == "descending"
    assert column(page, 3) == [up[1], up[0], up[2]]
    page.locator(".verdicts").get_by_role("columnheader", name="Verdict").get_by_role(
        "button"
    ).click()
    assert header.get_attribute("aria-sort") is None
    assert column(page, 2) == ["direction only", "inconclusive", "reproduced"]


def test_verdicts_are_filtered(open_page: "sync_api.Page", written: Path) -> None:
    """By verdict, scale and text together; how many are left is said."""
    page = open_page
    page.goto((written / "several.html").as_uri())

    page.get_by_role("combobox", name="Verdict").select_option("reproduced")
    assert column(page, 2) == ["reproduced"]
    assert page.get_by_text("1 of 3 rows").is_visible()
    page.get_by_role("searchbox", name="Text").fill("no such words")
    assert column(page, 2) == []
    page.get_by_role("searchbox", name="Text").fill("ONE ARM")
    assert column(page, 2) == ["reproduced"]


def test_an_arm_and_the_papers_points_are_switched(
    open_page: "sync_api.Page", written: Path
) -> None:
    """A figure without an arm is without its line, its range and its points of the paper."""
    page = open_page
    page.goto((written / "report.html").as_uri())
    figure = page.locator(CURVES)
    fast, paper = figure.locator(".arm-0:visible"), figure.locator(".paper-0:visible")
    before = (fast.count(), paper.count())

    assert min(before) > 0
    figure.get_by_role("button", name="fast").click()
    assert (fast.count(), paper.count()) == (0, 0)
    assert figure.locator(".arm-1:visible").count() > 0
    figure.get_by_role("button", name="fast").click()
    assert (fast.count(), paper.count()) == before
    figure.get_by_role("button", name="the paper's points").click()
    assert (fast.count() > 0, paper.count()) == (True, 0)


def test_a_link_into_what_is_folded_opens_it(open_page: "sync_api.Page", written: Path) -> None:
    """Whoever is sent to a scale of a claim sees it."""
    page = open_page
    page.goto((written / "report.html").as_uri() + "#planted-paper")

    assert page.locator("#planted-paper figure").first.is_visible()
    assert page.locator("#planted details:not([open])").count() > 0


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_is_wider_than_the_screen(
    open_page: "sync_api.Page", written: Path, width: int
) -> None:
    """The picture and the verdicts fit; the picture of the narrow form is for the narrow screen."""
    page = open_page
    page.set_viewport_size({"width": width, "height": 800})
    page.goto((written / "several.html").as_uri())
    wide = page.evaluate("document.documentElement.scrollWidth")

    assert wide <= width
    assert page.locator(".narrow-picture").is_visible() == (width < 900)
    assert page.locator(".wide-picture").is_visible() == (width >= 900)


def test_values_are_read_where_the_pointer_is(open_page: "sync_api.Page", written: Path) -> None:
    """The paper's last point of the slow arm, 25 % at epoch 36, through the scales of the axes."""
    page = open_page
    page.goto((written / "report.html").as_uri())
    figure = page.locator(CURVES)
    figure.scroll_into_view_if_needed()
    point = figure.locator(".plot .paper-1 use[x]").last
    box = point.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    note = figure.locator(".reading:visible")

    assert note.inner_text() == "slow, the paper's: epochs 36, training error in % 25"
    page.mouse.move(1, 1)
    assert note.count() == 0


def test_tables_are_copied(open_page: "sync_api.Page", written: Path) -> None:
    """As text for a spreadsheet and as Markdown; of the verdicts, the rows that are shown."""
    page = open_page
    page.add_init_script(
        "navigator.clipboard.writeText = async (text) => { window.copied = text; };"
    )
    page.goto((written / "report.html").as_uri())
    name = "Claims, at the highest scale that can be judged"

    page.get_by_role("button", name=f"Copy as TSV: {name}").click()
    head, *rows = [line.split("\t") for line in page.evaluate("window.copied").split("\n")]
    assert head == ["Claim", "Verdict", "Effect [CI]", "Paper", "Scale"]
    assert rows == [["One arm is faster", "reproduced", "3.10 [2.50, 4.00]", "6", "paper"]]
    page.get_by_role("button", name=f"Copy as Markdown: {name}").click()
    assert page.evaluate("window.copied").split("\n")[1] == "|" + " --- |" * len(head)
    assert page.get_by_text("Copied.").count() == 1


def test_without_a_script_everything_is_there(browser: "sync_api.Browser", written: Path) -> None:
    """No control that does nothing, no number that is missing."""
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto((written / "report.html").as_uri())

    assert page.locator(".verdicts tbody tr:visible").count() == 1
    assert page.locator("button:visible, input:visible, select:visible").count() == 0
    assert page.locator("#planted > .figures figure .plot:visible").count() == 2
    page.context.close()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 390)])
@pytest.mark.parametrize("name", ["report.html", "two/report.html"])
def test_everyone_can_read_it(
    open_page: "sync_api.Page", written: Path, name: str, scheme: str, width: int
) -> None:
    """Axe finds nothing: names, headings, contrast, tables, focus; light, dark, on a phone."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = open_page
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    page.goto((written / name).as_uri())
    page.add_style_tag(content=".claim { content-visibility: visible !important; }")
    # Left to itself axe would read the style sheet again, which a page from disk may not.
    found = axe.Axe().run(page, options={"preload": False}).response["violations"]

    assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []


def test_figures_follow_the_scheme(open_page: "sync_api.Page", written: Path) -> None:
    """Dark text on light, light text on dark, and black on white in print."""
    page = open_page
    page.goto((written / "report.html").as_uri())
    colours = []
    for media in ({"color_scheme": "light"}, {"color_scheme": "dark"}, {"media": "print"}):
        page.emulate_media(**media)
        colours.append(
            page.evaluate(
                """() => ["--ink", "--page"].map((name) =>
                    getComputedStyle(document.documentElement).getPropertyValue(name))"""
            )
        )

    assert colours == [["#1b1f24", "#ffffff"], ["#e6e9ec", "#14181d"], ["#000000", "#ffffff"]]
    assert json.loads(page.locator(CURVES).get_attribute("data-arms") or "") == [
        "fast",
        "slow",
    ]


def test_on_paper_nothing_waits_for_a_click(open_page: "sync_api.Page", written: Path) -> None:
    """No controls, and what is folded is open."""
    page = open_page
    page.goto((written / "report.html").as_uri())
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    controls = page.locator(".tools:visible, .filter:visible, select:visible, input:visible")

    assert controls.count() == 0
    assert page.get_by_role("table", name="Where the numbers come from").first.is_visible()


def test_the_documentation_is_searched_from_disk(
    open_page: "sync_api.Page", tmp_path: Path
) -> None:
    """Where a browser starts no worker."""
    build = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
    open_page.goto((tmp_path / "index.html").as_uri())
    box = open_page.get_by_role("textbox", name="Search")
    box.focus()  # it reads its index now
    open_page.locator(".md-search-result__meta", has_text="Type to start searching").wait_for()
    box.press_sequentially("censored")  # it listens to keys

    open_page.locator(".md-search-result__item a[href*='explanation/censoring']").first.wait_for()
