"""What was found, as one HTML file, Markdown, CSV and SVG. Formatting only; never imports torch.

The page holds no date of its own: the same store gives the same bytes.
"""

from collections.abc import Sequence
from pathlib import Path

from repro.files import write_atomic
from repro.report.document import document
from repro.report.frames import curve_frame, fact_frame, trial_frame, verdict_frame
from repro.report.html import render_html
from repro.report.markdown import render_markdown
from repro.report.page import FactPage, Page

__all__ = ["FORMATS", "FactPage", "Page", "write_report"]

FORMATS = frozenset({"html", "md", "csv", "svg"})


def write_report(
    pages: Sequence[Page | FactPage], out: Path, formats: frozenset[str] = FORMATS
) -> Path:
    """Write the formats asked for into `out`; returns the file (or folder) to open first.

    report.html, report.md, verdicts.csv, facts.csv, trials.csv, curves.csv, figures/*.svg.
    """
    whole = document(pages)
    trained = [page for page in pages if isinstance(page, Page)]
    if "svg" in formats:
        for section in (*whole.sections, *whole.smoke_sections):
            for drawing in section.drawings:
                write_atomic(out / "figures" / f"{drawing.name}.svg", drawing.svg)
    if "csv" in formats:
        frames = {
            "verdicts": verdict_frame(pages),
            "facts": fact_frame(pages),
            "trials": trial_frame(trained),
            "curves": curve_frame(trained),
        }
        for name, frame in frames.items():
            write_atomic(out / f"{name}.csv", frame.to_csv(index=False, lineterminator="\n"))
    if "md" in formats:
        write_atomic(out / "report.md", render_markdown(whole, figures="svg" in formats))
    if "html" in formats:
        write_atomic(out / "report.html", render_html(whole))
    mains = (out / "report.html", out / "report.md")
    return next((m for m, f in zip(mains, ("html", "md"), strict=True) if f in formats), out)
