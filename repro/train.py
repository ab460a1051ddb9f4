"""The one training loop. Knows tensors and trials, no claims, no files.

A trial's numbers are a function of the trial alone, whatever ran before it: weights come from
its seed, each epoch's order from its seed and the epoch's number, and so no random state has to
be carried from one window to the next. On a CPU a trial uses one thread: sums then come out
the same on every machine of a kind, and several trials side by side use all the cores.
"""

import io
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repro.data import Dataset
from repro.data.device import DeviceData
from repro.measure import Arrays, evaluate, final_metrics
from repro.models import build
from repro.optim import MOST_DROPS, PaperSGD, rate_at, stalls
from repro.trial import CURVE_COLUMNS, WINDOWS, Clocks, Result, Trial, derive_seed

__all__ = ["CheckpointError", "Progress", "Run", "epoch_order", "train", "window_steps"]

# Online error over the last windows that is held against `near`: 3 windows of CIFAR-10 are
# 15,000 images, whose standard error of 0.35 points is well inside a `near` of 1 point.
_NEAR_WINDOWS = 3

# Sec. 4.2 and the authors' files give no rule for when a net has converged; half a point is what
# their sibling nets differ by.
_PLATEAU = 0.005

_PAPER_IMAGES = 90 * 1.2e6  # sec. 5: "roughly 90 cycles" through "1.2 million images"

Row = tuple[float, str, float, float, int, float]


class CheckpointError(Exception):
    """The bytes are no checkpoint of this trial; training starts again from its beginning."""


@dataclass(kw_only=True, slots=True)
class Progress:
    """How far a trial has come. `windows` counts tenths of epochs; rows follow CURVE_COLUMNS."""

    windows: int = 0
    status: Literal["running", "crossed", "plateaued", "diverged"] = "running"
    crossing_full: tuple[float, float] | None = None
    crossing_online: tuple[float, float] | None = None
    above: float = 0.0  # last epoch at which the full training error was above the threshold
    rows: list[Row] = field(default_factory=list)
    seconds: Clocks = field(default_factory=Clocks)

    @property
    def epoch(self) -> float:
        """Epochs trained, in tenths."""
        return self.windows / WINDOWS

    def online(self, last: int) -> tuple[float, int]:
        """Mean online error of the last windows, by images; and how many windows there were."""
        rows = [row for row in self.rows if row[1] == "online"][-last:]
        if not rows:
            return math.nan, 0
        return _mean_error(rows), len(rows)

    def epoch_errors(self) -> tuple[float, ...]:
        """Online error of each whole epoch."""
        rows = [row for row in self.rows if row[1] == "online"]
        whole = len(rows) // WINDOWS * WINDOWS
        return tuple(_mean_error(rows[i : i + WINDOWS]) for i in range(0, whole, WINDOWS))

    def test_errors(self) -> tuple[float, ...]:
        """Test error after each epoch; empty where it is measured at the end alone."""
        return tuple(row[2] for row in self.rows if row[1] == "test")

    def curve(self) -> pd.DataFrame:
        """All that was measured, one row a measurement."""
        return pd.DataFrame(self.rows, columns=list(CURVE_COLUMNS))


def train(
    trial: Trial,
    dataset: Dataset,
    *,
    device: torch.device,
    until: float,
    checkpoint: bytes | None = None,
    on_window: Callable[["Run"], bool] = lambda _: True,
) -> "Run":
    """Train to `until` epochs, the threshold, the last plateau or divergence, whichever is first.

    `on_window` is called after each tenth of an epoch, outside the training clock; training
    pauses when it says False. Raises CheckpointError when `checkpoint` cannot be continued.
    """
    with _one_thread(device):
        run = Run(trial, dataset, device)
        if checkpoint is not None:
            run.load(checkpoint)
        progress = run.progress
        while not run.ended(until):
            run.train_window()
            if progress.status == "running":
                run.watch()
            if not on_window(run):
                break
        if run.ended(until):
            run.measure_final()
        return run


class Run:
    """A trial in training: the net, its velocity, and what was measured."""

    def __init__(self, trial: Trial, dataset: Dataset, device: torch.device) -> None:
        self._born = time.perf_counter()
        self.trial = trial
        self.device = device
        recipe = trial.recipe
        self.data = DeviceData(
            dataset,
            device=device,
            inputs=recipe.inputs,
            images=trial.images,
            crop=recipe.crop,
            augment=recipe.augment,
            colour=recipe.colour,
        )
        self.classes = len(dataset.classes)
        self.images = len(self.data.train.labels)
        self.model = self._untrained()
        self.optimizer = PaperSGD(
            self.model,
            rate=trial.rate,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            bias_rate=recipe.bias_rate,
            decay_biases=recipe.decay_biases,
            layer_decay=recipe.layer_decay,
        )
        self.steps = window_steps(self.images, trial.recipe.batch_size)
        self.progress = Progress()
        self.metrics: dict[str, float] = {}
        self.arrays: Arrays = {}
        self._order: tuple[int, Tensor] | None = None

    def _untrained(self) -> nn.Module:
        """The net before its first step: a function of the seed alone."""
        model = build(
            self.trial.model,
            self.trial.arguments,
            classes=self.classes,
            size=self.data.size,
            initialisation=self.trial.recipe.initialisation,
            seed=derive_seed("weights", self.trial.seed),
        )
        model.to(memory_format=torch.channels_last)
        return model.to(self.device)

    def ended(self, until: float) -> bool:
        """Whether there is nothing left to train before `until` epochs."""
        return self.progress.status != "running" or self.progress.epoch >= until

    # One window

    def train_window(self) -> None:
        """A tenth of an epoch of the paper's SGD; its online error costs nothing extra."""
        started = self._now()
        epoch, tenth = divmod(self.progress.windows, WINDOWS)
        batches = self._batches(epoch)[self.steps[tenth] : self.steps[tenth + 1]]
        self.model.train()
        recipe = self.trial.recipe
        self.optimizer.set_rate(
            rate_at(
                self.progress.epoch,
                rate=self.trial.rate,
                drops=recipe.drops,
                stalled=self._stalls(),
            )
        )
        # Crops have a generator of their own: arms that differ in dropout see the same ones.
        augmenting = self._generator("augment") if self.data.augment.any else None
        # Sums stay on the device: asking for a number every step would wait for the card.
        totals = torch.zeros(2, dtype=torch.float64, device=self.device)
        with torch.random.fork_rng():
            torch.manual_seed(derive_seed("noise", self.trial.seed, self.progress.windows))
            for rows, labels in self.data.train.stream(batches):
                images = self.data.training_inputs(rows, augmenting)
                totals += self._step(images, labels)
        loss, wrong = totals.tolist()
        seen = sum(map(len, batches))
        self.progress.windows += 1
        self._clock(train=self._now() - started)
        self._row("online", wrong / seen, loss / seen, seen)
        if not math.isfinite(loss):
            self.progress.status = "diverged"

    def _stalls(self) -> int:
        patience = self.trial.recipe.patience
        return 0 if patience is None else stalls(self.progress.test_errors(), patience=patience)

    def _generator(self, purpose: str) -> torch.Generator:
        seed = derive_seed(purpose, self.trial.seed, self.progress.windows)
        return torch.Generator(self.device).manual_seed(seed)

    def _step(self, images: Tensor, labels: Tensor) -> Tensor:
        self.optimizer.zero_grad(set_to_none=True)
        with self._autocast():
            logits = self.model(images)
        loss = F.cross_entropy(logits.float(), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return _totals(logits, labels, loss)

    def _batches(self, epoch: int) -> tuple[Tensor, ...]:
        if self._order is None or self._order[0] != epoch:
            order = epoch_order(self.images, seed=self.trial.seed, epoch=epoch)
            self._order = (epoch, order.to(self.device))
        return torch.split(self._order[1], self.trial.recipe.batch_size)

    # Measuring, outside the training clock

    def watch(self) -> None:
        """After a window: look for the crossing, or test the net at the end of an epoch."""
        if self.trial.threshold is not None:
            self._watch_threshold(self.trial.threshold)
        elif self.progress.windows % WINDOWS == 0:
            self.measure("test")
            if self._stalls() > MOST_DROPS:
                self.progress.status = "plateaued"

    def _watch_threshold(self, threshold: float) -> None:
        """Near the threshold, by a full pass over the training set at each tenth.

        Where the online error is more than `near` above the threshold, the full error counts as
        above it: the claim file says so, and full passes far from the threshold buy nothing.
        """
        trial, progress = self.trial, self.progress
        now, before = progress.epoch, (progress.windows - 1) / WINDOWS
        epoch_error, windows = progress.online(WINDOWS)
        if progress.crossing_online is None and windows == WINDOWS and epoch_error <= threshold:
            progress.crossing_online = (before, now)
        near = progress.online(_NEAR_WINDOWS)[0] <= threshold + trial.near
        if progress.crossing_full is None:
            if near and self.measure("train") <= threshold:
                progress.crossing_full = (progress.above, now)
            else:
                progress.above = now
        decided = {"full": progress.crossing_full, "online": progress.crossing_online}
        if decided[trial.decided_by] is not None:
            progress.status = "crossed"

    def measure(self, source: Literal["train", "test"]) -> float:
        """Error of the net as it stands on all images of the split; adds a row to the curve."""
        started = self._now()
        split = self.data.train if source == "train" else self.data.test
        found = evaluate(self.model, split, self.data.centre, autocast=self._autocast)
        self._clock(evaluate=self._now() - started)
        self._row(source, found.error, found.loss, found.images)
        return found.error

    def measure_final(self) -> None:
        """All metrics of the net as it stands. With a threshold, the test error alone counts."""
        if self.trial.threshold is not None:
            self.metrics = {"test_error": self.measure("test")}
            return
        started = self._now()
        self.metrics, self.arrays = final_metrics(
            self.model, self._untrained(), self.data, autocast=self._autocast
        )
        self._clock(evaluate=self._now() - started)
        self.metrics |= self._speeds()

    def _speeds(self) -> dict[str, float]:
        """How soon it learned, in epochs and in the paper's own days."""
        progress = self.progress
        errors, tests = progress.epoch_errors(), progress.test_errors()
        found = {}
        if errors:
            found["first_epoch_error"] = errors[0]
        if tests:
            near = [error <= tests[-1] + _PLATEAU for error in tests]
            found["epochs_to_plateau"] = float(near.index(True) + 1)
        seen = progress.epoch * self.images
        if seen:
            found["days_for_90_epochs"] = progress.seconds.train * _PAPER_IMAGES / seen / 86_400
        return found

    def _row(self, source: str, error: float, loss: float, images: int) -> None:
        progress = self.progress
        progress.rows.append((progress.epoch, source, error, loss, images, progress.seconds.train))

    # Clocks

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def _clock(self, *, train: float = 0.0, evaluate: float = 0.0) -> None:
        """Book the seconds; all since the last booking that is neither is `other`."""
        now = time.perf_counter()
        other = max(0.0, now - self._born - train - evaluate)
        self._born = now
        self.progress.seconds += Clocks(train=train, evaluate=evaluate, other=other)

    def _autocast(self) -> torch.autocast:
        low = self.trial.recipe.precision == "bfloat16"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=low)

    # Checkpoints and results

    def state(self) -> bytes:
        """All that the next window needs, loadable with `weights_only=True`."""
        self._clock()
        buffer = io.BytesIO()
        torch.save(
            {
                "trial": self.trial.id,
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "progress": {**asdict(self.progress), "rows": self.progress.rows},
            },
            buffer,
        )
        return buffer.getvalue()

    def load(self, checkpoint: bytes) -> None:
        """Continue where `state` was taken. CheckpointError when that is not possible."""
        try:
            state = torch.load(io.BytesIO(checkpoint), map_location=self.device, weights_only=True)
            self._check_owner(state["trial"])
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            progress: dict[str, Any] = state["progress"]
            self.progress = Progress(**{**progress, "seconds": Clocks(**progress["seconds"])})
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
        self._clock()
        progress = self.progress
        at_budget: Literal["censored", "finished"] = (
            "finished" if self.trial.threshold is None else "censored"
        )
        train_error, _ = progress.online(WINDOWS)
        online = [row for row in progress.rows if row[1] == "online"]
        return Result(
            trial_id=self.trial.id,
            status=at_budget if progress.status == "running" else progress.status,
            epochs=progress.epoch,
            crossing_full=progress.crossing_full,
            crossing_online=progress.crossing_online,
            train_error=train_error,
            epoch_errors=progress.epoch_errors(),
            test_errors=() if self.trial.threshold is not None else progress.test_errors(),
            metrics=self.metrics,
            loss=online[-1][3] if online else math.nan,
            seconds=progress.seconds,
            provenance=provenance,
        )


def epoch_order(images: int, *, seed: int, epoch: int) -> Tensor:
    """A permutation of the training images, (images,) int64, on the CPU.

    The arm is not asked for: arms with the same seed see the same batches (paired data order).
    """
    generator = torch.Generator().manual_seed(derive_seed("order", seed, epoch))
    return torch.randperm(images, generator=generator)


def window_steps(images: int, batch_size: int) -> list[int]:
    """Where the tenths of an epoch begin, in steps: WINDOWS + 1 numbers from 0 to the last.

    Raises ValueError when an epoch has fewer steps than windows.
    """
    steps = math.ceil(images / batch_size)
    if steps < WINDOWS:
        raise ValueError(
            f"{images} images in batches of {batch_size} make {steps} steps an epoch; "
            f"at least {WINDOWS} are needed to measure in tenths"
        )
    return [round(steps * k / WINDOWS) for k in range(WINDOWS + 1)]


def _mean_error(rows: list[Row]) -> float:
    """By images, since the windows of an epoch differ by a batch."""
    return float(np.average([row[2] for row in rows], weights=[row[4] for row in rows]))


def _totals(logits: Tensor, labels: Tensor, loss: Tensor) -> Tensor:
    """Summed loss and number wrong of one batch, (2,) float64. A NaN logit is never right."""
    logits = logits.detach()
    wrong = (logits.argmax(1) != labels) | logits.isnan().any(1)
    return torch.stack((loss.detach().double() * len(labels), wrong.sum().double()))


@contextmanager
def _one_thread(device: torch.device) -> Iterator[None]:
    threads = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
