"""From planted results in a real store to the estimate that they must give."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from repro.claim import Claim, TrainedClaim, load
from repro.planning import Cell, next_cells
from repro.store import Store
from repro.trial import Result
from repro.verdict.analysis import analyse
from tests.worlds import planted, tiny_claim

PRINT = "0123456789abcdef"


@pytest.fixture
def claim(tmp_path: Path) -> Claim:
    return tiny_claim(tmp_path, epochs=60, seeds=3)


def fill(claim: Claim, store: Store, confirming: dict[tuple[str, int], float | None]) -> None:
    """Run the plan with planted outcomes: rate 0.01 is best, evaluation seeds as given.

    A seed that is not in `confirming` is left out.
    """
    skipped: set[str] = set()
    while cells := [
        cell
        for cell in next_cells(claim, "smoke", PRINT, store.results())
        if cell.trial.id not in skipped
    ]:
        for cell in cells:
            result = _outcome(cell, confirming)
            if result is None:
                skipped.add(cell.trial.id)
                continue
            store.begin(cell.trial)
            store.save(cell.trial.id, checkpoint=b"", curve=[])
            store.finish(result)


def _outcome(cell: Cell, confirming: dict[tuple[str, int], float | None]) -> Result | None:
    if cell.purpose == "tune":
        return planted(cell, crossed=0.5 if cell.trial.rate == 0.01 else None)
    key = (cell.arm, cell.trial.seed)
    return planted(cell, crossed=confirming[key]) if key in confirming else None


ALL: dict[tuple[str, int], float | None] = {
    ("fast", 0): 8.0,
    ("fast", 1): 8.4,
    ("fast", 2): 7.6,
    ("slow", 0): 48.0,
    ("slow", 1): 50.4,
    ("slow", 2): 45.6,
}


def test_known_times_give_the_known_ratio(claim: Claim, tmp_path: Path) -> None:
    """Planted truth through the real store and plan: six times, on three seeds."""
    store = Store(tmp_path / "runs")
    fill(claim, store, ALL)
    found = analyse(claim, "smoke", PRINT, store.results()).recipes["period"]

    assert found.estimate is not None
    assert found.estimate.value == pytest.approx(6.0, rel=0.01)
    assert found.estimate.seeds == 3
    assert (found.planned, found.missing) == (6, 0)
    assert found.rates["fast"].chosen == 0.01


def test_tuning_seeds_do_not_enter_the_estimate(claim: Claim, tmp_path: Path) -> None:
    """The rate's own seed crossed at 0.5 and is nowhere among the crossings."""
    store = Store(tmp_path / "runs")
    fill(claim, store, ALL)
    found = analyse(claim, "smoke", PRINT, store.results()).recipes["period"]

    assert {c.seed for c in found.outcomes} == {0, 1, 2}
    assert min(c.upper for c in found.outcomes) == 7.6


def with_a_third_arm(claim: Claim, folder: Path) -> TrainedClaim:
    """The claim with an arm that does not decide."""
    path = folder / "three.yaml"
    path.write_text(
        claim.path.read_text()
        .replace("id: tiny", "id: three")
        .replace("contrast:", "  slower: {model: {activation: sigmoid}}\ncontrast:")
        .replace("region:", "also:\n  third: {slow: slower, fast: fast}\nregion:")
    )
    three = load(path)
    assert isinstance(three, TrainedClaim)
    return three


def test_further_ratios_stand_beside_the_deciding_one(claim: Claim, tmp_path: Path) -> None:
    """A third arm, over the same fast one, from its own seeds."""
    three, store = with_a_third_arm(claim, tmp_path), Store(tmp_path / "runs")
    more = {("slower", 0): 24.0, ("slower", 1): 25.2, ("slower", 2): 22.8}
    fill(three, store, {**ALL, **more})
    found = analyse(three, "smoke", PRINT, store.results()).recipes["period"]
    ratios = {one.name: one.estimate.value for one in found.contrasts if one.estimate}

    assert ratios["contrast"] == pytest.approx(6.0, rel=0.01)
    assert ratios["third"] == pytest.approx(3.0, rel=0.01)


def test_missing_trials_are_counted_and_said(claim: Claim, tmp_path: Path) -> None:
    """A half-finished store gives what it has."""
    store = Store(tmp_path / "runs")
    fill(claim, store, {key: value for key, value in ALL.items() if key != ("slow", 2)})
    found = analyse(claim, "smoke", PRINT, store.results()).recipes["period"]

    assert found.missing == 1
    assert "5 of 6 planned evaluation trials were run" in found.caveats


def test_an_arm_that_does_not_decide_leaves_nothing_of_the_verdict_open(
    claim: Claim, tmp_path: Path
) -> None:
    """All that decides was run; of the third arm one seed of three."""
    three, store = with_a_third_arm(claim, tmp_path), Store(tmp_path / "runs")
    fill(three, store, ALL | {("slower", 0): 24.0})
    found = analyse(three, "smoke", PRINT, store.results()).recipes["period"]

    assert (found.planned, found.missing) == (9, 2)
    assert "slower, which does not decide, has 1 of 3 seeds" in found.caveats
    assert not any("planned evaluation trials" in caveat for caveat in found.caveats)


def test_a_censored_trial_is_never_taken_as_crossed(claim: Claim, tmp_path: Path) -> None:
    """Its upper end is infinite, and the estimate moves up, not to the budget."""
    store = Store(tmp_path / "runs")
    fill(claim, store, ALL | {("slow", 2): None})
    found = analyse(claim, "smoke", PRINT, store.results()).recipes["period"]
    (late,) = (c for c in found.outcomes if c.arm == "slow" and c.seed == 2)

    assert (late.lower, late.upper) == (60.0, math.inf)
    assert "1 of 3 slow trials did not cross" in " ".join(found.caveats)
    assert found.estimate is not None
    assert found.estimate.value > 6.0


def test_a_crossing_beyond_the_budget_counts_as_none(claim: Claim, tmp_path: Path) -> None:
    """Another claim that shares the trial may ask for more epochs."""
    store = Store(tmp_path / "runs")
    fill(claim, store, ALL | {("slow", 2): 66.0})
    found = analyse(claim, "smoke", PRINT, store.results()).recipes["period"]
    (late,) = (c for c in found.outcomes if c.arm == "slow" and c.seed == 2)

    assert (late.lower, late.upper) == (60.0, math.inf)


def test_all_slow_trials_censored_give_a_lower_bound(claim: Claim, tmp_path: Path) -> None:
    """At least 60 over 8, less what three seeds leave open."""
    store = Store(tmp_path / "runs")
    fill(claim, store, ALL | dict.fromkeys([("slow", s) for s in range(3)]))
    estimate = analyse(claim, "smoke", PRINT, store.results()).recipes["period"].estimate

    assert estimate is not None
    assert estimate.bound == "lower"
    assert 5 < estimate.low < 7.5


def test_a_diverged_confirming_trial_counts_as_never_crossing(claim: Claim, tmp_path: Path) -> None:
    """Data, not an error, and never run again with another seed."""
    store = Store(tmp_path / "runs")
    fill(claim, store, ALL)
    (cell,) = (
        cell
        for cell in next_cells(claim, "smoke", PRINT, {
            k: v for k, v in store.results().items() if v.epochs < 1 or v.status == "censored"
        })
        if cell.arm == "slow" and cell.trial.seed == 1 and cell.purpose == "confirm"
    )  # fmt: skip
    broken = replace(planted(cell, crossed=None, epochs=3.0), status="diverged", loss=math.nan)
    store.finish(broken)
    found = analyse(claim, "smoke", PRINT, store.results()).recipes["period"]

    assert found.diverged == 1
    assert math.isinf(next(c for c in found.outcomes if c.status == "diverged").upper)
    assert cell.done(store.results())


def test_clocks_and_provenance_cover_all_trials_that_count(claim: Claim, tmp_path: Path) -> None:
    """Tuning trials cost time too."""
    store = Store(tmp_path / "runs")
    fill(claim, store, ALL)
    evidence = analyse(claim, "smoke", PRINT, store.results())

    assert len(evidence.trials) == 12
    assert evidence.clocks.train == 12.0
    assert evidence.provenance["device"] == ("cpu",)


def test_results_on_other_images_do_not_count(claim: Claim, tmp_path: Path) -> None:
    """Another fingerprint is another data set."""
    store = Store(tmp_path / "runs")
    fill(claim, store, ALL)
    evidence = analyse(claim, "smoke", "f" * 16, store.results())

    assert evidence.trials == ()
    assert evidence.recipes["period"].missing == 6


def test_nothing_planned_is_nothing_found(claim: Claim) -> None:
    """An empty store is no error."""
    assert analyse(claim, "smoke", None, {}).trials == ()
