"""The documentation: its commands work, its reference is complete, and the site needs no network.

Every `sh` block is run, page by page, as a reader would, in a copy of what the pages name. A block
that cannot be run here says so to the reader, in its title; its commands are parsed all the same.
A `text` block after it is what was printed, `...` standing for whatever differs.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import click
import findings
import pytest
import reference
import yaml
from click.testing import CliRunner

import repro
from repro.claim import Claim, load, load_all
from repro.cli import main
from repro.models.facts import multiply_adds
from repro.registry import CHAINS, OWN_SCHEDULES
from repro.report.page import Page
from repro.report.read_pages import pages
from repro.store import Store

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NOT_RUN = "Not run in the tests: "
MANIFEST = "raycluster.yaml"  # of Kubernetes; all other YAML is a claim
PART = "A part of a claim file"

# Blocks that are not run, by page: to be as few as can be.
LEFT_OUT = {
    "README.md": 2,
    "docs/how-to/another-paper.md": 1,
    "docs/how-to/borrowed-gpu.md": 4,
    "docs/how-to/data.md": 3,
    "docs/how-to/gpu-and-cluster.md": 7,
    "docs/how-to/run.md": 2,
    "docs/how-to/share.md": 1,
    "docs/tutorial/first-verdict.md": 1,
    "docs/tutorial/own-claim.md": 1,
}


# What a reader makes on the way, and is not in the repository.
MADE = {"gelu_speedup"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """A fenced block; `follows`: directly after another, with nothing said in between."""

    page: str
    language: str
    title: str
    body: str
    follows: bool

    @property
    def left_out(self) -> bool:
        return self.title.startswith(NOT_RUN)

    @property
    def lines(self) -> list[str]:
        """Commands, each whole."""
        whole = self.body.replace("\\\n", " ")
        return [line for line in whole.splitlines() if line.split("#")[0].strip()]


FENCE = re.compile(
    r'^```(?P<language>\w*)(?: title="(?P<title>[^"]*)")?\n(?P<body>.*?)^```$',
    re.DOTALL | re.MULTILINE,
)


def blocks(page: Path) -> Iterator[Block]:
    text, end = page.read_text(encoding="utf-8"), 0
    for fence in FENCE.finditer(text):
        yield Block(
            page=str(page.relative_to(ROOT)),
            language=fence["language"],
            title=fence["title"] or "",
            body=fence["body"],
            follows=not text[end : fence.start()].strip(),
        )
        end = fence.end()


BLOCKS = [block for page in PAGES for block in blocks(page)]
COMMANDS = [block for block in BLOCKS if block.language == "sh"]


def test_every_block_that_is_not_run_is_counted() -> None:
    """What a reader is shown untried stays little, and says why."""
    found: dict[str, int] = {}
    for block in COMMANDS:
        if block.left_out:
            found[block.page] = found.get(block.page, 0) + 1

    assert found == LEFT_OUT


def test_every_fence_says_what_it_holds() -> None:
    """A fence without a language, or with an unknown option, would escape the tests."""
    opened = sum(
        len(re.findall(r"^```.+$", page.read_text(encoding="utf-8"), re.MULTILINE))
        for page in PAGES
    )

    assert {block.language for block in BLOCKS} <= {"python", "sh", "text", "toml", "yaml"}
    assert len(BLOCKS) == opened


def repro_calls(line: str) -> Iterator[list[str]]:
    """The words of each call of `repro` in a line of shell."""
    for part in re.split(r"&&|\|\||[|;]", line):
        words = shlex.split(part.partition(">")[0], comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words.pop(0)
        if words and words[0] == "repro":
            yield words[1:]


@pytest.mark.parametrize("block", COMMANDS, ids=lambda block: block.page)
def test_commands_exist_with_their_options(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those that are too dear to run."""
    monkeypatch.chdir(ROOT)
    for line in block.lines:
        for words in repro_calls(line):
            parse(expanded("architecture" if word in MADE else word for word in words))


def expanded(words: Iterable[str]) -> list[str]:
    """As a shell hands them on: claims/*.yaml as the files that there are."""
    return [
        name
        for word in words
        for name in (sorted(map(str, Path().glob(word))) if "*" in word else [word])
    ]


def parse(words: list[str]) -> None:
    """What click makes of the words, without doing it."""
    command: click.Command = main
    while isinstance(command, click.Group) and words[0] in command.commands:
        command, words = command.commands[words[0]], words[1:]
    if words not in (["--version"], ["--help"]):
        command.make_context("repro", words)


@pytest.mark.parametrize(
    "block",
    [block for block in BLOCKS if block.language == "yaml" and block.title not in (MANIFEST, PART)],
    ids=lambda block: block.page,
)
def test_example_claims_are_valid(block: Block, tmp_path: Path) -> None:
    """A reader who saves an example gets no error."""
    name = yaml.safe_load(block.body)["id"]
    path = tmp_path / f"{name}.yaml"
    path.write_text(block.body, encoding="utf-8")

    assert load(path).id == name


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.title == PART], ids=lambda b: b.page)
def test_example_parts_are_valid(block: Block, tmp_path: Path) -> None:
    """Of a page that shows no more of a claim: in a claim that has all else."""
    claim = yaml.safe_load((ROOT / "tests" / "claims" / "modern_recipe.yaml").read_text())
    claim["scales"]["smoke"]["images"] = 1280  # ten batches of the page's
    claim["scales"]["smoke"]["model"] = {"name": "alexnet_2012", "arguments": {"width": 0.1}}
    path = tmp_path / f"{claim['id']}.yaml"
    path.write_text(yaml.safe_dump(claim | yaml.safe_load(block.body)))

    assert load(path).id == claim["id"]


def test_the_manifest_for_kubernetes_is_whole() -> None:
    """Every volume that a container mounts is there, and every GPU is asked for."""
    (block,) = (block for block in BLOCKS if block.title == MANIFEST)
    spec = yaml.safe_load(block.body)["spec"]
    pods = [
        group["template"]["spec"] for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"])
    ]
    for pod in pods:
        mounted = {mount["name"] for one in pod["containers"] for mount in one["volumeMounts"]}

        assert mounted == {volume["name"] for volume in pod["volumes"]}
    assert pods[1]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1


def test_the_reference_has_every_command() -> None:
    """Generated from the tree of commands, so that a new one is in it."""
    page = reference.pages()["reference/commands.md"]

    assert len(list(reference.commands())) > len(main.commands)
    for name, command in reference.commands():
        assert f"## {name}\n" in page
        assert " ".join(str(command.get_short_help_str(500)).split()) in " ".join(page.split())


def test_every_key_of_a_claim_file_has_a_meaning() -> None:
    """What `repro.claim.spec` says of its fields, in its docstrings."""
    page = reference.pages()["reference/claim-file.md"]

    assert [row for row in page.splitlines() if re.fullmatch(r"\|.*\|\s*\|", row)] == []
    assert "`verdict_recipe`" in page


def test_the_reference_has_every_name_of_the_package() -> None:
    """Each function with its signature, and the columns of each table."""
    page = reference.pages()["reference/python.md"]

    assert all(re.search(rf"^## .*\brepro\.{name}\b", page, re.MULTILINE) for name in repro.__all__)
    assert "def draw(\n    self," in page
    assert re.search(r"^\| `curves` \| `claim`, .*`arm`, .*`seed`", page, re.MULTILINE)


@pytest.mark.parametrize("page", reference.pages().values())
def test_tables_of_the_reference_have_equal_rows(page: str) -> None:
    """A stroke in a cell would shift the columns of its row."""
    for rows in re.findall(r"(?:^\|.*\|\n)+", page, re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", row)) for row in rows.splitlines()}

        assert len(widths) == 1


@pytest.mark.parametrize(
    ("page", "names"),
    [("how-to/another-paper.md", CHAINS), ("explanation/recipes.md", OWN_SCHEDULES)],
)
def test_a_page_that_says_what_there_is_not_names_all_that_there_is(
    page: str, names: Iterable[str]
) -> None:
    """Nets that train together; schedules."""
    lines = (ROOT / "docs" / page).read_text(encoding="utf-8").splitlines()

    assert any(all(f"`{name}`" in line for name in names) for line in lines)


WORDS = yaml.safe_load(findings.WORDS.read_text(encoding="utf-8"))
CLAIMS = load_all(ROOT / "claims" / f"{name}.yaml" for name in findings.claims())


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_every_claim_has_words_for_its_findings(claim: Claim, tmp_path: Path) -> None:
    """Each names contrasts and recipes that the claim file has, whatever was measured."""
    for page in pages([claim], Store(tmp_path)):
        assert "{{" not in findings.filled(WORDS["readings"][claim.id], page)


@pytest.mark.parametrize(("claim", "seldom"), [("overlapping_pooling", 2), ("crop_flip", 0)])
def test_a_claim_that_was_not_run_says_what_its_plan_makes_unlikely(
    claim: str, seldom: int, tmp_path: Path
) -> None:
    """And how many seeds would not; nothing of a plan that decides four times in five."""
    (page,) = (
        page
        for page in pages([load(ROOT / "claims" / f"{claim}.yaml")], Store(tmp_path))
        if isinstance(page, Page) and page.evidence.scale == "proxy"
    )
    said = findings.needed(page, "time")

    assert said.startswith("time")
    assert said.count("seeds an arm makes this 80 % likely") == seldom


def test_the_story_names_the_choices_that_take_too_many_seeds(tmp_path: Path) -> None:
    """Not those that were not run though their plan would decide them."""
    found = pages(CLAIMS, Store(tmp_path))
    index = findings.render(found, Store(tmp_path))["index.md"]
    untold = index.partition("## What takes more seeds than we had time for")[2].partition(
        "## All"
    )[0]

    assert "- Overlapping pools: " in untold
    assert WORDS["choices"]["crop_flip"] not in untold


FINDINGS = [
    page
    for page in sorted((ROOT / "docs" / "findings").glob("*.md"))
    if page.stem not in ("index", "coverage")
]


@pytest.mark.parametrize("page", FINDINGS, ids=lambda page: page.stem)
def test_a_page_of_findings_is_read_in_two_minutes(page: Path) -> None:
    """At most 300 words, without those of the picture for readers who cannot see it."""
    seen = re.sub(r"!\[.*?\]\(\S+\)", "", page.read_text(encoding="utf-8"))

    assert len(re.sub(r"\]\(\S+\)", "]", seen).split()) <= 300


def test_the_findings_say_which_effects_all_claims_together_do_not_show() -> None:
    """Those of the report's family table, of the words that claim an effect."""
    report = (ROOT / "reports" / "report" / "report.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in report.splitlines() if line.count(" | ") == 5]
    conclusions = {row[0].removeprefix("| "): row[2] for row in rows}
    told = set()
    for page in FINDINGS:
        title, word, *_ = page.read_text(encoding="utf-8").split("\n\n")
        open_one = conclusions.get(title.removeprefix("# ")) == "not shown"
        if open_one and word.startswith(("**reproduced**", "**direction only**")):
            told.add(page)

    assert told  # as long as there is one
    for page in FINDINGS:
        said = "Among all claims (Holm) not significant" in page.read_text(encoding="utf-8")
        assert said == (page in told), page.name


def test_what_the_old_cards_would_have_taken_follows_from_the_paper() -> None:
    """AlexNet itself takes the paper's own time; the small net in proportion to its work."""
    alexnet = multiply_adds("alexnet_2012", (), 1000, 224)

    assert alexnet == findings.MULTIPLY_ADDS
    assert multiply_adds("cifar_80sec", (), 10, 32) == 12_354_176


@pytest.mark.docs
def test_the_import_that_the_page_shows_registers_the_nets_with_timm() -> None:
    """In a fresh interpreter, in which nothing else has."""
    (block,) = (b for b in BLOCKS if "timm.create_model" in b.body and not b.left_out)
    code = f"{block.body}\nassert net.num_classes == 10"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert block.page == "docs/how-to/extend.md"
    assert done.returncode == 0, done.stderr


# Run by `nox -s docs`


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store for all pages, so that a trial that several of them need is trained once."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def workspace(tmp_path: Path, results: Path) -> Path:
    """What a reader has: the repository's claims and evidence, and `repro` on the path."""
    folder = tmp_path / "reader"
    shutil.copytree(ROOT / "reports", folder / "reports")
    shutil.copytree(ROOT / "claims" / "paper_data", folder / "claims" / "paper_data")
    shutil.copytree(ROOT / "examples" / "own_script", folder / "examples" / "own_script")
    for claim in CLAIMS:  # and none that a developer may have begun beside them
        shutil.copy(claim.path, folder / "claims")
    (folder / "runs").symlink_to(results)
    shim = folder / "bin" / "repro"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m repro "$@"\n')
    shim.chmod(0o755)
    return folder


@pytest.mark.docs
@pytest.mark.parametrize("page", [p for p in PAGES if any(b.language == "sh" for b in blocks(p))],
                         ids=lambda page: str(page.relative_to(ROOT)))  # fmt: skip
def test_every_command_of_a_page_runs(
    page: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the order of the page; verdicts may be open."""
    monkeypatch.chdir(workspace)
    monkeypatch.setenv("PATH", f"{workspace / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(workspace))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # for processes that jobs are
    monkeypatch.setenv("REPRO_WORKERS", "1")  # in this process, which has torch already
    printed = ""
    for block in blocks(page):
        if block.language == "yaml" and block.title not in ("", PART):
            (workspace / block.title).write_text(block.body, encoding="utf-8")
        elif block.language == "sh" and not block.left_out:
            printed = "".join(run(line, monkeypatch) for line in block.lines)
        elif block.language == "text" and block.follows:
            expected = re.escape(block.body.strip()).replace(re.escape("..."), ".*")

            assert re.fullmatch(expected, printed.strip(), re.DOTALL), printed


def run(line: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """One command of a page and what it prints; torch is imported once for all of them."""
    words = shlex.split(line, comments=True)
    if words[0] == "export":
        name, _, value = words[1].partition("=")
        monkeypatch.setenv(name, os.path.expandvars(value))
        return ""
    if words[0] == "repro" and not re.search(r"[|<>$;&]", line):
        result = CliRunner().invoke(main, expanded(words[1:]))

        assert result.exit_code in (0, 3, 4), f"{line}\n{result.output}"  # 3 and 4: a verdict
        return result.output
    done = subprocess.run(["bash", "-ec", line], capture_output=True, text=True, check=False)

    assert done.returncode == 0, f"{line}\n{done.stderr}"
    return done.stdout


@pytest.mark.docs
def test_the_notebook_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its cells in their order, in its folder; each figure is drawn and each table full."""
    monkeypatch.chdir(ROOT / "examples")
    monkeypatch.setenv("MPLBACKEND", "agg")
    cells = json.loads(Path("results.ipynb").read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    names: dict[str, Any] = {}
    exec("\n".join(code), names)
    figures = [names["plt"].figure(number) for number in names["plt"].get_fignums()]
    names["plt"].close("all")

    assert [len(figure.axes) for figure in figures] == [1, 2]
    for found in (names["momentum"], names["kept"]):
        assert not found.trials.empty
        assert set(found.trials["claim"]) <= set(re.findall(r"<td>(\w+)</td>", found._repr_html_()))


class Loaded(HTMLParser):
    """What a browser fetches for a page without being asked."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag in ("script", "img", "iframe", "source"):
            self.found.append(values.get("src") or "")
        elif tag == "link" and values.get("rel") in ("stylesheet", "icon", "preload"):
            self.found.append(values.get("href") or "")


@pytest.mark.docs
def test_the_site_is_built_strictly_and_needs_no_network(tmp_path: Path) -> None:
    """Every link is right, and nothing is fetched from elsewhere when a page is read."""
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr

    for page in tmp_path.rglob("*.html"):
        loaded = Loaded()
        loaded.feed(page.read_text(encoding="utf-8"))

        assert not [link for link in loaded.found if re.match(r"(https?:)?//", link)], page
    for sheet in tmp_path.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//", sheet.read_text(encoding="utf-8")), sheet
