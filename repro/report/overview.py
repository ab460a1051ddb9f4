"""All claims of a paper in one figure: for a page, for a README, and as a preview image."""

import math
from collections.abc import Sequence
from dataclasses import replace

from matplotlib.figure import Figure

from repro.claim import TrainedClaim
from repro.report.figures import GREY, INK, ForestRow, forest, forest_height
from repro.report.page import FactPage, Page
from repro.report.svg import free_png, free_svg
from repro.stats import Estimate
from repro.verdict import Verdict

WIDE, NARROW = 780.0, 330.0  # points
CARD, CARD_HEAD = (960.0, 480.0), 78.0  # points; 1280 by 640 dots, as sites show a link
_DPI = 96


def forest_row(page: Page | FactPage, verdict: Verdict, number: str) -> ForestRow:
    """A verdict in units of the paper's effect; `number`: the effect in its own unit, as text."""
    claim = page.claim
    row = ForestRow(title=claim.title, word=verdict.word, scale=verdict.scale, number=number)
    if not isinstance(claim, TrainedClaim):
        return row
    top = math.inf if claim.region.high is None else claim.region.high
    low, high = sorted(_units(claim, end) for end in (claim.region.low, top))
    row = replace(
        row,
        region=(low, high),
        paper=claim.paper.value is not None and not claim.region.surrounds(claim.no_effect),
    )
    return row if verdict.estimate is None else _with_estimate(row, claim, verdict.estimate)


def _with_estimate(row: ForestRow, claim: TrainedClaim, estimate: Estimate) -> ForestRow:
    low, high = sorted(_units(claim, end) for end in (estimate.low, estimate.high))
    if (low, high) == (-math.inf, math.inf):  # the seeds came out equal: no interval
        low = high = math.nan
    return replace(row, value=_units(claim, estimate.value), low=low, high=high)


def _units(claim: TrainedClaim, value: float) -> float:
    """0: no effect; 1: the paper's effect, or the smallest that counts. Ratios on a log scale."""
    printed = claim.paper.value
    unit = claim.region.low if printed is None else printed
    if claim.region.surrounds(claim.no_effect) and claim.region.high is not None:
        unit = claim.region.high  # of an effect that is claimed to be none
    if claim.no_effect == 1:
        usable = unit > 0 and unit != 1
        return _log(value) / (math.log(unit) if usable else 1.0)
    return value / (unit or 1.0)


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf if value <= 0 else value


def forest_svg(name: str, rows: Sequence[ForestRow], *, stacked: bool) -> str:
    width = NARROW if stacked else WIDE
    return free_svg(
        name,
        lambda figure: forest(figure, rows, width=width, stacked=stacked),
        points=(width, forest_height(rows, width, stacked=stacked)),
    )


def card(rows: Sequence[ForestRow], *, title: str, summary: str) -> bytes:
    """A preview image (PNG) with as many rows as are legible."""
    visible_rows = [replace(row, note="") for row in rows]
    while (
        len(visible_rows) > 1
        and CARD_HEAD + forest_height(visible_rows, CARD[0], stacked=False) > CARD[1]
    ):
        del visible_rows[-1]
    hidden_count = len(rows) - len(visible_rows)
    more = f" {hidden_count} more are in the report." * (hidden_count > 0)

    def draw(figure: Figure) -> None:
        inside = 0.94 * CARD[0]
        forest(figure, visible_rows, width=inside, stacked=False, above=CARD_HEAD)
        for y, words, size, colour in ((26, summary + more, 15, INK), (54, title, 11, GREY)):
            figure.text(0.03, 1 - y / CARD[1], words, fontsize=size, color=colour, va="center")

    return free_png(draw, points=CARD, dpi=_DPI)
