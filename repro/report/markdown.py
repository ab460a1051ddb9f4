"""The report as Markdown: the verdict table, and a short section for each claim and scale."""

import re
from collections.abc import Iterator, Sequence

from repro.report.document import Document, Section
from repro.report.tables import Table

__all__ = ["render_markdown"]


def render_markdown(document: Document, *, figures: bool) -> str:
    """The page; `figures`: whether the files that it shows lie in figures/."""
    return "\n".join(_lines(document, figures=figures)).rstrip() + "\n"


def _lines(document: Document, *, figures: bool) -> Iterator[str]:
    yield from ("# Reproduction report", "", "## Verdicts", "")
    yield from _table(document.verdicts)
    for section in document.sections:
        yield from _section(section, level=2, figures=figures)
    if document.smoke.rows:
        yield from (f"## {_escape(document.smoke.caption)}", "")
        yield from _table(document.smoke)
    for section in document.smoke_sections:
        yield from _section(section, level=3, figures=figures)


def _section(section: Section, *, level: int, figures: bool) -> Iterator[str]:
    yield from (f"{'#' * level} {_escape(section.title)}", "")
    for recipe, word, reason in section.verdicts:
        yield f"- **{_escape(word)}** with the {_escape(recipe)} recipe: {_escape(reason)}"
    if section.verdicts:
        yield ""
    for heading, text in section.facts:
        yield from (f"**{_escape(heading)}.** {_escape(text)}", "")
    if figures:
        for drawing in section.drawings:
            yield from (f"![{_escape(drawing.alt)}](figures/{drawing.name}.svg)", "")
            yield from (_escape(drawing.caption), "")
    for table in section.tables:
        if not table.wide:  # the long list of trials is in trials.csv
            yield from (f"**{_escape(table.caption)}**", "")
            yield from _table(table)
    if section.deviations:
        yield from ("**Deviations from the paper**", "")
        yield from (f"- {_escape(deviation)}" for deviation in section.deviations)
        yield ""
    yield from (
        "**To repeat it**",
        "",
        *(f"    {line}" for line in section.command.split("\n")),
        "",
    )


def _table(table: Table) -> Iterator[str]:
    yield _row(table.columns)
    yield "|" + " --- |" * len(table.columns)
    yield from (_row(row) for row in table.rows)
    yield ""


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_escape(cell) for cell in cells) + " |"


def _escape(text: str) -> str:
    """Text that no reader of Markdown takes for markup; one line."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))
