"""The content of the report, in its order; each format only renders it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from typing import get_args

from repro.claim import SCALES, Paper
from repro.report.drawings import Drawing, drawings
from repro.report.figures import ForestRow
from repro.report.overview import card, forest_row, forest_svg
from repro.report.page import FactPage, Page
from repro.report.svg import standalone
from repro.report.tables import (
    Table,
    evidence_tables,
    fact_tables,
    family_table,
    registration,
    smoke_table,
)
from repro.report.verdict_table import Row, command, rows
from repro.stats import Estimate
from repro.text import duration, level_percent, rule_text
from repro.verdict import EXACT, NOT_JUDGED, Word
from repro.verdict.prior import prior

_BEST_FIRST = (EXACT, *reversed(SCALES))
# The reader's order: reproduced, partly reproduced, not reproduced, open.
_WORDS: tuple[Word, ...] = get_args(Word)


@dataclass(frozen=True, kw_only=True, slots=True)
class ScaleSection:
    anchor: str
    title: str
    verdicts: tuple[tuple[str, str, str], ...]  # recipe, word, reason; none at smoke scale
    drawings: tuple[Drawing, ...]
    tables: tuple[Table, ...]
    command: str
    registered: str = ""  # of measured scales that are no smoke
    notes: tuple[str, ...] = ()

    @property
    def leading(self) -> tuple[Drawing, ...]:
        """The figures to show first: the effect, and the learning curves."""
        kinds = [("-effect", "-ratio"), ("-curves",)]
        return tuple(
            drawing for kind in kinds for drawing in self.drawings if drawing.name.endswith(kind)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimSection:
    """One claim. `facts`: headings and texts: the statement, the comparison, the decision rule.

    `headline`: the deciding verdict at the highest scale whose measurement can be judged, else at
    the highest measured one; `best`: that scale;
    `forest`: the verdict as a row of the forest plot. All are None before the first result.
    """

    anchor: str
    title: str
    facts: tuple[tuple[str, str], ...]
    deviations: tuple[str, ...]
    scales: tuple[ScaleSection, ...]
    smoke: ScaleSection | None  # always shown apart; None before the first run
    rows: tuple[Row, ...]
    headline: Row | None
    best: ScaleSection | None
    forest: ForestRow | None

    @property
    def measured(self) -> bool:
        """Whether there is a verdict."""
        return self.headline is not None

    @property
    def others(self) -> tuple[ScaleSection, ...]:
        """The other measured scales."""
        measured = {row.anchor for row in self.rows if row.measured}
        return tuple(s for s in self.scales if s.anchor in measured and s is not self.best)

    @property
    def drawings(self) -> tuple[Drawing, ...]:
        parts = (*self.scales, *([self.smoke] if self.smoke else []))
        return tuple(drawing for part in parts for drawing in part.drawings)


@dataclass(frozen=True, kw_only=True)
class Part:
    """The claims of one paper, sorted by verdict, the measured ones first."""

    anchor: str
    paper: Paper
    claims: tuple[ClaimSection, ...]

    @property
    def measured(self) -> tuple[ClaimSection, ...]:
        return tuple(claim for claim in self.claims if claim.measured)

    @property
    def unrun(self) -> tuple[Row, ...]:
        """A row for each claim and scale without results."""
        rows = (row for claim in self.claims for row in claim.rows)
        return tuple(row for row in rows if row.decides and not row.measured)

    @property
    def summary(self) -> str:
        """How many claims have which verdict."""
        return summary(self.claims)

    @property
    def forest(self) -> tuple[ForestRow, ...]:
        return tuple(claim.forest for claim in self.claims if claim.forest)

    @cached_property
    def picture(self) -> str:
        return forest_svg(self.anchor, self.forest, stacked=False)

    @cached_property
    def narrow_picture(self) -> str:
        return forest_svg(f"{self.anchor}-narrow", self.forest, stacked=True)

    @property
    def alt(self) -> str:
        return "; ".join(f"{row.title}: {row.word}, {row.number}" for row in self.forest)

    @property
    def card(self) -> bytes:
        """The figure as a preview image of a link."""
        return card(self.forest, title=self.paper.reference, summary=self.summary)


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """Evidence first; then, apart, the smoke runs, and the claims that were not run.

    `refused`: the problems of invalid claim files, a line each. `cost`: of all trials.
    """

    parts: tuple[Part, ...]
    family: Table
    smoke: Table
    cost: str
    refused: tuple[str, ...] = ()

    @property
    def shown_parts(self) -> tuple[Part, ...]:
        """Those with results; all of them where none has."""
        shown = tuple(p for p in self.parts if any(c.measured or c.smoke for c in p.claims))
        return shown or self.parts

    @property
    def claims(self) -> tuple[ClaimSection, ...]:
        return tuple(claim for part in self.parts for claim in part.claims)

    @property
    def figures(self) -> dict[str, str]:
        figures = {drawing.name: drawing.svg for claim in self.claims for drawing in claim.drawings}
        for part in self.parts:
            if part.measured:
                figures |= {part.anchor: part.picture, f"{part.anchor}-narrow": part.narrow_picture}
        return {f"{name}.svg": standalone(svg) for name, svg in figures.items()}

    @property
    def measured(self) -> tuple[Row, ...]:
        """The verdicts of all measured claims, the best evidence first."""
        rows = [row for claim in self.claims for row in claim.rows if row.measured]
        return tuple(sorted(rows, key=lambda row: _BEST_FIRST.index(row.scale)))

    @property
    def unrun(self) -> tuple[Row, ...]:
        """A row for each claim and scale without results."""
        return tuple(row for part in self.parts for row in part.unrun)

    @property
    def summary(self) -> str:
        """How many claims have which verdict."""
        return summary(self.claims)


def summary(claims: Sequence[ClaimSection]) -> str:
    """Counts, such as `5 of 19 measured claims reproduced; 13 inconclusive, 1 invalid.`."""
    words = [claim.headline.word for claim in claims if claim.headline]
    if not words:
        smoke = any(claim.smoke for claim in claims)
        return f"No results yet{' beyond smoke tests' * smoke}."
    counts = Counter(words)
    reproduced = counts.pop("reproduced", 0)
    rest = ", ".join(f"{counts[word]} {word}" for word in _WORDS if counts[word])
    many = f"{len(words)} measured claim{'s' * (len(words) > 1)}"
    return f"{reproduced} of {many} reproduced{f'; {rest}' * bool(rest)}."


def document(pages: Sequence[Page | FactPage], refused: Sequence[str] = ()) -> Document:
    groups: dict[tuple[object, ...], list[ClaimSection]] = {}
    papers: dict[tuple[object, ...], Paper] = {}
    for _, claim_pages in groupby(pages, key=lambda page: page.claim.id):
        scales = list(claim_pages)
        paper = scales[0].claim.paper
        key = (paper.title, paper.authors, paper.year, paper.link)
        papers.setdefault(key, paper)
        groups.setdefault(key, []).append(_claim(scales))
    measured_first = sorted(groups.items(), key=lambda pair: not any(c.measured for c in pair[1]))
    return Document(
        parts=tuple(
            Part(
                anchor=f"claims-{number}" if number else "claims",
                paper=papers[key],
                claims=tuple(sorted(claims, key=_order)),
            )
            for number, (key, claims) in enumerate(measured_first)
        ),
        family=family_table(pages),
        smoke=smoke_table(_smoke_pages(pages)),
        cost=_cost(pages),
        refused=tuple(refused),
    )


def _order(claim: ClaimSection) -> tuple[int, int]:
    row = claim.headline
    if row is None:
        return len(_WORDS), 0
    return _WORDS.index(row.word), _BEST_FIRST.index(row.scale)


def _cost(pages: Sequence[Page | FactPage]) -> str:
    """The cost of all trials; one that several claims share counts once."""
    evidence_pages = [page for page in pages if isinstance(page, Page) and not page.smoke]
    results = {name: result for page in evidence_pages for name, result in page.results.items()}
    devices = sorted({v.device for page in evidence_pages for v in page.verdicts if v.device})
    seconds = sum(result.seconds.wall for result in results.values())
    if not results:
        return ""
    return f"{len(results):,} training runs, {duration(seconds)} in all, on {'; '.join(devices)}."


def _claim(pages: Sequence[Page | FactPage]) -> ClaimSection:
    claim = pages[0].claim
    smoke_pages, evidence = _smoke_pages(pages), prior(claim)
    facts = {
        f"The paper ({claim.paper.section})": claim.paper.states,
        "Strength of the paper's evidence": evidence.sentence if evidence else "",
        "Compared": claim.question,
        "Confounds": claim.confounds,
        "Decided by": rule_text(claim),
        "What would change our mind": claim.reconsidered_if,
    }
    by_page = [(page, row) for page in pages for row in rows(page)]
    measured = [(page, row) for page, row in by_page if row.decides and row.measured]
    best = min(measured, key=lambda one: one[1].word in NOT_JUDGED, default=None)
    scales = [_scale(page) for page in pages if not (isinstance(page, Page) and page.smoke)]
    return ClaimSection(
        anchor=claim.id,
        title=claim.title,
        facts=(
            *((heading, text) for heading, text in facts.items() if text),
            *(("Changed since trials were run", change) for change in claim.amended),
        ),
        deviations=claim.deviations,
        scales=tuple(scales),
        smoke=_smoke(smoke_pages[0]) if smoke_pages else None,
        rows=tuple(row for _, row in by_page),
        headline=best[1] if best else None,
        best=next(s for s in scales if s.anchor == best[1].anchor) if best else None,
        forest=_forest(*best) if best else None,
    )


def _forest(page: Page | FactPage, row: Row) -> ForestRow:
    verdicts = (page.verdict,) if isinstance(page, FactPage) else page.verdicts
    verdict = next(v for v in verdicts if v.decides)
    return replace(forest_row(page, verdict, row.effect), note=_note(row, verdict.estimate))


def _note(row: Row, estimate: Estimate | None) -> str:
    """`lrn: points, 3 seeds an arm, 98.4 % CI, 1 h 54 min`: how sure it is, and what it took."""
    if estimate is None:
        return f"{row.claim}: {row.time or 'no training'}"
    seeds = f"{estimate.seeds} seed{'s' * (estimate.seeds > 1)} an arm"
    bound = "CI" if estimate.bound == "two-sided" else "bound"
    level = level_percent(estimate.level)
    return f"{row.claim}: {row.unit}, {seeds}, {level} {bound}, {row.time}"


def _smoke_pages(pages: Sequence[Page | FactPage]) -> list[Page]:
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
        )
    return ScaleSection(
        anchor=page.name,
        title=f"At {page.evidence.scale} scale",
        verdicts=tuple((v.recipe, v.word, v.reason) for v in page.verdicts),
        drawings=drawings(page),
        tables=evidence_tables(page) if page.evidence.trials else (),
        command=command(page),
        registered=registration(page) if page.evidence.trials else "",
        notes=page.notes,
    )


def _smoke(page: Page) -> ScaleSection:
    """Without the paper's value and the rule: smoke results are not evidence."""
    title = f"{page.claim.title} (smoke scale, not evidence)"
    return replace(_scale(page), title=title, verdicts=(), registered="")
