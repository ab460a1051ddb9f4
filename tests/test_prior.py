"""The strength of the paper's own evidence, by the scatter of its authors' nets."""

from pathlib import Path

import pytest

from repro.claim import load
from repro.prior import prior

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
