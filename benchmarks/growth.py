"""How time and memory grow with images, classes and steps."""

import multiprocessing
import resource
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch

from benchmarks.race import Table, race, ratio_text
from benchmarks.training import benchmark_trial, population, repeat_images, window
from repro.data import Dataset
from repro.data.sources.embedded import synthetic

__all__ = ["growth", "memory"]

_Work = Callable[[int, str], None]  # of so much, on that device


def growth(device: torch.device, rounds: int) -> Table:
    """How much longer twice as many images and classes take."""
    few = 25_600 if device.type == "cuda" else 2560  # whose steps do not drown in what a window has
    pairs = {
        f"images: an epoch's tenth of {few:,} and {2 * few:,}": [
            _training(synthetic(n_train=n, n_test=10, classes=10), device) for n in (few, 2 * few)
        ],
        "classes: a tenth of an epoch with 500 and 1,000": [
            _training(synthetic(n_train=few, n_test=10, classes=n), device) for n in (500, 1000)
        ],
    }
    rows = []
    for name, (one, two) in pairs.items():
        times = race({"one": one, "two": two}, device, rounds)
        rows.append((name, ratio_text(times, "two", "one")))
    return Table(
        title="How time grows", columns=("twice as many", "times as long"), rows=tuple(rows)
    )


def memory(device: torch.device, rounds: int) -> Table:
    """How much more memory twice as many images, classes and steps take.

    Each in a process of its own: the most that it held, less what it held once all was imported.
    """
    works: dict[str, tuple[_Work, tuple[int, int]]] = {
        "images: an epoch's tenth of 25,600 and 51,200": (_images, (25_600, 51_200)),
        "classes: a tenth of an epoch with 500 and 1,000": (_classes, (500, 1000)),
        "steps: training for 40 and for 80": (_steps, (40, 80)),
    }
    rows = []
    for name, (work, sizes) in works.items():
        found = [[_peak(work, size, device.type) for size in sizes] for _ in range(rounds)]
        ratios = sorted(two / one for one, two in found)
        rows.append(
            (
                name,
                *(f"{median(each) / 1e6:.0f} MB" for each in zip(*found, strict=True)),
                f"{median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})",
            )
        )
    return Table(
        title="How memory grows",
        columns=("of what twice as much", "once", "twice", "as much memory"),
        rows=tuple(rows),
    )


def _peak(work: _Work, size: int, device: str) -> float:
    """Bytes at most, of a fresh process; of the device where it has memory of its own."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(_measured, work, size, device).result()


def _measured(work: _Work, size: int, device: str) -> float:
    torch.set_num_threads(1)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    before = pages * resource.getpagesize()
    work(size, device)
    if device == "cuda":
        return float(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0 - before


def _images(images: int, device: str) -> None:
    _trained(images, 10, 1, device)


def _classes(classes: int, device: str) -> None:
    _trained(2560, classes, 1, device)


def _steps(steps: int, device: str) -> None:
    _trained(2560, 10, steps // 2, device)


def _trained(images: int, classes: int, windows: int, device: str) -> None:
    few = synthetic(n_train=2560, n_test=10, classes=classes)  # drawing many takes memory itself
    with TemporaryDirectory() as folder:
        many = repeat_images(few, images, Path(folder))
        work = _training(many, torch.device(device))
    for _ in range(windows):
        work()


def _training(images: Dataset, device: torch.device) -> Callable[[], int]:
    """A tenth of an epoch."""
    return _once(
        window(population(images, benchmark_trial(images, "cifar_80sec", batch=128), device))
    )


def _once(work: Callable[[], int]) -> Callable[[], int]:
    def whole() -> int:
        work()
        return 1

    return whole
