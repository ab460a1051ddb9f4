"""The truth table of verdicts."""

import math
import re
from dataclasses import replace
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
import scipy
from hypothesis import given

from repro.claim import Claim, Region
from repro.planning import RateOutcome, RateSearch
from repro.report.describe import describe_verdict
from repro.stats import Estimate, Times, ratio_of_times
from repro.trial import Clocks
from repro.verdict import Effect, Verdict, decide, family
from repro.verdict.analysis import Evidence, Look, RecipeEvidence
from repro.verdict.effects import DECIDING, Contrast, Outcome
from tests.worlds import tiny_claim

SEARCH = RateSearch(
    outcomes=(RateOutcome(rate=0.01, status="crossed", epochs=1.0, crossed=0.9, error=0.2),),
    chosen=0.01,
    done=True,
    at_edge=False,
    trials=("a",),
)


def estimate(low: float, high: float, bound: str = "two-sided") -> Estimate:
    value = math.sqrt(low * high) if low > 0 and high < math.inf else max(low, 1.0)
    return Estimate(
        value=value, low=low, high=high, level=0.95, seeds=3, method="test", bound=bound,
        df=4.0 if bound == "two-sided" else None,
    )  # type: ignore[arg-type] # fmt: skip


def outcomes(seeds: int) -> tuple[Outcome, ...]:
    return tuple(
        Outcome(
            arm=arm,
            seed=s,
            lower=1.0,
            upper=1.1,
            trial_id="x",
            status="crossed",
            epochs=1.1,
            metrics={},
        )
        for arm in ("fast", "slow")
        for s in range(seeds)
    )


def judged(
    claim: Claim,
    found: Estimate | None,
    *,
    seeds: int = 3,
    search: RateSearch = SEARCH,
    region: Region | None = None,
) -> Verdict:
    contrast = Contrast(
        name=DECIDING,
        arms=("slow", "fast"),
        metrics=(),
        unit="ratio of epochs",
        description="epochs of slow over epochs of fast",
        estimate=found,
        sd=0.1,
    )
    evidence = RecipeEvidence(
        recipe="period",
        rates={"fast": search, "slow": search},
        outcomes=outcomes(seeds),
        contrasts=(contrast,),
        planned=6,
        missing=0,
        diverged=0,
        caveats=(),
        look=Look(number=1, of=1, seeds=3, level=0.95) if seeds >= 3 else None,
        bases=(contrast,),
        seeds=seeds,
        target_seeds=3,
    )
    claim = claim.model_copy(update={"region": region or Region(low=3.0, high=9.0)})
    return decide(
        claim,
        Evidence(
            scale="smoke",
            recipes={"period": evidence},
            clocks=Clocks(),
            provenance={},
            trials=(),
        ),
        "period",
    )


@pytest.fixture(scope="module")
def claim(tmp_path_factory: pytest.TempPathFactory) -> Claim:
    return tiny_claim(Path(tmp_path_factory.mktemp("claim")))


TABLE = [
    (estimate(4, 8), "reproduced", "the CI lies in the claim's range 3 to 9"),
    (estimate(3, 9), "reproduced", "the CI lies in the claim's range"),
    (estimate(1.5, 2.9), "direction only", "below the claim's range 3 to 9"),
    (estimate(9.5, 20), "direction only", "above the claim's range 3 to 9"),
    (estimate(2, 5), "inconclusive", "the direction holds, but the CI crosses the edge 3"),
    (estimate(5, 12), "inconclusive", "crosses the edge 9"),
    (estimate(0.5, 5), "inconclusive", "includes no effect, 1"),
    (estimate(0.2, 0.9), "not reproduced", "no part of the CI lies above no effect"),
    (estimate(10, math.inf, "lower"), "direction only", "already above the region"),
    (estimate(4, math.inf, "lower"), "inconclusive", "censoring.*the direction holds"),
    (estimate(0.8, math.inf, "lower"), "inconclusive", "only a lower bound is known"),
    (estimate(0, 0.5, "upper"), "not reproduced", "never crossed"),
    (estimate(0, 3, "upper"), "inconclusive", "only an upper bound"),
    (None, "inconclusive", "neither arm reached the threshold"),
]


@pytest.mark.parametrize(("found", "word", "reason"), TABLE)
def test_truth_table(claim: Claim, found: Estimate | None, word: str, reason: str) -> None:
    """Each row of the rule, with the sentence that the user reads."""
    verdict = judged(claim, found)

    assert verdict.word == word
    assert re.search(reason, verdict.reason), verdict.reason


@pytest.mark.parametrize(
    ("interval", "scale", "word"),
    [
        ((4, 8), "paper", "verified"),
        ((0.2, 0.9), "paper", "falsified"),
        ((1.5, 2.9), "paper", "inconclusive"),  # direction only
        ((4, 8), "large_proxy", "toy"),
        ((4, 8), "smoke", "toy"),
    ],
)
def test_a_verdict_has_the_communitys_word(
    claim: Claim, interval: tuple[float, float], scale: str, word: str
) -> None:
    """At a small scale that it is a toy, whatever it shows."""
    verdict = replace(judged(claim, estimate(*interval)), scale=scale)

    assert verdict.community_word == word


def test_open_region_is_met_by_a_lower_bound(claim: Claim) -> None:
    """`at least three times` is decided although nobody knows how many times."""
    verdict = judged(claim, estimate(4, math.inf, "lower"), region=Region(low=3.0))

    assert verdict.word == "reproduced"


@pytest.mark.parametrize(
    ("change", "word", "reason"),
    [
        ({"at_edge": True}, "inconclusive", "lies at the edge of the grid"),
        ({"done": False, "chosen": None}, "inconclusive", "search for the slow arm's rate is not"),
        (
            {"chosen": None},
            "inconclusive",
            "every learning rate that the search of the slow arm kept diverged",
        ),
    ],
)
def test_a_search_that_is_not_sound_decides_nothing(
    claim: Claim, change: dict[str, object], word: str, reason: str
) -> None:
    """Whatever the estimate says."""
    verdict = judged(claim, estimate(4, 8), search=replace(SEARCH, **change))  # type: ignore[arg-type]

    assert verdict.word == word
    assert reason in verdict.reason


def test_two_seeds_are_too_few(claim: Claim) -> None:
    """And none is `not run`."""
    assert "2 seeds an arm; the first look is at 3" in judged(claim, estimate(4, 8), seeds=2).reason
    assert judged(claim, None, seeds=0).word == "not run"


def test_of_what_was_not_run_a_terminal_says_no_more(claim: Claim) -> None:
    """No estimate, no seeds, no time of other recipes' trials."""
    verdict = judged(claim, None, seeds=0)
    head, *rest = describe_verdict(claim, verdict).splitlines()

    assert head.endswith(": not run")
    assert [line.split()[0] for line in rest] == ["why"]
    assert "ours" in describe_verdict(claim, judged(claim, estimate(4, 8)))


def seeds_of(mean: float, sd: float, n: int, *, step: float = 1e-3) -> Times:
    """Epochs of n seeds that scatter by exactly so much, each known to a `step` of itself."""
    z = scipy.stats.norm.ppf((np.arange(n) + 0.5) / n)
    log = math.log(mean) + sd * (z - z.mean()) / z.std(ddof=1)
    return Times(lower=np.exp(log - step / 2), upper=np.exp(log + step / 2))


def test_times_beyond_the_budget_may_want_epochs(claim: Claim) -> None:
    """How far beyond it they lie is not known: more seeds alone may tell nothing more."""
    slow = seeds_of(48, 0.1, 12)
    late = slow.upper > 44
    slow = Times(lower=np.where(late, 44.0, slow.lower), upper=np.where(late, np.inf, slow.upper))
    reason = judged(claim, ratio_of_times(slow, seeds_of(8, 0.1, 12))).reason

    assert 0 < slow.censored.sum() < 12
    assert "(seeds, or epochs in which more trials cross)" in reason


def test_a_bound_below_the_region_is_no_reproduction_to_come(claim: Claim) -> None:
    """Also where it includes no effect, as an interval would that lies there."""
    never = Times(lower=np.full(3, 60.0), upper=np.full(3, np.inf))
    verdict = judged(claim, ratio_of_times(seeds_of(58, 0.01, 3), never))

    assert verdict.estimate is not None
    assert 1 < verdict.estimate.high < 3
    assert verdict.word == "not reproduced"
    assert "the bound lies below the claim's range 3 to 9" in verdict.reason


def test_smoke_never_decides(claim: Claim) -> None:
    """Results on embedded data are shown and are no evidence."""
    assert not judged(claim, estimate(4, 8)).decides


@pytest.mark.parametrize(
    ("found", "code"),
    [(estimate(4, 8), 0), (estimate(1.5, 2), 3), (estimate(0.2, 0.9), 3), (estimate(0.5, 5), 4)],
)
def test_exit_codes_are_those_documented(claim: Claim, found: Estimate, code: int) -> None:
    """0 as claimed, 3 not reproduced or direction only, 4 inconclusive."""
    assert judged(claim, found).exit_code == code


@given(
    low=st.floats(0.1, 20),
    width=st.floats(1.01, 5),
    region_low=st.floats(1.01, 5),
    more=st.floats(0, 5),
)
def test_widening_the_region_never_loses_a_reproduction(
    claim: Claim, low: float, width: float, region_low: float, more: float
) -> None:
    """What holds in a region holds in any region around it."""
    found = estimate(low, low * width)
    narrow = Region(low=region_low, high=region_low + 4)
    wide = Region(low=max(1.001, region_low - more), high=region_low + 4 + more)

    if judged(claim, found, region=narrow).word == "reproduced":
        assert judged(claim, found, region=wide).word == "reproduced"


def member(claim: Claim, name: str, scale: str, effect: Effect | None) -> Verdict:
    found = judged(claim, estimate(4, 8))
    return replace(found, claim_id=name, scale=scale, decides=True, effect=effect)


def test_a_family_is_the_best_scale_of_each_claim_and_pays_for_its_size(claim: Claim) -> None:
    """Holm: the least p counts as often as there are claims; sides are kept apart."""
    found = family(
        [
            member(claim, "a", "paper", Effect(p=0.01, claimed=True)),
            member(claim, "a", "proxy", Effect(p=0.5, claimed=True)),
            member(claim, "b", "proxy", Effect(p=0.02, claimed=False)),
            member(claim, "c", "proxy", Effect(p=0.04, claimed=True)),
            member(claim, "d", "paper", None),
        ]
    )

    assert [(m.verdict.claim_id, m.verdict.scale) for m in found] == [
        ("a", "paper"), ("b", "proxy"), ("c", "proxy"),
    ]  # fmt: skip
    assert [m.adjusted for m in found] == pytest.approx([0.03, 0.04, 0.04])
    assert [m.conclusion for m in found] == ["yes", "yes, the other way round", "yes"]


def test_what_may_not_be_judged_is_no_member(claim: Claim) -> None:
    """At the edge of the grid, or before the first look, there is no p-value to quote."""
    edge = replace(SEARCH, at_edge=True)
    with_p = replace(estimate(4, 8), p=0.001)

    assert judged(claim, with_p, search=edge).effect is None
    assert judged(claim, with_p, seeds=2).effect is None
    assert judged(claim, with_p).effect == Effect(p=0.001, claimed=True)
