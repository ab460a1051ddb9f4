"""Verdicts, tables and figures as pages for people and programs. Formatting only; never torch.

May import `verdict`, `stats` and `store`; nothing that trains.

Nothing here holds a date of its own: the same store gives the same bytes.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from repro.files import write_atomic
from repro.report.document import document
from repro.report.frames import csv_files, parquet_files
from repro.report.html import render_html
from repro.report.markdown import render_markdown, render_summary
from repro.report.page import FactPage, Page
from repro.report.site import write_site

__all__ = ["FactPage", "Page", "csv_files", "write_report", "write_site"]

Files = Mapping[str, str | bytes]


def write_report(
    pages: Sequence[Page | FactPage],
    out: Path,
    formats: Iterable[str],
    refused: Sequence[str] = (),
) -> Path:
    """Write the formats asked for into `out`; returns the file to open first, or the folder.

    `refused`: the problems of claim files of which there is no page.
    """
    asked = frozenset(formats)
    whole = document(pages, refused)
    # In the order in which a reader would open them.
    makers: dict[str, Callable[[], Files]] = {
        "html": lambda: {"report.html": render_html(whole)},
        "md": lambda: {"report.md": render_markdown(whole, figures="svg" in asked)},
        "summary": lambda: {"summary.md": render_summary(whole)},
        "csv": lambda: csv_files(pages),
        "parquet": lambda: parquet_files(pages),
        "svg": lambda: {f"figures/{name}": svg for name, svg in whole.figures.items()},
        "card": lambda: {f"{part.anchor}.png": part.card for part in whole.parts if part.measured},
    }
    made = [make() for name, make in makers.items() if name in asked]
    for files in made:
        for name, content in files.items():
            write_atomic(out / name, content)
    return out / next(iter(made[0])) if made and len(made[0]) == 1 else out
