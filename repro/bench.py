"""How fast this machine is at what trials are made of: `repro bench`.

Contestants are timed in turn, round after round, so that a machine that drifts drifts for all; the
median over rounds of each ratio is what counts. On a CPU everything has one thread, as each of our
workers has. Nothing here is a trial, and nothing is stored.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from repro.claim import Recipe
from repro.data import Dataset
from repro.data.device import DeviceData
from repro.data.embedded import synthetic
from repro.models import LocalResponseNorm
from repro.train import Population, Run, Stopwatch, device_data
from repro.trial import Trial

__all__ = [
    "BENCHES",
    "Table",
    "a_trial",
    "measure",
    "population",
    "race",
    "ratio_text",
    "ratios",
    "window",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """What was measured: a title that says of what, and a row a contestant."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """With its title as a heading."""
        lines = [self.columns, ("---",) * len(self.columns), *self.rows]
        return "\n".join([f"## {self.title}", "", *(f"| {' | '.join(line)} |" for line in lines)])


def measure(names: Sequence[str], device: str, *, rounds: int) -> list[Table]:
    """The benchmarks of these names, or all; on a CPU with one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [BENCHES[name](torch.device(device), rounds) for name in names or BENCHES]
    finally:
        torch.set_num_threads(threads)


def synced(device: torch.device) -> float:
    """Now, in seconds, once the device has done what it was asked for."""
    return Stopwatch(device).now()


def race(
    contestants: Mapping[str, Callable[[], int]], device: torch.device, rounds: int
) -> dict[str, list[float]]:
    """Seconds an item, by contestant and round; one round before the first is not counted.

    A contestant does some work and says how many items that was.
    """
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds + 1):
        for name, work in contestants.items():
            started = synced(device)
            items = work()
            times[name].append((synced(device) - started) / items)
    return {name: seconds[1:] for name, seconds in times.items()}


def ratios(times: Mapping[str, Sequence[float]], of: str, to: str) -> tuple[float, float, float]:
    """How many times longer `of` takes than `to`: median, least and most of the rounds."""
    each = [a / b for a, b in zip(times[of], times[to], strict=True)]
    return median(each), min(each), max(each)


def ratio_text(times: Mapping[str, Sequence[float]], of: str, to: str) -> str:
    """Median and range."""
    middle, least, most = ratios(times, of, to)
    return "1" if of == to else f"{middle:.2f} ({least:.2f} to {most:.2f})"


def a_trial(
    dataset: Dataset, model: str, *, batch: int, seed: int = 0, crop: int | None = None
) -> Trial:
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
        seed=seed,
        threshold=1e-6,
        numerics=0,
    )


def population(dataset: Dataset, trial: Trial, device: torch.device, nets: int = 1) -> Population:
    """So many seeds of it."""
    data = device_data(trial, dataset, device)
    return Population(
        [Run(replace(trial, seed=seed), data, until=float("inf")) for seed in range(nets)]
    )


def window(trained: Population) -> Callable[[], int]:
    """A tenth of an epoch; how many images all nets of it have seen."""

    def work() -> int:
        trained.train_window()
        return sum(run.progress.rows[-1][4] for run in trained.runs)

    return work


# What can be asked for


def steps(device: torch.device, rounds: int) -> Table:
    """Images a second in training: the nets of CIFAR-10, and AlexNet at its own size."""
    small = synthetic(n_train=12_800, n_test=10)
    batch = 128 if device.type == "cuda" else 16
    large = synthetic(n_train=10 * batch, n_test=10, size=256)
    contestants = {
        "cifar_80sec, batch 128": population(
            small, a_trial(small, "cifar_80sec", batch=128), device
        ),
        "cifar_19pct, batch 128": population(
            small, a_trial(small, "cifar_19pct", batch=128), device
        ),
        f"AlexNet, crops of 224, batch {batch}": population(
            large, a_trial(large, "alexnet_2012", batch=batch, crop=224), device
        ),
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
    data = synthetic(n_train=12_800 if device.type == "cuda" else 2_560, n_test=10)
    trial = a_trial(data, "cifar_80sec", batch=128)
    contestants = {str(nets): window(population(data, trial, device, nets)) for nets in sizes}
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
    images = 128 if device.type == "cuda" else 16
    x = torch.randn(images, 96, 55, 55, device=device).to(memory_format=torch.channels_last)
    if device.type == "cuda":
        x = x.bfloat16()

    def both_ways(layer: nn.Module) -> Callable[[], int]:
        def work() -> int:
            leaf = x.detach().requires_grad_()
            result: Tensor = layer.to(device)(leaf)
            result.backward(x)  # type: ignore[no-untyped-call]
            return images

        return work

    def copies() -> int:
        for _ in range(2):
            x.clone()
        return images

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


def input_path(device: torch.device, rounds: int) -> Table:
    """Images of 256 x 256: from disk, from JPEG, to the device, and into the net's crops."""
    count = 512
    images = synthetic(n_train=count, n_test=10, size=256, noise=8.0).train.images
    pixels = torch.tensor(images)
    encoded = [_jpeg(image) for image in images[:64]]
    order = torch.from_numpy(np.random.default_rng(0).permutation(count))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "images.npy"
        np.save(path, images)
        mapped = np.load(path, mmap_mode="r")
        whole = replace(synthetic(n_train=count, n_test=10, size=256), folder=None)
        data = DeviceData(
            replace(whole, train=replace(whole.train, images=mapped)),
            device=device,
            inputs="centred",
            crop=224,
            augment=("crop", "flip"),
            colour="deviations",
            held=False,
        )
        rows = data.train.rows(order[:128].to(device))

        def stream() -> int:
            return sum(len(got) for got, _ in data.train.stream(torch.split(order.to(device), 128)))

        def decode() -> int:
            with ThreadPoolExecutor(1) as pool:
                return len(list(pool.map(_decoded, encoded)))

        def bus() -> int:
            pixels.to(device, copy=True)
            return count

        def crops() -> int:
            generator = torch.Generator(device).manual_seed(0)
            return len(data.training_inputs(rows, [generator]))

        times = race(
            {
                "packed images read at random, four threads": stream,
                "JPEG decoded, one thread": decode,
                "copied to the device": bus,
                "crops, mirrors and colour on the device": crops,
            },
            device,
            rounds,
        )
    return Table(
        title="Images of 256 x 256 (196,608 bytes; the file is in the kernel's memory)",
        columns=("step", "images/s", "MB/s"),
        rows=tuple(
            (name, f"{1 / median(each):,.0f}", f"{0.196608 / median(each):,.0f}")
            for name, each in times.items()
        ),
    )


def _jpeg(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _decoded(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


BENCHES: dict[str, Callable[[torch.device, int], Table]] = {
    "steps": steps,
    "populations": populations,
    "lrn": response_normalisation,
    "input": input_path,
}
