"""How likely a word is, before its seeds are run: against what is known in closed form."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats as scipy_stats

from repro.claim import Region, TrainedClaim, is_paired, load
from repro.verdict import settles
from repro.verdict.analysis import analyse, planned_looks
from repro.verdict.effects import Outcome
from repro.verdict.forecast import Chance, Scatter, chances, outlook, seeds_needed, warnings
from tests.commands import repro
from tests.test_differences import PRINT, claim_of
from tests.test_looks import OPEN, SETTLED, at, looking, results
from tests.worlds import claim_file, tiny_claim

SEEDS = 12
SEARCH = "scatter: 0.1\n    search: {authors: {rates: [0.01, 0.03], rungs: [5]}}"


def by_truth(found: tuple[Chance, ...]) -> dict[str, Chance]:
    return {chance.supposed: chance for chance in found}


def beyond(edge: float, *, sd: float, level: float, seeds: int = SEEDS) -> float:
    """How often Student's interval of so many differences ends before an edge so far away."""
    shift = edge * math.sqrt(seeds) / sd
    critical = scipy_stats.t.ppf((1 + level) / 2, seeds - 1)
    return float(scipy_stats.nct.sf(critical, seeds - 1, shift))


@pytest.mark.parametrize("sd", [1.2, 2.5])
def test_one_look_has_the_chance_of_the_noncentral_t(tmp_path: Path, sd: float) -> None:
    """Reproduced: the lower end beyond the region's. Not: the upper end short of it."""
    claim = at(claim_of(tmp_path), SEEDS).model_copy(update={"region": Region(low=1.0)})
    (look,) = planned_looks(claim, "paper")
    found = by_truth(chances(claim, "paper", Scatter(sd=sd)))

    assert found.keys() == {"paper", "none"}
    assert found["paper"].word == "reproduced"
    assert found["paper"].value == pytest.approx(beyond(1, sd=sd, level=look.level), abs=0.05)
    assert found["none"].word == "not reproduced"
    assert found["none"].value == pytest.approx(beyond(1, sd=sd, level=look.level), abs=0.05)


@pytest.mark.parametrize("sd", [0.5, 1.2, 2.5])
def test_a_new_plan_has_the_seeds_of_the_noncentral_t(tmp_path: Path, sd: float) -> None:
    """The fewest that have a power of 80 %, but for what a thousand simulated runs cannot tell."""
    claim = at(claim_of(tmp_path), SEEDS).model_copy(update={"region": Region(low=1.0)})
    (look,) = planned_looks(claim, "paper")
    chance = by_truth(chances(claim, "paper", Scatter(sd=sd)))["paper"]
    needed = seeds_needed(claim, "paper", Scatter(sd=sd), chance)
    assert needed is not None

    assert beyond(1, sd=sd, level=look.level, seeds=needed) > 0.76
    assert beyond(1, sd=sd, level=look.level, seeds=needed - 1) < 0.84


def test_no_number_of_seeds_shows_what_lies_on_the_edge(tmp_path: Path) -> None:
    """A truth at the end of the region is found inside as seldom with a hundred seeds."""
    claim = at(claim_of(tmp_path), SEEDS).model_copy(update={"region": Region(low=2.0)})
    chance = by_truth(chances(claim, "paper", Scatter(sd=1.0)))["paper"]
    found = replace(chance, needed=seeds_needed(claim, "paper", Scatter(sd=1.0), chance))

    assert found.needed is None
    assert found.power == "no new plan of up to 100 seeds an arm makes this 80 % likely"


def test_arms_that_are_not_paired_scatter_each(tmp_path: Path) -> None:
    """A ratio of times: log 3 from none to the region, each arm with the scatter."""
    claim = tiny_claim(tmp_path, seeds=SEEDS)
    assert isinstance(claim, TrainedClaim)
    (look,) = planned_looks(claim, "smoke")
    none = by_truth(chances(claim, "smoke", Scatter(sd=1.0)))["none"]
    shift = math.log(3) / math.sqrt(2 / SEEDS)
    critical = scipy_stats.t.ppf((1 + look.level) / 2, 2 * SEEDS - 2)
    expected = float(scipy_stats.nct.sf(critical, 2 * SEEDS - 2, shift))

    assert not is_paired(claim)
    assert none.value == pytest.approx(expected, abs=0.06)


def test_a_scatter_from_few_seeds_makes_the_chance_uncertain(tmp_path: Path) -> None:
    """Fewer seeds, a wider range; none for what the file expects."""
    claim = at(claim_of(tmp_path), SEEDS)

    def width(df: int | None) -> float:
        chance = by_truth(chances(claim, "paper", Scatter(sd=1.2, df=df)))["none"]
        assert chance.low <= chance.value <= chance.high
        return chance.high - chance.low

    assert width(2) > width(11) > width(None) == 0
    low, high = Scatter(sd=1.0, df=4).limits()
    sds = np.random.default_rng(0).normal(0, 1, (20_000, 5)).std(1, ddof=1)
    covered = (low * sds < 1) & (high * sds > 1)
    assert covered.mean() == pytest.approx(0.8, abs=0.01)


def test_seeds_that_are_there_stay_what_they_are(tmp_path: Path) -> None:
    """Whatever the truth is supposed to be: three seeds about 2 points draw the mean there."""
    claim = looking(tmp_path)
    evidence = analyse(claim, "paper", PRINT, results(claim, OPEN), settles=settles)
    found = evidence.recipes["authors"]
    scatter = Scatter(sd=0.5)
    fresh = by_truth(chances(claim, "paper", scatter))["none"].value
    later = by_truth(chances(claim, "paper", scatter, evidence=found))["none"].value

    assert later < fresh


def test_what_is_settled_has_no_outlook(tmp_path: Path) -> None:
    """And where no scatter is known, none is made up."""
    claim = looking(tmp_path)

    def sentences(known: dict[str, object]) -> tuple[str, ...]:
        evidence = analyse(claim, "paper", PRINT, known, settles=settles)  # type: ignore[arg-type]
        return outlook(claim, "paper", evidence.recipes["authors"]).sentences

    paper, none, scatter = sentences({**results(claim, OPEN)})
    assert paper.startswith("reproduced by 12 seeds an arm if the truth is the paper's 2: ")
    assert none.startswith("not reproduced by 12 seeds an arm if there is no effect: ")
    assert scatter.startswith("scatter over seeds 2.5, as 3 seeds an arm have it")
    assert sentences({**results(claim, SETTLED)}) == sentences({}) == ()


def test_a_scatter_below_that_of_the_images_is_not_forecast_with(tmp_path: Path) -> None:
    """The verdict does not believe it either."""
    claim = looking(tmp_path)
    evidence = analyse(claim, "paper", PRINT, {**results(claim, OPEN)}, settles=settles)
    found = evidence.recipes["authors"]
    deciding = replace(found.deciding, image_sd=4.0)
    floored = replace(found, contrasts=(deciding, *found.contrasts[1:]))

    assert outlook(claim, "paper", found).sentences[-1].startswith("scatter over seeds 2.5, ")
    assert outlook(claim, "paper", floored).sentences[-1].startswith("scatter over seeds 4, ")


def test_a_look_of_one_seed_is_no_look(tmp_path: Path) -> None:
    """It has no scatter, and no verdict comes of it."""
    claim = claim_of(tmp_path)
    alone, whole = (
        chances(at(claim, *looks), "paper", Scatter(sd=1.2)) for looks in ((1, SEEDS), (SEEDS,))
    )

    assert chances(at(claim, 1), "paper", Scatter(sd=1.2)) == ()
    assert alone[0].value == pytest.approx(whole[0].value, abs=0.06)


def test_times_to_come_have_brackets_as_wide_as_those_so_far(tmp_path: Path) -> None:
    """Wide ones make every word less likely; before any is known, the reader is told."""
    claim = tiny_claim(tmp_path, seeds=SEEDS)
    assert isinstance(claim, TrainedClaim)
    scale = claim.scales["smoke"].model_copy(update={"seeds": (3, SEEDS), "scatter": 0.3})
    claim = claim.model_copy(update={"scales": {"smoke": scale}})
    found = analyse(claim, "smoke", PRINT, {}).recipes["period"]

    def likely(width: float) -> tuple[float, int | None]:
        outcomes = tuple(
            Outcome(
                arm=arm, seed=seed, trial_id=f"{arm}{seed}", status="crossed", epochs=upper,
                metrics={}, lower=upper * (1 - width), upper=upper,
            )
            for arm, middle in (("slow", 48), ("fast", 8))
            for seed, upper in enumerate(middle * np.array([0.9, 1.0, 1.1]))
        )  # fmt: skip
        known = replace(found, outcomes=outcomes, seeds=3)
        scatter = Scatter(sd=0.3)
        paper = by_truth(chances(claim, "smoke", scatter, evidence=known))["paper"]
        return paper.value, seeds_needed(claim, "smoke", scatter, paper, known)

    (wide, from_wide), (narrow, from_narrow) = likely(0.3), likely(0.01)
    assert wide < narrow
    assert from_narrow is not None
    assert from_wide is None or from_wide > from_narrow
    assert likely(0.9)[1] is None
    assert outlook(claim, "smoke", found).sentences[-1].startswith("crossing times are taken as ex")


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        (("low: 1.0", "low: 2.0"), "the paper's 2 does not lie inside it but on an edge"),
        (("high: 3.0", "high: 2.0"), "the paper's 2 does not lie inside it but on an edge"),
        (("seeds: 4\n", "seeds: 4\n    scatter: 3\n"), "`not reproduced` comes out in "),
        (("seeds: 4\n", "seeds: 4\n    scatter: 0.1\n"), None),
        (("low: 1.0", "low: 1.1"), None),
        (("rate: {authors: 0.01}", SEARCH), "scales.paper.search: how far near-best learning"),
        (("rate: {authors: 0.01}", SEARCH.replace("[5]", "[5], refine: null")), None),
    ],
)  # fmt: skip
def test_a_word_that_can_hardly_come_out_is_warned_of(
    tmp_path: Path, change: tuple[str, str], warning: str | None
) -> None:
    """The claim is valid all the same."""
    path = claim_of(tmp_path).path
    path.write_text(path.read_text().replace(*change))
    claim = load(path)
    assert isinstance(claim, TrainedClaim)
    done = repro("validate", path)

    assert done.exit_code == 0
    assert bool(list(warnings(claim))) == (warning is not None)
    assert (warning or "") in done.stderr


@pytest.mark.parametrize(
    ("key", "warning"),
    [
        ("schedule: {name: cosine, eta_min: 0.01}", "`eta_min`, 0.01, is not below the rate 0.01"),
        ("schedule: {name: multi_step, milestones: [1, 60, 90]}", "60, 90 of `milestones` has no"),
        ("schedule: {name: step, step_size: 10}", "10 of `step_size` has no effect in 10 epochs"),
        ("drops: [9, 10]", "10 of `drops` has no effect in 10 epochs"),
        ("schedule: {name: multi_step, milestones: [1, 9]}", ""),
    ],
)
def test_a_schedule_that_comes_to_nothing_is_warned_of(
    tmp_path: Path, key: str, warning: str
) -> None:
    """The claim is valid all the same."""
    path = claim_of(tmp_path, crop=f", crop: 24, {key}").path
    done = repro("validate", path)

    assert done.exit_code == 0
    assert bool(warning) == (f"{path}: warning: scales.paper: {warning}" in done.stderr)


def test_a_plan_says_how_likely_the_words_are(tmp_path: Path) -> None:
    """By the scatter that the file expects, before anything is run."""
    path = claim_file(tmp_path)
    path.write_text(path.read_text().replace("seeds: 2\n", "seeds: 3\n    scatter: 0.1\n"))
    done = repro("plan", path, "--store", tmp_path / "runs", "--workers", "1")

    assert "reproduced by 3 seeds an arm if the truth is the paper's 6: " in done.stdout
    assert "not reproduced by 3 seeds an arm if there is no effect: " in done.stdout
    assert "scatter over seeds 0.1, as the claim file expects" in done.stdout
