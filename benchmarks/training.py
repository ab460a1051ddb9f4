"""Training steps, nets trained as one program, response normalisation."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.race import Table, race, ratio_text
from repro.claim import Recipe
from repro.data import Dataset
from repro.data.device.statistics import image_statistics
from repro.data.sources.embedded import synthetic
from repro.models.lrn import LocalResponseNorm
from repro.train import Population, Run, device_data
from repro.train.population import PATHS
from repro.trial import Trial

__all__ = [
    "benchmark_trial",
    "population",
    "populations",
    "repeat_images",
    "response_normalisation",
    "steps",
    "window",
]

_STREAMS = PATHS - {"grouped"} | {"streams"}
_DRAWN = 128  # large images that differ


def benchmark_trial(dataset: Dataset, model: str, *, batch: int, crop: int | None = None) -> Trial:
    """The authors' recipe in bfloat16, never ending by itself."""
    return Trial(
        model=model,
        arguments={"preset": "authors_2012"} if model == "alexnet_2012" else {},
        recipe=Recipe(
            inputs="centred",
            initialisation="cuda_convnet",
            bias_rate=2.0,
            batch_size=batch,
            precision="bfloat16",
            crop=crop,
            augment=("crop", "flip") if crop else (),
            colour="deviations" if crop else "none",
        ),
        data=dataset.name,
        fingerprint=dataset.fingerprint,
        rate=1e-3,
        seed=0,
        threshold=1e-6,
        numerics=0,
    )


def repeat_images(few: Dataset, images: int, folder: Path) -> Dataset:
    """So many training images, again and again the same few: drawing thousands takes minutes.

    Their statistics are those of the few, and are kept in `folder` for who opens them.
    """
    image_statistics(replace(few, folder=folder), None)
    known = folder / f"statistics-{len(few.train.labels)}.npz"
    known.replace(folder / f"statistics-{images}.npz")
    places = np.arange(images) % len(few.train.labels)
    train = replace(few.train, images=few.train.images[places], labels=few.train.labels[places])
    return replace(few, train=train, folder=folder)


def population(
    dataset: Dataset,
    trial: Trial,
    device: torch.device,
    nets: int = 1,
    paths: frozenset[str] = PATHS,
) -> Population:
    """So many seeds of it."""
    data = device_data(trial, dataset, device)
    runs = [Run(replace(trial, seed=seed), data, until=float("inf")) for seed in range(nets)]
    return Population(runs, paths=paths)


def window(trained: Population) -> Callable[[], int]:
    """A tenth of an epoch; how many images all nets of it have seen."""

    def work() -> int:
        trained.train_window()
        return sum(run.progress.rows[-1].images for run in trained.runs)

    return work


def steps(device: torch.device, rounds: int) -> Table:
    """Images a second in training: the nets of CIFAR-10, and AlexNet at its own size."""
    # On a GPU a turn of few steps would be of what is done once a window, not of steps.
    on_gpu = device.type == "cuda"
    batch = 128 if on_gpu else 16
    small = synthetic(n_train=50_000 if on_gpu else 12_800, n_test=10)
    with TemporaryDirectory() as folder:
        few = synthetic(n_train=_DRAWN, n_test=10, size=256)
        large = repeat_images(few, (100 if on_gpu else 10) * batch, Path(folder))
        alexnet = population(
            large, benchmark_trial(large, "alexnet_2012", batch=batch, crop=224), device
        )
    contestants = {
        "cifar_80sec, batch 128": population(
            small, benchmark_trial(small, "cifar_80sec", batch=128), device
        ),
        "cifar_19pct, batch 128": population(
            small, benchmark_trial(small, "cifar_19pct", batch=128), device
        ),
        f"AlexNet, crops of 224, batch {batch}": alexnet,
    }
    times = race({name: window(one) for name, one in contestants.items()}, device, rounds)
    return Table(
        title="Training, images a second, bfloat16",
        columns=("net", "images/s", "an epoch of its data set"),
        rows=tuple(
            (
                name,
                f"{1 / median(each):,.0f}",
                f"{median(each) * (1_281_167 if 'AlexNet' in name else 50_000):,.0f} s",
            )
            for name, each in times.items()
        ),
    )


def populations(device: torch.device, rounds: int) -> Table:
    """Nets trained as one program, against one after another."""
    sizes = (1, 2, 4, 8, 16, 32, 64) if device.type == "cuda" else (1, 2, 4)
    data = synthetic(n_train=50_000 if device.type == "cuda" else 2_560, n_test=10)
    trial = benchmark_trial(data, "cifar_80sec", batch=128)
    contestants = {str(nets): window(population(data, trial, device, nets)) for nets in sizes}
    contestants |= {
        f"on streams: {nets}": window(population(data, trial, device, nets, _STREAMS))
        for nets in sizes[1:]
    }
    times = race(contestants, device, rounds)
    return Table(
        title="Nets trained as one program, cifar_80sec, batch 128 each",
        columns=("nets", "images/s of all", "as many times one alone (median, range)"),
        rows=tuple(
            (nets, f"{1 / median(each):,.0f}", ratio_text(times, "1", nets))
            for nets, each in times.items()
        ),
    )


def response_normalisation(device: torch.device, rounds: int) -> Table:
    """Forward and backward at the size of AlexNet's first layer."""
    images, passes = (128, 20) if device.type == "cuda" else (16, 1)
    x = torch.randn(images, 96, 55, 55, device=device).to(memory_format=torch.channels_last)
    if device.type == "cuda":
        x = x.bfloat16()

    def both_ways(layer: nn.Module) -> Callable[[], int]:
        def work() -> int:
            for _ in range(passes):
                leaf = x.detach().requires_grad_()
                result: Tensor = layer.to(device)(leaf)
                result.backward(x)  # type: ignore[no-untyped-call]
            return images * passes

        return work

    def copies() -> int:
        for _ in range(2 * passes):
            x.clone()
        return images * passes

    times = race(
        {
            "ours": both_ways(LocalResponseNorm(96, alpha=1e-4, groups=2)),
            "nn.LocalResponseNorm": both_ways(nn.LocalResponseNorm(5, 5e-4, 0.75, 2.0)),
            "reading and writing the tensor, both ways": copies,
        },
        device,
        rounds,
    )
    return Table(
        title=f"Response normalisation, {images} x 96 x 55 x 55, {str(x.dtype)[6:]}, both ways",
        columns=("form", "ms", "as long as ours (median, range)"),
        rows=tuple(
            (name, f"{1000 * images * median(each):.1f}", ratio_text(times, name, "ours"))
            for name, each in times.items()
        ),
    )
