"""Energy: what a driver counts, shared by the trials that it was used for, and never made up."""

import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from repro.data import Dataset
from repro.text import energy_text
from repro.train import Run, device_data, train, train_all
from repro.train.energy import Meter
from tests.worlds import tiny, trial_on

CPU, CARD = torch.device("cpu"), torch.device("cuda:1")


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Small enough for a window to take a moment."""
    return tiny(tmp_path)


class NVMLError(Exception):
    """As NVML's binding calls what it raises."""


def driver(monkeypatch: pytest.MonkeyPatch, counts: list[float], *, uuid: str) -> list[str]:
    """A driver whose counter, in millijoules, gives these one after another; whom it was asked."""
    asked: list[str] = []

    def handle(name: str) -> str:
        asked.append(name)
        return name

    def total(_: str) -> float:
        if not counts:
            raise NVMLError("not supported")
        return counts.pop(0) if len(counts) > 1 else counts[0]

    binding = SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=handle,
        nvmlDeviceGetTotalEnergyConsumption=total,
    )
    monkeypatch.setitem(sys.modules, "pynvml", binding)
    facts = {CARD: SimpleNamespace(uuid=uuid)}
    monkeypatch.setattr(torch.cuda, "get_device_properties", facts.__getitem__)
    return asked


@pytest.mark.parametrize("uuid", ["1b2c", "GPU-1b2c"])
def test_joules_are_the_difference_of_the_cards_own_counter(
    monkeypatch: pytest.MonkeyPatch, uuid: str
) -> None:
    """The counter began with the driver, in millijoules; cards are known by their UUID."""
    asked = driver(monkeypatch, [5e6, 5e6, 5_250_000.0, 5_250_500.0], uuid=uuid)
    meter = Meter(CARD)

    assert [meter.read(), meter.read()] == [250.0, 0.5]
    assert asked == ["GPU-1b2c"]


def test_where_nobody_counts_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU, a card without a counter, a machine without the binding: not zero, but unknown."""
    assert math.isnan(Meter(CPU).read())
    driver(monkeypatch, [], uuid="1b2c")
    assert math.isnan(Meter(CARD).read())
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert math.isnan(Meter(CARD).read())


def test_a_driver_that_fails_later_is_no_fault_of_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was taken is unknown then, and training goes on."""
    counts = [5e6]
    driver(monkeypatch, counts, uuid="1b2c")
    meter = Meter(CARD)
    counts.clear()

    assert math.isnan(meter.read())


class Steady:
    """A device that takes 60 J between any two looks."""

    looks = 0

    def __init__(self, device: torch.device) -> None:
        del device

    def read(self) -> float:
        """Joules."""
        type(self).looks += 1
        return 60.0


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> type[Steady]:
    """Its meter is looked at whenever seconds are booked."""
    monkeypatch.setattr("repro.train.stopwatch.Meter", Steady)
    monkeypatch.setattr("repro.train.stopwatch._READING_INTERVAL", 0.0)
    monkeypatch.setattr(Steady, "looks", 0)
    return Steady


def test_trials_of_a_population_share_what_was_taken(
    dataset: Dataset, steady: type[Steady]
) -> None:
    """Nothing is counted twice, and nothing lost, also where one leaves before the other."""
    data = device_data(trial_on(dataset), dataset, CPU)
    first = Run(trial_on(dataset), data, until=0.1)
    second = Run(trial_on(dataset, seed=1), data, until=0.3, clock=first.clock)
    found = [run.result({}).metric("energy") for run in train_all([first, second])]

    assert sum(found) == pytest.approx(60.0 * steady.looks)
    assert found[0] < found[1]


def test_a_trial_that_goes_on_keeps_what_it_took(dataset: Dataset, steady: type[Steady]) -> None:
    """From its checkpoint; and where a part of it was not counted, the whole is not known."""
    trial = trial_on(dataset)
    kept = train(trial, dataset, device=CPU, until=0.2).state()
    before = 60.0 * steady.looks
    with pytest.MonkeyPatch.context() as elsewhere:
        elsewhere.setattr("repro.train.stopwatch.Meter", Meter)
        uncounted = train(trial, dataset, device=CPU, until=0.3, checkpoint=kept)
    counted = train(trial, dataset, device=CPU, until=0.3, checkpoint=kept).result({})

    assert counted.metric("energy") == pytest.approx(60.0 * steady.looks)
    assert counted.metric("energy") > before
    assert "energy" not in uncounted.result({}).metrics


def test_a_cpu_trial_claims_no_energy(dataset: Dataset) -> None:
    """Neither zero nor NaN stands in its result."""
    result = train(trial_on(dataset), dataset, device=CPU, until=0.1).result({})

    assert "energy" not in json.loads(result.to_json())["metrics"]


def test_sums_say_of_how_many_trials_they_are() -> None:
    """3.6 kJ are a watt-hour."""
    assert energy_text([math.nan, math.nan]) == "not known"
    assert energy_text([3600.0, 1800.0]) == "1.5 Wh"
    assert energy_text([7.2e6, math.nan]) == "2.00 kWh (1 of 2 trials)"
