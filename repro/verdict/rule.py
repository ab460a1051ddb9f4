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

Before that: a failed sanity check is `invalid`; deciding arms that are all above the floor of the
scale, at a look, are `undertrained`; no evaluation trial is `not run`; an unfinished
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
from repro.claim.trainer import unused_note
from repro.planning import RateSearch
from repro.stats import ERROR, Estimate, holm, over_all_looks
from repro.text import counted, estimate_text, level_percent, level_text, paper_text, seeds_text
from repro.trial import FactOutcome
from repro.verdict.analysis import Evidence, Look, RecipeEvidence
from repro.verdict.effects import Contrast

EXACT = "exact"  # scale and recipe of what needs no training

Word = Literal[
    "reproduced",
    "direction only",
    "gap only",
    "not reproduced",
    "inconclusive",
    "undertrained",
    "invalid",
    "not run",
]
NOT_JUDGED: frozenset[Word] = frozenset({"undertrained", "invalid"})  # of a faulty measurement

EXIT_CODES: dict[Word, int] = {
    "reproduced": 0,
    "direction only": 3,
    "gap only": 3,
    "not reproduced": 3,
    "inconclusive": 4,
    "not run": 4,
    "undertrained": 4,
    "invalid": 5,
}

_COMMUNITY_WORDS: dict[Word, Literal["verified", "falsified"]] = {
    "reproduced": "verified",
    "not reproduced": "falsified",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Effect:
    """`p` of no effect, over all interim analyses; `claimed`: whether it is on the claimed side.

    For a gap the effect is overfitting: the larger p of the gap and of the test error (or the rise
    of the test loss), which must be on the same side. The same holds for several contrasts that
    must hold together.
    """

    p: float
    claimed: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """A verdict. `decides`: of the deciding recipe, at a scale that is evidence.

    `estimate` is shown; `basis` is the same at the level that decides.

    `seconds`: wall time of all trials of the claim at the scale. `look`: the interim analysis that
    counts; None before the first. `seeds`: per arm, at that analysis, or finished before it.
    `effect`: the test of no effect; None without one, or if the estimate may not be judged.
    `trials`: the counted trials of the deciding arms.
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
        return EXIT_CODES[self.word]

    @property
    def community_word(self) -> Literal["verified", "falsified", "toy", "inconclusive"]:
        """The word of communities that judge papers claim by claim; "toy" for a small scale."""
        if self.scale not in {"paper", EXACT}:
            return "toy"
        return _COMMUNITY_WORDS.get(self.word, "inconclusive")


def decide(claim: TrainedClaim, evidence: Evidence, recipe: str) -> Verdict:
    """The verdict of one recipe. Every recipe gets one; the claim's own decides."""
    of_recipe = evidence.recipes[recipe]
    ruling = _judge(claim, of_recipe)
    word = ruling.word
    is_valid = word not in {*NOT_JUDGED, "inconclusive"} or ruling.open
    notes = (
        *_deciding_interval(claim, of_recipe),
        *_paper_excluded(claim, evidence, of_recipe),
    )
    last = of_recipe.look.seeds if of_recipe.look else math.inf
    return Verdict(
        claim_id=claim.id,
        scale=evidence.scale,
        recipe=recipe,
        word=word,
        reason="; ".join(
            [ruling.reason, *(notes if ruling.of_interval else ()), *of_recipe.caveats]
        ),
        estimate=of_recipe.estimate,
        paper_value=claim.paper.value,
        seeds=of_recipe.look.seeds if of_recipe.look else _least_seeds(claim, of_recipe),
        seconds=evidence.clocks.wall,
        data=", ".join(evidence.provenance.get("data", ())),
        device=", ".join(evidence.provenance.get("device", ())),
        decides=recipe == claim.verdict_recipe and evidence.scale != "smoke",
        look=of_recipe.look,
        basis=of_recipe.basis,
        effect=_effect(claim, evidence.scale, of_recipe) if is_valid else None,
        trials=frozenset(
            o.trial_id for o in of_recipe.outcomes if o.arm in arms_of(claim) and o.seed < last
        ),
    )


def _paper_excluded(
    claim: TrainedClaim, evidence: Evidence, of_recipe: RecipeEvidence
) -> Iterator[str]:
    """A note if the shown interval excludes the paper's number."""
    printed, estimate = claim.paper.value, of_recipe.estimate
    if evidence.scale == "smoke" or printed is None or estimate is None:
        return
    most = math.inf if claim.paper.more_than else printed
    if estimate.high < printed or most < estimate.low:
        kind = "CI" if estimate.bound == "two-sided" else "bound"
        text = f"the {level_percent(estimate.level)} {kind} leaves out"
        yield f"{text} the paper's {paper_text(claim)}"


def _deciding_interval(claim: TrainedClaim, evidence: RecipeEvidence) -> Iterator[str]:
    """A note about the interval that decides, if another one is shown, or it too roughly."""
    look, basis = evidence.look, evidence.basis
    if look is None or basis is None or basis.low == -math.inf:
        return
    limits = (claim.no_effect, claim.region.low, claim.region.high)
    text = level_text(basis, [limit for limit in limits if limit is not None])
    is_shown = math.isclose(basis.level, look.shown, abs_tol=1e-6) and text == level_text(basis)
    if not is_shown:
        yield f"the word is by {text}"


def _effect(claim: TrainedClaim, scale: str, evidence: RecipeEvidence) -> Effect | None:
    estimate = evidence.estimate
    if evidence.look is None or estimate is None or estimate.p is None or claim.no_effect is None:
        return None
    if claim.region.surrounds(claim.no_effect):  # which is claimed, and no hypothesis against it
        return None
    p, as_claimed = estimate.p, estimate.value > claim.no_effect and estimate.bound != "upper"
    for contrast in _to_show_as_well(claim, evidence):
        other = contrast.estimate if contrast else None
        same_side = other is not None and (other.value > claim.no_effect) == as_claimed
        p = max(p, other.p) if other is not None and other.p is not None and same_side else 1.0
    return Effect(
        p=over_all_looks(p, claim.scales[scale].seeds, paired=is_paired(claim)), claimed=as_claimed
    )


def _to_show_as_well(claim: TrainedClaim, evidence: RecipeEvidence) -> Iterator[Contrast | None]:
    """What has to have the effect, too: the test error beside a gap, and directed conditions."""
    if _of_gap(evidence):
        yield _test_error(evidence)
    for contrast in evidence.contrasts:
        region = claim.conditions.get(contrast.name)
        if region is not None and not region.surrounds(claim.no_effect):
            yield contrast


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A claim in the family-wise test: its `p`, and the `adjusted` one.

    `claimed`: whether the estimate is on the claimed side of no effect. `sharing`: how many other
    claims share trials with it, such as those of a baseline.
    """

    verdict: Verdict
    p: float
    adjusted: float
    claimed: bool
    sharing: int

    @property
    def conclusion(self) -> str:
        """The conclusion at a family-wise error rate of 5 %."""
        if self.adjusted > ERROR:
            return "not shown"
        return "yes" if self.claimed else "yes, the other way round"


def family(verdicts: Iterable[Verdict]) -> tuple[Member, ...]:
    """Holm's test (1979) of the deciding verdict of each claim at its best scale, by p."""
    best: dict[str, Verdict] = {}
    for verdict in sorted(verdicts, key=lambda v: (*SCALES, EXACT).index(v.scale)):
        if verdict.decides and verdict.effect is not None:
            best[verdict.claim_id] = verdict
    effects = {name: v.effect for name, v in best.items() if v.effect is not None}
    adjusted = holm({name: effect.p for name, effect in effects.items()})
    return tuple(
        Member(
            verdict=best[name],
            p=effects[name].p,
            adjusted=p,
            claimed=effects[name].claimed,
            sharing=sum(
                not best[name].trials.isdisjoint(best[other].trials)
                for other in effects
                if other != name
            ),
        )
        for name, p in adjusted.items()
    )


def settles(claim: TrainedClaim, evidence: RecipeEvidence) -> bool:
    """Whether the current analysis ends the run: more seeds cannot change the verdict."""
    return not _judge(claim, evidence).open


class Ruling(NamedTuple):
    """A word with its reason. `open`: whether more seeds could change it.

    `of_interval`: whether it follows from the interval, and not from a fault of the measurement.
    """

    word: Word
    reason: str
    open: bool = False
    of_interval: bool = False


def _least_seeds(claim: TrainedClaim, evidence: RecipeEvidence) -> int:
    return min(sum(o.arm == arm for o in evidence.outcomes) for arm in arms_of(claim))


def _judge(claim: TrainedClaim, evidence: RecipeEvidence) -> Ruling:
    if not evidence.outcomes:
        return _not_measured(evidence)
    if _least_seeds(claim, evidence) == 0 and not any(s.outcomes for s in evidence.rates.values()):
        why = "not every arm that decides has a finished trial yet"
        return Ruling("not run", why, open=True)
    if evidence.failed_checks:
        return Ruling("invalid", "; ".join(evidence.failed_checks))
    if evidence.undertrained:
        return Ruling("undertrained", evidence.undertrained)
    open_reason = _open_reason(claim, evidence)
    if open_reason is not None:
        return open_reason
    estimate = evidence.basis
    if estimate is None and isinstance(claim, TimeClaim):
        why = "neither arm reached the threshold within the budget (censoring)"
        return Ruling("inconclusive", why)
    if estimate is None:
        return Ruling("inconclusive", "a metric of a finished trial is missing or not a number")
    ruling = ruling_of(claim, estimate)
    if _of_gap(evidence):
        ruling = _overfitting(evidence, ruling)
    return _with_conditions(claim, evidence, ruling)


_WEAKEST_FIRST: tuple[Word, ...] = (
    "not reproduced",
    "inconclusive",
    "gap only",
    "direction only",
    "reproduced",
)


def _with_conditions(claim: TrainedClaim, evidence: RecipeEvidence, ruling: Ruling) -> Ruling:
    """The weakest word of the deciding contrast and of the other contrasts that must hold."""
    rulings = [ruling]
    for base in evidence.bases:
        region = claim.conditions.get(base.name)
        if region is None:
            continue
        if base.estimate is None:
            why = f"{base.name}: a metric of a finished trial is missing or not a number"
            rulings.append(Ruling("inconclusive", why))
            continue
        condition = _in_region(region, claim.no_effect, base.estimate)
        reason = f"{base.name}, {_effect_text(base)}: {condition.reason}"
        rulings.append(condition._replace(reason=reason))
    rulings.sort(key=lambda one: _WEAKEST_FIRST.index(one.word))
    word = rulings[0].word
    return ruling._replace(
        word=word,
        reason="; ".join(condition.reason for condition in rulings),
        open=word != "not reproduced" and any(condition.open for condition in rulings),
    )


def _of_gap(evidence: RecipeEvidence) -> bool:
    return set(evidence.deciding.metrics) == {"gap"}


def ruling_of(claim: TrainedClaim, estimate: Estimate) -> Ruling:
    return _in_region(claim.region, claim.no_effect, estimate)


def _in_region(region: Region, no_effect: float | None, estimate: Estimate) -> Ruling:
    if estimate.low == -math.inf and estimate.high == math.inf:
        ruling = Ruling("inconclusive", "the seeds show no scatter, so there is no CI", open=True)
    elif no_effect is None or region.surrounds(no_effect):
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


def _overfitting(evidence: RecipeEvidence, ruling: Ruling) -> Ruling:
    """For a wider gap: overfitting must show in the test error, or test loss, of the same arms.

    Otherwise the training error may merely have fallen further.
    """
    if ruling.word not in ("reproduced", "direction only"):
        return ruling
    contrast = _test_error(evidence)
    first, second = evidence.deciding.arms
    if contrast is None:
        why = f"no further contrast is of the test errors of {first} and {second}"
        return ruling._replace(word="gap only", reason=f"a wider gap ({ruling.reason}); {why}")
    estimate, (metric, *_) = contrast.estimate, contrast.metrics
    effect = _effect_text(contrast) + _CAVEATS.get(metric, "")
    if estimate is not None and estimate.low > 0:
        return ruling._replace(
            reason=f"{ruling.reason}; the {_SHOWS[metric]} is higher, too: {effect}"
        )
    is_not_higher = estimate is not None and estimate.high <= 0
    why = "is not higher" if is_not_higher else "is not shown to be higher"
    return ruling._replace(
        word="gap only",
        reason=f"a wider gap ({ruling.reason}), but the {_SHOWS[metric]} of {first} "
        f"{why} than that of {second}: {effect}",
        open=not is_not_higher,
    )


def _test_error(evidence: RecipeEvidence) -> Contrast | None:
    """The first further contrast of the same arms that can show overfitting."""
    contrasts = (c for c in evidence.bases[1:] if c.terms == evidence.deciding.terms)
    return next((c for c in contrasts if len({*c.metrics}) == 1 and c.metrics[0] in _SHOWS), None)


def _effect_text(contrast: Contrast) -> str:
    return f"{estimate_text(contrast.estimate)} {contrast.unit}"


def _not_measured(evidence: RecipeEvidence) -> Ruling:
    searches = evidence.rates.values()
    is_done = all(search.done for search in searches)
    if is_done and all(search.chosen is None for search in searches):
        why = "every learning rate that its search kept diverged, in every arm"
        if _compared_nothing(evidence, searches):
            why = "no search could compare its learning rates"
        return Ruling("inconclusive", why)
    why = "no trial has finished"
    if any(outcome.status != "not run" for search in searches for outcome in search.outcomes):
        why = "no evaluation trial has ended yet"
        if not is_done:
            why = "the search for rates is not finished"
    return Ruling("not run", why, open=True)


def _compared_nothing(evidence: RecipeEvidence, searches: Iterable[RateSearch]) -> bool:
    """Whether searches without a rate lacked the errors to compare, and not all trials diverged."""
    outcomes = [outcome for search in searches for outcome in search.outcomes]
    return bool(evidence.unsearched) and any(one.status != "diverged" for one in outcomes)


def _open_reason(claim: TrainedClaim, evidence: RecipeEvidence) -> Ruling | None:
    """Why the estimate may not be judged, now or ever; None if it may."""
    arms = arms_of(claim)
    for arm in arms:
        search = evidence.rates[arm]
        if not search.done:
            why = f"the search for the {arm} arm's rate is not finished"
            return Ruling("inconclusive", why, open=True)
        if search.chosen is None:
            why = f"every learning rate that the search of the {arm} arm kept diverged"
            if _compared_nothing(evidence, [search]):
                why = f"the search of the {arm} arm could not compare its learning rates"
            return Ruling("inconclusive", why)
    edges = [arm for arm in arms if evidence.rates[arm].at_edge]
    if edges:
        cause = unused_note(claim, "rate") or "`search` needs more rates there, in a new plan"
        best = " and ".join(f"{arm} ({evidence.rates[arm].chosen:g})" for arm in edges)
        return Ruling(
            "inconclusive",
            f"the best rate of {best} lies at the edge of the grid, which was extended once: a "
            f"better one may lie outside ({cause})",
        )
    seed_limit = evidence.look.seeds if evidence.look else math.inf
    diverged = sum(
        o.status == "diverged" and o.arm in arms and o.seed < seed_limit for o in evidence.outcomes
    )
    if diverged and not isinstance(claim, TimeClaim):
        lost = counted(diverged, "trial")
        why = f"{lost} diverged, and a mean over the others would flatter their arm"
        return Ruling("inconclusive", why)
    if evidence.look is None:
        has_gap = _least_seeds(claim, evidence) > evidence.seeds
        gap = f" without a gap, since seed {evidence.seeds} is missing" * has_gap
        first = f"the first look is at {evidence.target_seeds}"
        why = f"{seeds_text(evidence.seeds)}{gap}; {first} (seeds)"
        return Ruling("inconclusive", why, open=True)
    if evidence.look.seeds < LEAST_SEEDS:
        why = f"{seeds_text(evidence.look.seeds)}; at least {LEAST_SEEDS} are needed"
        return Ruling("inconclusive", why, open=True)
    return None


def _bounds(region: Region) -> tuple[float, str]:
    """The region's upper end, and the region in words."""
    if region.high is None:
        return math.inf, f"the claim's range {region.low:g} or above"
    return region.high, f"the claim's range {region.low:g} to {region.high:g}"


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
        why = f"no part of the CI lies above no effect, {nothing:g}"
        return Ruling("not reproduced", why)
    if estimate.low <= nothing and estimate.high < region.low:
        why = f"the CI includes no effect, {nothing:g}, and lies wholly below {inside}"
        return Ruling("not reproduced", why)
    if estimate.low <= nothing:
        why = f"the CI includes no effect, {nothing:g} {_missing(estimate)}"
        return Ruling("inconclusive", why, open=True)
    shown = f"the CI lies above no effect, {nothing:g}"
    if estimate.high < region.low:
        return Ruling("direction only", f"{shown}, and wholly below {inside}")
    if estimate.low > top:
        return Ruling("direction only", f"{shown}, and wholly above {inside}")
    edge = region.low if estimate.low < region.low else top
    return Ruling(
        "inconclusive",
        f"the direction holds, but the CI crosses the edge {edge:g} of {inside} "
        f"{_missing(estimate)}",
        open=True,
    )


def _missing(estimate: Estimate) -> str:
    """What is missing: seeds, or for censored times also epochs."""
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
    deciding_count = sum(fact.decides for fact in facts)
    word: Word = "not run" if not deciding_count else "not reproduced" if wrong else "reproduced"
    reason = f"{deciding_count - len(wrong)} of {deciding_count} facts hold"
    if not deciding_count:
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
