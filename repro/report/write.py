"""A report in the formats that are asked for."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from repro.files import write_together
from repro.report.document import document
from repro.report.drawings import draw
from repro.report.frames import csv_files
from repro.report.html import render_html
from repro.report.markdown import render_markdown, render_summary
from repro.report.page import FactPage, Page

Files = Mapping[str, Iterable[str | bytes]]  # their contents in parts


def write_report(
    pages: Sequence[Page | FactPage],
    out: Path,
    formats: Iterable[str],
    refused: Sequence[str] = (),
) -> Path:
    """Write the chosen formats into `out`; return the only file, or the folder of several.

    `refused`: the problems of invalid claim files, which have no page.
    """
    chosen_formats = frozenset(formats)
    report = document(pages, refused)
    if chosen_formats & {"html", "svg"}:
        draw([drawing for claim in report.claims for drawing in claim.drawings])
    # In the order in which a reader would open them.
    makers: dict[str, Callable[[], Files]] = {
        "html": lambda: {"report.html": [render_html(report)]},
        "md": lambda: {"report.md": [render_markdown(report, figures="svg" in chosen_formats)]},
        "summary": lambda: {"summary.md": [render_summary(report)]},
        "csv": lambda: csv_files(pages),
        "svg": lambda: {f"figures/{name}": [svg] for name, svg in report.figures.items()},
        "card": lambda: {
            f"{part.anchor}.png": [part.card] for part in report.parts if part.measured
        },
    }
    outputs = [make() for name, make in makers.items() if name in chosen_formats]
    # Together, since curves are read while they are written, and may turn out to be damaged.
    write_together({out / name: parts for files in outputs for name, parts in files.items()})
    return out / next(iter(outputs[0])) if outputs and len(outputs[0]) == 1 else out
