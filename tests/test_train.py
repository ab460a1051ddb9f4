"""The training loop: same bits, honest clocks, crossings, divergence, resuming."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from repro.audit.curves import rederived
from repro.claim import Recipe
from repro.data import Dataset
from repro.data.device import DeviceData
from repro.train import (
    CheckpointError,
    Run,
    Stopwatch,
    device_data,
    epoch_order,
    train,
    train_all,
    window_steps,
)
from repro.train.crossing import needs_full_pass
from repro.train.evaluate import evaluate
from repro.train.mixing import mix_batch
from repro.train.progress import Progress
from repro.trial import CURVE_COLUMNS, Row, Trial
from tests.worlds import RECIPE, curve_of, tiny, trial_on

CPU = torch.device("cpu")
PLACES = [203, 438, 5, 537, 586]  # of the first five that seed 0 draws
NUMBERS = ["epoch", "source", "error", "loss", "images"]


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return tiny(tmp_path)


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """As many as before, whatever a test has set."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def run(trial: Trial, dataset: Dataset, *, until: float = 1.0) -> Run:
    return train(trial, dataset, device=CPU, until=until)


def numbers(run: Run) -> list[list[object]]:
    """Everything measured but the clock."""
    return curve_of(run)[NUMBERS].to_numpy().tolist()


def test_same_trial_gives_the_same_bits_whatever_ran_before(dataset: Dataset) -> None:
    """Bit for bit on a CPU: another trial in between, another random state, more threads."""
    trial = trial_on(dataset)
    first = run(trial, dataset)
    run(replace(trial, seed=9), dataset)
    torch.manual_seed(123)
    torch.set_num_threads(2)
    second = run(trial, dataset)

    assert numbers(first) == numbers(second)
    for a, b in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_training_leaves_the_number_of_threads_as_it_was(dataset: Dataset) -> None:
    """A library must not change the host program's setting."""
    torch.set_num_threads(2)
    run(trial_on(dataset), dataset, until=0.1)

    assert torch.get_num_threads() == 2


def test_another_seed_gives_other_numbers(dataset: Dataset) -> None:
    """Seeds reach the weights and the order."""
    trial = trial_on(dataset)

    assert numbers(run(trial, dataset)) != numbers(run(replace(trial, seed=1), dataset))


def test_arms_share_data_order() -> None:
    """The order is a function of the seed and the epoch, and a permutation."""
    order = epoch_order(100, seed=3, epoch=2)

    assert torch.equal(order, epoch_order(100, seed=3, epoch=2))
    assert not torch.equal(order, epoch_order(100, seed=3, epoch=3))
    assert sorted(order.tolist()) == list(range(100))


def test_every_image_is_seen_once_an_epoch(dataset: Dataset) -> None:
    """Ten windows make an epoch exactly, the short last batch included."""
    odd = replace(
        dataset,
        train=replace(
            dataset.train, images=dataset.train.images[:167], labels=dataset.train.labels[:167]
        ),
    )
    curve = curve_of(run(trial_on(odd), odd))

    assert curve[curve.source == "online"].images.sum() == 167
    assert tuple(curve.columns) == CURVE_COLUMNS


def test_the_net_learns_the_synthetic_patterns(dataset: Dataset) -> None:
    """A net that does not learn would pass every other test here."""
    result = run(trial_on(dataset), dataset, until=4.0).result({})

    assert result.train_error < 0.3
    assert result.metric("test_error") < 0.3


def test_resuming_changes_no_bit(dataset: Dataset) -> None:
    """Stopped at any tenth of an epoch and continued from bytes: the numbers of one run."""
    trial = trial_on(dataset)
    whole = run(trial, dataset, until=2.0)
    checkpoint = None
    for stop_at in (1, 10, 15, 99):
        part = train(
            trial,
            dataset,
            device=CPU,
            until=2.0,
            checkpoint=checkpoint,
            on_window=lambda r, last=stop_at: r.progress.windows < last,
        )
        checkpoint = part.state()
        assert part.progress.windows == min(stop_at, 20)

    assert numbers(part) == numbers(whole)


# Each with all that the others leave at its default.
MODERN: dict[str, dict[str, object]] = {
    "nesterov": {
        "optimiser": {"name": "sgd", "arguments": {"nesterov": True}},
        "weight_decay": 0.1,
        "mixup": 0.2,
        "cutmix": 1.0,
        "crop": 32,
        "padding": 4,
        "augment": ("crop", "flip"),
    },
    "adamw": {
        "optimiser": "adamw",
        "schedule": {"name": "cosine", "epochs": 2.0, "warmup": 0.5},
        "ema": 0.9,
    },
    "lamb": {"optimiser": "timm:lamb", "clip_norm": 0.5, "label_smoothing": 0.1},
    "rmsprop": {"optimiser": "rmsprop", "schedule": {"name": "step", "step_size": 0.5}},
}


@pytest.mark.parametrize("name", MODERN)
def test_a_modern_recipe_killed_at_every_tenth_changes_no_bit(dataset: Dataset, name: str) -> None:
    """Weights and curve of one run: a checkpoint holds all that the next step needs."""
    recipe = Recipe.model_validate(RECIPE.model_dump(exclude_unset=True) | MODERN[name])
    trial = trial_on(dataset, recipe=recipe, rate=0.001, threshold=None)
    whole = run(trial, dataset, until=1.2)
    checkpoint = None
    for tenth in range(1, 13):
        part = train(
            trial,
            dataset,
            device=CPU,
            until=1.2,
            checkpoint=checkpoint,
            on_window=lambda r, last=tenth: r.progress.windows < last,
        )
        checkpoint = part.state()

    assert numbers(part) == numbers(whole)
    for net, other in ((part.model, whole.model), (part.tested_model, whole.tested_model)):
        for a, b in zip(net.parameters(), other.parameters(), strict=True):
            assert torch.equal(a, b)


def test_the_average_of_the_weights_is_what_is_tested(dataset: Dataset) -> None:
    """Weights, step by step, decayed by what the recipe says; errors and kept nets are of it."""
    recipe = RECIPE.model_copy(update={"ema": 0.5, "batch_size": 32})
    trial = trial_on(dataset, recipe=recipe, threshold=None)
    plain = replace(trial, recipe=recipe.model_copy(update={"ema": None}))
    steps: list[torch.Tensor] = []

    def keep(run: Run) -> bool:  # a tenth of 320 images is one step of 32
        steps.append(next(run.model.parameters()).detach().clone())
        return True

    train(plain, dataset, device=CPU, until=1.0, on_window=keep)
    average = steps[0]
    for step in steps[1:]:
        average = torch.lerp(average, step, 0.5)
    averaged = run(trial, dataset)
    tested = evaluate(averaged.tested_model, averaged.data.test, None, autocast=averaged.autocast)

    assert torch.allclose(next(averaged.tested_model.parameters()), average, rtol=1e-5, atol=1e-7)
    assert torch.equal(next(averaged.model.parameters()), steps[-1])
    assert averaged.result({}).metric("test_error") == tested.error


@pytest.mark.parametrize("way", ["mixup", "cutmix"])
def test_blended_images_carry_their_shares_of_the_labels(way: str) -> None:
    """White and black images of two classes: each one's label is what can be seen of it."""
    images = torch.zeros(8, 3, 32, 32)
    images[::2] = 1.0
    labels = torch.arange(8) % 2
    alphas = {"mixup": None, "cutmix": None} | {way: 1.0}
    blended, shares = mix_batch(images, labels, classes=3, seed=7, **alphas)
    again, _ = mix_batch(images, labels, classes=3, seed=7, **alphas)
    other, _ = mix_batch(images, labels, classes=3, seed=8, **alphas)

    assert torch.allclose(blended.mean((1, 2, 3)), shares[:, 0], atol=1e-6)
    assert torch.allclose(shares.sum(1), torch.ones(8))
    assert torch.equal(blended, again)
    assert not torch.equal(blended, other)


def test_label_smoothing_is_of_training_alone(dataset: Dataset) -> None:
    """The online loss has it; the test loss of the same net has not."""
    plain, smooth = (
        trial_on(dataset, recipe=RECIPE.model_copy(update={"label_smoothing": share}), rate=1e-9)
        for share in (0.0, 0.5)
    )
    one, two = (run(replace(trial, threshold=None), dataset) for trial in (plain, smooth))

    def loss(run: Run, source: str) -> float:
        return [row.loss for row in run.progress.rows if row.source == source][-1]

    assert loss(one, "test") == pytest.approx(loss(two, "test"), rel=1e-6)
    assert loss(one, "online") != pytest.approx(loss(two, "online"), rel=1e-3)


def test_gradients_are_clipped_to_their_norm(dataset: Dataset) -> None:
    """The first step of plain SGD is no longer than the rate times the norm."""
    recipe = RECIPE.model_copy(update={"clip_norm": 1e-3, "momentum": 0.0, "batch_size": 32})
    trial = trial_on(dataset, recipe=recipe, rate=1.0)
    clipped, whole = (
        run(replace(trial, recipe=each), dataset, until=0.1)
        for each in (recipe, recipe.model_copy(update={"clip_norm": None}))
    )

    def moved(run: Run) -> float:
        start = run._untrained().state_dict()
        ends = run.model.state_dict()
        return math.sqrt(sum(float((ends[name] - start[name]).square().sum()) for name in ends))

    assert moved(clipped) == pytest.approx(1e-3, rel=1e-3)
    assert moved(whole) > 1e-2


def test_an_extended_trial_equals_one_trained_at_once(dataset: Dataset) -> None:
    """The budget is not part of a trial: its schedule never looks at the horizon."""
    trial = trial_on(dataset)
    short = run(trial, dataset, until=1.0)
    longer = train(trial, dataset, device=CPU, until=2.0, checkpoint=short.state())
    whole = run(trial, dataset, until=2.0)
    online = [row for row in numbers(longer) if row[1] == "online"]

    assert online == [row for row in numbers(whole) if row[1] == "online"]


def test_foreign_and_broken_checkpoints_are_refused(dataset: Dataset) -> None:
    """Truncated bytes, a pickle that would run code, another trial's checkpoint."""
    trial = trial_on(dataset)
    good = run(trial, dataset, until=0.1).state()
    other = run(replace(trial, seed=4), dataset, until=0.1).state()
    evil = b"\x80\x04cos\nsystem\n(S'false'\ntR."

    for bad in (good[: len(good) // 2], evil, other, b""):
        with pytest.raises(CheckpointError):
            train(trial, dataset, device=CPU, until=0.2, checkpoint=bad)


def test_divergence_is_an_outcome_not_an_error(dataset: Dataset) -> None:
    """A rate that blows up is recorded as diverged, with its loss, and stops."""
    result = run(trial_on(dataset, rate=1e6), dataset, until=3.0).result({})

    assert result.status == "diverged"
    assert not math.isfinite(result.loss)
    assert result.epochs < 3.0


def test_a_trial_stops_at_its_crossing_and_brackets_it(dataset: Dataset) -> None:
    """The crossing lies in one tenth of an epoch: above before it, at or below after it."""
    crossed = run(trial_on(dataset, threshold=0.3, near=1.0), dataset, until=9.0)
    result = crossed.result({})
    curve = curve_of(crossed)
    passes = curve[curve.source == "train"].set_index("epoch").error

    assert result.status == "crossed"
    assert result.crossing_full is not None
    lower, upper = result.crossing_full
    assert upper == result.epochs
    assert upper - lower == pytest.approx(0.1)
    assert passes[upper] <= 0.3
    assert (passes[passes.index <= lower] > 0.3).all()


def test_a_crossing_by_the_median_is_that_of_the_middle_of_an_epoch(dataset: Dataset) -> None:
    """Eleven passes have their median there; the curve alone says the same."""
    trial = trial_on(dataset, threshold=0.3, near=0.5, crossing="median")
    crossed = run(trial, dataset, until=9.0)
    result, curve = crossed.result({}), curve_of(crossed)
    passes = curve[curve.source == "train"].set_index("epoch").error
    medians = passes.rolling(11).median()  # of the epoch that ends there

    assert result.status == "crossed"
    assert result.crossing_full is not None
    lower, upper = result.crossing_full
    assert (lower, upper) == pytest.approx((result.epochs - 0.6, result.epochs - 0.5))
    assert medians[result.epochs] <= 0.3 < medians.iloc[-2]
    assert rederived(trial, crossed.progress.rows, result).crossing_full == result.crossing_full


def test_by_the_median_full_passes_are_an_epoch_apart_until_the_error_is_close(
    dataset: Dataset,
) -> None:
    """From `near` and two standard errors on; each tenth an epoch before a quarter of it."""
    trial = trial_on(dataset, threshold=0.25, near=0.1, crossing="median")

    def epochs(online: Sequence[float], full: Sequence[float]) -> list[float]:
        progress, made = Progress(), []
        for error, whole in zip(online, full, strict=True):
            progress.windows += 1
            progress.rows.append(Row(progress.epoch, "online", error, 1.0, 5_000, 0.0))
            if needs_full_pass(trial, progress, images=50_000):
                progress.rows.append(Row(progress.epoch, "train", whole, 1.0, 50_000, 0.0))
                made.append(progress.epoch)
        return made

    falling = [0.4 - 0.001 * window for window in range(120)]
    by_both = epochs(falling, falling)  # a point an epoch
    assert by_both[:7] == [4.5, 5.5, 6.5, 7.5, 8.5, 9.5, 10.5]
    assert by_both[7:] == pytest.approx(np.arange(11.0, 12.05, 0.1))
    # a full error that is lower than that of the batches is seen at its next pass
    lower = epochs(falling, [error - 0.02 for error in falling])
    assert lower[5:9] == pytest.approx([9.5, 10.5, 10.6, 10.7])
    # nothing is skipped where it falls by most of `near` an epoch, or in the first epoch
    steep = [0.7 - 0.008 * window for window in range(60)]
    assert epochs(steep, steep) == pytest.approx(np.arange(4.5, 6.05, 0.1))
    assert epochs([0.3] * 20, [0.3] * 20) == pytest.approx([*np.arange(0.1, 1.05, 0.1), 2.0])
    assert epochs([0.9] * 50, [0.9] * 50) == []


def test_full_passes_are_made_only_near_the_threshold(dataset: Dataset) -> None:
    """Where the online error is far above, no full pass is paid for."""
    far = run(trial_on(dataset, threshold=0.0001, near=0.0), dataset, until=0.5)

    assert "train" not in set(curve_of(far).source)


def test_online_crossing_needs_a_whole_epoch_below(dataset: Dataset) -> None:
    """One lucky window does not decide: the error of the last ten windows does."""
    crossed = run(
        trial_on(dataset, threshold=0.5, decided_by="online"), dataset, until=9.0
    ).progress

    assert crossed.crossing_online is not None
    assert crossed.crossing_online[1] >= 1.0
    assert crossed.online(10)[0] <= 0.5


def test_a_trial_at_its_budget_is_censored(dataset: Dataset) -> None:
    """Never drawn as crossed."""
    result = run(trial_on(dataset), dataset, until=0.3).result({})

    assert result.status == "censored"
    assert result.crossing_full is None
    assert result.epochs == pytest.approx(0.3)


@pytest.mark.parametrize("members", [1, 2])
def test_three_clocks_add_up_to_the_wall_clock(
    members: int, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training, evaluation and the rest are disjoint, and together all that went by.

    By a clock that moves on by a second whenever it is read, so that the sums are exact.
    """
    seconds = count()
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(seconds)))
    trials = [trial_on(dataset, near=1.0, seed=seed) for seed in range(members)]
    clock = Stopwatch(CPU)
    started, data = clock.last_booking, device_data(trials[0], dataset, CPU)
    runs = [Run(trial, data, until=0.5, clock=clock) for trial in trials]
    for _ in train_all(runs):
        pass
    booked = [run.result({}).seconds for run in runs]

    assert min(min(one.train, one.evaluate, one.other) for one in booked) > 0
    assert sum(one.wall for one in booked) == clock.last_booking - started


def test_bfloat16_is_a_matter_of_the_recipe(dataset: Dataset) -> None:
    """Precision changes the numbers, and so the trial's identity."""
    low = RECIPE.model_copy(update={"precision": "bfloat16"})
    exact, rounded = trial_on(dataset), trial_on(dataset, recipe=low)

    assert exact.id != rounded.id
    assert numbers(run(exact, dataset, until=0.2)) != numbers(run(rounded, dataset, until=0.2))
    assert next(run(rounded, dataset, until=0.1).model.parameters()).dtype == torch.float32


def test_rate_drops_are_reached(dataset: Dataset) -> None:
    """After a drop to nearly nothing the weights stand still."""
    recipe = RECIPE.model_copy(
        update={"drops": tuple(0.188 + i / 1000 for i in range(12)), "momentum": 0.0}
    )
    trial = trial_on(dataset, recipe=Recipe.model_validate(recipe.model_dump()))
    before = run(trial, dataset, until=0.2).model.state_dict()
    after = run(trial, dataset, until=0.5).model.state_dict()

    for name, value in before.items():
        torch.testing.assert_close(after[name], value, atol=1e-6, rtol=0)


def test_windows_are_tenths_of_an_epoch() -> None:
    """391 steps of CIFAR-10 fall into ten windows of 39 or 40 steps."""
    steps = window_steps(50_000, 128)

    assert steps[0] == 0
    assert steps[-1] == 391
    assert {b - a for a, b in pairwise(steps)} == {39, 40}


def test_too_few_images_for_tenths_are_refused() -> None:
    """Nine steps cannot be measured in ten windows."""
    with pytest.raises(ValueError, match="9 steps an epoch; at least 10 are needed"):
        window_steps(9 * 128, 128)


def test_numbers_of_this_version_are_kept(tmp_path: Path) -> None:
    """If a change of code is meant to change the numbers: python tools/numerics.py --changed.

    The bound is that of float32 sums in another order on another machine.
    """
    dataset = tiny(tmp_path, images=640)
    recipe = RECIPE.model_copy(update={"batch_size": 32})
    curve = curve_of(run(trial_on(dataset, recipe=recipe), dataset, until=0.5))
    online = curve[curve.source == "online"]

    assert online.loss.tolist() == pytest.approx(GOLDEN_LOSSES, rel=2e-3)


GOLDEN_LOSSES = [3.1278, 2.1323, 2.0739, 1.9120, 1.6598]


def seen(dataset: Dataset, **changes: object) -> tuple[list[bytes], list[bytes]]:
    """Which images a trial trains on, and which it is tested on."""
    data = device_data(trial_on(dataset, **changes), dataset, CPU)
    train, test = (
        [image.numpy().tobytes() for image in split.rows(torch.arange(len(split.labels)))]
        for split in (data.train, data.test)
    )
    return train, test


def test_a_seed_draws_its_training_images(tmp_path: Path) -> None:
    """The same for all arms, others for another seed; which they are is part of the trial."""
    dataset = tiny(tmp_path, images=640)
    drawn = {"images": 100, "resample": True}
    one, _ = seen(dataset, **drawn)
    arm, _ = seen(dataset, **drawn, arguments={"activation": "tanh"})
    other, _ = seen(dataset, **drawn, seed=1)
    everything, _ = seen(dataset)
    places = [everything.index(image) for image in one[:5]]

    assert one == arm
    assert len(set(one) & set(other)) < 60
    assert len(one) == len(other) == 100
    assert places == PLACES, "a draw that changes needs another numerics (tools/numerics.py)"
    assert trial_on(dataset, **drawn).shape != trial_on(dataset, **drawn, seed=1).shape
    assert trial_on(dataset).shape == trial_on(dataset, seed=1).shape


@pytest.mark.parametrize("resample", [False, True])
def test_further_test_images_are_never_trained_on(dataset: Dataset, resample: bool) -> None:
    """The last ones of the training set, beside all of the test set."""
    everything, tests = seen(dataset)
    train, test = seen(dataset, further_test=40, resample=resample, images=None)

    assert test == tests + everything[-40:]
    assert sorted(train) == sorted(everything[:-40])


def test_further_test_images_leave_the_others_on_disk(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a data set that does not fit into memory no copy is made of what is trained on."""
    monkeypatch.setattr("repro.data.device.images._free_bytes", lambda _: 0)
    data = device_data(trial_on(dataset, further_test=40), dataset, CPU)

    assert np.shares_memory(data.train.images, dataset.train.images)


def test_a_trial_goes_on_where_images_are_read_ahead(tmp_path: Path) -> None:
    """Bit for bit as where they are held on the device, in the middle of an epoch."""
    dataset = tiny(tmp_path, images=390)
    trial = trial_on(dataset, threshold=None, seed=3)

    def run(*, held: bool, until: float, checkpoint: bytes | None = None) -> Run:
        data = DeviceData(dataset, device=torch.device("cpu"), inputs="standardised", held=held)
        run = Run(trial, data, until=until, checkpoint=checkpoint)
        assert list(train_all([run])) == [run]
        return run

    whole, half = run(held=True, until=1.0), run(held=False, until=0.5)
    rest = run(held=False, until=1.0, checkpoint=half.state())
    ours, theirs = (curve_of(run).drop(columns="train_seconds") for run in (rest, whole))

    assert ours.equals(theirs)
    for a, b in zip(rest.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(a, b)
