"""The loop: tenths of an epoch, measurements between them, until each trial has ended."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch

from repro.data import Dataset
from repro.train.fast_paths import FastPaths, choose_fast_paths
from repro.train.out_of_memory import free, is_out_of_memory, keep_freed, may_be_out_of_memory
from repro.train.population import BATCHED_PATHS, Population
from repro.train.ranks import SINGLE_RANK, Ranks
from repro.train.trial_run import Run, device_data
from repro.trial import WINDOWS, Trial


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
    ranks: Ranks = SINGLE_RANK,
) -> Iterator[Run]:
    """Train each to its epochs, threshold, last plateau or divergence, whichever is first.

    The runs are of trials of one shape, on the same images; each is given back as it leaves.
    `on_window` is called with each after each tenth of an epoch, outside the training clock; a run
    pauses when it says False. Where memory runs out, one half is trained after the other; raises
    what torch raises (`is_out_of_memory`) when it does not suffice for a single run. Several
    `ranks` train one run at a time: each calls this with an equal one.
    """
    with device_context(runs[0].device):
        # Tenths of an epoch differ by a step, so only runs at the same tenth keep step.
        in_step: dict[int, list[Run]] = {}
        for run in runs:
            in_step.setdefault(run.progress.windows % WINDOWS, []).append(run)
        for aligned in in_step.values():
            fast_paths = choose_fast_paths(aligned) if ranks.size == 1 else FastPaths()
            for run in aligned:
                run.paths = str(fast_paths)
            groups = [aligned] if fast_paths.paths & BATCHED_PATHS else [[run] for run in aligned]
            for group in groups:
                yield from _train(group, on_window, ranks, fast_paths.paths)


def _train(
    runs: Sequence[Run],
    on_window: Callable[[Run], bool],
    ranks: Ranks,
    paths: frozenset[str],
    *,
    halved: bool = False,  # once, for an error that may be of something else than memory
) -> Iterator[Run]:
    population: Population | None = None
    training, device = list(runs), runs[0].device
    while True:
        ended, training = _split_ended(training)
        if population and not population.continue_with(training):
            population = None
            free(device)  # before final measurements, and before the next one is laid out
        for run in ended:
            if not _try_final_measurement(run, ranks, last=population is None):
                population = None  # whose memory is wanted
                free(device, short=True)
                run.measure_final(ranks)
            yield run
        if not training:
            return
        try:
            population = population or Population(training, ranks, paths=paths)
            population.train_window()
        except (RuntimeError, MemoryError) as error:
            if not _fewer_may_fit(error, len(training), halved=halved):
                raise
            halved = True
            _undo(population)
            population = None
        if population is None:
            break
        population.evaluate_due()
        paused, training = _split_pausing(training, on_window)
        yield from paused
    free(device, short=True)
    middle = len(training) // 2
    for half in (training[:middle], training[middle:]):
        yield from _train(half, on_window, ranks, paths, halved=halved)


def _undo(population: Population | None) -> None:
    """Its runs are as they were before the window that memory did not suffice for."""
    if population is not None:
        population.undo()


def _split_pausing(
    runs: Sequence[Run], on_window: Callable[[Run], bool]
) -> tuple[list[Run], list[Run]]:
    """Those that are to pause, and those that go on or have ended."""
    to_pause = [run for run in runs if not on_window(run) and not run.ended]
    return to_pause, [run for run in runs if run not in to_pause]


def _fewer_may_fit(error: Exception, runs: int, *, halved: bool) -> bool:
    perhaps = may_be_out_of_memory(error) and not halved
    return runs > 1 and (is_out_of_memory(error) or perhaps)


def _split_ended(runs: Sequence[Run]) -> tuple[list[Run], list[Run]]:
    """Those that have ended, and those that train on."""
    return [run for run in runs if run.ended], [run for run in runs if not run.ended]


def _try_final_measurement(run: Run, ranks: Ranks, *, last: bool) -> bool:
    """Whether there was memory for its final measurements, beside that of others in training."""
    try:
        run.measure_final(ranks, alone=last)
    except (RuntimeError, MemoryError) as error:
        if last or not is_out_of_memory(error):
            raise
        return False
    return True


@contextmanager
def device_context(device: torch.device) -> Iterator[None]:
    """One thread on a CPU; of several GPUs the current one, on which CUDA graphs are recorded."""
    threads = torch.get_num_threads()
    if device.type == "cpu":
        keep_freed()
        torch.set_num_threads(1)
    try:
        with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
            yield
    finally:
        torch.set_num_threads(threads)
