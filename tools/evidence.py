"""Write all that is said of the evidence in reports/store, after it was exported anew.

    python tools/evidence.py

reports/report is what `repro report` writes; docs/findings.md, and the parts of README.md and
reports/README.md between the markers, are made of the same verdicts. tests/test_evidence.py says
when one of them is stale.
"""

import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import findings

from repro.claim import load_all
from repro.report import write_report
from repro.report.document import Document, document
from repro.report.markdown import markdown_table, measured_with
from repro.report.page import FactPage, Page
from repro.report.pages import pages
from repro.report.tables import Table
from repro.store import Store

FORMATS = ("html", "md", "csv", "svg")
CLAIMS, STORE, REPORT = Path("claims"), Path("reports/store"), Path("reports/report")
IN_THE_STORE = "curves.csv"  # every row of every trial: not kept twice
START, END = "<!-- results -->", "<!-- /results -->"
PICTURE = (
    "![Training error of ReLU and tanh nets against epochs, ours and the paper's]"
    "(reports/report/figures/relu_speedup-paper-curves.svg)\n\n"
    "*Two recipes: `period` is the authors' and decides, `modern` is today's. Lines: the error of "
    "the batches, averaged over the last epoch, median and range of the seeds; in brackets, how "
    "many of them count. Filled markers: where the error of a full pass over the training set came "
    "down to 25 %, which ends a trial; that of the batches lags behind, so that the lines end "
    "above. Open markers: read off the paper's Fig. 1.*"
)


def evidence() -> list[Page | FactPage]:
    """What the kept store says of every claim of the paper; run in the root of the repository."""
    return pages(load_all(CLAIMS / f"{name}.yaml" for name in findings.claims()), Store(STORE))


def texts(found: Sequence[Page | FactPage], whole: Document) -> dict[Path, str]:
    """The files that are made of results, or have a part of them, as they have to be."""
    return {
        Path("docs/findings.md"): findings.render(found),
        Path("README.md"): _with_results("README.md", _results(found, whole)),
        Path("reports/README.md"): _with_results("reports/README.md", _measurements(found, whole)),
    }


def _with_results(path: str, results: str) -> str:
    text = Path(path).read_text(encoding="utf-8")
    marked = re.compile(f"(?<={re.escape(START)}\n).*?(?={re.escape(END)})", re.DOTALL)
    return marked.sub(lambda _: results, text, count=1)


def _results(found: Sequence[Page | FactPage], whole: Document) -> str:
    table = findings.summary(found, here="docs/findings.md")
    more = len(whole.measured) - table.count("](docs/findings.md#")
    rest = (
        "A row for each claim, at the highest scale at which it was run and under the recipe that "
        f"decides; the {more} others, of lower scales and other recipes, are in "
        "[the report](reports/report/report.md)."
    )
    return "\n\n".join((PICTURE, whole.standing, table, rest, measured_with(whole))) + "\n"


def _measurements(found: Sequence[Page | FactPage], whole: Document) -> str:
    there = {
        (page.claim.id, page.evidence.scale): page.evidence.finished_before
        for page in found
        if isinstance(page, Page)
    }
    table = Table(
        caption="What was measured, and where",
        columns=("Claim", "Scale", "Data", "Device", "Seeds an arm", "Time of all trials",
                 "Confirming trials before the plan"),
        rows=tuple(
            (row.claim, row.scale, row.data, row.device, row.seeds, row.time,
             _counted(there[row.claim, row.scale]))
            for row in whole.measured
            if row.decides and row.seeds
        ),
    )  # fmt: skip
    return "\n".join(markdown_table(table))


def _counted(trials: int | None) -> str:
    return "not written down" if trials is None else str(trials)


def main() -> None:
    """Write everything; prints what is there."""
    found = evidence()
    shutil.rmtree(REPORT, ignore_errors=True)  # what is drawn no longer goes
    print(write_report(found, REPORT, FORMATS), file=sys.stderr)
    (REPORT / IN_THE_STORE).unlink()
    for path, text in texts(found, document(found)).items():
        path.write_text(text, encoding="utf-8")
        print(path, file=sys.stderr)


if __name__ == "__main__":
    main()
