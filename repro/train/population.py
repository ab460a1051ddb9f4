"""Runs that take every step together, a tenth of an epoch at a time."""

import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor
from torch.profiler import record_function

from repro.data.device import Crop
from repro.registry import OWN_MODELS
from repro.train.evaluate import evaluate_batched
from repro.train.optim import PaperSGD
from repro.train.out_of_memory import is_out_of_memory
from repro.train.ranks import SINGLE_RANK, Ranks, Share
from repro.train.steps import BatchedStep, SingleStep, Step, StreamedStep
from repro.train.trial_run import Run

# What a step is made of where nothing is tried. On a CPU only the first is a choice.
PATHS = frozenset({"channels_last", "norm_kernel", "graph", "grouped"})
BATCHED_PATHS = frozenset({"grouped", "streams"})  # by which several nets take a step


class Population:
    """Runs that take every step together; one alone is a population, too.

    Those that leave keep their places, whose results are dropped, until half of all have left: a
    step of another shape would have to be prepared anew.
    """

    def __init__(
        self, runs: Sequence[Run], ranks: Ranks = SINGLE_RANK, *, paths: frozenset[str] = PATHS
    ) -> None:
        self.runs, self.ranks = tuple(runs), ranks
        self.places = self.runs  # the run whose batches each place is given
        self.data, self.device = runs[0].data, runs[0].device
        self.clock = runs[0].clock
        if "channels_last" not in paths:
            for run in runs:
                run.model.to(memory_format=torch.contiguous_format)
                if isinstance(run.optimizer, PaperSGD):
                    run.optimizer.follow_layout()
        self.crop = _crop_kernel(runs[0]) if "crop_kernel" in paths else None
        self.step = _step(runs, ranks, paths)

    def inputs(self, rows: Tensor, generators: Sequence[torch.Generator], share: Share) -> Tensor:
        """Of the images of a step, or of a rank's share of them."""
        return self.data.training_inputs(
            rows, generators, first=share.first, of=share.of, crop=self.crop
        )

    def continue_with(self, running: Sequence[Run]) -> bool:
        """Give the places of those that left to others; False where too few are left for that."""
        if 2 * len(running) <= len(self.runs):
            return False
        self.places = tuple(run if run in running else running[0] for run in self.runs)
        pairs = zip(self.runs, self.places, strict=True)
        self.step.frozen = frozenset(k for k, (own, run) in enumerate(pairs) if own is not run)
        return True

    def undo(self) -> None:
        """Nothing of a window that did not come to its end; other steps touch no run before it."""
        if isinstance(self.step, StreamedStep):
            self.step.undo()

    @property
    def running(self) -> tuple[Run, ...]:
        """Those that have not left."""
        pairs = zip(self.runs, self.places, strict=True)
        return tuple(own for own, run in pairs if own is run)

    def train_window(self) -> None:
        """A tenth of an epoch; its online error costs nothing extra."""
        start, recorded_before = self.clock.now(), self.step.recording
        batches = [
            torch.cat(parts) for parts in zip(*(run.batches() for run in self.places), strict=True)
        ]
        for run in self.running:
            run.optimizer.set_rate(run.rate())
        # Crops have generators of their own: arms that differ in dropout see the same ones.
        augmenting = (
            [run.generator("augment") for run in self.places] if self.data.augment.any else []
        )
        noise = [run.seed("noise") for run in self.places]
        # Sums stay on the device: asking for a number every step would wait for the card.
        self.step.begin(noise)
        # For nets of others, which draw from torch's generators: the CPU's and this device's.
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(noise[0] + self.ranks.rank)
            shares = [self.ranks.share(batch) for batch in batches]
            stream = _TimedBatches(self.data.train.stream([share.indices for share in shares]))
            for step, (share, (rows, labels)) in enumerate(zip(shares, stream, strict=True)):
                images = self.inputs(rows, augmenting, share)
                # Of several runs none mixes.
                self.step(*self.runs[0].mix(images, labels, step), share)
        totals = self.ranks.total(self.step.totals).tolist()
        self.step.write_back()
        recording = self.step.recording - recorded_before
        train_seconds = self.clock.now() - start - recording
        running = self.running
        self.clock.book(
            [run.progress for run in running], train=train_seconds, waiting=stream.seconds
        )
        images_each = sum(map(len, batches)) // len(self.runs)
        for own, run, (loss, wrong) in zip(self.runs, self.places, totals, strict=True):
            if own is not run:
                continue
            run.batched_runs = max(run.batched_runs, len(running))
            run.advance(loss=loss / images_each, error=wrong / images_each, images=images_each)

    def evaluate_due(self) -> None:
        """After a window, outside the training clock: measure what has to be known now."""
        for source in ("train", "test"):
            self.evaluate(
                source, [run for run in self.running if run.pending_evaluation() == source]
            )
        for run in self.running:
            run.decide()

    def evaluate(self, source: Literal["train", "test"], runs: Sequence[Run]) -> None:
        """Error of each net as it stands on all images of the split; adds rows to the curves."""
        if not runs:
            return
        if len(runs) > 1 and not isinstance(self.step, BatchedStep):
            for run in runs:
                self.evaluate(source, [run])
            return
        start = self.clock.now()
        try:
            evaluations = evaluate_batched(
                [run.tested_model for run in runs],
                self.data.train if source == "train" else self.data.test,
                self.data.centre,
                autocast=runs[0].autocast,
                ranks=self.ranks,
            )
        except (RuntimeError, MemoryError) as error:
            if len(runs) == 1 or not is_out_of_memory(error):
                raise
            evaluations = []
        if not evaluations:
            for run in runs:
                self.evaluate(source, [run])
            return
        self.clock.book([run.progress for run in runs], evaluate=self.clock.now() - start)
        for run, evaluation in zip(runs, evaluations, strict=True):
            run.row(source, evaluation.error, evaluation.loss, evaluation.images)


def _crop_kernel(run: Run) -> Crop:
    """In bfloat16 where the first that is done to inputs is a convolution, which rounds them so."""
    from repro.data.device.crop_kernel import crop

    convolved = run.trial.model in OWN_MODELS and run.trial.batches  # others may blend images
    low = convolved and run.trial.recipe.precision == "bfloat16"
    return partial(crop, dtype=torch.bfloat16 if low else torch.float32)


def _step(runs: Sequence[Run], ranks: Ranks, paths: frozenset[str]) -> Step:
    recorded = "graph" in paths
    if len(runs) == 1:
        return _single_step(runs[0], ranks, recorded=recorded)
    return _streamed_step(runs, recorded) if "streams" in paths else _batched_step(runs, recorded)


def _single_step(run: Run, ranks: Ranks, *, recorded: bool) -> SingleStep:
    recipe = run.trial.recipe
    recorded &= run.trial.model in OWN_MODELS and isinstance(run.optimizer, PaperSGD)
    return SingleStep(
        run.model,
        run.optimizer,
        autocast=run.autocast,
        batch=recipe.batch_size,
        recorded=recorded and ranks.size == 1,
        label_smoothing=recipe.label_smoothing,
        clip_norm=recipe.clip_norm,
        average=run.average,
        ranks=ranks,
    )


def _streamed_step(runs: Sequence[Run], recorded: bool) -> StreamedStep:
    recipe = runs[0].trial.recipe
    return StreamedStep(
        [run.model for run in runs],
        _paper_optimizers(runs),
        autocast=runs[0].autocast,
        batch=recipe.batch_size,
        recorded=recorded,
        label_smoothing=recipe.label_smoothing,
    )


def _batched_step(runs: Sequence[Run], recorded: bool) -> BatchedStep:
    return BatchedStep(
        [run.model for run in runs],
        _paper_optimizers(runs),
        autocast=runs[0].autocast,
        batch=runs[0].trial.recipe.batch_size,
        recorded=recorded,
        label_smoothing=runs[0].trial.recipe.label_smoothing,
    )


def _paper_optimizers(runs: Sequence[Run]) -> list[PaperSGD]:
    optimizers = [run.optimizer for run in runs if isinstance(run.optimizer, PaperSGD)]
    assert len(optimizers) == len(runs), "others are trained one by one"
    return optimizers


class _TimedBatches:
    """Batches as they come, and the seconds that went by until they had."""

    def __init__(self, batches: Iterator[tuple[Tensor, Tensor]]) -> None:
        self.batches, self.seconds = batches, 0.0

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            start = time.perf_counter()
            with record_function("waiting for data"):
                batch = next(self.batches, None)
            self.seconds += time.perf_counter() - start
            if batch is None:
                return
            yield batch
