"""Runs that take every step together, a tenth of an epoch at a time."""

import time
from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.profiler import record_function

from repro.registry import OWN_MODELS
from repro.train.evaluate import evaluate_together
from repro.train.memory import short_of_memory
from repro.train.optim import PaperSGD
from repro.train.population import Alone, Step, Together
from repro.train.ranks import ALONE, Ranks
from repro.train.run import Run

__all__ = ["Population"]


class Population:
    """Runs that take every step together; one alone is a population, too."""

    def __init__(self, runs: Sequence[Run], ranks: Ranks = ALONE) -> None:
        self.runs, self.ranks = tuple(runs), ranks
        self.data, self.device = runs[0].data, runs[0].device
        self.clock = runs[0].clock
        self.step: Step = _alone(runs[0], ranks) if len(runs) == 1 else _together(runs)

    def train_window(self) -> None:
        """A tenth of an epoch; its online error costs nothing extra."""
        started, recorded = self.clock.now(), self.step.recording
        batches = [
            torch.cat(same) for same in zip(*(run.batches() for run in self.runs), strict=True)
        ]
        for run in self.runs:
            run.optimizer.set_rate(run.rate())
        # Crops have generators of their own: arms that differ in dropout see the same ones.
        augmenting = (
            [run.generator("augment") for run in self.runs] if self.data.augment.any else []
        )
        noise = [run.seed("noise") for run in self.runs]
        # Sums stay on the device: asking for a number every step would wait for the card.
        self.step.begin(noise)
        # For nets of others, which draw from torch's generators: the CPU's and this device's.
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(noise[0] + self.ranks.rank)
            shares = [self.ranks.share(batch) for batch in batches]
            stream = _Waited(self.data.train.stream([share.indices for share in shares]))
            for step, (share, (rows, labels)) in enumerate(zip(shares, stream, strict=True)):
                images = self.data.training_inputs(rows, augmenting, first=share.first, of=share.of)
                # Of several runs none mixes.
                self.step(*self.runs[0].mixed(images, labels, step), share)
        totals = self.ranks.total(self.step.totals).tolist()
        self.step.settle()
        recording = self.step.recording - recorded
        trained = self.clock.now() - started - recording
        self.clock.book([run.progress for run in self.runs], train=trained, waiting=stream.seconds)
        seen = sum(map(len, batches)) // len(self.runs)
        for run, (loss, wrong) in zip(self.runs, totals, strict=True):
            run.company = max(run.company, len(self.runs))
            run.advance(loss=loss / seen, error=wrong / seen, images=seen)

    def watch(self) -> None:
        """After a window, outside the training clock: measure what has to be known now."""
        for source in ("train", "test"):
            self.measure(source, [run for run in self.runs if run.wants() == source])
        for run in self.runs:
            run.decide()

    def measure(self, source: Literal["train", "test"], runs: Sequence[Run]) -> None:
        """Error of each net as it stands on all images of the split; adds rows to the curves."""
        if not runs:
            return
        started = self.clock.now()
        try:
            found = evaluate_together(
                [run.tested for run in runs],
                self.data.train if source == "train" else self.data.test,
                self.data.centre,
                autocast=runs[0].autocast,
                ranks=self.ranks,
            )
        except (RuntimeError, MemoryError) as error:
            if len(runs) == 1 or not short_of_memory(error):
                raise
            found = []
        if not found:
            for run in runs:
                self.measure(source, [run])
            return
        self.clock.book([run.progress for run in runs], evaluate=self.clock.now() - started)
        for run, one in zip(runs, found, strict=True):
            run.row(source, one.error, one.loss, one.images)


def _alone(run: Run, ranks: Ranks) -> Alone:
    recipe = run.trial.recipe
    recorded = run.trial.model in OWN_MODELS and isinstance(run.optimizer, PaperSGD)
    return Alone(
        run.model,
        run.optimizer,
        autocast=run.autocast,
        recorded=recorded and ranks.size == 1,
        label_smoothing=recipe.label_smoothing,
        clip_norm=recipe.clip_norm,
        average=run.average,
        ranks=ranks,
    )


def _together(runs: Sequence[Run]) -> Together:
    optimizers = [run.optimizer for run in runs if isinstance(run.optimizer, PaperSGD)]
    assert len(optimizers) == len(runs), "others are trained one by one"
    return Together(
        [run.model for run in runs],
        optimizers,
        autocast=runs[0].autocast,
        label_smoothing=runs[0].trial.recipe.label_smoothing,
    )


class _Waited:
    """Batches as they come, and the seconds that went by until they had."""

    def __init__(self, batches: Iterator[tuple[Tensor, Tensor]]) -> None:
        self.batches, self.seconds = batches, 0.0

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            started = time.perf_counter()
            with record_function("waiting for data"):
                batch = next(self.batches, None)
            self.seconds += time.perf_counter() - started
            if batch is None:
                return
            yield batch
