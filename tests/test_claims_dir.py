"""The shipped claims: what they say is the paper's, and each of them can be run."""

import math
from pathlib import Path

import findings
import pytest

from repro.claim import Claim, DifferenceClaim, ExactClaim, TrainedClaim, load, recipe_for
from repro.data import open_dataset
from repro.planning import next_cells
from repro.registry import MODELS
from repro.trial.numerics import definitions, known

FOLDER = Path(__file__).parents[1] / "claims"
# Krizhevsky et al. 2012: abstract, sec. 3 to 6 and footnote 5. He et al. 2015: Table 6.
PRINTED = {
    "architecture": None,
    "bias_init": None,
    "color_pca": 1.0,
    "conv1_specialisation": None,
    "crop_flip": None,
    "depth": 2.0,
    "dropout": None,
    "headline_2010": 37.5,
    "headline_2012": 40.7,
    "lrn": 1.4,
    "lrn_cifar": 13 - 11,
    "lrn_cifar_steps": 13 - 11,
    "lrn_grid": None,  # the paper compares norms with none, not with their constant
    "overlapping_pooling": 0.4,
    "relu_speedup": 6.0,
    "relu_speedup_grid": 6.0,
    "relu_speedup_grid_19pct": 6.0,
    "residual_degradation": None,
    "residual_gain": 8.75 - 6.97,
    "retrieval": None,
    "ten_crop": 39.0 - 37.5,
    "training_cost": 5.5,
    "two_gpu_split": 1.7,
    "weight_decay": None,
    "weight_decay_tuned": None,
}


@pytest.fixture(scope="module", params=PRINTED)
def claim(request: pytest.FixtureRequest) -> Claim:
    return load(FOLDER / f"{request.param}.yaml")


def test_every_claim_of_the_paper_is_in_this_table() -> None:
    """As in that of the findings; a claim of one's own may lie beside them."""
    assert findings.claims() == sorted(PRINTED)


def test_the_number_is_the_printed_one(claim: Claim) -> None:
    """None where the paper gives none."""
    assert claim.paper.value == pytest.approx(PRINTED[claim.id])


def test_the_printed_number_lies_in_the_region(claim: Claim) -> None:
    """Strictly: a truth on an edge of the region can hardly be reproduced."""
    if isinstance(claim, TrainedClaim) and claim.paper.value is not None:
        assert claim.region.low < claim.paper.value
        assert claim.region.high is None or claim.paper.value < claim.region.high


def test_the_reader_is_told_what_is_compared_and_what_confounds_it(claim: Claim) -> None:
    """In two sentences or so each, and in which section it stands."""
    assert "sec." in claim.paper.section or "abstract" in claim.paper.section
    assert claim.question.count(" ") > 8
    assert claim.confounds.count(" ") > 5
    assert claim.reconsidered_if.count(" ") > 5
    assert claim.path.read_text().startswith("# yaml-language-server: $schema=schema.json\n")


def test_there_is_a_scale_that_runs_at_once(claim: Claim, tmp_path: Path) -> None:
    """Embedded data at smoke scale, with a plan that names trials."""
    if isinstance(claim, ExactClaim):
        return
    assert isinstance(claim, TrainedClaim)
    dataset = open_dataset(claim.scales["smoke"].data, (tmp_path,), tmp_path)
    cells = next_cells(claim, "smoke", dataset.fingerprint, {})

    assert cells
    assert {cell.recipe for cell in cells} == set(claim.recipes)


def test_the_baseline_is_one_trial_for_all_that_share_it(tmp_path: Path) -> None:
    """Dropout, crops, norms, GPUs, layers: the whole net is trained once."""
    fingerprint = open_dataset("digits", (tmp_path,), tmp_path).fingerprint
    sharing = ["crop_flip", "depth", "dropout", "headline_2010", "lrn", "retrieval", "ten_crop"]
    trials = [
        {
            cell.trial.id
            for cell in next_cells(_trained(name), "smoke", fingerprint, {})
            if cell.trial.seed == 0
        }
        for name in sharing
    ]

    assert len(set.intersection(*trials)) == 1


def test_the_paper_s_length_is_the_paper_s() -> None:
    """90 passes, the rate 0.01 divided three times (sec. 5), by the authors' logs."""
    claim = _trained("headline_2010")
    paper = claim.scales["paper"]
    way = recipe_for(claim, "paper", "authors", "net")

    assert (paper.epochs, paper.rate["authors"], way.drops) == (90, 0.01, (23, 51, 78))
    assert (way.momentum, way.weight_decay, way.batch_size, way.crop) == (0.9, 0.0005, 128, 224)
    assert way.augment == ("crop", "flip")


def test_residual_nets_are_trained_for_64_000_steps() -> None:
    """Of 128 images, the rate 0.1 divided at 32,000 and 48,000 (He et al. 2015, sec. 4.2)."""
    claim = _trained("residual_degradation")
    paper = claim.scales["paper"]
    recipe = recipe_for(claim, "paper", "paper", "plain_56")
    steps = [epochs * math.ceil(50_000 / 128) for epochs in (*recipe.drops, paper.epochs)]

    assert steps == pytest.approx([32_000, 48_000, 64_000], abs=20)
    assert (recipe.batch_size, paper.rate["paper"], recipe.weight_decay) == (128, 0.1, 0.0001)


def test_what_depth_gains_is_read_of_the_nets_that_degrade() -> None:
    """All trials of one claim are trials of the other."""
    trials = {
        name: {cell.trial.id for cell in next_cells(_trained(name), "proxy", "", {})}
        for name in ("residual_gain", "residual_degradation")
    }

    assert trials["residual_gain"] < trials["residual_degradation"]


def test_only_the_contrast_s_arms_differ_in_one_thing_alone() -> None:
    """The published CIFAR nets differ in three, so that contrast is shown and does not decide."""
    claim = _trained("lrn_cifar_steps")
    assert isinstance(claim, DifferenceClaim)

    assert (claim.contrast.higher, claim.contrast.lower) == ("published_13", "norm")
    assert claim.also["together"].lower == "published_11"


def _trained(name: str) -> TrainedClaim:
    claim = load(FOLDER / f"{name}.yaml")
    assert isinstance(claim, TrainedClaim)
    return claim


@pytest.mark.parametrize("model", [*MODELS, "timm:resnet18"])
def test_the_code_that_trials_reach_is_known(model: str) -> None:
    """So the evidence that is kept is found; after a change of code: python tools/numerics.py."""
    assert definitions(model) <= known().keys(), "compare and record: python tools/numerics.py"
