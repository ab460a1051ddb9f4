"""The report as Markdown: for a page of a repository, and short for a comment or a CI summary."""

import re
from collections.abc import Iterator, Sequence

from repro.report.document import ClaimSection, Document, Part, ScaleSection
from repro.report.tables import Table
from repro.report.verdict_table import measured_table, unrun_table, verdict_table


def render_markdown(document: Document, *, figures: bool) -> str:
    """The page; `figures`: whether it links the files in figures/."""
    return "\n".join(_lines(document, figures=figures)).rstrip() + "\n"


def render_summary(document: Document) -> str:
    """Half a screen: the counts of verdicts, the measured claims, the data and devices."""
    lines = [document.summary, ""]
    if document.measured:
        lines += markdown_table(measured_table(document.measured))
        lines.append(measured_with(document))
    if document.smoke.rows:
        smoke_count = sum(claim.smoke is not None for claim in document.claims)
        lines += ["", f"Smoke runs, which are not evidence: {smoke_count} claims."]
    if document.refused:
        lines += ["", *_refused(document)]
    return "\n".join(lines).rstrip() + "\n"


def measured_with(document: Document) -> str:
    """The data sets and devices; empty without training."""
    places = {f"{row.data}, on {row.device}" for row in document.measured if row.seeds}
    return f"Measured with {_escape('; '.join(sorted(places)))}." if places else ""


def markdown_table(table: Table) -> Iterator[str]:
    """A table's lines, and an empty one."""
    yield _row(table.columns)
    yield "|" + " --- |" * len(table.columns)
    yield from (_row(row) for row in table.rows)
    yield ""


def _lines(document: Document, *, figures: bool) -> Iterator[str]:
    yield from ("# Reproduction report", "", document.summary, "")
    for part in document.shown_parts:
        yield from _part(part, figures=figures)
    yield from ("## Verdicts", "")
    if document.measured:
        yield from markdown_table(verdict_table(document.measured))
    if document.family.rows:
        yield from _captioned(document.family)
    for claim in document.claims:
        if claim.measured:
            yield from _claim(claim, figures=figures)
    yield from _smoke(document, figures=figures)
    yield from _unrun(document, figures=figures)
    yield from _refused(document)


def _part(part: Part, *, figures: bool) -> Iterator[str]:
    """The paper, and all its claims in one figure."""
    name = _escape(part.paper.reference)
    link = part.paper.link
    if name:
        yield from (f"[{name}](<{link}>)" if link else name, "")
    if figures and part.measured:
        yield from (f"![{_escape(part.alt)}](figures/{part.anchor}.svg)", "")


def _smoke(document: Document, *, figures: bool) -> Iterator[str]:
    if document.smoke.rows:
        yield from (f"## {_escape(document.smoke.caption)}", "")
        yield from markdown_table(document.smoke)
    for claim in document.claims:
        if claim.smoke:
            yield from _scale(claim.smoke, figures=figures)


def _unrun(document: Document, *, figures: bool) -> Iterator[str]:
    if document.unrun:
        yield from ("## Not run", "")
        yield from _captioned(unrun_table(document.unrun))
    for claim in document.claims:
        if claim.scales and not claim.measured:
            yield from _claim(claim, figures=figures)


def _refused(document: Document) -> Iterator[str]:
    if document.refused:
        yield from ("## Claim files that are not valid", "")
        yield from (f"- {_escape(problem)}" for problem in document.refused)


def _claim(claim: ClaimSection, *, figures: bool) -> Iterator[str]:
    yield from (f"## {_escape(claim.title)}", "")
    for heading, text in claim.facts:
        yield from (f"**{_escape(heading)}.** {_escape(text)}", "")
    for scale in claim.scales:
        yield from _scale(scale, figures=figures)
    if claim.deviations:
        yield from ("### Deviations from the paper", "")
        yield from (f"- {_escape(deviation)}" for deviation in claim.deviations)
        yield ""


def _scale(part: ScaleSection, *, figures: bool) -> Iterator[str]:
    yield from (f"### {_escape(part.title)}", "")
    for recipe, word, reason in part.verdicts:
        yield f"- **{_escape(word)}** with the {_escape(recipe)} recipe: {_escape(reason)}"
    yield from (f"- {_escape(note)}" for note in part.notes)
    if part.verdicts or part.notes:
        yield ""
    if figures:
        for drawing in part.drawings:
            yield from (f"![{_escape(drawing.alt)}](figures/{drawing.name}.svg)", "")
            yield from (_escape(drawing.caption), "")
    for table in part.tables:
        yield from _captioned(table)
    yield from ("To run it:", "", f"    {part.command}", "")


def _captioned(table: Table) -> Iterator[str]:
    yield from (f"**{_escape(table.caption)}**", "")
    yield from markdown_table(table)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_escape(cell) for cell in cells) + " |"


def _escape(text: str) -> str:
    """Text that no reader of Markdown takes for markup; one line."""
    return re.sub(r"([\\`*_\[\]<>|#~&$])", r"\\\1", " ".join(text.split()))
