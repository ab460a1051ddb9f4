"""Differences and levels: from planted metrics in a real store to estimate and verdict."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from scipy import stats as scipy_stats

from repro.claim import TrainedClaim, load
from repro.errors import ClaimError, StatisticsError
from repro.planning import Cell, next_cells
from repro.registry import METRICS
from repro.stats import correlation, mean_level, paired_difference
from repro.store import Store
from repro.trial import Clocks, Result, Row
from repro.verdict import Verdict, decide
from repro.verdict.analysis import Evidence, analyse, nets_tested_twice, sampled_images

PRINT = "0123456789abcdef"

CLAIM = """\
id: effect
title: One arm errs less
kind: {kind}
paper: {{section: sec. 0, states: It does., value: 2.0, unit: points}}
question: Which arm errs less?
confounds: None.
metric: test_error
arms:
{arms}
region: {{low: 1.0, high: 3.0}}
recipes:
  authors: {{inputs: centred, initialisation: cuda_convnet{crop}}}
verdict_recipe: authors
scales:
  paper:
    data: cifar10
    model: {{name: alexnet_2012}}
    epochs: 10
    seeds: 4
    rate: {{authors: 0.01}}
deviations: []
"""
TWO = """\
  with: {}
  without: {model: {drop_rate: 0.0}}
  third: {model: {drop_rate: 0.3}}
contrast: {higher: without, lower: with}
also:
  gap: {higher: without, lower: with, metric: gap}
  third: {higher: third, lower: with}"""

FINISHED = Result(
    trial_id="",
    status="finished",
    epochs=0.0,
    crossing_full=None,
    crossing_online=None,
    train_error=0.1,
    epoch_errors=(),
    loss=1.0,
    seconds=Clocks(train=1.0),
)

Errors = Callable[[Cell], float]


def claim_of(
    folder: Path, *, kind: str = "difference", arms: str = TWO, crop: str = ", crop: 24"
) -> TrainedClaim:
    path = folder / "effect.yaml"
    path.write_text(CLAIM.format(kind=kind, arms=arms, crop=crop))
    return claim_at(path)


def claim_at(path: Path) -> TrainedClaim:
    claim = load(path)
    assert isinstance(claim, TrainedClaim)
    return claim


def judged(
    folder: Path, claim: TrainedClaim, errors: Errors, *, seeds: int = 4, loss: float = 2.3
) -> tuple[Evidence, Verdict]:
    """Every trial of the plan with its planted test error, NaN for one that diverged."""
    store = Store(folder / "runs")
    for cell in next_cells(claim, "paper", PRINT, {}):
        if cell.trial.seed >= seeds:
            continue
        error = errors(cell)
        store.begin(cell.trial)
        store.save(cell.trial.id, checkpoint=b"", curve=[])
        store.finish(
            replace(
                FINISHED,
                trial_id=cell.trial.id,
                status="diverged" if math.isnan(error) else "finished",
                epochs=cell.until,
                metrics={"test_error": error, "gap": error / 2, "initial_loss": loss},
            )
        )
    evidence = analyse(claim, "paper", PRINT, store.results())
    return evidence, decide(claim, evidence, "authors")


WITH = (0.40, 0.42, 0.39, 0.41)


def planted(effect: float, noise: float = 0.001) -> Errors:
    """`with` as above; `without` worse by an effect that differs a little from seed to seed."""

    def error(cell: Cell) -> float:
        more = effect + noise * (-1) ** cell.trial.seed if cell.arm == "without" else 0.0
        return WITH[cell.trial.seed] + more

    return error


@pytest.mark.parametrize(
    ("effect", "word", "reason"),
    [
        (0.02, "reproduced", "the CI lies in the claim's range 1 to 3"),
        (0.005, "direction only", "below the claim's range"),
        (0.06, "direction only", "above the claim's range"),
        (0.0, "not reproduced", "no effect, 0, and lies wholly below the claim's range"),
        (-0.02, "not reproduced", "no part of the CI lies above no effect"),
        (0.0101, "inconclusive", "crosses the edge 1"),
    ],
)
def test_a_planted_effect_gets_its_verdict(
    tmp_path: Path, effect: float, word: str, reason: str
) -> None:
    """In points, paired by seed: the spread between seeds is taken out."""
    _, verdict = judged(tmp_path, claim_of(tmp_path), planted(effect))

    assert verdict.word == word
    assert reason in verdict.reason
    assert verdict.estimate is not None
    assert verdict.estimate.value == pytest.approx(100 * effect, abs=1e-9)
    assert verdict.estimate.high - verdict.estimate.low < 0.5


@pytest.mark.parametrize(
    ("effect", "left_out"), [(0.015, True), (0.0201, False), (0.03, True), (-0.01, True)]
)
def test_an_interval_that_leaves_out_the_printed_number_says_so(
    tmp_path: Path, effect: float, *, left_out: bool
) -> None:
    """The paper has 2 points; the interval may lie in the region all the same."""
    _, verdict = judged(tmp_path, claim_of(tmp_path), planted(effect))
    said = "the 95 % CI leaves out the paper's 2"

    assert (said in verdict.reason) == left_out


def test_an_interval_that_may_not_be_judged_is_not_quoted(tmp_path: Path) -> None:
    """An invalid measurement has no interval that a word is by, or that leaves out a number."""
    _, sound = judged(tmp_path / "sound", claim_of(tmp_path), planted(0.015))
    _, odd = judged(tmp_path / "odd", claim_of(tmp_path), planted(0.015), loss=40.0)

    for said in ("the word is by the 90 % CI", "leaves out the paper's 2"):
        assert said in sound.reason
        assert said not in odd.reason


def test_a_paper_that_says_more_than_a_number_is_not_left_out_from_above(tmp_path: Path) -> None:
    """An interval above it is what the paper says."""
    claim = claim_of(tmp_path)
    claim.path.write_text(
        claim.path.read_text().replace("value: 2.0,", "value: 2.0, more_than: true,")
    )
    claim = claim_at(claim.path)
    _, above = judged(tmp_path / "above", claim, planted(0.025))
    _, below = judged(tmp_path / "below", claim, planted(0.015))

    assert "leaves out" not in above.reason
    assert "the 95 % CI leaves out the paper's more than 2" in below.reason


GAP = """\
  with: {}
  without: {model: {drop_rate: 0.0}}
contrast: {higher: without, lower: with}
also:
  tested: {higher: without, lower: with, metric: test_error}"""


@pytest.mark.parametrize(
    ("more", "noise", "word", "reason"),
    [
        (0.02, 0.001, "reproduced", "the test error is higher, too: 2.00 (90 % CI"),
        (-0.02, 0.001, "gap only", "but the test error of without is not higher than that of with"),
        (0.0, 0.01, "gap only", "but the test error of without is not shown to be higher"),
    ],
)
def test_a_wider_gap_alone_is_gap_only(
    tmp_path: Path, more: float, noise: float, word: str, reason: str
) -> None:
    """Overfitting has to show in the test error: the training error may have fallen further."""
    claim = claim_of(tmp_path, arms=GAP)
    claim.path.write_text(
        claim.path.read_text().replace("metric: test_error\narms", "metric: gap\narms")
    )
    claim = claim_at(claim.path)

    def wider(cell: Cell) -> Result:
        without, sign = cell.arm == "without", (-1) ** cell.trial.seed
        metrics = {
            "gap": 0.02 + without * (0.02 + 0.001 * sign),
            "test_error": WITH[cell.trial.seed] + without * (more + noise * sign),
        }
        return replace(FINISHED, trial_id=cell.trial.id, epochs=cell.until, metrics=metrics)

    results = {c.trial.id: wider(c) for c in next_cells(claim, "paper", PRINT, {})}
    verdict = decide(claim, analyse(claim, "paper", PRINT, results), "authors")

    assert verdict.word == word
    assert reason in verdict.reason
    assert verdict.exit_code == (0 if word == "reproduced" else 3)
    assert verdict.effect is not None
    assert (verdict.effect.p < 0.05) == (word == "reproduced")  # of overfitting, not of the gap


def test_the_rise_of_the_test_loss_is_read_off_the_curve(tmp_path: Path) -> None:
    """Its last value less its least; a wider gap with a higher rise is overfitting."""
    claim = claim_of(tmp_path, arms=GAP.replace("metric: test_error", "metric: test_loss_rise"))
    claim.path.write_text(
        claim.path.read_text().replace("metric: test_error\narms", "metric: gap\narms")
    )
    claim = claim_at(claim.path)

    class Curves:
        """Of arms whose test loss rises by half a nat, or by none."""

        def rows(self, trial_id: str) -> list[Row]:
            cell = cells[trial_id]
            last = 1.0 + (cell.arm == "without") * (0.5 + 0.01 * (-1) ** cell.trial.seed)
            return [
                Row(e, "test", 0.4, loss, 100, 0.0) for e, loss in ((1, 2.0), (2, 1), (3, last))
            ]

        def arrays(self, _: str) -> dict[str, npt.NDArray[np.generic]]:
            return {}

    def wider(cell: Cell) -> Result:
        gap = 0.02 + (cell.arm == "without") * (0.02 + 0.001 * (-1) ** cell.trial.seed)
        metrics = {"gap": gap, "test_error": 0.4}
        return replace(FINISHED, trial_id=cell.trial.id, epochs=cell.until, metrics=metrics)

    cells = {cell.trial.id: cell for cell in next_cells(claim, "paper", PRINT, {})}
    results = {name: wider(cell) for name, cell in cells.items()}
    evidence = analyse(claim, "paper", PRINT, results, records=Curves())
    verdict = decide(claim, evidence, "authors")

    assert verdict.word == "reproduced"
    assert "the rise of the test loss is higher, too: 0.500 (90 % CI" in verdict.reason
    assert (
        " nats (of the loss alone: it ends higher above its least as well where" in verdict.reason
    )


def test_a_gap_without_a_further_contrast_of_test_errors_is_gap_only(tmp_path: Path) -> None:
    """A claim file that does not look at them cannot say more."""
    claim = claim_of(tmp_path, arms=GAP.partition("\nalso")[0])
    claim.path.write_text(claim.path.read_text().replace("metric: test_error", "metric: gap"))
    _, verdict = judged(tmp_path, claim_at(claim.path), planted(0.04))

    assert verdict.word == "gap only"
    assert "no further contrast is of the test errors of without and with" in verdict.reason


@pytest.mark.parametrize(("effect", "unused"), [(0.02, False), (0.0, True)])
def test_seeds_that_came_out_equal_decide_nothing(
    tmp_path: Path, effect: float, unused: bool
) -> None:
    """Four seeds that all gained two points of a hundred: no scatter seen is no certainty.

    Where nothing changed in any, the arms may well be one and the same.
    """
    evidence, verdict = judged(tmp_path, claim_of(tmp_path), planted(effect, noise=0.0))
    said = " ".join(evidence.recipes["authors"].caveats)

    assert verdict.word == "inconclusive"
    assert verdict.reason.startswith("the seeds show no scatter, so there is no CI; ")
    assert "all differences of the arms came out equal (do the arms use their seeds" in said
    assert ("is the factor under test in use?" in said) == unused


def test_further_contrasts_are_measured_and_do_not_decide(tmp_path: Path) -> None:
    """Each with its own metric; the deciding one first."""
    evidence, verdict = judged(tmp_path, claim_of(tmp_path), planted(0.02))
    deciding, gap, third = evidence.recipes["authors"].contrasts

    assert (deciding.name, gap.name, third.name) == ("contrast", "gap", "third")
    assert gap.estimate is not None
    assert gap.estimate.value == pytest.approx(1.0)
    assert third.estimate is not None
    assert third.estimate.value == pytest.approx(0.0)
    assert deciding.unit == "points"
    assert deciding.correlation > 0.9
    assert verdict.word == "reproduced"


def test_a_diverged_trial_leaves_no_mean(tmp_path: Path) -> None:
    """The other seeds' mean would flatter the arm that lost one."""
    errors = planted(0.02)
    _, verdict = judged(
        tmp_path,
        claim_of(tmp_path),
        lambda cell: math.nan if (cell.arm, cell.trial.seed) == ("without", 3) else errors(cell),
    )

    assert verdict.word == "inconclusive"
    assert "1 trial diverged" in verdict.reason
    assert "1 of 4 without trials diverged" in verdict.reason


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("arm", ["with", "without"])
def test_a_metric_that_is_no_number_leaves_no_mean(tmp_path: Path, metric: str, arm: str) -> None:
    """Each metric, at one seed of either arm: it is neither left out nor taken for a number."""
    path = tmp_path / "effect.yaml"
    text = CLAIM.format(kind="difference", arms=TWO, crop=", crop: 24").replace(
        "metric: test_error", f"metric: {metric}", 1
    )
    path.write_text(text.replace("  gap: {higher: without, lower: with, metric: gap}\n", ""))
    claim = load(path)
    assert isinstance(claim, TrainedClaim)
    results = {}
    for cell in next_cells(claim, "paper", PRINT, {}):
        lost = (cell.arm, cell.trial.seed) == (arm, 2)
        value = math.nan if lost else 0.4 + 0.01 * (cell.arm == "without")
        results[cell.trial.id] = replace(
            FINISHED,
            trial_id=cell.trial.id,
            epochs=cell.until,
            metrics={"initial_loss": 2.3, metric: value},
        )
    evidence = analyse(claim, "paper", PRINT, results)
    verdict = decide(claim, evidence, "authors")

    assert len(evidence.recipes["authors"].outcomes) == 12
    assert verdict.estimate is None
    assert verdict.word == "inconclusive"
    assert "a metric of a finished trial is missing or not a number" in verdict.reason


def test_an_arm_that_guesses_makes_it_invalid(tmp_path: Path) -> None:
    """CIFAR-10 has ten classes: 90 % is guessing."""
    _, verdict = judged(
        tmp_path, claim_of(tmp_path), lambda cell: 0.9 if cell.arm == "without" else 0.4
    )

    assert verdict.word == "invalid"
    assert "without ended at chance level (median test error 90.0 %; chance 90.0 %)" in (
        verdict.reason
    )
    assert verdict.exit_code == 5


def analysed(
    folder: Path, change: Callable[[Cell, Result], Result], *, checks: str = ""
) -> Verdict:
    """The verdict on the planted claim once some of its results are changed."""
    claim, errors = claim_of(folder), planted(0.02)
    if checks:
        text = claim.path.read_text()
        claim.path.write_text(
            text.replace("    seeds: 4\n", f"    seeds: 4\n    checks: {{{checks}}}\n")
        )
        claim = claim_at(claim.path)
    results = {}
    for cell in next_cells(claim, "paper", PRINT, {}):
        metrics = {"test_error": errors(cell), "gap": errors(cell) / 2, "initial_loss": 2.3}
        result = replace(FINISHED, trial_id=cell.trial.id, epochs=cell.until, metrics=metrics)
        results[cell.trial.id] = change(cell, result)
    return decide(claim, analyse(claim, "paper", PRINT, results), "authors")


def test_an_arm_that_was_trained_for_longer_is_no_comparison(tmp_path: Path) -> None:
    """Another claim may share its trials, and ask for twice the epochs."""
    verdict = analysed(
        tmp_path, lambda cell, r: replace(r, epochs=20.0) if cell.arm == "with" else r
    )

    assert analysed(tmp_path, lambda _, r: r).word == "reproduced"
    assert verdict.word == "invalid"
    assert "4 of 4 with trials were trained to 20 epochs" in verdict.reason
    assert "and not to 10" in verdict.reason


def test_seeds_without_the_metric_are_not_left_out(tmp_path: Path) -> None:
    """A verdict of two seeds would say that it is of four."""

    def lost(cell: Cell, result: Result) -> Result:
        odd = cell.arm == "without" and cell.trial.seed in (1, 3)
        kept = {k: v for k, v in result.metrics.items() if k != "test_error"}
        return replace(result, metrics=kept) if odd else result

    verdict = analysed(tmp_path, lost)

    assert verdict.word == "inconclusive"
    assert "a metric of a finished trial is missing or not a number" in verdict.reason


def test_a_lost_seed_is_named(tmp_path: Path) -> None:
    """Three seeds are there, and the look at three is not."""
    claim = claim_of(tmp_path)
    cells = [c for c in next_cells(claim, "paper", PRINT, {}) if c.trial.seed > 0]
    results = {
        c.trial.id: replace(FINISHED, trial_id=c.trial.id, epochs=c.until, metrics={})
        for c in cells
    }
    verdict = decide(claim, analyse(claim, "paper", PRINT, results), "authors")

    assert (
        "0 seeds an arm without a gap, since seed 0 is missing; the first look is at 4"
        in verdict.reason
    )


def test_an_arm_beside_the_contrast_may_guess(tmp_path: Path) -> None:
    """The verdict is not about it; that it learned nothing is said."""
    errors = planted(0.02)
    evidence, verdict = judged(
        tmp_path, claim_of(tmp_path), lambda cell: 0.9 if cell.arm == "third" else errors(cell)
    )
    found = evidence.recipes["authors"]

    assert verdict.word == "reproduced"
    assert [found.doubts(contrast) for contrast in found.contrasts] == [
        "third" in contrast.arms for contrast in found.contrasts
    ]
    assert any("third" in contrast.arms for contrast in found.contrasts)
    assert "third ended at chance level" in verdict.reason


def test_an_odd_start_makes_it_invalid(tmp_path: Path) -> None:
    """An untrained net knows nothing: its loss is near ln 10."""
    _, verdict = judged(tmp_path, claim_of(tmp_path), planted(0.02), loss=40.0)

    assert verdict.word == "invalid"
    assert "had a median loss of 40.00 nats; expected ln 10 = 2.30, give or take 2.3" in (
        verdict.reason
    )


def test_one_odd_seed_is_no_odd_arm(tmp_path: Path) -> None:
    """More seeds must not make a failure likelier: it is the median that is checked."""

    def odd(cell: Cell, result: Result) -> Result:
        lost = {"test_error": 0.95, "initial_loss": 40.0}
        return replace(result, metrics=result.metrics | lost) if cell.trial.seed == 2 else result

    assert analysed(tmp_path, odd).word != "invalid"


@pytest.mark.parametrize(
    ("checks", "error", "loss", "epochs"),
    [
        ("initial_loss: 50", 0.4, 40.0, 10.0),
        ("initial_loss: null", 0.4, math.inf, 10.0),
        ("above_chance: false", 0.95, 2.3, 10.0),
        ("equal_length: false", 0.4, 2.3, 20.0),
    ],
)
def test_each_check_can_be_set(
    tmp_path: Path, checks: str, error: float, loss: float, epochs: float
) -> None:
    """What is invalid by default is valid where the claim file says so."""

    def off(cell: Cell, result: Result) -> Result:
        metrics = {"test_error": error + 0.001 * cell.trial.seed, "initial_loss": loss}
        return replace(result, epochs=epochs, metrics=result.metrics | metrics)

    assert analysed(tmp_path, off).word == "invalid"
    assert analysed(tmp_path, off, checks=checks).word != "invalid"


def test_nets_that_all_learned_little_are_no_evidence(tmp_path: Path) -> None:
    """All that decide above the floor of the scale; by default its best arm is what counts."""

    def slow(cell: Cell, result: Result) -> Result:
        if cell.arm != "without":
            return result
        errors = {"test_error": 0.7 + 0.001 * cell.trial.seed}
        return replace(result, metrics=result.metrics | errors)

    said = "early learning only (median test error: "
    one = analysed(tmp_path, slow)
    assert f"undertrained: {said}without 70.2 %; floor 65.3 %)" in one.reason
    assert (one.word, one.exit_code) == ("direction only", 3)
    none = analysed(tmp_path, slow, checks="floor: 0.75")
    assert said not in none.reason
    every = analysed(tmp_path, slow, checks="floor: 0.3")
    assert every.reason == f"{said}with 40.5 %, without 70.2 %, third 40.5 %; floor 30.0 %)"
    assert (every.word, every.exit_code, every.effect) == ("undertrained", 4, None)


def test_an_arm_that_only_explains_makes_no_others_undertrained(tmp_path: Path) -> None:
    """However much better it is, as with more images."""

    def better(cell: Cell, result: Result) -> Result:
        learned = -0.35 if cell.arm == "third" else 0.25
        errors = {"test_error": result.metrics["test_error"] + learned}
        return replace(result, metrics=result.metrics | errors)

    verdict = analysed(tmp_path, better)
    assert (verdict.word, "undertrained" in verdict.reason) == ("reproduced", False)


def test_before_the_first_look_nothing_is_called_undertrained(tmp_path: Path) -> None:
    """One seed may have learned little by chance: it is noted."""
    claim, errors = claim_of(tmp_path), planted(0.02)
    text = claim.path.read_text()
    claim.path.write_text(
        text.replace("    seeds: 4\n", "    seeds: 4\n    checks: {floor: 0.3}\n")
    )
    claim = claim_at(claim.path)
    results = {
        cell.trial.id: replace(
            FINISHED,
            trial_id=cell.trial.id,
            epochs=cell.until,
            metrics={"test_error": errors(cell), "gap": errors(cell) / 2, "initial_loss": 2.3},
        )
        for cell in next_cells(claim, "paper", PRINT, {})
        if cell.trial.seed == 0
    }
    verdict = decide(claim, analyse(claim, "paper", PRINT, results), "authors")

    assert verdict.word == "inconclusive"
    assert "undertrained: early learning only" in verdict.reason


@pytest.mark.parametrize(
    ("middle", "word"),
    [(0.02, "reproduced"), (0.05, "not reproduced"), (0.001, "not reproduced"),
     (0.03, "inconclusive")],
)  # fmt: skip
def test_a_level_is_held_against_the_region(tmp_path: Path, middle: float, word: str) -> None:
    """No direction: below is as far off as above."""
    claim = claim_of(tmp_path, kind="level", arms="  net: {}")
    noise = (-0.0002, 0.0001, 0.0002, -0.0001)
    _, verdict = judged(tmp_path, claim, lambda cell: middle + noise[cell.trial.seed])

    assert verdict.word == word
    assert verdict.estimate is not None
    assert verdict.estimate.value == pytest.approx(100 * middle)


def test_arms_that_differ_in_the_metric_share_their_trials(tmp_path: Path) -> None:
    """The same weights looked at twice are trained once."""
    arms = "  one: {}\n  two: {metric: gap}\ncontrast: {higher: one, lower: two}"
    claim = claim_of(tmp_path, arms=arms)
    cells = next_cells(claim, "paper", PRINT, {})
    evidence, _ = judged(tmp_path, claim, planted(0.0))

    assert len(cells) == 4
    assert evidence.recipes["authors"].missing == 0
    assert evidence.recipes["authors"].estimate is not None
    assert evidence.recipes["authors"].estimate.value == pytest.approx(100 * np.mean(WITH) / 2)


RULES = [
    (TWO.replace("lower: with}", "lower: without}"), "higher and lower are the same arm"),
    (
        TWO.replace("third: {higher", "also3: {higer"),
        "higer: unknown key (did you mean 'higher'? known: higher, lower, metric, region, weights)",
    ),
    (
        TWO.replace("metric: gap", "metric: gup"),
        "metric 'gup' is unknown (did you mean 'gap'? known: ",
    ),
    (TWO.replace("  third: {higher: third, lower: with}", ""), "arms.third: no contrast uses this"),
    (TWO.replace("{model: {drop_rate: 0.0}}", "{}"), "the arms do not differ"),
    (
        TWO.replace("{drop_rate: 0.0}}", "{drop_rate: 0.0}, metric: gap}"),
        "differ in more than the one factor under test: metric, model.drop_rate",
    ),
    (TWO.replace("drop_rate: 0.0", "img_size: 64"), "the size of the inputs follows from the im"),
    (
        TWO.replace("{model: {drop_rate: 0.0}}", "{recipe: {augment: [crop]}}"),
        "the recipe has no `crop`, the size of the random crops of `augment` (arm without)",
    ),
    (
        TWO.replace("{model: {drop_rate: 0.0}}", "{metric: test_error_ten_crop}"),
        "no `crop`, a size, of which test_error_ten_crop reads ten (arm without)",
    ),
    (
        TWO.replace("with: {}", "with: {metric: test_error_ten_crop, recipe: {crop: 32}}").replace(
            "{model: {drop_rate: 0.0}}", "{recipe: {crop: 32}}"
        ),
        "a crop of 32 is the whole image: test_error_ten_crop reads ten smaller ones",
    ),
]


@pytest.mark.parametrize(("arms", "sentence"), RULES)
def test_each_rule_of_a_difference_has_its_sentence(
    tmp_path: Path, arms: str, sentence: str
) -> None:
    """One line with its place."""
    with pytest.raises(ClaimError) as caught:
        claim_of(tmp_path, arms=arms, crop="")

    assert sentence in str(caught.value)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**20))
def test_the_paired_interval_is_student_s(seed: int) -> None:
    """Against scipy's own test on the same samples."""
    generator = np.random.default_rng(seed)
    one, two = generator.normal(size=(2, 5))
    ours = paired_difference(one, two)
    theirs = scipy_stats.ttest_rel(one, two).confidence_interval(0.95)

    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))
    assert ours.value == pytest.approx((one - two).mean())


def test_few_values_are_wide_and_none_is_an_error() -> None:
    """One seed says nothing of its spread."""
    one = mean_level(np.array([2.0]))

    assert (one.value, one.low, one.high) == (2.0, -math.inf, math.inf)
    assert mean_level(np.full(8, 38.1)).high == math.inf
    with pytest.raises(StatisticsError, match="no seed has this metric"):
        mean_level(np.array([]))
    with pytest.raises(StatisticsError, match="not a number"):
        mean_level(np.array([1.0, math.nan]))
    assert math.isnan(correlation(np.array([1.0, 2.0]), np.array([1.0, 2.0])))
    assert correlation(np.arange(4.0), -np.arange(4.0)) == pytest.approx(-1)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 10_000), min_size=2, max_size=12), st.integers(-10_000, 10_000))
def test_equal_seeds_do_not_give_certainty(counts: list[int], more: int) -> None:
    """Arms that differ by as many images at every seed, whatever binary fractions make of it."""
    lower = np.array(counts) / 10_000 * 100
    higher = (np.array(counts) + more) / 10_000 * 100
    found = paired_difference(higher, lower)

    assert found.value == pytest.approx(more / 100)
    assert (found.low, found.high, found.p) == (-math.inf, math.inf, 1.0)


@pytest.mark.parametrize("n", [3, 5, 8])
def test_the_interval_holds_the_truth_as_often_as_it_says(n: int) -> None:
    """95 % by simulation, with pairs that share most of their spread."""
    generator = np.random.default_rng(n)
    shared = generator.normal(size=(2000, n))
    hits = 0
    for row in shared:
        one = row + 0.4 + 0.3 * generator.normal(size=n)
        two = row + 0.3 * generator.normal(size=n)
        found = paired_difference(one, two)
        hits += found.low <= 0.4 <= found.high

    assert 0.935 <= hits / 2000 <= 0.965


TWICE = """\
  one: {metric: test_error}
  ten: {metric: test_error_ten_crop}
contrast: {higher: one, lower: ten}"""


def test_nets_that_are_tested_twice_are_paired_by_image(tmp_path: Path) -> None:
    """The gain of ten crops, image by image, against the interval of a paired z test."""
    evidence, _ = judged(tmp_path, claim_of(tmp_path, arms=TWICE), planted(0.0))
    found = evidence.recipes["authors"]
    generator = np.random.default_rng(0)
    centre = generator.random((4, 5000)) < 0.6
    ten = centre | (generator.random((4, 5000)) < 0.05)
    nets = nets_tested_twice(found.deciding, found)
    arrays = {
        net: {
            "right_centre": np.packbits(one),
            "right_ten_crop": np.packbits(more),
            "test_images": np.array(5000),
        }
        for net, one, more in zip(nets, centre, ten, strict=True)
    }
    estimate = sampled_images(found.deciding, nets, arrays)
    gains = 100.0 * (ten.astype(float) - centre).mean(0)
    half = 1.96 * gains.std(ddof=1) / math.sqrt(5000)

    assert len(nets) == 4
    assert estimate is not None
    assert estimate.value == pytest.approx(gains.mean())
    assert (estimate.low, estimate.high) == pytest.approx(
        (gains.mean() - half, gains.mean() + half), abs=0.02
    )
    assert sampled_images(found.deciding, nets, {}) is None


@pytest.mark.parametrize(("arms", "asked", "deciding"), [(TWICE, 4, 4), (TWO, 12, 8)])
def test_a_training_counts_once_however_often_it_is_read(
    tmp_path: Path, arms: str, asked: int, deciding: int
) -> None:
    """Four seeds of one net that is tested twice; four of three nets, of which two decide."""
    evidence, verdict = judged(tmp_path, claim_of(tmp_path, arms=arms), planted(0.02), seeds=2)
    found = evidence.recipes["authors"]

    assert (found.planned, found.missing) == (asked, asked // 2)
    assert f"{deciding // 2} of {deciding} planned evaluation trials were run" in verdict.reason


def test_a_word_by_a_hair_shows_the_hair(tmp_path: Path) -> None:
    """An interval that begins a thousandth inside the range is not printed as at its edge."""
    noise = 0.001
    half = scipy_stats.t.ppf(0.95, df=3) * 100 * noise / math.sqrt(3)  # of four, one up, one down
    _, verdict = judged(tmp_path, claim_of(tmp_path), planted((1.001 + half) / 100, noise))

    assert verdict.word == "reproduced"
    assert "the word is by the 90 % CI, 1.001 to" in verdict.reason


def test_different_nets_are_not_paired_by_image(tmp_path: Path) -> None:
    """Their difference has the spread between nets in it."""
    evidence, _ = judged(tmp_path, claim_of(tmp_path), planted(0.02))
    found = evidence.recipes["authors"]

    assert nets_tested_twice(found.deciding, found) == ()
