"""The table of verdicts: a row for each claim, scale and recipe."""

import math
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from repro.registry.shipped import is_shipped
from repro.report.page import FactPage, Page
from repro.report.tables import Table
from repro.text import (
    NOT_RUN,
    duration,
    effect_text,
    estimate_text,
    paper_text,
    region_text,
)
from repro.verdict import Verdict


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A verdict with its estimate, data and cost, as text.

    `unit`: short; `measure`: as in the claim file; `region`: the claim's range.
    `value`, `printed`: sort keys, NaN without a number. `anchor`: of the section
    with the evidence.
    """

    claim: str
    title: str
    anchor: str
    scale: str
    recipe: str
    decides: bool
    word: str
    reason: str
    estimate: str  # with its interval, or how many facts hold
    effect: str  # the same, as papers print it
    unit: str
    device: str
    data: str
    command: str
    paper: str = ""
    seeds: str = ""
    time: str = ""
    measure: str = ""
    region: str = ""
    value: float = math.nan
    printed: float = math.nan
    notes: tuple[str, ...] = ()

    @property
    def measured(self) -> bool:
        return self.word != NOT_RUN

    @property
    def has_number(self) -> bool:
        return not math.isnan(self.value)


def rows(page: Page | FactPage) -> Iterator[Row]:
    """A row for each verdict of a page; none at smoke scale, which has no verdict."""
    if isinstance(page, FactPage):
        yield _fact_row(page)
    elif not page.smoke:
        yield from _trained_rows(page)


def command(page: Page | FactPage) -> str:
    """The command that runs the page's claim, or continues it."""
    scale = f" --scale {page.evidence.scale}" if isinstance(page, Page) else ""
    path = page.claim.path
    name = path.stem if is_shipped(path) else shlex.quote(path.as_posix())
    return f"repro run {name}{scale}"


def _fact_row(page: FactPage) -> Row:
    verdict = page.verdict
    deciding_facts = [fact for fact in page.facts if fact.decides]
    holding_count = sum(fact.holds for fact in deciding_facts)
    holding = f"{holding_count} of {len(deciding_facts)} facts" if deciding_facts else NOT_RUN
    return Row(
        claim=page.claim.id,
        title=page.claim.title,
        anchor=f"{page.name}-exact",
        scale=verdict.scale,
        recipe="none",
        decides=verdict.decides,
        word=verdict.word,
        reason=verdict.reason,
        estimate=holding,
        effect=holding,
        unit=page.claim.paper.unit,
        measure=page.claim.paper.unit,
        device="none needed",
        data="none needed",
        command=command(page),
    )


def _trained_rows(page: Page) -> Iterator[Row]:
    value = page.claim.paper.value
    for verdict in page.verdicts:
        role = "" if verdict.decides else " (sensitivity)"
        estimate = verdict.estimate
        yield Row(
            claim=page.claim.id,
            title=page.claim.title,
            anchor=page.name,
            scale=verdict.scale,
            recipe=f"{verdict.recipe}{role}",
            decides=verdict.decides,
            word=verdict.word,
            reason=verdict.reason,
            estimate=estimate_text(estimate),
            effect=effect_text(estimate),
            paper=paper_text(page.claim),
            unit=page.unit,
            measure=page.claim.paper.unit,
            region=region_text(page.claim.region),
            seeds=_seeds(page, verdict),
            time=duration(verdict.seconds) if verdict.seconds else NOT_RUN,
            device=verdict.device or NOT_RUN,
            data=verdict.data or NOT_RUN,
            command=command(page),
            value=estimate.value if estimate else math.nan,
            printed=math.nan if value is None else value,
            notes=page.notes,
        )


def _seeds(page: Page, verdict: Verdict) -> str:
    """`3 of 3`, or `5 (analysis 2 of 4: n = 3, 5, 8, 12)`."""
    looks = page.scale.seeds
    if len(looks) == 1:
        return f"{verdict.seeds} of {looks[0]}"
    which = f"analysis {verdict.look.number} of {len(looks)}" if verdict.look else "no analysis yet"
    return f"{verdict.seeds} ({which}: n = {', '.join(map(str, looks))})"


# The columns of the tables below: the attribute of a row by its heading.
_COLUMNS = {
    "Claim": "title",
    "Verdict": "word",
    "Scale": "scale",
    "Recipe": "recipe",
    "Ours": "estimate",
    "Paper": "paper",
    "Range": "region",
    "Unit": "measure",
    "Why": "reason",
    "Seeds an arm": "seeds",
    "Time of all trials": "time",
    "Data": "data",
    "Device": "device",
    "Command": "command",
}


def _table(caption: str, columns: Sequence[str], rows: Sequence[Row]) -> Table:
    return Table(
        caption=caption,
        columns=tuple(columns),
        rows=tuple(tuple(getattr(row, _COLUMNS[name]) for name in columns) for row in rows),
    )


def verdict_table(rows: Sequence[Row]) -> Table:
    columns = [name for name in _COLUMNS if name != "Command"]
    return _table("A verdict for each claim, scale and recipe", columns, rows)


def unrun_table(rows: Sequence[Row]) -> Table:
    return _table("Commands", ["Claim", "Scale", "Command"], rows)


def measured_table(rows: Sequence[Row]) -> Table:
    """The measured claims, short enough for a README or a comment."""
    left_out = {"Recipe", "Why", "Time of all trials", "Data", "Device", "Command"}
    named = [
        row if row.decides else replace(row, title=f"the same, recipe {row.recipe}") for row in rows
    ]
    columns = [name for name in _COLUMNS if name not in left_out]
    return _table("What was measured", columns, named)
