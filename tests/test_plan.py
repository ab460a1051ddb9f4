"""The plan as a pure function of claim and results."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from repro.claim import Claim, Search, TrainedClaim, load
from repro.planning import Cell, cells_of, merge_cells, most_epochs_left, next_cells, rate_search
from repro.trial import Result
from tests.worlds import claim_file, planted, tiny_claim

CLAIMS = Path(__file__).parents[1] / "claims"
PRINT = "0123456789abcdef"


@pytest.fixture
def claim(tmp_path: Path) -> Claim:
    return tiny_claim(tmp_path, epochs=8, seeds=3)


def following(claim: Claim, results: dict[str, Result]) -> list[Cell]:
    return next_cells(claim, "smoke", PRINT, results)


def search(claim: Claim, results: dict[str, Result], arm: str = "fast"):  # type: ignore[no-untyped-def]  # noqa: ANN201
    return rate_search(claim, "smoke", "period", arm, PRINT, results)


def tune(claim: Claim, crossed: dict[float, float | None]) -> dict[str, Result]:
    """Run the search of both arms to its end with planted crossings by rate."""
    results: dict[str, Result] = {}
    while cells := [c for c in following(claim, results) if c.purpose == "tune"]:
        for cell in cells:
            at = crossed.get(cell.trial.rate)
            error = 0.3 + abs(math.log10(cell.trial.rate) + 2)
            results[cell.trial.id] = planted(cell, crossed=at, error=error)
    return results


def test_both_arms_get_the_same_grid_and_the_same_budget(claim: Claim) -> None:
    """Tuned alike: rates, epochs and seeds do not depend on the arm."""
    cells = following(claim, {})
    by_arm = {
        arm: [(c.trial.rate, c.trial.seed, c.until) for c in cells if c.arm == arm]
        for arm in ("fast", "slow")
    }

    assert by_arm["fast"] == by_arm["slow"]
    assert {c.purpose for c in cells} == {"tune"}


def test_the_effect_is_measured_on_seeds_that_tuned_nothing(claim: Claim) -> None:
    """Choosing and measuring on one seed flatters the choice by 0.37 points."""
    tuned = {c.trial.seed for c in following(claim, {})}
    confirming = cells_of(claim, "smoke", "period", "fast", PRINT).confirming(0.01)

    assert tuned.isdisjoint({c.trial.seed for c in confirming})
    assert [c.trial.seed for c in confirming] == [0, 1, 2]


def test_the_fastest_rate_is_confirmed(claim: Claim) -> None:
    """An interior rate that crosses first is chosen; the others need no more training."""
    results = tune(claim, {0.01: 0.5, 0.003: 0.9})
    found = search(claim, results)

    assert found.chosen == 0.01
    assert not found.at_edge
    assert {c.trial.rate for c in following(claim, results)} == {0.01}


def test_without_a_crossing_the_lowest_error_is_chosen(claim: Claim) -> None:
    """The planted error is lowest at 0.01."""
    assert search(claim, tune(claim, {})).chosen == 0.01


def test_a_best_rate_at_the_edge_extends_the_grid_once(claim: Claim) -> None:
    """0.03 is best: 0.1 (by the grid's own step, rounded) is tried too."""
    results = tune(claim, {0.03: 0.5})
    found = search(claim, results)

    assert [outcome.rate for outcome in found.outcomes] == [0.003, 0.01, 0.03, 0.09]
    assert found.chosen == 0.03
    assert not found.at_edge


def test_a_best_rate_at_the_new_edge_stays_there(claim: Claim) -> None:
    """One extension, no more: the verdict will say so."""
    found = search(claim, tune(claim, {0.03: 0.5, 0.09: 0.4}))

    assert len(found.outcomes) == 4
    assert found.at_edge
    assert found.chosen == 0.09


def test_a_diverged_rate_is_ranked_last_and_never_run_again(claim: Claim) -> None:
    """Divergence is data."""
    cells = following(claim, {})
    results = {}
    for cell in cells:
        result = planted(cell, crossed=None, error=0.1 if cell.trial.rate == 0.03 else 0.4)
        if cell.trial.rate == 0.03:
            result = replace(result, status="diverged", epochs=0.5, epoch_errors=())
        results[cell.trial.id] = result
    wanted = [c for c in following(claim, results) if c.trial.rate == 0.03]

    assert wanted == []
    assert search(claim, results).chosen != 0.03


@pytest.mark.parametrize("lost", [0.003, 0.01, 0.03])
def test_a_rate_whose_error_is_no_number_is_ranked_last(claim: Claim, lost: float) -> None:
    """Wherever it stands in the grid: the best of the others is chosen, or its grid extended."""
    results = {
        name: replace(result, train_error=math.nan, epoch_errors=(math.nan,))
        if trial_rate == lost
        else result
        for name, (trial_rate, result) in rated(claim).items()
    }
    found = search(claim, results)

    assert found.chosen == (0.01 if lost != 0.01 else None)
    assert len(found.outcomes) == (4 if lost == 0.01 else 3)


def rated(claim: Claim) -> dict[str, tuple[float, Result]]:
    """The first trials of the search, which all end without crossing: 0.01 has the least error."""
    return {
        cell.trial.id: (
            cell.trial.rate,
            planted(cell, crossed=None, error=0.3 + abs(math.log10(cell.trial.rate) + 2), epochs=1),
        )
        for cell in following(claim, {})
    }


def test_a_later_result_does_not_change_an_earlier_rung(tmp_path: Path) -> None:
    """Rates are judged at the same age: what a survivor does later cannot reopen a rung."""
    path = claim_file(tmp_path, epochs=8)
    path.write_text(path.read_text().replace("rungs: [1]", "rungs: [2, 4]"))
    claim = load(path)
    first = [c for c in following(claim, {}) if c.arm == "fast"]
    results = {
        c.trial.id: planted(c, crossed=None, error={0.003: 0.5, 0.01: 0.4, 0.03: 0.6}[c.trial.rate])
        for c in first
    }
    second = search(claim, results).pending
    assert {c.trial.rate for c in second} == {0.01, 0.003}
    (one, two) = sorted(second, key=lambda c: c.trial.rate)
    results[two.trial.id] = replace(
        planted(two, crossed=3.9), epoch_errors=(*results[two.trial.id].epoch_errors, 0.3)
    )

    assert [c.trial.rate for c in search(claim, results).pending] == [one.trial.rate]
    results[one.trial.id] = replace(
        planted(one, crossed=3.95), epoch_errors=(*results[one.trial.id].epoch_errors, 0.3)
    )
    assert search(claim, results).chosen == 0.01


def test_an_arm_whose_search_is_done_does_not_wait_for_the_other(claim: Claim) -> None:
    """No barrier between arms."""
    results = {}
    for cell in following(claim, {}):
        if cell.arm == "fast":
            at = 0.5 if cell.trial.rate == 0.01 else None
            results[cell.trial.id] = planted(cell, crossed=at)
    purposes = {(c.arm, c.purpose) for c in following(claim, results)}

    assert purposes == {("slow", "tune"), ("fast", "confirm")}


def test_fewer_seeds_can_be_asked_for(claim: Claim) -> None:
    """The first ones are taken."""
    results = tune(claim, {0.01: 0.5})
    cells = next_cells(claim, "smoke", PRINT, results, seeds={"period": 1})

    assert {c.trial.seed for c in cells} == {0}


def test_a_finished_plan_is_empty(claim: Claim) -> None:
    """Nothing is run twice."""
    results = tune(claim, {0.01: 0.5})
    for cell in following(claim, results):
        results[cell.trial.id] = planted(cell, crossed=0.6)

    assert following(claim, results) == []


def test_a_plan_that_is_asked_again_names_no_trial_again(claim: Claim) -> None:
    """A driver asks after each of thousands of trials, and an identity is a hash of much."""
    first, again = following(claim, {}), following(claim, {})

    assert all(one.trial is other.trial for one, other in zip(first, again, strict=True))


def test_arms_share_seeds(claim: Claim) -> None:
    """Paired: the order of images is a function of the seed, and both arms have the same."""
    cells = following(claim, tune(claim, {0.01: 0.5}))
    seeds = {arm: [c.trial.seed for c in cells if c.arm == arm] for arm in ("fast", "slow")}

    assert seeds["fast"] == seeds["slow"] == [0, 1, 2]


def test_of_several_claims_what_decides_comes_first() -> None:
    """So that a run that is out of time has decided what it could; equal nets train once."""
    claims = [load(CLAIMS / f"{name}.yaml") for name in ("lrn", "depth")]
    cells = merge_cells(cell for claim in claims for cell in next_cells(claim, "proxy", PRINT, {}))

    arms = [cell.arm for cell in cells]
    assert arms[:15] == [*("without", "with") * 5, *("without_conv4",) * 5]  # whole is lrn's with
    assert arms[15:] == [*("scale",) * 5, *("without_conv3",) * 5]
    assert len({cell.trial.id for cell in cells}) == len(cells)


def test_every_recipe_has_its_verdict_before_any_is_explained() -> None:
    """Out of time, a grid has compared the two arms of the claim in as many cells as it could."""
    grid = load(CLAIMS / "relu_speedup_grid.yaml")
    cells = next_cells(grid, "smoke", PRINT, {})
    recipes = list(grid.recipes)

    assert [(cell.recipe, cell.arm) for cell in cells] == [
        (recipe, arm)
        for arms in (("relu", "tanh"), ("scaled_tanh", "sigmoid"))
        for recipe in recipes
        for arm in arms
    ]


def refined(claim: Claim, **changes: object) -> TrainedClaim:
    """With what a search has where its file says no more than the grid and the rungs."""
    assert isinstance(claim, TrainedClaim)
    at = claim.scales["smoke"]
    usual = Search(rates=at.search["period"].rates, rungs=(1,))
    scale = at.model_copy(update={"search": {"period": usual.model_copy(update=changes)}})
    return claim.model_copy(update={"scales": {"smoke": scale}})


def steady(cell: Cell, crossed: float | None) -> Result:
    """An error that stays what it is, least at a rate of 0.01."""
    error = 0.3 + abs(math.log10(cell.trial.rate) + 2)
    return replace(
        planted(cell, crossed=crossed, error=error), epoch_errors=(error,) * int(cell.until)
    )


def test_a_search_has_three_seeds_and_refines_by_default(claim: Claim) -> None:
    """All seeds of every rate; then steps of at most 1.8 about the best, trained to the end."""
    usual = refined(claim)
    cells = [cell for cell in following(usual, {}) if cell.arm == "fast"]
    results = {cell.trial.id: steady(cell, None) for cell in cells}
    finer = [cell for cell in following(usual, results) if cell.arm == "fast"]

    assert len(cells) == 3 * 3
    assert {cell.trial.rate for cell in finer} == {0.0045, 0.0067, 0.01, 0.017}
    assert len({cell.trial.seed for cell in finer}) == 3
    assert {cell.until for cell in finer} == {8}


def test_all_arms_are_refined_by_their_crossing(claim: Claim) -> None:
    """The lower error at an early rung does not choose: 0.017 crosses before 0.01."""
    usual = refined(claim)
    times = {"fast": {0.01: 0.9, 0.017: 0.5}, "slow": {0.01: 7.0, 0.017: 5.0}}
    results: dict[str, Result] = {}
    while cells := [c for c in following(usual, results) if c.purpose == "tune"]:
        for cell in cells:
            crossed = times[cell.arm].get(cell.trial.rate)
            late = crossed is None or crossed > cell.until
            results[cell.trial.id] = steady(cell, None if late else crossed)

    assert [search(usual, results, arm).chosen for arm in ("fast", "slow")] == [0.017, 0.017]


def test_a_plan_costs_at_most_what_it_says(claim: Claim) -> None:
    """With the trials of a refined search, and those of both arms' seeds."""
    usual = refined(claim)
    said = most_epochs_left(usual, "smoke", PRINT, {})
    results: dict[str, Result] = {}
    trained: dict[str, float] = {}
    while cells := following(usual, results):
        for cell in cells:
            trained[cell.trial.id] = cell.until
            results[cell.trial.id] = steady(cell, None)

    assert sum(trained.values()) <= said <= 1.5 * sum(trained.values())
