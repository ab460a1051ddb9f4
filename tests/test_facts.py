"""Facts that need no training: decided in seconds, without data."""

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from repro.claim import ExactClaim, load
from repro.cli import main
from repro.errors import ClaimError
from repro.models.facts import QUANTITY, compute, multiply_adds
from repro.registry import QUANTITIES
from repro.verdict import decide_exact

ROOT = Path(__file__).parents[1]
SHIPPED = ROOT / "claims" / "architecture.yaml"


def exact(path: Path) -> ExactClaim:
    claim = load(path)
    assert isinstance(claim, ExactClaim)
    return claim


def test_the_registry_names_what_can_be_computed() -> None:
    """The names live where torch is not imported, the functions where it is."""
    assert set(QUANTITIES) == set(QUANTITY)


def test_counts_are_those_of_the_net() -> None:
    """60,965,224 parameters, 659,272 neurons; slips are found and do not count."""
    facts = {fact.name: fact for fact in compute(exact(SHIPPED))}

    assert facts["parameters"].ours == 60_965_224
    assert facts["parameters_one_gpu"].ours == 59_798_312
    assert facts["neurons"].ours == 659_272
    assert facts["conv1_neurons"].ours == 290_400
    assert facts["crops"].ours == 2 * 33 * 33
    assert round(facts["conv3_share"].ours, 2) == 1.45
    assert {name for name, fact in facts.items() if not fact.holds} == {
        "conv1_neurons", "conv3_share", "conv4_share", "crops",
    }  # fmt: skip


def test_layers_of_one_name_in_many_blocks_are_all_counted() -> None:
    """ResNet-20 on 32x32, by hand: a stem, three stages of six convolutions, a classifier."""
    one, halved, last = 16 * 16 * 9 * 32**2, 16 * 32 * 9 * 16**2, 64 * 10
    by_hand = 3 * 16 * 9 * 32**2 + 6 * one + 2 * (halved + 5 * one) + last

    assert multiply_adds("cifar_resnet", (), 10, 32) == by_hand


def test_multiply_adds_are_those_of_the_layers() -> None:
    """724.4 million an image, 105.4 million of them in the first layer."""
    claim = exact(SHIPPED)
    fact = claim.facts["parameters"]
    changed = claim.model_copy(
        update={
            "facts": {
                "all": fact.model_copy(update={"quantity": "multiply_adds"}),
                "conv1": fact.model_copy(update={"quantity": "multiply_adds", "of": "conv1"}),
            }
        }
    )
    found = [round(one.ours / 1e6, 1) for one in compute(changed)]

    assert found == [724.4, 105.4]


def test_one_wrong_fact_is_not_reproduced(tmp_path: Path) -> None:
    """And it is named."""
    path = tmp_path / "architecture.yaml"
    path.write_text(SHIPPED.read_text().replace("printed: 186624", "printed: 186625"))
    claim = exact(path)
    verdict = decide_exact(claim, compute(claim))

    assert verdict.word == "not reproduced"
    assert "not: conv2_neurons" in verdict.reason
    assert verdict.exit_code == 3


def test_nothing_computed_is_not_run() -> None:
    """Silence is not a success."""
    assert decide_exact(exact(SHIPPED), []).word == "not run"


def test_facts_of_which_none_counts_reproduce_nothing() -> None:
    """Slips alone are no evidence."""
    claim = exact(SHIPPED)
    slips = [replace(fact, decides=False) for fact in compute(claim)]
    verdict = decide_exact(claim, slips)

    assert verdict.word == "not run"
    assert verdict.reason.startswith("none of its facts counts")


def test_a_net_that_is_too_small_is_named(tmp_path: Path) -> None:
    """Facts are of images of 224 pixels: a claim that asks more of a net is no bug."""
    path = tmp_path / "architecture.yaml"
    old = "of: conv2, model: {name: alexnet_2012}"
    assert old in SHIPPED.read_text()
    path.write_text(SHIPPED.read_text().replace(old, "of: conv2, model: {name: cifar_80sec}", 1))
    with pytest.raises(ClaimError, match="cifar_80sec takes no images of 224 pixels, of which"):
        compute(exact(path))


def test_an_unknown_layer_is_named(tmp_path: Path) -> None:
    """With those that there are."""
    path = tmp_path / "architecture.yaml"
    path.write_text(SHIPPED.read_text().replace("of: conv2,", "of: conv9,"))
    with pytest.raises(ClaimError, match=r"has no layer 'conv9' \(it has: conv1, conv2"):
        compute(exact(path))


def test_it_is_decided_from_the_command_line(tmp_path: Path) -> None:
    """Without data; the report has every statement."""
    runner = CliRunner()
    done = runner.invoke(main, ["run", str(SHIPPED), "--store", str(tmp_path / "runs")])
    folder = tmp_path / "claims"
    folder.mkdir()
    (folder / SHIPPED.name).write_bytes(SHIPPED.read_bytes())
    report = runner.invoke(
        main,
        ["report", "--store", str(tmp_path / "runs"), "--claims", str(folder), "--out",
         str(tmp_path / "report")],
    )  # fmt: skip

    assert (done.exit_code, report.exit_code) == (0, 0)
    assert "architecture: reproduced" in done.stdout
    page = (tmp_path / "report" / "report.html").read_text()
    assert "290,400" in page
    assert "no, a known slip" in page
    assert "34,944" in page  # parameters of the first layer, which the paper does not print
    assert "there is nothing to draw" not in page
