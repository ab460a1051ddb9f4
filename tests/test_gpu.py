"""On an accelerator: the CPU's numbers within bounds, resuming, and low precision."""

import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from repro.data import Dataset
from repro.data.device import DeviceData
from repro.models import lrn
from repro.models.lrn import LocalResponseNorm, SpatialResponseNorm
from repro.train import Population, Run, device_data, train, train_all
from repro.train.energy import Meter
from repro.train.population import PATHS
from tests.worlds import RECIPE, curve_of, tiny, trial_on

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no accelerator"),
]

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return tiny(tmp_path)


def test_float32_equals_the_cpu_within_a_bound(dataset: Dataset) -> None:
    """The first windows agree to TF32's rounding; later ones part as trainings do."""
    trial = trial_on(dataset)
    losses = [
        curve_of(train(trial, dataset, device=device, until=0.3)).query("source=='online'")
        for device in (CPU, CUDA)
    ]

    assert losses[1].loss.tolist() == pytest.approx(losses[0].loss.tolist(), rel=2e-2)


def test_the_card_counts_its_energy() -> None:
    """More than nothing, and at most the kilowatts that one card can take."""
    pytest.importorskip("pynvml")
    meter = Meter(CUDA)
    started = time.perf_counter()
    square = torch.ones(4096, 4096, device=CUDA)
    while time.perf_counter() - started < 1:
        torch.cuda.synchronize()
        square = square @ square / 4096
    seconds = time.perf_counter() - started

    assert 0 < meter.read() < 2000 * seconds


def test_bfloat16_learns_on_the_accelerator(dataset: Dataset) -> None:
    """Float32 masters under autocast reach the error that float32 reaches on the CPU."""
    low = RECIPE.model_copy(update={"precision": "bfloat16"})
    result = train(trial_on(dataset, recipe=low), dataset, device=CUDA, until=4.0).result({})

    assert result.train_error < 0.3


def test_resuming_on_the_accelerator_goes_on(dataset: Dataset) -> None:
    """A checkpoint from the card continues on the card and on the CPU as if never stopped."""
    trial = trial_on(dataset)
    whole = train(trial, dataset, device=CUDA, until=0.7)
    part = train(trial, dataset, device=CUDA, until=0.5).state()
    for device in (CUDA, CPU):
        rest = train(trial, dataset, device=device, until=0.7, checkpoint=part)
        losses = [curve_of(run).query("source=='online'").loss for run in (whole, rest)]
        assert losses[1].tolist() == pytest.approx(losses[0].tolist(), rel=5e-2)


def test_alexnet_trains_on_the_accelerator_as_on_the_cpu(dataset: Dataset) -> None:
    """Response normalisation and groups, without what each device draws in a way of its own."""
    arguments = {"preset": "authors_2012", "width": 0.1, "drop_rate": 0.0}
    trial = trial_on(dataset, model="alexnet_2012", arguments=arguments)
    losses = [
        curve_of(train(trial, dataset, device=device, until=0.3)).query("source=='online'").loss
        for device in (CPU, CUDA)
    ]

    assert losses[1][:2].tolist() == pytest.approx(losses[0][:2].tolist(), rel=5e-2)


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("norm", ["across", "spatial"])
def test_the_compiled_norms_are_those_of_pytorchs_operations(
    norm: str, dtype: torch.dtype, rtol: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forward and backward, at sizes that fill no tile; in bfloat16 within a rounding or two."""
    layer = (
        LocalResponseNorm(96, groups=2, alpha=0.1) if norm == "across" else SpatialResponseNorm()
    )
    generator = torch.Generator(CUDA).manual_seed(0)
    x = 10 * torch.randn(3, 96, 27, 13, generator=generator, device=CUDA, dtype=dtype)
    assert lrn._kernel(CUDA) is not None

    def run(kernels_used: bool) -> list[Tensor]:
        monkeypatch.setattr(lrn, "_kernels_used", kernels_used)
        own = x.clone().requires_grad_()
        result = layer.to(CUDA)(own)
        result.backward(x.flip(0))
        return [result.detach(), own.grad]

    for one, two in zip(run(kernels_used=True), run(kernels_used=False), strict=True):
        torch.testing.assert_close(one, two, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_compiled_crops_are_those_of_pytorchs_operations(
    dtype: torch.dtype, dataset: Dataset
) -> None:
    """To the bit, padded, mirrored and coloured; bfloat16 is rounded once."""
    from repro.data.device.crop_kernel import crop

    data = DeviceData(
        dataset,
        device=CUDA,
        inputs="standardised",
        crop=32,
        augment=("crop", "flip"),
        padding=4,
        colour="scaled",
    )
    rows = data.train.rows(torch.arange(100, device=CUDA))
    crops, plain = (
        data.training_inputs(rows, [torch.Generator().manual_seed(0)], crop=how)
        for how in (partial(crop, dtype=dtype), None)
    )

    assert torch.equal(crops, plain.to(dtype))


def test_all_metrics_of_augmented_images_come_home(dataset: Dataset) -> None:
    """Crops, mirrors, colour noise and dropout, on the card as on the CPU."""
    way = RECIPE.model_copy(
        update={"crop": 28, "augment": ("crop", "flip"), "colour": "deviations"}
    )
    net = {"model": "alexnet_2012", "arguments": {"preset": "authors_2012", "width": 0.1}}
    trial = trial_on(dataset, recipe=way, threshold=None, **net)
    runs = [train(trial, dataset, device=device, until=1.0) for device in (CPU, CUDA)]

    assert runs[1].metrics.keys() == runs[0].metrics.keys()


def test_a_recorded_step_gives_the_numbers_of_the_plain_one(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past the steps that are not recorded, with a drop of the rate, which is recorded anew."""
    trial = trial_on(dataset, recipe=RECIPE.model_copy(update={"drops": (1.0,)}))
    recorded = train(trial, dataset, device=CUDA, until=1.5)
    monkeypatch.setattr("repro.train.steps._WARM_UPS", 10**9)
    plain = train(trial, dataset, device=CUDA, until=1.5)

    losses = [curve_of(run).query("source=='online'").loss for run in (recorded, plain)]
    assert losses[0].tolist() == pytest.approx(losses[1].tolist(), rel=2e-2)


@pytest.mark.parametrize("net", ["cifar_80sec", "alexnet_2012"])
def test_a_population_trains_as_its_members_do(dataset: Dataset, net: str) -> None:
    """Recorded, stacked and with dropout: the losses of single runs, to TF32's rounding."""
    arguments = {"cifar_80sec": {}, "alexnet_2012": {"width": 0.1}}[net]
    trials = [
        trial_on(dataset, model=net, arguments=arguments, seed=seed, rate=rate)
        for seed, rate in ((0, 0.01), (1, 0.003), (2, 0.01))
    ]
    data = device_data(trials[0], dataset, CUDA)
    runs = [Run(trial, data, until=0.6) for trial in trials]
    for run in train_all(runs):
        alone = train(run.trial, dataset, device=CUDA, until=0.6)
        losses = [curve_of(one).query("source=='online'").loss for one in (run, alone)]
        assert losses[0].tolist() == pytest.approx(losses[1].tolist(), rel=5e-2)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="a single accelerator")
def test_any_of_several_accelerators_trains(dataset: Dataset) -> None:
    """The second as the first: kernels are started and steps recorded on the one that is named."""
    trial = trial_on(dataset, model="alexnet_2012", arguments={"width": 0.1})
    losses = [
        curve_of(train(trial, dataset, device=device, until=0.6)).query("source=='online'").loss
        for device in (torch.device("cuda:0"), torch.device("cuda:1"))
    ]

    assert losses[1].tolist() == pytest.approx(losses[0].tolist(), rel=5e-2)


@pytest.mark.parametrize("paths", [PATHS, PATHS | {"crop_kernel"}], ids=["plain", "crop_kernel"])
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
def test_no_step_waits_for_the_card(
    paths: frozenset[str], dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a window the host waits for the device nowhere, only once at its end.

    Asking is an error while a step or its inputs are made.
    """
    padded = {"crop": 32, "padding": 4, "augment": ("crop",)}
    trial = trial_on(dataset, recipe=RECIPE.model_copy(update=padded))
    runs = [Run(trial, device_data(trial, dataset, CUDA), until=1.0)]
    population = Population(runs, paths=paths)
    for _ in range(3):  # until the step is recorded, which has to wait
        population.train_window()
    calls = Counter[str]()

    def watched(kind: type, name: str) -> None:
        work = getattr(kind, name)

        def watching(*arguments: Any, **more: Any) -> Any:
            calls[name] += 1
            try:
                torch.cuda.set_sync_debug_mode("error")
                return work(*arguments, **more)
            finally:
                torch.cuda.set_sync_debug_mode("default")

        monkeypatch.setattr(kind, name, watching)

    watched(type(population.step), "__call__")
    watched(DeviceData, "training_inputs")
    population.train_window()

    assert population.runs[0].progress.windows == 4
    assert min(calls["__call__"], calls["training_inputs"]) > 0


def test_images_on_disk_are_streamed_to_the_accelerator(dataset: Dataset) -> None:
    """Pinned and read ahead, the same numbers as held there."""
    held, streamed = (
        DeviceData(dataset, device=CUDA, inputs="centred", held=held).train
        for held in (True, False)
    )
    batches = torch.split(torch.arange(100, device=CUDA), 32)

    for (one, labels), (two, same) in zip(
        held.stream(batches), streamed.stream(batches), strict=True
    ):
        assert torch.equal(one, two)
        assert torch.equal(labels, same)
