"""One trial in training: its net and velocity, what comes next, what was measured."""

import io
import itertools
import math
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from repro.data import Dataset, Split
from repro.data.device import DeviceData
from repro.models import build
from repro.registry import OWN_AUGMENTATIONS
from repro.train.crossing import decide_crossing, needs_full_pass
from repro.train.epochs import epoch_order, window_steps
from repro.train.evaluate import Arrays, evaluate, final_metrics, package_metrics
from repro.train.mixing import augment_batch, mix_batch
from repro.train.optim import optimizer_for
from repro.train.precision import autocast
from repro.train.progress import Progress
from repro.train.ranks import SINGLE_RANK, Ranks
from repro.train.schedule import MOST_DROPS, rate_at, scheduled_rate, stalls
from repro.train.stopwatch import Stopwatch
from repro.trial import WINDOWS, Clocks, Result, Row, Trial, derive_seed

# Sec. 4.2 and the authors' files give no rule for when a net has converged; half a point is what
# their sibling nets differ by.
_PLATEAU = 0.005

_PAPER_IMAGES = 90 * 1.2e6  # sec. 5: "roughly 90 cycles" through "1.2 million images"


class CheckpointError(Exception):
    """The bytes are no checkpoint of this trial; training starts again from its beginning."""


class Run:
    """A trial in training: the net, its velocity, and what was measured.

    Runs of one population share `data` and `clock`. Raises CheckpointError when `checkpoint`
    cannot be continued.
    """

    def __init__(
        self,
        trial: Trial,
        data: DeviceData,
        *,
        until: float,
        checkpoint: bytes | None = None,
        clock: Stopwatch | None = None,
    ) -> None:
        self.trial, self.data, self.until = trial, data, until
        self.device = data.train.labels.device
        self.clock = clock or Stopwatch(self.device)
        self.images = len(data.train.labels)
        self.model = self._untrained()
        self.optimizer = optimizer_for(self.model, trial)
        self.average: AveragedModel | None = None  # of the weights, where the recipe has one
        if trial.recipe.ema is not None:
            averaging = get_ema_multi_avg_fn(trial.recipe.ema)  # type: ignore[no-untyped-call]
            self.average = AveragedModel(self.model, multi_avg_fn=averaging, use_buffers=True)
        self.steps = window_steps(self.images, trial.recipe.batch_size)
        self.progress = Progress()
        self.paths = ""  # what a step of it is made of, and why
        self.batched_runs = 1  # the most that took a step with it, itself included
        self.metrics: dict[str, float] = {}
        self.metric_errors: dict[str, str] = {}  # metrics of packages, and what each has raised
        self.arrays: Arrays = {}
        self._ordered: tuple[int, Tensor] | None = None
        if checkpoint is not None:
            self.load(checkpoint)

    def _untrained(self) -> nn.Module:
        model = untrained(self.trial, classes=self.data.classes, size=self.data.size)
        model.to(memory_format=torch.channels_last)
        return model.to(self.device)

    @property
    def tested_model(self) -> nn.Module:
        """The net that is tested, and kept: the average where there is one."""
        return self.model if self.average is None else self.average.module

    @property
    def ended(self) -> bool:
        """Whether there is nothing left to train."""
        return self.progress.status != "running" or self.progress.epoch >= self.until

    # What the next window is made of

    def batches(self) -> tuple[Tensor, ...]:
        """Indices of the images of each step."""
        epoch, tenth = divmod(self.progress.windows, WINDOWS)
        batches = torch.split(self._order(epoch), self.trial.recipe.batch_size)
        return batches[self.steps[tenth] : self.steps[tenth + 1]]

    def _order(self, epoch: int) -> Tensor:
        if self._ordered is None or self._ordered[0] != epoch:
            order = epoch_order(self.images, seed=self.trial.seed, epoch=epoch)
            self._ordered = (epoch, order.to(self.device))
        return self._ordered[1]

    def rate(self) -> float:
        """By the recipe's schedule: of one of today, half-way through the window."""
        if self.trial.recipe.schedule is not None:
            return scheduled_rate(self.trial, self.progress.epoch + 0.5 / WINDOWS)
        return rate_at(
            self.progress.epoch,
            rate=self.trial.rate,
            drops=self.trial.recipe.drops,
            plateaus=self._stalls(),
        )

    def _stalls(self) -> int:
        patience = self.trial.recipe.patience
        return 0 if patience is None else stalls(self.progress.test_errors(), patience=patience)

    def seed(self, purpose: str) -> int:
        """Of what is drawn in the next window."""
        return derive_seed(purpose, self.trial.seed, self.progress.windows)

    def generator(self, purpose: str) -> torch.Generator:
        """Seeded so, on the host: what it draws is the same for every device."""
        return torch.Generator().manual_seed(self.seed(purpose))

    def mix(self, images: Tensor, labels: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """The batch of a step of the window, changed and blended where the recipe says so."""
        recipe = self.trial.recipe
        further = [name for name in recipe.augment if name not in OWN_AUGMENTATIONS]
        if further:
            seed = derive_seed("augment", self.seed("augment"), step)
            images = augment_batch(images, further, seed=seed)
        if recipe.mixup is None and recipe.cutmix is None:
            return images, labels
        seed = derive_seed("mix", self.seed("mix"), step)
        return mix_batch(
            images,
            labels,
            mixup=recipe.mixup,
            cutmix=recipe.cutmix,
            classes=self.data.classes,
            seed=seed,
        )

    # What comes of it

    def advance(self, *, loss: float, error: float, images: int) -> None:
        """A window was trained; its online loss and error are means over `images`."""
        self.progress.windows += 1
        self.row("online", error, loss, images)
        if not math.isfinite(loss):
            self.progress.status = "diverged"

    def pending_evaluation(self) -> Literal["train", "test"] | None:
        """What is to be measured after a window: near the threshold, or at the end of an epoch."""
        if self.progress.status != "running":
            return None
        if self.trial.threshold is None:
            return "test" if self.progress.windows % WINDOWS == 0 else None
        return "train" if needs_full_pass(self.trial, self.progress, images=self.images) else None

    def decide(self) -> None:
        """Whether what was measured ends the trial."""
        if self.progress.status != "running":
            return
        if self.trial.threshold is not None:
            decide_crossing(self.trial, self.progress, self.trial.threshold)
        elif self._stalls() > MOST_DROPS:
            self.progress.status = "plateaued"

    def measure_final(self, ranks: Ranks = SINGLE_RANK, *, alone: bool = True) -> None:
        """All metrics of the net as it stands. With a threshold, the test error alone counts.

        `alone`: whether others in training have no memory that could be given back.
        """
        if self.trial.threshold is not None:
            # Killed after its last checkpoint and before its result, a trial was tested already.
            if not self._test_is_known:
                self._test(ranks)
            self.metrics = {"test_error": self.progress.rows[-1].error}
            return
        start = self.clock.now()
        self.metrics, self.arrays = final_metrics(
            self.tested_model, self._untrained(), self.data, autocast=self.autocast, ranks=ranks
        )
        package_values, self.metric_errors = package_metrics(
            self.tested_model, self.data, alone=alone
        )
        self.clock.book([self.progress], evaluate=self.clock.now() - start)
        self.metrics |= package_values | self._speeds()

    @property
    def _test_is_known(self) -> bool:
        last = self.progress.rows[-1]
        return last.source == "test" and last.epoch == self.progress.epoch

    def _test(self, ranks: Ranks) -> None:
        start = self.clock.now()
        evaluation = evaluate(
            self.tested_model, self.data.test, self.data.centre, autocast=self.autocast, ranks=ranks
        )
        self.clock.book([self.progress], evaluate=self.clock.now() - start)
        self.row("test", evaluation.error, evaluation.loss, evaluation.images)

    def _speeds(self) -> dict[str, float]:
        """How soon it learned, in epochs and in the paper's own days."""
        progress = self.progress
        errors, tests = progress.epoch_errors(), progress.test_errors()
        speeds = {}
        if errors:
            speeds["first_epoch_error"] = errors[0]
        if tests:
            near = [error <= tests[-1] + _PLATEAU for error in tests]
            speeds["epochs_to_plateau"] = float(near.index(True) + 1)
        images_seen = progress.epoch * self.images
        if images_seen:
            speeds["days_for_90_epochs"] = (
                progress.seconds.train * _PAPER_IMAGES / images_seen / 86_400
            )
        return speeds

    def _energy(self) -> dict[str, float]:
        energy = self.progress.energy  # NaN after any part of it on a device that does not count
        return {"energy": energy} if energy > 0 else {}

    def row(self, source: str, error: float, loss: float, images: int) -> None:
        """One more measurement, now."""
        progress = self.progress
        progress.rows.append(
            Row(
                epoch=progress.epoch,
                source=source,
                error=error,
                loss=loss,
                images=images,
                train_seconds=progress.seconds.train,
            )
        )

    def autocast(self) -> AbstractContextManager[None]:
        """The precision of the recipe."""
        return autocast(self.device, self.trial.recipe.precision)

    # Checkpoints and results

    def state(self) -> bytes:
        """All that the next window needs, loadable with `weights_only=True`."""
        self.clock.book([self.progress])
        buffer = io.BytesIO()
        state = {
            "trial": self.trial.id,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "progress": {**asdict(self.progress), "rows": [*map(tuple, self.progress.rows)]},
        }
        if self.average is not None:
            state["average"] = self.average.state_dict()
        torch.save(state, buffer)
        return buffer.getvalue()

    def load(self, checkpoint: bytes) -> None:
        """Continue where `state` was taken. CheckpointError when that is not possible."""
        try:
            state = torch.load(io.BytesIO(checkpoint), map_location=self.device, weights_only=True)
            self._check_owner(state["trial"])
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.average is not None:
                self.average.load_state_dict(state["average"])
            progress: dict[str, Any] = state["progress"]
            rows, seconds = itertools.starmap(Row, progress["rows"]), Clocks(**progress["seconds"])
            self.progress = Progress(**{**progress, "rows": [*rows], "seconds": seconds})
        except CheckpointError:
            raise
        # torch.load raises whatever a truncated zip or a foreign pickle makes it raise.
        except Exception as error:
            raise CheckpointError(f"{type(error).__name__}: {error}") from error

    def _check_owner(self, trial_id: str) -> None:
        if trial_id != self.trial.id:
            raise CheckpointError(f"it is of trial {trial_id}")

    def result(self, provenance: dict[str, str]) -> Result:
        """What came out, once training has ended."""
        self.clock.book([self.progress])
        progress = self.progress
        at_budget: Literal["censored", "finished"] = (
            "finished" if self.trial.threshold is None else "censored"
        )
        train_error, _ = progress.online(WINDOWS)
        online = [row for row in progress.rows if row.source == "online"]
        return Result(
            trial_id=self.trial.id,
            status=at_budget if progress.status == "running" else progress.status,
            epochs=progress.epoch,
            crossing_full=progress.crossing_full,
            crossing_online=progress.crossing_online,
            train_error=train_error,
            epoch_errors=progress.epoch_errors(),
            test_errors=() if self.trial.threshold is not None else progress.test_errors(),
            metrics=self.metrics | self._energy(),
            loss=online[-1].loss if online else math.nan,
            seconds=progress.seconds,
            provenance=provenance,
        )


def device_data(trial: Trial, dataset: Dataset, device: torch.device) -> DeviceData:
    """The images as the trial, and any of its shape, sees them."""
    recipe = trial.recipe
    return DeviceData(
        _sampled(trial, dataset) if trial.resample or trial.further_test else dataset,
        device=device,
        inputs=recipe.inputs,  # type: ignore[arg-type] # a recipe of nets has it
        images=trial.images,
        crop=recipe.crop,
        augment=recipe.augment,
        padding=recipe.padding,
        colour=recipe.colour,
    )


def _sampled(trial: Trial, dataset: Dataset) -> Dataset:
    """The training images in an order that the seed draws; the last of them are tested on."""
    train, test = dataset.train, dataset.test
    used = len(train.labels) - trial.further_test
    indices: slice | npt.NDArray[np.int64] = slice(used)  # of images on disk no copy is made
    if trial.resample:
        generator = torch.Generator().manual_seed(derive_seed("images", trial.seed))
        indices = torch.randperm(used, generator=generator)[: trial.images].numpy()
    if trial.further_test:
        test = Split(
            images=np.concatenate((test.images, train.images[used:])),
            labels=np.concatenate((test.labels, train.labels[used:])),
        )
    return replace(
        dataset,
        train=Split(images=train.images[indices], labels=train.labels[indices]),
        test=test,
        folder=None if trial.resample else dataset.folder,  # has statistics of the first images
    )


def untrained(trial: Trial, *, classes: int, size: int) -> nn.Module:
    """The trial's net before its first step, on the CPU: a function of the seed alone."""
    return build(
        trial.model,
        trial.arguments,
        classes=classes,
        size=size,
        initialisation=trial.recipe.initialisation,  # type: ignore[arg-type] # likewise
        seed=derive_seed("weights", trial.seed),
    )
