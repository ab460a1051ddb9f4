"""What an estimate means for its claim: the rule, and nothing else.

The interval of the ratio against the region of the claim file, no effect being 1:

| interval                                               | verdict                               |
| ------------------------------------------------------ | ------------------------------------- |
| inside the region                                      | reproduced                            |
| above 1, wholly outside the region                     | direction only                        |
| above 1, across an edge of the region                  | inconclusive (direction holds)        |
| wholly at or below 1                                   | not reproduced                        |
| across 1                                               | inconclusive                          |
| only a lower bound, above the region                   | direction only                        |
| only a lower bound, inside a region that is open above | reproduced                            |
| only a lower bound otherwise                           | inconclusive (censoring)              |
| only an upper bound, at or below 1                     | not reproduced, else inconclusive     |

Before that: no confirming trial is `not run`; an unfinished search, fewer than three finished
seeds an arm, or a best rate at the edge of a grid that was extended once are inconclusive.
"""

import math
from dataclasses import dataclass
from typing import Literal

from repro.analysis import Evidence, RecipeEvidence
from repro.claim import Claim, Region
from repro.stats import Estimate, seeds_needed

__all__ = ["Verdict", "Word", "decide"]

Word = Literal[
    "reproduced", "direction only", "not reproduced", "inconclusive", "invalid", "not run"
]

LEAST_SEEDS = 3

EXIT_CODES: dict[Word, int] = {
    "reproduced": 0,
    "direction only": 3,
    "not reproduced": 3,
    "inconclusive": 4,
    "not run": 4,
    "invalid": 5,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """A word with its company. `decides`: by the claim's own recipe, on data that are evidence.

    `seconds`: wall time of all trials of the claim at the scale.
    """

    claim_id: str
    scale: str
    recipe: str
    word: Word
    reason: str
    estimate: Estimate | None
    paper_value: float
    seeds: int
    seconds: float
    data: str
    device: str
    decides: bool

    @property
    def exit_code(self) -> int:
        """As documented in `repro --help`."""
        return EXIT_CODES[self.word]


def decide(claim: Claim, evidence: Evidence, recipe: str) -> Verdict:
    """The verdict of one recipe. Every recipe gets one; the claim's own decides."""
    found = evidence.recipes[recipe]
    word, reason = _judge(claim, found)
    return Verdict(
        claim_id=claim.id,
        scale=evidence.scale,
        recipe=recipe,
        word=word,
        reason="; ".join([reason, *found.caveats]),
        estimate=found.estimate,
        paper_value=claim.paper.value,
        seeds=_seeds(claim, found),
        seconds=evidence.clocks.wall,
        data=", ".join(evidence.provenance.get("data", ())),
        device=", ".join(evidence.provenance.get("device", ())),
        decides=recipe == claim.verdict_recipe and evidence.scale != "smoke",
    )


def _seeds(claim: Claim, found: RecipeEvidence) -> int:
    return min(sum(c.arm == arm for c in found.crossings) for arm in claim.arms)


def _judge(claim: Claim, found: RecipeEvidence) -> tuple[Word, str]:
    if not found.crossings:
        searching = any(o.status != "not run" for s in found.rates.values() for o in s.outcomes)
        if all(s.done and s.chosen is None for s in found.rates.values()):
            return "inconclusive", "every learning rate diverged in both arms"
        return "not run", "the search for rates is not finished" if searching else "nothing was run"
    for arm, search in found.rates.items():
        if not search.done:
            return "inconclusive", f"the search for the {arm} arm's rate is not finished"
        if search.chosen is None:
            return "inconclusive", f"every learning rate of the {arm} arm diverged"
    edges = [arm for arm, search in found.rates.items() if search.at_edge]
    if edges:
        return (
            "inconclusive",
            f"the best rate of {' and '.join(edges)} lies at the edge of the grid, which was "
            "extended once: a better one may lie outside",
        )
    seeds = _seeds(claim, found)
    if seeds < LEAST_SEEDS:
        return "inconclusive", f"{seeds} seeds an arm; at least {LEAST_SEEDS} are needed"
    if found.estimate is None:
        return "inconclusive", "neither arm reached the threshold within the budget (censoring)"
    if found.estimate.bound == "two-sided":
        return _two_sided(claim.region, found.estimate, found.log_sd)
    return _one_sided(claim.region, found.estimate)


def _two_sided(region: Region, estimate: Estimate, sd: float | None) -> tuple[Word, str]:
    top = math.inf if region.high is None else region.high
    inside = f"the region {region.low:g} to {top:g}"
    if region.low <= estimate.low and estimate.high <= top:
        return "reproduced", f"the interval lies in {inside}"
    if estimate.high <= 1:
        return "not reproduced", "the effect is absent or the other way round"
    if estimate.low <= 1:
        return "inconclusive", f"the interval includes no effect (seeds){_more(estimate, 1, sd)}"
    if estimate.high < region.low:
        return "direction only", f"the right side of no effect, but below {inside}"
    if estimate.low > top:
        return "direction only", f"the right side of no effect, but above {inside}"
    edge = region.low if estimate.low < region.low else top
    return (
        "inconclusive",
        f"the direction holds, but the interval crosses the edge {edge:g} of {inside} (seeds)"
        f"{_more(estimate, edge, sd)}",
    )


def _one_sided(region: Region, estimate: Estimate) -> tuple[Word, str]:
    if estimate.bound == "upper":
        if estimate.high <= 1:
            return "not reproduced", "the arm that should be faster never crossed"
        return "inconclusive", "the faster arm never crossed: only an upper bound (censoring)"
    if region.high is None and estimate.low >= region.low:
        return "reproduced", f"the ratio is at least {estimate.low:.2f}, in the open region"
    if region.high is not None and estimate.low > region.high:
        return "direction only", "the lower bound is already above the region"
    holds = "; the direction holds" if estimate.low > 1 else ""
    return (
        "inconclusive",
        f"no slow trial crossed: only a lower bound is known (censoring){holds}",
    )


def _more(estimate: Estimate, edge: float, sd: float | None) -> str:
    """How many seeds would settle it, if the estimate stays where it is."""
    if sd is None or estimate.value == edge:
        return ""
    needed = seeds_needed(sd=sd, gap=abs(math.log(estimate.value / edge)))
    return "" if needed is None else f"; about {needed} seeds an arm would settle it"
