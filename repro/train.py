"""The one training loop, over a population of trials. Knows no claims and no files.

A trial's numbers are a function of the trial alone, whatever ran before it: weights come from
its seed, each epoch's order from its seed and the epoch's number, and so no random state has to
be carried from one window to the next. On a CPU a trial uses one thread: sums then come out
the same on every machine of a kind, and several trials side by side use all the cores. Trials of
one shape may be trained as one program (`repro.population`); a trial alone is a population of one.
"""

import gc
import io
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.profiler import record_function

from repro.data import Dataset
from repro.data.device import DeviceData
from repro.data.order import Bounds, bounded_order
from repro.energy import Meter
from repro.measure import Arrays, evaluate, evaluate_together, final_metrics
from repro.models import build
from repro.optim import MOST_DROPS, PaperSGD, rate_at, stalls
from repro.parallel import ALONE, Ranks
from repro.population import Alone, Step, Together
from repro.precision import autocast
from repro.registry import OWN_MODELS
from repro.trial import WINDOWS, Clocks, Result, Row, Trial, derive_seed

__all__ = [
    "CheckpointError",
    "Population",
    "Progress",
    "Run",
    "Stopwatch",
    "device_data",
    "epoch_order",
    "short_of_memory",
    "train",
    "train_all",
    "untrained",
    "using",
    "window_steps",
]

# Online error over the last windows that is held against `near`: 3 windows of CIFAR-10 are
# 15,000 images, whose standard error of 0.35 points is well inside a `near` of 1 point.
_NEAR_WINDOWS = 3

# Sec. 4.2 and the authors' files give no rule for when a net has converged; half a point is what
# their sibling nets differ by.
_PLATEAU = 0.005

_METERED = 0.5  # seconds at least between two looks at the energy, which cost a millisecond or so

_PAPER_IMAGES = 90 * 1.2e6  # sec. 5: "roughly 90 cycles" through "1.2 million images"


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
    energy: float = 0.0  # joules

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


def train(
    trial: Trial,
    dataset: Dataset,
    *,
    device: torch.device,
    until: float,
    checkpoint: bytes | None = None,
    on_window: Callable[["Run"], bool] = lambda _: True,
) -> "Run":
    """One trial alone, to `until` epochs; see `train_all`.

    Raises CheckpointError when `checkpoint` cannot be continued.
    """
    run = Run(trial, device_data(trial, dataset, device), until=until, checkpoint=checkpoint)
    for _ in train_all([run], on_window=on_window):
        pass
    return run


def train_all(
    runs: Sequence["Run"],
    *,
    on_window: Callable[["Run"], bool] = lambda _: True,
    ranks: Ranks = ALONE,
) -> Iterator["Run"]:
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


def _train(
    runs: Sequence["Run"], on_window: Callable[["Run"], bool], ranks: Ranks
) -> Iterator["Run"]:
    population: Population | None = None
    training, device = list(runs), runs[0].device
    while True:
        if population and list(population.runs) != [run for run in training if not run.ended]:
            population = None
            _free(device)  # before final measurements, and before the next one is laid out
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
    _free(device, short=True)
    middle = len(training) // 2
    yield from _train(training[:middle], on_window, ranks)
    yield from _train(training[middle:], on_window, ranks)


def _free(device: torch.device, *, short: bool = False) -> None:
    """Give back what a population took that nobody names any more: it refers to itself.

    On a CPU that is not `short` of memory Python does so in time; asking costs a tenth of a second.
    """
    if short or device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()


# What is said when memory is short, but not by torch's allocator of a GPU. oneDNN's words do not
# tell memory from its other wants, of which a shape that trains has none; a thread wants memory for
# its stack, and may exceed a limit that fewer workers keep.
_SHORT = (
    "DefaultCPUAllocator",
    "could not create a primitive",
    "can't start new thread",
    "CUDA error: out of memory",  # what torch's own allocator does not hand out, such as graphs
    "CUBLAS_STATUS_ALLOC_FAILED",
)


def short_of_memory(error: Exception) -> bool:
    """Whether memory ran out; on a CPU only the words of a RuntimeError tell."""
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or any(said in str(error) for said in _SHORT)


def device_data(trial: Trial, dataset: Dataset, device: torch.device) -> DeviceData:
    """The images as the trial, and any of its shape, sees them."""
    recipe = trial.recipe
    return DeviceData(
        dataset,
        device=device,
        inputs=recipe.inputs,
        images=trial.images,
        crop=recipe.crop,
        augment=recipe.augment,
        colour=recipe.colour,
    )


class Population:
    """Runs that take every step together; one alone is a population, too."""

    def __init__(self, runs: Sequence["Run"], ranks: Ranks = ALONE) -> None:
        self.runs, self.ranks = tuple(runs), ranks
        self.data, self.device = runs[0].data, runs[0].device
        self.clock = runs[0].clock
        models, optimizers = [run.model for run in runs], [run.optimizer for run in runs]
        self.step: Step
        if len(runs) > 1:
            self.step = Together(models, optimizers, autocast=runs[0].autocast)
        else:
            ours = runs[0].trial.model in OWN_MODELS
            self.step = Alone(
                models[0],
                optimizers[0],
                autocast=runs[0].autocast,
                recorded=ours and ranks.size == 1,
                ranks=ranks,
            )

    def train_window(self) -> None:
        """A tenth of an epoch of the paper's SGD; its online error costs nothing extra."""
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
            later = [run.later() for run in self.runs]
            stream = _Waited(self.data.train.stream([share.indices for share in shares], later))
            for share, (rows, labels) in zip(shares, stream, strict=True):
                images = self.data.training_inputs(rows, augmenting, first=share.first, of=share.of)
                self.step(images, labels, share)
        totals = self.ranks.total(self.step.totals).tolist()
        self.step.settle()
        recording = self.step.recording - recorded
        trained = self.clock.now() - started - recording
        self.clock.book(self.runs, train=trained, waiting=stream.seconds)
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

    def measure(self, source: Literal["train", "test"], runs: Sequence["Run"]) -> None:
        """Error of each net as it stands on all images of the split; adds rows to the curves."""
        if not runs:
            return
        started = self.clock.now()
        try:
            found = evaluate_together(
                [run.model for run in runs],
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
        self.clock.book(runs, evaluate=self.clock.now() - started)
        for run, one in zip(runs, found, strict=True):
            run.row(source, one.error, one.loss, one.images)


class Stopwatch:
    """Seconds, and joules, of the runs that share it, booked to each of those in training alike."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.meter = device, Meter(device)
        self.booked = self.metered = time.perf_counter()

    def now(self) -> float:
        """Once the device has done all that it was asked for."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def book(
        self,
        runs: Sequence["Run"],
        *,
        train: float = 0.0,
        evaluate: float = 0.0,
        waiting: float = 0.0,
        saving: float = 0.0,
    ) -> None:
        """Book the seconds; all since the last booking that is neither of the first is `other`."""
        now = time.perf_counter()
        other = max(0.0, now - self.booked - train - evaluate)
        self.booked = now
        share = 1 / len(runs)
        energy = self._energy(now)
        for run in runs:
            run.progress.energy += energy * share
            run.progress.seconds += Clocks(
                train=train * share,
                evaluate=evaluate * share,
                other=other * share,
                waiting=waiting * share,
                saving=saving * share,
            )

    def _energy(self, now: float) -> float:
        if now - self.metered < _METERED:
            return 0.0
        self.metered = now
        return self.meter.taken()


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
        recipe = trial.recipe
        self.optimizer = PaperSGD(
            self.model,
            rate=trial.rate,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            bias_rate=recipe.bias_rate,
            decay_biases=recipe.decay_biases,
            layer_decay=recipe.layer_decay,
        )
        self.steps = window_steps(self.images, recipe.batch_size)
        self.progress = Progress()
        self.company = 1  # the most runs that it has taken a step with
        self.metrics: dict[str, float] = {}
        self.arrays: Arrays = {}
        self._ordered: tuple[int, Tensor] | None = None
        if checkpoint is not None:
            self.load(checkpoint)

    def _untrained(self) -> nn.Module:
        model = untrained(self.trial, classes=self.data.classes, size=self.data.size)
        model.to(memory_format=torch.channels_last)
        return model.to(self.device)

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

    def later(self) -> Tensor:
        """Indices of the images that the epoch uses after the next window."""
        epoch, tenth = divmod(self.progress.windows, WINDOWS)
        return self._order(epoch)[self.steps[tenth + 1] * self.trial.recipe.batch_size :]

    def _order(self, epoch: int) -> Tensor:
        if self._ordered is None or self._ordered[0] != epoch:
            recipe = self.trial.recipe
            order = epoch_order(
                self.images,
                seed=self.trial.seed,
                epoch=epoch,
                within=None if recipe.shuffle is None else Bounds(**recipe.shuffle.model_dump()),
                batch=recipe.batch_size,
            )
            self._ordered = (epoch, order.to(self.device))
        return self._ordered[1]

    def rate(self) -> float:
        """By the recipe's schedule."""
        return rate_at(
            self.progress.epoch,
            rate=self.trial.rate,
            drops=self.trial.recipe.drops,
            stalled=self._stalls(),
        )

    def _stalls(self) -> int:
        patience = self.trial.recipe.patience
        return 0 if patience is None else stalls(self.progress.test_errors(), patience=patience)

    def seed(self, purpose: str) -> int:
        """Of what is drawn in the next window."""
        return derive_seed(purpose, self.trial.seed, self.progress.windows)

    def generator(self, purpose: str) -> torch.Generator:
        """Seeded so, on the device."""
        return torch.Generator(self.device).manual_seed(self.seed(purpose))

    # What comes of it

    def advance(self, *, loss: float, error: float, images: int) -> None:
        """A window was trained; its online loss and error are means over `images`."""
        self.progress.windows += 1
        self.row("online", error, loss, images)
        if not math.isfinite(loss):
            self.progress.status = "diverged"

    def wants(self) -> Literal["train", "test"] | None:
        """What is to be measured after a window: near the threshold, or at the end of an epoch.

        Where the online error is more than `near` above the threshold, the full error counts as
        above it: the claim file says so, and full passes far from the threshold buy nothing.
        """
        trial, progress = self.trial, self.progress
        if progress.status != "running":
            return None
        if trial.threshold is None:
            return "test" if progress.windows % WINDOWS == 0 else None
        near = progress.online(_NEAR_WINDOWS)[0] <= trial.threshold + trial.near
        return "train" if near and progress.crossing_full is None else None

    def decide(self) -> None:
        """Whether what was measured ends the trial."""
        if self.progress.status != "running":
            return
        if self.trial.threshold is not None:
            self._decide_crossing(self.trial.threshold)
        elif self._stalls() > MOST_DROPS:
            self.progress.status = "plateaued"

    def _decide_crossing(self, threshold: float) -> None:
        trial, progress = self.trial, self.progress
        now, before = progress.epoch, (progress.windows - 1) / WINDOWS
        epoch_error, windows = progress.online(WINDOWS)
        if progress.crossing_online is None and windows == WINDOWS and epoch_error <= threshold:
            progress.crossing_online = (before, now)
        if progress.crossing_full is None:
            epoch, source, error, *_ = progress.rows[-1]
            if source == "train" and epoch == now and error <= threshold:
                progress.crossing_full = (progress.above, now)
            else:
                progress.above = now
        decided = {"full": progress.crossing_full, "online": progress.crossing_online}
        if decided[trial.decided_by] is not None:
            progress.status = "crossed"

    def measure_final(self, ranks: Ranks = ALONE) -> None:
        """All metrics of the net as it stands. With a threshold, the test error alone counts."""
        if self.trial.threshold is not None:
            # Killed after its last checkpoint and before its result, a trial was tested already.
            if not self._tested:
                self._test(ranks)
            self.metrics = {"test_error": self.progress.rows[-1][2]}
            return
        started = self.clock.now()
        self.metrics, self.arrays = final_metrics(
            self.model, self._untrained(), self.data, autocast=self.autocast, ranks=ranks
        )
        self.clock.book([self], evaluate=self.clock.now() - started)
        self.metrics |= self._speeds()

    @property
    def _tested(self) -> bool:
        return self.progress.rows[-1][:2] == (self.progress.epoch, "test")

    def _test(self, ranks: Ranks) -> None:
        started = self.clock.now()
        found = evaluate(
            self.model, self.data.test, self.data.centre, autocast=self.autocast, ranks=ranks
        )
        self.clock.book([self], evaluate=self.clock.now() - started)
        self.row("test", found.error, found.loss, found.images)

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

    def _energy(self) -> dict[str, float]:
        energy = self.progress.energy  # NaN after any part of it on a device that does not count
        return {"energy": energy} if energy > 0 else {}

    def row(self, source: str, error: float, loss: float, images: int) -> None:
        """One more measurement, now."""
        progress = self.progress
        progress.rows.append((progress.epoch, source, error, loss, images, progress.seconds.train))

    def autocast(self) -> AbstractContextManager[None]:
        """The precision of the recipe."""
        return autocast(self.device, self.trial.recipe.precision)

    # Checkpoints and results

    def state(self) -> bytes:
        """All that the next window needs, loadable with `weights_only=True`."""
        self.clock.book([self])
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
        self.clock.book([self])
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
            metrics=self.metrics | self._energy(),
            loss=online[-1][3] if online else math.nan,
            seconds=progress.seconds,
            provenance=provenance,
        )


def untrained(trial: Trial, *, classes: int, size: int) -> nn.Module:
    """The trial's net before its first step, on the CPU: a function of the seed alone."""
    return build(
        trial.model,
        trial.arguments,
        classes=classes,
        size=size,
        initialisation=trial.recipe.initialisation,
        seed=derive_seed("weights", trial.seed),
    )


def epoch_order(
    images: int, *, seed: int, epoch: int, within: Bounds | None = None, batch: int = 1
) -> Tensor:
    """A permutation of the training images, (images,) int64, on the CPU.

    The arm is not asked for: arms with the same seed see the same batches (paired data order).
    `within`: the bounds, if any, in which batches of `batch` images are shuffled.
    """
    generator = torch.Generator().manual_seed(derive_seed("order", seed, epoch))
    if within is None:
        return torch.randperm(images, generator=generator)
    return bounded_order(images, within, batch=batch, generator=generator)


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
