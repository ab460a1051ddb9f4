"""Write all that is said of the evidence in reports/store, after it was exported anew.

    python tools/evidence.py

reports/report is what `repro report` writes; docs/findings/, and the parts of README.md and
reports/README.md between the markers, are made of the same verdicts. tests/test_evidence.py says
when one of them is stale.
"""

import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import findings
import reference

from repro.claim import load_all
from repro.report.document import Document, document
from repro.report.markdown import markdown_table
from repro.report.page import FactPage, Page
from repro.report.read_pages import pages
from repro.report.tables import Table
from repro.report.verdict_table import Row
from repro.report.write import write_report
from repro.store import Store

FORMATS = ("html", "md", "csv", "svg", "card")
CLAIMS, STORE, REPORT = Path("claims"), Path("reports/store"), Path("reports/report")
IN_THE_STORE = "curves.csv"  # every row of every trial: not kept twice
START, END = "<!-- results -->", "<!-- /results -->"
FINDINGS = Path("docs/findings")
FIGURES = "reports/report/figures"
# A narrow screen has the narrow form; both turn dark with the reader's screen.
PICTURE = f"""\
<picture>
  <source media="(max-width: 40rem)" srcset="{FIGURES}/claims-narrow.svg">
  <img src="{FIGURES}/claims.svg" alt="Every measured claim: the effect in units of the paper's,
  its confidence interval, the claim's range, the verdict and the scale">
</picture>"""


def evidence() -> list[Page | FactPage]:
    """What the kept store says of every claim of the paper; run in the root of the repository."""
    return pages(load_all(CLAIMS / f"{name}.yaml" for name in findings.claims()), Store(STORE))


def texts(found: Sequence[Page | FactPage], whole: Document) -> dict[Path, str]:
    """The files that are made of results, or have a part of them, as they have to be."""
    return {
        **{FINDINGS / name: text for name, text in findings.render(found, Store(STORE)).items()},
        Path("README.md"): _with_results("README.md", _results(whole)),
        Path("reports/README.md"): _with_results("reports/README.md", _measurements(found, whole)),
    }


def _with_results(path: str, results: str) -> str:
    text = Path(path).read_text(encoding="utf-8")
    marked = re.compile(f"(?<={re.escape(START)}\n).*?(?={re.escape(END)})", re.DOTALL)
    return marked.sub(lambda _: results, text, count=1)


def _results(whole: Document) -> str:
    where = "Some of them; all are in [the report](reports/report/report.md):"
    return f"{PICTURE}\n\n**{whole.summary}** {where}\n\n{_examples(whole)}\n"


def _examples(whole: Document) -> str:
    """A claim that was trained for each verdict, as far as it has a number."""
    chosen: dict[str, Row] = {}
    for claim in whole.claims:
        row = claim.headline
        if row and row.has_number and "no interval" not in row.estimate:
            chosen.setdefault(row.word, row)
    return reference.table(
        ("Claim", "Verdict", "Effect [CI]", "Paper", "Scale"),
        (
            (
                f"[{row.title}](docs/findings/{row.claim}.md)",
                f"**{row.word}**",
                f"{row.effect} {findings.unit_of(row)}",
                row.paper,
                row.scale,
            )
            for row in chosen.values()
        ),
    )


def _measurements(found: Sequence[Page | FactPage], whole: Document) -> str:
    there = {
        (page.claim.id, page.evidence.scale): page.evidence.finished_before
        for page in found
        if isinstance(page, Page)
    }
    table = Table(
        caption="What was measured, and where",
        columns=("Claim", "Scale", "Data", "Device", "Seeds an arm", "Time of all trials",
                 "Evaluation trials before the plan"),
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
    shutil.rmtree(FINDINGS, ignore_errors=True)
    FINDINGS.mkdir()
    for path, text in texts(found, document(found)).items():
        path.write_text(text, encoding="utf-8")
        print(path, file=sys.stderr)


if __name__ == "__main__":
    main()
