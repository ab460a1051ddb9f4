"""What an estimate means for its claim: the rule, and nothing else.

The interval against the region of the claim file; no effect is a ratio of 1, a difference of 0:

| interval                                               | verdict                               |
| ------------------------------------------------------ | ------------------------------------- |
| inside the region                                      | reproduced                            |
| beyond no effect, wholly outside the region            | direction only                        |
| beyond no effect, across an edge of the region         | inconclusive (direction holds)        |
| wholly at no effect or on its other side               | not reproduced                        |
| across no effect, wholly below the region              | not reproduced                        |
| across no effect otherwise                             | inconclusive                          |
| only a lower bound, above the region                   | direction only                        |
| only a lower bound, inside a region that is open above | reproduced                            |
| only a lower bound otherwise                           | inconclusive (censoring)              |
| only an upper bound, below the region or at no effect  | not reproduced                        |
| only an upper bound otherwise                          | inconclusive                          |

A level has no direction: inside the region is reproduced, wholly outside it not, across an edge
inconclusive. So it is where the region surrounds no effect, which claims that the factor makes no
difference: two one-sided tests, one of each edge.

Further contrasts that have a region have to hold as well: the weakest word counts, and each of them
has an equal part of the error.

What would be reproduced or direction only of a gap between test and training error is `gap only`
unless the test error of the same arms, or the rise of their test loss, shows it, too.

Before that: a failed sanity check is `invalid`; no evaluation trial is `not run`; an unfinished
search, fewer finished seeds an arm than the first look has, a trial that diverged where a metric is
averaged, or a best rate at the edge of a grid that was extended once are inconclusive.

The first look that settles the claim ends the run: what more seeds could change is inconclusive
for want of seeds, or of crossings.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from repro.claim import (
    LEAST_SEEDS,
    SCALES,
    Claim,
    Region,
    TimeClaim,
    TrainedClaim,
    arms_of,
    is_paired,
)
from repro.stats import ERROR, Estimate, holm, over_all_looks
from repro.text import estimate_text, level_percent, level_text, paper_text, seeds_text
from repro.trial import FactOutcome
from repro.verdict.analysis import Evidence, Look, RecipeEvidence
from repro.verdict.effects import Contrast

__all__ = [
    "EXACT",
    "Effect",
    "Member",
    "Ruling",
    "Verdict",
    "Word",
    "decide",
    "decide_exact",
    "family",
    "ruling_of",
    "settles",
]

EXACT = "exact"  # scale and recipe of what needs no training

Word = Literal[
    "reproduced",
    "direction only",
    "gap only",
    "not reproduced",
    "inconclusive",
    "invalid",
    "not run",
]

EXIT_CODES: dict[Word, int] = {
    "reproduced": 0,
    "direction only": 3,
    "gap only": 3,
    "not reproduced": 3,
    "inconclusive": 4,
    "not run": 4,
    "invalid": 5,
}

_COMMUNITY_WORDS: dict[Word, Literal["verified", "falsified"]] = {
    "reproduced": "verified",
    "not reproduced": "falsified",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Effect:
    """`p` of no effect, over all looks; `claimed`: whether it lies on the side that is claimed.

    Of a gap, the effect is overfitting: the larger p of gap and test error (or the rise of the test
    loss), which both have to show it on the same side. So is that of several contrasts that have to
    hold together.
    """

    p: float
    claimed: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """A word with its company. `decides`: by the claim's own recipe, on data that are evidence.

    `estimate` is shown; `basis` is the same at the level of its look, which the word is read off.

    `seconds`: wall time of all trials of the claim at the scale. `look`: the one that counts;
    None before the first. `seeds`: an arm, of that look, or finished before it. `effect`: against
    none, over all looks; None where there is no such thing, or the estimate may not be judged.
    `trials`: of the arms that decide, as far as they count.
    """

    claim_id: str
    scale: str
    recipe: str
    word: Word
    reason: str
    estimate: Estimate | None
    paper_value: float | None
    seeds: int
    seconds: float
    data: str
    device: str
    decides: bool
    look: Look | None = None
    basis: Estimate | None = None
    effect: Effect | None = None
    trials: frozenset[str] = frozenset()

    @property
    def exit_code(self) -> int:
        """As documented in `repro --help`."""
        return EXIT_CODES[self.word]

    @property
    def community_word(self) -> Literal["verified", "falsified", "toy", "inconclusive"]:
        """As communities say it that judge papers claim by claim; whatever a small scale shows."""
        if self.scale not in {"paper", EXACT}:
            return "toy"
        return _COMMUNITY_WORDS.get(self.word, "inconclusive")


def decide(claim: TrainedClaim, evidence: Evidence, recipe: str) -> Verdict:
    """The verdict of one recipe. Every recipe gets one; the claim's own decides."""
    found = evidence.recipes[recipe]
    ruling = _judge(claim, found)
    word = ruling.word
    sound = word not in ("invalid", "inconclusive") or ruling.open
    beside = (*_read_off(found), *_beside_the_paper(claim, evidence, found))
    return Verdict(
        claim_id=claim.id,
        scale=evidence.scale,
        recipe=recipe,
        word=word,
        reason="; ".join([ruling.reason, *(beside if ruling.of_interval else ()), *found.caveats]),
        estimate=found.estimate,
        paper_value=claim.paper.value,
        seeds=found.look.seeds if found.look else _seeds(claim, found),
        seconds=evidence.clocks.wall,
        data=", ".join(evidence.provenance.get("data", ())),
        device=", ".join(evidence.provenance.get("device", ())),
        decides=recipe == claim.verdict_recipe and evidence.scale != "smoke",
        look=found.look,
        basis=found.basis,
        effect=_effect(claim, evidence.scale, found) if sound else None,
        trials=frozenset(_counted(claim, found)),
    )


def _counted(claim: TrainedClaim, found: RecipeEvidence) -> Iterator[str]:
    last = found.look.seeds if found.look else math.inf
    return (o.trial_id for o in found.outcomes if o.arm in arms_of(claim) and o.seed < last)


def _beside_the_paper(
    claim: TrainedClaim, evidence: Evidence, found: RecipeEvidence
) -> Iterator[str]:
    """Whether the interval that is shown leaves out the paper's number, wherever it lies."""
    printed, estimate = claim.paper.value, found.estimate
    if evidence.scale == "smoke" or printed is None or estimate is None:
        return
    most = math.inf if claim.paper.more_than else printed
    if estimate.high < printed or most < estimate.low:
        what = "CI" if estimate.bound == "two-sided" else "bound"
        said = f"the {level_percent(estimate.level)} {what} leaves out"
        yield f"{said} the paper's {paper_text(claim)}"


def _read_off(found: RecipeEvidence) -> Iterator[str]:
    """Which interval the word is read off, where another one is shown."""
    look, basis = found.look, found.basis
    if look and basis and look.level != look.shown and basis.low > -math.inf:
        yield f"the word is by {level_text(basis)}"


def _effect(claim: TrainedClaim, scale: str, found: RecipeEvidence) -> Effect | None:
    estimate = found.estimate
    if found.look is None or estimate is None or estimate.p is None or claim.no_effect is None:
        return None
    if claim.region.surrounds(claim.no_effect):  # which is claimed, and no hypothesis against it
        return None
    p, claimed = estimate.p, estimate.value > claim.no_effect and estimate.bound != "upper"
    if _of_gap(found):
        tested = _test_error(found)
        error = tested.estimate if tested else None
        same = error is not None and (error.value > 0) == claimed
        p = max(p, error.p) if error is not None and error.p is not None and same else 1.0
    for contrast in found.contrasts:
        region = claim.conditions.get(contrast.name)
        if region is None or region.surrounds(claim.no_effect):  # equivalence has no p of no effect
            continue
        other = contrast.estimate
        if other is None or other.p is None or (other.value > claim.no_effect) != claimed:
            p = 1.0
        else:
            p = max(p, other.p)
    return Effect(
        p=over_all_looks(p, claim.scales[scale].seeds, paired=is_paired(claim)), claimed=claimed
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A claim in the family of all that were measured: `p` alone, `adjusted` among the others.

    `claimed`: whether the estimate lies on the side of no effect that the paper says. `sharing`:
    how many of the others rest on some of the same trials, such as those of a baseline.
    """

    verdict: Verdict
    p: float
    adjusted: float
    claimed: bool
    sharing: int

    @property
    def said(self) -> str:
        """What may be said of it together with the others, with 5 % of error for all of them."""
        if self.adjusted > ERROR:
            return "not shown"
        return "yes" if self.claimed else "yes, the other way round"


def family(verdicts: Iterable[Verdict]) -> tuple[Member, ...]:
    """The deciding verdict of each claim at its best scale, the least p first (Holm 1979)."""
    best: dict[str, Verdict] = {}
    for verdict in sorted(verdicts, key=lambda v: (*SCALES, EXACT).index(v.scale)):
        if verdict.decides and verdict.effect is not None:
            best[verdict.claim_id] = verdict
    found = {name: v.effect for name, v in best.items() if v.effect is not None}
    adjusted = holm({name: effect.p for name, effect in found.items()})
    return tuple(
        Member(
            verdict=best[name],
            p=found[name].p,
            adjusted=p,
            claimed=found[name].claimed,
            sharing=sum(
                not best[name].trials.isdisjoint(best[other].trials)
                for other in found
                if other != name
            ),
        )
        for name, p in adjusted.items()
    )


def settles(claim: TrainedClaim, found: RecipeEvidence) -> bool:
    """Whether the look that `found` stands at ends the run: more seeds could change nothing."""
    return not _judge(claim, found).open


class Ruling(NamedTuple):
    """A word with its reason. `open`: whether more seeds could change it.

    `of_interval`: whether it says what the interval means, and not why none may be judged.
    """

    word: Word
    reason: str
    open: bool = False
    of_interval: bool = False


def _seeds(claim: TrainedClaim, found: RecipeEvidence) -> int:
    return min(sum(o.arm == arm for o in found.outcomes) for arm in arms_of(claim))


def _judge(claim: TrainedClaim, found: RecipeEvidence) -> Ruling:
    if not found.outcomes:
        return _nothing_confirmed(found)
    if _seeds(claim, found) == 0 and not any(s.outcomes for s in found.rates.values()):
        why = "not every arm that decides has a finished trial yet"
        return Ruling("not run", why, open=True)
    if found.failed_checks:
        return Ruling("invalid", "; ".join(found.failed_checks))
    unready = _unready(claim, found)
    if unready is not None:
        return unready
    estimate = found.basis
    if estimate is None and isinstance(claim, TimeClaim):
        why = "neither arm reached the threshold within the budget (censoring)"
        return Ruling("inconclusive", why)
    if estimate is None:
        return Ruling("inconclusive", "a metric of a finished trial is missing or not a number")
    ruling = ruling_of(claim, estimate)
    if _of_gap(found):
        ruling = _overfitting(found, ruling)
    return _with_conditions(claim, found, ruling)


_WEAKEST_FIRST: tuple[Word, ...] = (
    "not reproduced",
    "inconclusive",
    "gap only",
    "direction only",
    "reproduced",
)


def _with_conditions(claim: TrainedClaim, found: RecipeEvidence, ruling: Ruling) -> Ruling:
    """The weakest word of the claim's contrast and of those that have to hold as well."""
    rulings = [ruling]
    for base in found.bases:
        region = claim.conditions.get(base.name)
        if region is None:
            continue
        if base.estimate is None:
            why = f"{base.name}: a metric of a finished trial is missing or not a number"
            rulings.append(Ruling("inconclusive", why))
            continue
        one = _in_region(region, claim.no_effect, base.estimate)
        reason = f"{base.name}, {_shown(base)}: {one.reason}"
        rulings.append(one._replace(reason=reason))
    rulings.sort(key=lambda one: _WEAKEST_FIRST.index(one.word))
    word = rulings[0].word
    return ruling._replace(
        word=word,
        reason="; ".join(one.reason for one in rulings),
        open=word != "not reproduced" and any(one.open for one in rulings),
    )


def _of_gap(found: RecipeEvidence) -> bool:
    return set(found.deciding.metrics) == {"gap"}


def ruling_of(claim: TrainedClaim, estimate: Estimate) -> Ruling:
    """What the interval means for the region, whatever else is known."""
    return _in_region(claim.region, claim.no_effect, estimate)


def _in_region(region: Region, no_effect: float | None, estimate: Estimate) -> Ruling:
    if no_effect is None or region.surrounds(no_effect):
        ruling = _level(region, estimate)
    elif estimate.bound == "two-sided":
        ruling = _two_sided(region, no_effect, estimate)
    else:
        ruling = _one_sided(region, estimate)
    return ruling._replace(of_interval=True)


_SHOWS = {"test_error": "test error", "test_loss_rise": "rise of the test loss"}
_CAVEATS = {
    "test_loss_rise": " (of the loss alone: it ends higher above its least as well where a net "
    "comes to that earlier, or where its losses jump more)"
}


def _overfitting(found: RecipeEvidence, ruling: Ruling) -> Ruling:
    """Of a wider gap: overfitting has to show in the same arms' test error, or test loss.

    The gap is wider as well where the training error has merely fallen further.
    """
    if ruling.word not in ("reproduced", "direction only"):
        return ruling
    tested = _test_error(found)
    first, second = found.deciding.arms
    if tested is None:
        why = f"no further contrast is of the test errors of {first} and {second}"
        return ruling._replace(word="gap only", reason=f"a wider gap ({ruling.reason}); {why}")
    estimate, (metric, *_) = tested.estimate, tested.metrics
    shown = _shown(tested) + _CAVEATS.get(metric, "")
    if estimate is not None and estimate.low > 0:
        return ruling._replace(
            reason=f"{ruling.reason}; the {_SHOWS[metric]} is higher, too: {shown}"
        )
    known_not = estimate is not None and estimate.high <= 0
    why = "is not higher" if known_not else "is not shown to be higher"
    return ruling._replace(
        word="gap only",
        reason=f"a wider gap ({ruling.reason}), but the {_SHOWS[metric]} of {first} "
        f"{why} than that of {second}: {shown}",
        open=not known_not,
    )


def _test_error(found: RecipeEvidence) -> Contrast | None:
    """The first further contrast of the same arms that can show overfitting."""
    alike = (c for c in found.bases[1:] if c.terms == found.deciding.terms)
    return next((c for c in alike if len({*c.metrics}) == 1 and c.metrics[0] in _SHOWS), None)


def _shown(contrast: Contrast) -> str:
    return f"{estimate_text(contrast.estimate)} {contrast.unit}"


def _nothing_confirmed(found: RecipeEvidence) -> Ruling:
    searches = found.rates.values()
    done = all(search.done for search in searches)
    if done and all(search.chosen is None for search in searches):
        return Ruling(
            "inconclusive", "every learning rate that its search kept diverged, in every arm"
        )
    why = "nothing was run"
    if any(outcome.status != "not run" for search in searches for outcome in search.outcomes):
        why = "no evaluation trial has ended yet"
        if not done:
            why = "the search for rates is not finished"
    return Ruling("not run", why, open=True)


def _unready(claim: TrainedClaim, found: RecipeEvidence) -> Ruling | None:
    """Why no estimate may be judged yet, or ever; None when it may."""
    arms = arms_of(claim)
    for arm in arms:
        search = found.rates[arm]
        if not search.done:
            why = f"the search for the {arm} arm's rate is not finished"
            return Ruling("inconclusive", why, open=True)
        if search.chosen is None:
            return Ruling(
                "inconclusive",
                f"every learning rate that the search of the {arm} arm kept diverged",
            )
    edges = [arm for arm in arms if found.rates[arm].at_edge]
    if edges:
        return Ruling(
            "inconclusive",
            f"the best rate of {' and '.join(edges)} lies at the edge of the grid, which was "
            "extended once: a better one may lie outside",
        )
    counted = found.look.seeds if found.look else math.inf
    lost = sum(
        o.status == "diverged" and o.arm in arms and o.seed < counted for o in found.outcomes
    )
    if lost and not isinstance(claim, TimeClaim):
        why = f"{lost} trials diverged, and a mean over the others would flatter their arm"
        return Ruling("inconclusive", why)
    if found.look is None:
        gap = f", and seed {found.seeds} is missing" * (_seeds(claim, found) > found.seeds)
        why = f"{seeds_text(found.seeds)}; the first look is at {found.wanted} (seeds){gap}"
        return Ruling("inconclusive", why, open=True)
    if found.look.seeds < LEAST_SEEDS:
        why = f"{seeds_text(found.look.seeds)}; at least {LEAST_SEEDS} are needed"
        return Ruling("inconclusive", why, open=True)
    return None


def _bounds(region: Region) -> tuple[float, str]:
    """The region's upper end, and the region in words."""
    if region.high is None:
        return math.inf, f"the pre-registered range {region.low:g} or above"
    return region.high, f"the pre-registered range {region.low:g} to {region.high:g}"


def _level(region: Region, estimate: Estimate) -> Ruling:
    top, inside = _bounds(region)
    if region.low <= estimate.low and estimate.high <= top:
        return Ruling("reproduced", f"the CI lies in {inside}")
    if estimate.high < region.low:
        return Ruling("not reproduced", f"the CI lies wholly below {inside}")
    if estimate.low > top:
        return Ruling("not reproduced", f"the CI lies wholly above {inside}")
    edge = region.low if estimate.low < region.low else top
    why = f"the CI crosses the edge {edge:g} of {inside} (seeds)"
    return Ruling("inconclusive", why, open=True)


def _two_sided(region: Region, nothing: float, estimate: Estimate) -> Ruling:
    top, inside = _bounds(region)
    if region.low <= estimate.low and estimate.high <= top:
        return Ruling("reproduced", f"the CI lies in {inside}")
    if estimate.high <= nothing:
        return Ruling("not reproduced", "the CI has no effect in the claimed direction")
    if estimate.low <= nothing and estimate.high < region.low:
        return Ruling(
            "not reproduced", f"the CI includes no effect, and lies wholly below {inside}"
        )
    if estimate.low <= nothing:
        why = f"the CI includes no effect {_wanting(estimate)}"
        return Ruling("inconclusive", why, open=True)
    if estimate.high < region.low:
        return Ruling("direction only", f"the CI lies beyond no effect, and wholly below {inside}")
    if estimate.low > top:
        return Ruling("direction only", f"the CI lies beyond no effect, and wholly above {inside}")
    edge = region.low if estimate.low < region.low else top
    return Ruling(
        "inconclusive",
        f"the direction holds, but the CI crosses the edge {edge:g} of {inside} "
        f"{_wanting(estimate)}",
        open=True,
    )


def _wanting(estimate: Estimate) -> str:
    """For want of what. With censored times what is beyond the budget decides."""
    if estimate.df is None and estimate.seeds > 1 and estimate.low > -math.inf:
        return "(seeds, or epochs in which more trials cross)"
    return "(seeds)"


def _one_sided(region: Region, estimate: Estimate) -> Ruling:
    _, inside = _bounds(region)
    if estimate.bound == "upper":
        if estimate.high <= 1:
            why = "the arm that should be faster never crossed: the bound is no effect or less"
            return Ruling("not reproduced", why)
        if estimate.high < region.low:
            why = f"the arm that should be faster never crossed: the bound lies below {inside}"
            return Ruling("not reproduced", why)
        why = "the faster arm never crossed: only an upper bound (censoring)"
        return Ruling("inconclusive", why, open=True)
    if region.high is None and estimate.low >= region.low:
        return Ruling(
            "reproduced",
            f"no slow trial crossed: the lower bound, {estimate.low:.2f}, lies in {inside}",
        )
    if region.high is not None and estimate.low > region.high:
        return Ruling("direction only", "the lower bound is already above the region")
    holds = "; the direction holds" if estimate.low > 1 else ""
    why = f"no slow trial crossed: only a lower bound is known (censoring){holds}"
    return Ruling("inconclusive", why, open=True)


def decide_exact(claim: Claim, facts: Sequence[FactOutcome]) -> Verdict:
    """The verdict on facts that need no training: reproduced when all that count hold."""
    wrong = [fact.name for fact in facts if fact.decides and not fact.holds]
    slips = [fact.name for fact in facts if not fact.decides and not fact.holds]
    counted = sum(fact.decides for fact in facts)
    word: Word = "not run" if not counted else "not reproduced" if wrong else "reproduced"
    reason = f"{counted - len(wrong)} of {counted} facts hold"
    if not counted:
        reason = "none of its facts counts" if facts else "nothing was run"
    if wrong:
        reason += f"; not: {', '.join(wrong)}"
    if slips:
        reason += f"; known slips of the paper, which do not count: {', '.join(slips)}"
    return Verdict(
        claim_id=claim.id,
        scale=EXACT,
        recipe=EXACT,
        word=word,
        reason=reason,
        estimate=None,
        paper_value=claim.paper.value,
        seeds=0,
        seconds=0.0,
        data="no data needed",
        device="none",
        decides=True,
    )
