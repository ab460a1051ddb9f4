"""The report as a value: what every format says, in the order in which it says it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from repro.claim import SCALES, Claim
from repro.report.drawings import Drawing, drawings
from repro.report.matrix import Row, command, rows
from repro.report.page import FactPage, Page
from repro.report.tables import Table, evidence_tables, fact_tables, family_table, smoke_table
from repro.text import rule_text
from repro.verdict import EXACT
from repro.verdict.prior import prior

__all__ = ["ClaimSection", "Document", "ScaleSection", "document"]

_BEST_FIRST = (EXACT, *reversed(SCALES))


@dataclass(frozen=True, kw_only=True, slots=True)
class ScaleSection:
    """What was found of one claim at one scale."""

    anchor: str
    title: str
    verdicts: tuple[tuple[str, str, str], ...]  # recipe, word, reason; none at smoke scale
    drawings: tuple[Drawing, ...]
    tables: tuple[Table, ...]
    command: str
    drawable: bool = True  # False where there is never anything to draw


@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimSection:
    """One claim. `facts`: what is stated, compared and decided, with headings."""

    anchor: str
    title: str
    facts: tuple[tuple[str, str], ...]
    deviations: tuple[str, ...]
    scales: tuple[ScaleSection, ...]
    smoke: ScaleSection | None  # kept apart wherever it is shown; None while nothing was run
    rows: tuple[Row, ...]

    @property
    def measured(self) -> bool:
        """Whether there is a verdict on something."""
        return any(row.measured for row in self.rows)

    @property
    def drawings(self) -> tuple[Drawing, ...]:
        """The figures of all scales."""
        parts = (*self.scales, *([self.smoke] if self.smoke else []))
        return tuple(drawing for part in parts for drawing in part.drawings)


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """Evidence first; then, apart, what ran at smoke scale, and what was not run.

    `refused`: the problems of claim files that are not valid, a line each.
    """

    claims: tuple[ClaimSection, ...]
    family: Table
    smoke: Table
    refused: tuple[str, ...] = ()

    @property
    def measured(self) -> tuple[Row, ...]:
        """The verdicts of all claims on what was measured, the best evidence first."""
        return tuple(row for row in self._rows if row.measured)

    @property
    def unrun(self) -> tuple[Row, ...]:
        """A row for each claim and scale of which nothing was measured."""
        return tuple(row for row in self._rows if row.decides and not row.measured)

    @property
    def _rows(self) -> list[Row]:
        found = [row for claim in self.claims for row in claim.rows]
        return sorted(found, key=lambda row: _BEST_FIRST.index(row.scale))

    @property
    def standing(self) -> str:
        """How many claims and scales stand how, by the recipe that decides."""
        counts = Counter(row.word for row in self.measured if row.decides)
        words = ", ".join(f"{count} {word}" for word, count in counts.most_common()) or "none"
        unrun = len(self.unrun)
        return f"Of {counts.total() + unrun} claims and scales: {words}; {unrun} not run."


def document(pages: Sequence[Page | FactPage], refused: Sequence[str] = ()) -> Document:
    """All pages, those of a claim beside each other, as one document; what was measured first."""
    claims = [_claim(list(scales)) for _, scales in groupby(pages, key=lambda page: page.claim.id)]
    claims.sort(key=lambda claim: not claim.measured)
    return Document(
        claims=tuple(claims),
        family=family_table(pages),
        smoke=smoke_table(_smoke_pages(pages)),
        refused=tuple(refused),
    )


def _claim(pages: Sequence[Page | FactPage]) -> ClaimSection:
    claim = pages[0].claim
    run = _smoke_pages(pages)
    return ClaimSection(
        anchor=claim.id,
        title=claim.title,
        facts=(
            (f"The paper ({claim.paper.section})", claim.paper.states),
            *_strength(claim),
            ("Compared", claim.question),
            ("Confounds", claim.confounds),
            ("Decided by", rule_text(claim)),
            *_reconsidered(claim),
            *(("Changed since trials were run", change) for change in claim.amended),
        ),
        deviations=claim.deviations,
        scales=tuple(_scale(page) for page in pages if not (isinstance(page, Page) and page.smoke)),
        smoke=_smoke(run[0]) if run else None,
        rows=tuple(row for page in pages for row in rows(page)),
    )


def _reconsidered(claim: Claim) -> tuple[tuple[str, str], ...]:
    said = claim.reconsidered_if
    return (("What would change our mind", said),) if said else ()


def _strength(claim: Claim) -> tuple[tuple[str, str], ...]:
    found = prior(claim)
    return () if found is None else (("Strength of the paper's evidence", found.sentence),)


def _smoke_pages(pages: Sequence[Page | FactPage]) -> list[Page]:
    """Those of which anything ran."""
    smoke = (page for page in pages if isinstance(page, Page) and page.smoke)
    return [page for page in smoke if page.evidence.trials]


def _scale(page: Page | FactPage) -> ScaleSection:
    if isinstance(page, FactPage):
        return ScaleSection(
            anchor=f"{page.name}-exact",
            title="Without training",
            verdicts=(("no training", page.verdict.word, page.verdict.reason),),
            drawings=(),
            tables=fact_tables(page),
            command=command(page),
            drawable=False,
        )
    return ScaleSection(
        anchor=page.name,
        title=f"At {page.evidence.scale} scale",
        verdicts=tuple((v.recipe, v.word, v.reason) for v in page.verdicts),
        drawings=drawings(page),
        tables=evidence_tables(page) if page.evidence.trials else (),
        command=command(page),
    )


def _smoke(page: Page) -> ScaleSection:
    """Neither the paper nor the rule: nobody shall hold these numbers against them."""
    return ScaleSection(
        anchor=page.name,
        title=f"{page.claim.title} (smoke scale, not evidence)",
        verdicts=(),
        drawings=drawings(page),
        tables=evidence_tables(page),
        command=command(page),
    )
