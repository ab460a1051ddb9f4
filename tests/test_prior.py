"""The strength of the paper's own evidence, by the scatter of its authors' nets."""

import shutil
from pathlib import Path

import pytest

from repro.claim import load
from repro.errors import ClaimError
from repro.verdict.prior import prior

CLAIMS = Path(__file__).parents[1] / "claims"


@pytest.mark.parametrize(
    ("name", "times", "beyond"),
    [("lrn", 4.8, True), ("two_gpu_split", 5.8, True), ("overlapping_pooling", 1.4, False)],
)
def test_a_difference_of_two_runs_is_held_against_their_scatter(
    name: str, *, times: float, beyond: bool
) -> None:
    """Eleven nets of the authors have a standard deviation of 0.21 points, two of them 0.29."""
    found = prior(load(CLAIMS / f"{name}.yaml"))

    assert found is not None
    assert found.siblings == 11
    assert found.scatter == pytest.approx(0.294, abs=0.001)
    assert found.times == pytest.approx(times, abs=0.05)
    assert found.beyond_chance is beyond
    assert ("no more than chance" in found.sentence) is not beyond


def test_where_no_runs_are_known_nothing_is_said() -> None:
    """The same weights looked at twice are no two runs."""
    assert prior(load(CLAIMS / "ten_crop.yaml")) is None


@pytest.mark.parametrize(
    "text",
    ["net,error\n1,0.4\n2,0.41\n", "", "top1_error\n0.4\n", "top1_error\nx\ny\n",
     "top1_error\n0.4\n0.4\n"],
    ids=["another column", "empty", "one net", "text", "no scatter"],
)  # fmt: skip
def test_a_list_that_cannot_be_read_is_named(text: str, tmp_path: Path) -> None:
    """It is a user's file as much as the claim is."""
    shutil.copytree(CLAIMS, tmp_path / "claims")
    path = tmp_path / "claims" / "paper_data" / "siblings.csv"
    path.write_text(text)

    with pytest.raises(ClaimError, match=r"paper\.siblings: .*siblings\.csv:\d: "):
        prior(load(tmp_path / "claims" / "lrn.yaml"))
