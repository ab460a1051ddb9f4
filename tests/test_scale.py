"""The forecast for many devices: the laws of any schedule, and what was measured."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks.scale import Devices, Forecast, Measured, Unmeasured, forecast
from repro.claim import TrainedClaim, load
from repro.models.facts import multiply_adds
from repro.planning import Cell, next_cells
from tests.worlds import claim_file, planted, tiny_claim

START = 5.0


def measured(claim: TrainedClaim) -> Measured:
    """Every trial of the search took 1.75 s for its epochs."""
    cells: list[Cell] = next_cells(claim, "smoke", "0" * 16, {})
    results = {cell.trial.id: planted(cell, crossed=None) for cell in cells}
    return Measured({cell.trial.id: cell.trial for cell in cells}, results)


def on(number: int, folder: Path, **changes: float) -> Forecast:
    claim = tiny_claim(folder, epochs=1, seeds=2)
    assert isinstance(claim, TrainedClaim)
    devices = replace(Devices(number=number, start_seconds=START), **changes)
    return forecast([(claim, "smoke")], measured(claim), devices, seeds=6)


def test_one_device_takes_the_work_and_its_start(tmp_path: Path) -> None:
    """Nothing is idle; three rates of two arms, their extensions, and twelve evaluation trials."""
    one = on(1, tmp_path)

    assert one.seconds == pytest.approx(START + one.work)
    assert one.work == pytest.approx(1.75 * one.trials)
    assert one.trials >= 18


def test_more_devices_are_quicker_until_the_trials_in_turn_are_left(tmp_path: Path) -> None:
    """Never below the work shared out, nor below a search and the trials that wait for it."""
    found = [on(number, tmp_path) for number in (1, 2, 8, 1000)]

    for few, many in pairwise(found):
        assert many.seconds <= few.seconds
        assert many.work == few.work
    for each in found:
        assert each.seconds >= START + each.work / each.devices - 1e-9
    assert found[-1].seconds >= START + 2 * 1.75
    assert found[-1].efficiency < 0.01


def test_lost_devices_cost_time_and_no_trial(tmp_path: Path) -> None:
    """Each loss costs a start and at most what was done since a checkpoint."""
    calm = on(2, tmp_path)
    lossy = on(2, tmp_path, hours_between_losses=5 / 3600, checkpoint_seconds=0.5)

    assert lossy.losses > 0
    assert lossy.trials == calm.trials
    assert calm.seconds < lossy.seconds <= calm.seconds + lossy.losses * (START + 0.5)


def test_a_net_that_was_never_measured_takes_time_by_its_multiply_adds(tmp_path: Path) -> None:
    """In proportion, and to the end of its budget: nobody knows when it would cross."""
    claim = tiny_claim(tmp_path, epochs=1, seeds=2)
    assert isinstance(claim, TrainedClaim)
    path = claim_file(tmp_path, epochs=1, seeds=2, name="other")
    path.write_text(path.read_text().replace("cifar_80sec", "cifar_19pct"))
    other = load(path)
    assert isinstance(other, TrainedClaim)
    mine, theirs = (
        forecast([(one, "smoke")], measured(claim), Devices(number=1), seeds=2)
        for one in (claim, other)
    )
    ratio = multiply_adds("cifar_19pct", (), 10, 32) / multiply_adds("cifar_80sec", (), 10, 32)

    assert theirs.trials == mine.trials
    assert theirs.work == pytest.approx(ratio * mine.work)


def test_faster_devices_take_less(tmp_path: Path) -> None:
    """`--times 4`: a quarter of the work."""
    claim = tiny_claim(tmp_path, epochs=1, seeds=2)
    assert isinstance(claim, TrainedClaim)
    slow, fast = measured(claim), measured(claim)
    fast.times = 4.0
    found = [
        forecast([(claim, "smoke")], known, Devices(number=1), seeds=2) for known in (slow, fast)
    ]

    assert found[0].work == pytest.approx(4 * found[1].work)


def test_where_nothing_was_measured_nothing_is_made_up(tmp_path: Path) -> None:
    """Another net, or other images, give a speed; no trial at all gives none."""
    claim = tiny_claim(tmp_path)
    assert isinstance(claim, TrainedClaim)

    with pytest.raises(Unmeasured, match="nothing like cifar_80sec on digits was measured"):
        forecast([(claim, "smoke")], Measured({}, {}), Devices(number=1), seeds=2)
