"""Seeds added one look after the other: when a run ends, and what its verdict rests on."""

import math
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats as scipy_stats

from repro.claim import Region, TrainedClaim, load
from repro.planning import Cell, possible_cells
from repro.stats import (
    ERROR,
    SHOWN,
    Spending,
    holm,
    look_levels,
    mean_level,
    over_all_looks,
    paired_difference,
)
from repro.store import Store
from repro.trial import Clocks, Result
from repro.verdict import Verdict, decide, settles
from repro.verdict.analysis import analyse
from repro.verdict.judge import as_registered, next_trials, register
from tests.test_differences import PRINT, claim_of
from tests.worlds import claim_file
from tests.worlds import planted as planted_times

LOOKS = (3, 5, 8, 12)
WITH = np.array([0.40, 0.42, 0.39, 0.41, 0.40, 0.41, 0.42, 0.39, 0.40, 0.41, 0.42, 0.40])

Values = npt.NDArray[np.float64]
Differences = tuple[float, ...]  # without less with, by seed
SETTLED: Differences = (0.0200, 0.0201, 0.0199)  # as three seeds of twelve have to agree
OPEN: Differences = (0.020, 0.045, -0.005)  # no three such seeds settle anything


def looking(folder: Path) -> TrainedClaim:
    """The planted claim of test_differences, with four looks."""
    return at(claim_of(folder), *LOOKS)


def at(claim: TrainedClaim, *looks: int) -> TrainedClaim:
    scale = claim.scales["paper"].model_copy(update={"seeds": looks})
    return claim.model_copy(update={"scales": {"paper": scale}})


def results(
    claim: TrainedClaim, differences: Differences, *, ahead: Differences = ()
) -> dict[str, Result]:
    """All that the plan asks for while there are differences to plant, and some that it did not."""
    known: dict[str, Result] = {}
    while cells := [
        cell
        for cell in next_trials(claim, "paper", PRINT, known)
        if cell.trial.seed < len(differences)
    ]:
        known |= {cell.trial.id: finished(cell, differences) for cell in cells}
    if ahead:
        longer = (*differences, *ahead)
        for cell in next_trials(at(claim, len(longer)), "paper", PRINT, {}):
            known.setdefault(cell.trial.id, finished(cell, longer))
    return known


def finished(cell: Cell, differences: Differences) -> Result:
    more = differences[cell.trial.seed] if cell.arm == "without" else 0.0
    error = float(WITH[cell.trial.seed]) + more
    return Result(
        trial_id=cell.trial.id,
        status="finished",
        epochs=cell.until,
        crossing_full=None,
        crossing_online=None,
        train_error=0.1,
        epoch_errors=(),
        loss=1.0,
        seconds=Clocks(train=1.0),
        metrics={"test_error": error, "gap": error / 2, "initial_loss": 2.3},
    )


def seeds(claim: TrainedClaim, known: dict[str, Result], **options: int) -> set[int]:
    cells = next_trials(claim, "paper", PRINT, known, **options)  # type: ignore[arg-type]
    return {cell.trial.seed for cell in cells}


def test_a_plan_asks_for_one_look_at_a_time(tmp_path: Path) -> None:
    """Three seeds first; two more when they leave it open; none when they settle it."""
    claim = looking(tmp_path)

    assert seeds(claim, {}) == {0, 1, 2}
    assert seeds(claim, results(claim, OPEN)) == {3, 4}
    assert seeds(claim, results(claim, SETTLED)) == set()


def test_a_plan_stops_against_the_claim_too(tmp_path: Path) -> None:
    """The other way round, as sure as for it."""
    claim = looking(tmp_path)

    assert seeds(claim, results(claim, (-0.0200, -0.0201, -0.0199))) == set()


@pytest.mark.parametrize(("most", "wanted"), [(1, {0}), (4, set()), (5, {3, 4}), (100, {3, 4})])
def test_max_seeds_ends_at_a_look(tmp_path: Path, most: int, wanted: set[int]) -> None:
    """Seeds that reach no look would be spent for nothing; short of the first there is a try."""
    claim = looking(tmp_path)
    known = {} if most == 1 else results(claim, OPEN)

    assert seeds(claim, known, max_seeds=most) == wanted


def test_between_looks_the_verdict_is_that_of_the_last_one(tmp_path: Path) -> None:
    """Four seeds say what three said: 95 % are shown, the word is read off the look's own level."""
    claim = looking(tmp_path)
    three = analyse(claim, "paper", PRINT, results(claim, OPEN), settles=settles)
    four = analyse(claim, "paper", PRINT, results(claim, (*OPEN, 0.0)), settles=settles)
    found, later = three.recipes["authors"], four.recipes["authors"]

    assert found.look == later.look
    assert found.look is not None
    assert (found.look.number, found.look.of, found.look.seeds) == (1, 4, 3)
    assert found.estimate == later.estimate
    assert found.estimate is not None
    assert found.estimate.level == SHOWN
    assert found.basis is not None
    levels = look_levels(LOOKS, paired=True, error=ERROR / 2)  # for a region as narrow as this one
    assert found.basis.level == levels[0]
    assert decide(claim, four, "authors").seeds == 3
    assert "1 seed beyond the analysis at n = 3" in decide(claim, four, "authors").reason


def test_a_word_before_the_last_look_is_said_so_far(tmp_path: Path) -> None:
    """An open one only: what is settled waits for nothing."""
    claim = looking(tmp_path)
    last = at(claim, 3)

    def reason(claim: TrainedClaim, differences: Differences) -> str:
        found = analyse(claim, "paper", PRINT, results(claim, differences), settles=settles)
        return decide(claim, found, "authors").reason

    assert "so far: 6 of 10 evaluation trials of the next analysis" in reason(claim, OPEN)
    assert "so far: 8 of 10 evaluation trials of the next" in reason(claim, (*OPEN, 0.0))
    assert "so far" not in reason(claim, SETTLED)
    assert "so far" not in reason(last, OPEN)


def test_before_the_first_look_nothing_is_decided(tmp_path: Path) -> None:
    """Two seeds are shown, and settle nothing."""
    claim = looking(tmp_path)
    verdict = decide(claim, analyse(claim, "paper", PRINT, results(claim, SETTLED[:2])), "authors")

    assert verdict.word == "inconclusive"
    assert "2 seeds an arm; the first look is at 3" in verdict.reason
    assert verdict.estimate is not None


def test_seeds_that_another_claim_ran_undo_no_look(tmp_path: Path) -> None:
    """The first look that settles it decides, whatever lies in the store besides."""
    claim = looking(tmp_path)
    known = results(claim, SETTLED, ahead=(-0.05, 0.08))
    evidence = analyse(claim, "paper", PRINT, known, settles=settles)
    verdict = decide(claim, evidence, "authors")

    assert len(evidence.recipes["authors"].outcomes) > 9
    assert verdict.word == "reproduced"
    assert verdict.look is not None
    assert verdict.look.seeds == 3
    assert seeds(claim, known) == set()


@pytest.mark.parametrize("taken", [0, 2])
@pytest.mark.parametrize("spending", ["obrien_fleming", "pocock"])
@pytest.mark.parametrize("paired", [True, False])
def test_an_end_of_the_interval_errs_five_times_in_a_hundred_over_all_looks(
    spending: Spending, *, paired: bool, taken: int
) -> None:
    """By plain simulation of seeds, without an effect: 4.6 to 5.4 % of 20,000 runs."""
    levels = look_levels(LOOKS, paired=paired, spending=spending, taken=taken)
    wrong = np.zeros(20_000, dtype=bool)
    for t, df, level in zip(*simulated(LOOKS, paired=paired), levels, strict=True):
        wrong |= t > _t(level, df)

    assert wrong.mean() == pytest.approx(ERROR, abs=0.004)


def test_looks_taken_before_keep_intervals_that_hold_together() -> None:
    """Of the older rule: 95 times in 100 over all looks, on both sides, each at the same level."""
    levels = look_levels(LOOKS, paired=True, taken=4)
    wrong = np.zeros(20_000, dtype=bool)
    for t, df, level in zip(*simulated(LOOKS, paired=True), levels, strict=True):
        wrong |= np.abs(t) > _t(level, df)

    assert len(set(levels)) == 1
    assert 1 - levels[0] == pytest.approx(0.0157, abs=0.0004)
    assert wrong.mean() == pytest.approx(0.05, abs=0.004)


def simulated(looks: tuple[int, ...], *, paired: bool) -> tuple[list[Values], list[int]]:
    """Student's t of 20,000 runs, and its degrees of freedom, at each look."""
    samples = 1 if paired else 2
    arms = np.random.default_rng(1).standard_normal((20_000, samples, looks[-1]))
    t, degrees = [], []
    for n in looks:
        seen = arms[:, :, :n]
        effect = seen[:, 0].mean(1) - (0 if paired else seen[:, 1].mean(1))
        t.append(effect / np.sqrt(seen.var(2, ddof=1).mean(1) * samples / n))
        degrees.append((n - 1) * samples)
    return t, degrees


def _t(level: float, df: int) -> float:
    return float(scipy_stats.t.ppf((1 + level) / 2, df))


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("spending", get_args(Spending))
def test_one_look_has_the_whole_error_and_a_single_seed_no_interval(
    spending: Spending, paired: bool
) -> None:
    """Two one-sided tests at 5 %: an interval of 90 %; at 2.5 %, one of 95 %."""
    for error, level in ((0.05, 0.9), (0.025, 0.95)):
        levels = look_levels((5,), paired=paired, spending=spending, error=error)
        assert levels == pytest.approx((level,))
    assert look_levels((1, 2), paired=True)[0] == 1.0


def test_many_seeds_spend_as_the_tables_say() -> None:
    """Lan and DeMets' function of O'Brien and Fleming at four equal looks, one-sided 2.5 %."""
    levels = look_levels((250, 500, 750, 1000), paired=True, error=0.025)
    z = [float(scipy_stats.norm.ppf((1 + level) / 2)) for level in levels]

    assert z == pytest.approx([4.333, 2.963, 2.359, 2.014], rel=0.02)


def test_the_standard_case_of_the_audit_is_decided_three_times_in_five() -> None:
    """Scatter 1.2, truth 1.4, region 0.5 to 2.5, at most 12 seeds."""
    looks, generator = (5, 8, 12), np.random.default_rng(2)
    levels, decided = look_levels(looks, paired=True), 0
    for values in generator.normal(1.4, 1.2, (2000, looks[-1])):
        intervals = [
            mean_level(values[:n], level=level) for n, level in zip(looks, levels, strict=True)
        ]
        decided += any(one.low >= 0.5 and one.high <= 2.5 for one in intervals)

    assert decided / 2000 > 0.6


def test_the_p_value_agrees_with_the_interval() -> None:
    """Below 5 % over all looks just where intervals that hold together leave no effect out."""
    one = np.array([0.5, 0.9, 0.3, 0.7, 0.8])
    level = look_levels((3, 5), paired=True, taken=2)[1]
    found = paired_difference(one, 0 * one, level=level)
    assert found.p is not None
    edge = paired_difference(one - found.low, 0 * one, level=found.level)
    assert edge.p is not None

    assert edge.low == pytest.approx(0.0, abs=1e-12)
    assert over_all_looks(edge.p, (3, 5), paired=True) == pytest.approx(ERROR, abs=1e-4)
    assert found.p < over_all_looks(found.p, (3, 5), paired=True) < 2 * found.p
    assert over_all_looks(1e-5, LOOKS, paired=True) == pytest.approx(4e-5)


def test_holm_by_its_definition() -> None:
    """The smallest of m counts m times, the next m - 1 times, and none less than one before it."""
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx(
        {"a": 0.03, "c": 0.06, "b": 0.06}
    )
    assert holm({}) == {}
    assert math.isclose(holm({"a": 0.9, "b": 0.8})["b"], 1.0)


def test_a_plan_of_an_earlier_version_keeps_its_rule(tmp_path: Path) -> None:
    """Its results could be looked at before there was another one; a new plan has the file's."""
    claim = looking(tmp_path)
    store = Store(tmp_path / "runs")
    older = claim.by_the_older_rule("paper")
    register(older, "paper", fingerprint=PRINT, title="planted", store=store)
    rule = as_registered(claim, "paper", store)
    evidence = analyse(rule, "paper", PRINT, results(claim, OPEN), settles=settles)
    found = evidence.recipes["authors"]

    assert rule.digest("paper") == older.digest("paper") != claim.digest("paper")
    assert found.look is not None
    assert found.look.shown == found.look.level == pytest.approx(0.9843, abs=4e-4)
    again = register(claim, "paper", fingerprint=PRINT, title="another", store=store)
    assert again.data_title == "planted"


def test_trials_at_every_rate_of_a_search_were_there_before(tmp_path: Path) -> None:
    """Any of them may be chosen: a plan that is registered before its search counts them all."""
    path = claim_file(tmp_path, seeds=2)
    path.write_text(path.read_text().replace("refine: null", "refine: 1.8"))
    claim = load(path)
    assert isinstance(claim, TrainedClaim)
    store = Store(tmp_path / "runs")
    cells = possible_cells(claim, "smoke", "period", "slow", PRINT)
    refined, extended = (
        [cell for cell in cells if cell.trial.rate == rate] for rate in (0.0067, 0.09)
    )
    for cell in (*cells[:1], *refined[:1], *extended[:1]):
        store.begin(cell.trial)
        store.save(cell.trial.id, checkpoint=b"", curve=[])
        store.finish(planted_times(cell, crossed=1.0))

    assert {cell.trial.rate for cell in cells} > {0.003, 0.01, 0.03}
    assert len(refined) == len(extended) == 2  # seeds
    assert (
        register(claim, "smoke", fingerprint=PRINT, title="set", store=store).finished_before == 3
    )


def test_a_narrow_region_has_half_the_error_on_each_side(tmp_path: Path) -> None:
    """An interval twice as wide or more may miss it above as well as below."""
    claim = at(claim_of(tmp_path), 5)
    narrow = claim.model_copy(update={"region": Region(low=1.95, high=2.05)})
    spread = (0.02, 0.045, -0.005, 0.03, 0.01)

    def verdict(claim: TrainedClaim) -> Verdict:
        evidence = analyse(claim, "paper", PRINT, results(claim, spread), settles=settles)
        return decide(claim, evidence, "authors")

    levels = [found.basis.level for found in map(verdict, (claim, narrow)) if found.basis]
    assert levels == pytest.approx([0.90, 0.95])
    assert "the word is by the 90 % CI" in verdict(claim).reason
    assert "the word is by" not in verdict(narrow).reason  # which is the one that is shown

    shown = verdict(narrow).estimate
    assert shown is not None
    beside = narrow.model_copy(update={"region": Region(low=shown.high + 1e-4, high=4.2)})
    assert "the word is by the 95 % CI" in verdict(beside).reason  # with the digits that tell
