"""The loop: tenths of an epoch, measurements between them, until each trial has ended."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch

from repro.data import Dataset
from repro.train.memory import free, short_of_memory
from repro.train.ranks import ALONE, Ranks
from repro.train.run import Run, device_data
from repro.train.windows import Population
from repro.trial import WINDOWS, Trial

__all__ = ["train", "train_all", "using"]


def train(
    trial: Trial,
    dataset: Dataset,
    *,
    device: torch.device,
    until: float,
    checkpoint: bytes | None = None,
    on_window: Callable[[Run], bool] = lambda _: True,
) -> Run:
    """One trial alone, to `until` epochs; see `train_all`.

    Raises CheckpointError when `checkpoint` cannot be continued.
    """
    run = Run(trial, device_data(trial, dataset, device), until=until, checkpoint=checkpoint)
    for _ in train_all([run], on_window=on_window):
        pass
    return run


def train_all(
    runs: Sequence[Run],
    *,
    on_window: Callable[[Run], bool] = lambda _: True,
    ranks: Ranks = ALONE,
) -> Iterator[Run]:
    """Train each to its epochs, threshold, last plateau or divergence, whichever is first.

    The runs are of trials of one shape, on the same images; each is given back as it leaves.
    `on_window` is called with each after each tenth of an epoch, outside the training clock; a run
    pauses when it says False. Where memory runs out, one half is trained after the other; raises
    what torch raises (`short_of_memory`) when it does not suffice for a single run. Several `ranks`
    train one run at a time: each calls this with an equal one.
    """
    with using(runs[0].device):
        # Tenths of an epoch differ by a step, so only runs at the same tenth keep step.
        in_step: dict[int, list[Run]] = {}
        for run in runs:
            in_step.setdefault(run.progress.windows % WINDOWS, []).append(run)
        for some in in_step.values():
            yield from _train(some, on_window, ranks)


def _train(runs: Sequence[Run], on_window: Callable[[Run], bool], ranks: Ranks) -> Iterator[Run]:
    population: Population | None = None
    training, device = list(runs), runs[0].device
    while True:
        if population and list(population.runs) != [run for run in training if not run.ended]:
            population = None
            free(device)  # before final measurements, and before the next one is laid out
        for run in [run for run in training if run.ended]:
            run.measure_final(ranks)
            training.remove(run)
            yield run
        if not training:
            return
        try:
            population = population or Population(training, ranks)
            population.train_window()
        except (RuntimeError, MemoryError) as error:
            if len(training) == 1 or not short_of_memory(error):
                raise
            population = None
        if population is None:
            break
        population.watch()
        for run in [run for run in training if not on_window(run)]:
            if not run.ended:
                training.remove(run)
                yield run
    free(device, short=True)
    middle = len(training) // 2
    yield from _train(training[:middle], on_window, ranks)
    yield from _train(training[middle:], on_window, ranks)


@contextmanager
def using(device: torch.device) -> Iterator[None]:
    """One thread on a CPU; of several GPUs the current one, on which CUDA graphs are recorded."""
    threads = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
            yield
    finally:
        torch.set_num_threads(threads)
