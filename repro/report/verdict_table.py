"""The table of verdicts: a row for each claim, scale and recipe."""

import math
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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

    `unit`: short; `measure`: as in the claim file; `region`: the pre-registered range.
    `value`, `printed`, `seconds`: sort keys, NaN without a number. `anchor`: of the section
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
    paper: str
    unit: str
    seeds: str
    time: str
    device: str
    data: str
    command: str
    measure: str = ""
    region: str = ""
    value: float = math.nan
    printed: float = math.nan
    seconds: float = math.nan

    @property
    def measured(self) -> bool:
        """Whether there are results."""
        return self.word != NOT_RUN

    @property
    def has_number(self) -> bool:
        """Whether an effect was estimated."""
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
        paper="",
        unit=page.claim.paper.unit,
        measure=page.claim.paper.unit,
        seeds="",
        time="",
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
            seconds=verdict.seconds or math.nan,
        )


def _seeds(page: Page, verdict: Verdict) -> str:
    """`3 of 3`, or `5 (analysis 2 of 4: n = 3, 5, 8, 12)`."""
    looks = page.scale.seeds
    if len(looks) == 1:
        return f"{verdict.seeds} of {looks[0]}"
    which = f"analysis {verdict.look.number} of {len(looks)}" if verdict.look else "no analysis yet"
    return f"{verdict.seeds} ({which}: n = {', '.join(map(str, looks))})"


def verdict_table(rows: Sequence[Row]) -> Table:
    """All columns of the verdicts."""
    return Table(
        caption="A verdict for each claim, scale and recipe",
        columns=("Claim", "Verdict", "Scale", "Recipe", "Ours", "Paper",
                 "Pre-registered range", "Unit", "Why", "Seeds an arm", "Time of all trials",
                 "Data", "Device"),
        rows=tuple(
            (row.title, row.word, row.scale, row.recipe, row.estimate, row.paper,
             row.region, row.measure, row.reason, row.seeds, row.time, row.data, row.device)
            for row in rows
        ),
    )  # fmt: skip


def unrun_table(rows: Sequence[Row]) -> Table:
    """The claims without results, and the command of each."""
    return Table(
        caption="Commands",
        columns=("Claim", "Scale", "Command"),
        rows=tuple((row.title, row.scale, row.command) for row in rows),
    )


def measured_table(rows: Sequence[Row]) -> Table:
    """The measured claims, short enough for a README or a comment."""
    return Table(
        caption="What was measured",
        columns=(
            "Claim",
            "Scale",
            "Verdict",
            "Ours",
            "Paper",
            "Pre-registered range",
            "Unit",
            "Seeds an arm",
        ),
        rows=tuple(
            (
                row.title if row.decides else f"the same, recipe {row.recipe}",
                row.scale,
                row.word,
                row.estimate,
                row.paper,
                row.region,
                row.measure,
                row.seeds,
            )
            for row in rows
        ),
    )
