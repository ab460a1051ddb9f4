"""The report as a value: what both pages say, in the order in which they say it."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from repro.report.drawings import Drawing, drawings
from repro.report.page import FactPage, Page
from repro.report.tables import Table, evidence_tables, fact_table, smoke_table, verdict_table
from repro.text import rule_text

__all__ = ["Document", "Section", "document"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """One claim at one scale. `facts`: what is stated, compared and decided, with headings."""

    anchor: str
    title: str
    verdicts: tuple[tuple[str, str, str], ...]  # recipe, word, reason; none at smoke scale
    facts: tuple[tuple[str, str], ...]
    drawings: tuple[Drawing, ...]
    tables: tuple[Table, ...]
    deviations: tuple[str, ...]
    command: str
    drawable: bool = True  # False where there is never anything to draw


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """Evidence first; what ran at smoke scale stands apart, at the end."""

    verdicts: Table
    anchors: tuple[str, ...]  # of the section of each row of `verdicts`
    sections: tuple[Section, ...]
    smoke: Table
    smoke_sections: tuple[Section, ...]


def document(pages: Sequence[Page | FactPage]) -> Document:
    """All pages as one document."""
    smoke = [page for page in pages if isinstance(page, Page) and page.smoke]
    evidence = [page for page in pages if not (isinstance(page, Page) and page.smoke)]
    evidence.sort(key=lambda page: not _measured(page))  # what was measured comes first
    return Document(
        verdicts=verdict_table(evidence),
        anchors=tuple(
            page.name
            for page in evidence
            for _ in (page.verdicts if isinstance(page, Page) else [page.verdict])
        ),
        sections=tuple(
            _section(page) if isinstance(page, Page) else _fact_section(page) for page in evidence
        ),
        smoke=smoke_table(smoke),
        smoke_sections=tuple(_section(page) for page in smoke if page.evidence.trials),
    )


def _measured(page: Page | FactPage) -> bool:
    return bool(page.evidence.trials if isinstance(page, Page) else page.facts)


def _fact_section(page: FactPage) -> Section:
    claim = page.claim
    return Section(
        anchor=page.name,
        title=claim.title,
        verdicts=(("no training", page.verdict.word, page.verdict.reason),),
        facts=_facts(page),
        drawings=(),
        drawable=False,
        tables=(fact_table(page),),
        deviations=claim.deviations,
        command=f"repro run {shlex.quote(claim.path.as_posix())}\nrepro report",
    )


def _section(page: Page) -> Section:
    claim, scale = page.claim, page.evidence.scale
    return Section(
        anchor=page.name,
        title=f"{claim.title} ({scale} scale{', not evidence' if page.smoke else ''})",
        verdicts=() if page.smoke else tuple((v.recipe, v.word, v.reason) for v in page.verdicts),
        facts=_facts(page),
        drawings=drawings(page),
        tables=evidence_tables(page) if page.evidence.trials else (),
        deviations=() if page.smoke else claim.deviations,
        command=f"repro run {shlex.quote(claim.path.as_posix())} --scale {scale}\nrepro report",
    )


def _facts(page: Page | FactPage) -> tuple[tuple[str, str], ...]:
    claim = page.claim
    if isinstance(page, Page) and page.smoke:
        # Neither the paper nor the rule: nobody shall hold these numbers against them.
        return (("Compared", claim.question),)
    return (
        (f"The paper ({claim.paper.section})", claim.paper.states),
        ("Compared", claim.question),
        ("Confounds", claim.confounds),
        ("Decided by", rule_text(claim)),
    )
