"""What is read of a trained net, against slow definitions."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repro.claim import Recipe
from repro.data import Dataset, synthetic
from repro.data.device import (
    Colour,
    DeviceData,
    View,
    colour_components,
    colour_covariance,
    ten_crop,
)
from repro.train import train
from repro.train.evaluate import (
    Evaluation,
    calibration_error,
    colour_split,
    evaluate,
    evaluate_views,
    neighbours,
)
from tests.worlds import RECIPE, tiny, trial_on

CPU = torch.device("cpu")


def no_autocast() -> torch.autocast:
    return torch.autocast("cpu", enabled=False)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return tiny(tmp_path, images=64)


def on_device(dataset: Dataset, **changes: object) -> DeviceData:
    return DeviceData(dataset, device=CPU, inputs="centred", **changes)  # type: ignore[arg-type]


class Fixed(nn.Module):
    """Class scores that are a fixed random projection of the pixels, so that none are tied."""

    def forward(self, x: Tensor) -> Tensor:
        weights = torch.randn(x[0].numel(), 10, generator=torch.Generator().manual_seed(0))
        return x.flatten(1) @ weights / 1000


def test_ten_crops_are_the_corners_and_the_centre_and_their_mirrors() -> None:
    """224 of 256: offsets 0, 32 and 16 (sec. 4.1)."""
    views = ten_crop(224, 256)

    assert [(v.top, v.left) for v in views[:5]] == [(0, 0), (0, 32), (32, 0), (32, 32), (16, 16)]
    assert [v.mirrored for v in views] == [False] * 5 + [True] * 5
    assert len(set(views)) == 10


def test_a_crop_of_the_whole_image_is_one_view(dataset: Dataset) -> None:
    """Padded images are cropped to their own size; ten such views would be two, five times."""
    data = on_device(dataset, crop=32)

    assert data.ten == ()
    assert data.centre == View(top=0, left=0, size=32)


def test_views_are_cut_from_the_centred_image(dataset: Dataset) -> None:
    """The mean is a pixel's own, wherever the crop lies; a mirror turns the crop."""
    data = on_device(dataset, crop=24)
    whole, _ = on_device(dataset).test.batch(torch.arange(4))
    cut, _ = data.test.batch(torch.arange(4), View(top=3, left=5, size=24))
    turned, _ = data.test.batch(torch.arange(4), View(top=3, left=5, size=24, mirrored=True))

    torch.testing.assert_close(cut, whole[:, :, 3:27, 5:29])
    torch.testing.assert_close(turned, cut.flip(3))


def test_ten_crops_average_probabilities(dataset: Dataset) -> None:
    """As the authors' code does; logits are averaged beside it."""
    data = on_device(dataset, crop=24)
    ten, logits = evaluate_views(Fixed(), data.test, data.ten, autocast=no_autocast)
    outputs = [Fixed()(data.test.batch(torch.arange(100), view)[0]) for view in data.ten]
    labels = data.test.labels
    probable = torch.stack([one.softmax(1) for one in outputs]).mean(0)
    plain = torch.stack(outputs).mean(0)

    assert ten.error == pytest.approx((probable.argmax(1) != labels).double().mean().item())
    assert logits.error == pytest.approx((plain.argmax(1) != labels).double().mean().item())
    assert ten.loss != logits.loss


def test_top5_counts_the_five_best(dataset: Dataset) -> None:
    """By sorting."""
    data = on_device(dataset)
    found = evaluate(Fixed(), data.test, None, autocast=no_autocast)
    images, labels = data.test.batch(torch.arange(100))
    best = Fixed()(images).argsort(1, descending=True)[:, :5]

    assert found.top5_error == pytest.approx((best != labels[:, None]).all(1).double().mean())
    assert found.error > found.top5_error


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(("model", "crop"), [("cifar_80sec", None), ("cifar_conv_local", 24)])
def test_measures_do_not_move_with_the_split_into_batches(
    model: str, crop: int | None, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors are counts, and equal; losses are summed in float32, batch by batch: to 1e-6."""
    data = tiny(tmp_path)
    recipe = RECIPE.model_copy(update={"precision": precision, "crop": crop})
    trial = trial_on(data, model=model, arguments={}, recipe=recipe)
    run = train(trial, data, device=CPU, until=0.1)
    found = []
    for batch in (1000, 64, 7):
        monkeypatch.setattr("repro.train.evaluate._BATCH", batch)
        split = evaluate(run.model, run.data.test, run.data.centre, autocast=run.autocast)
        found.append(split)
    whole = found[0]

    for split in found[1:]:
        assert (split.error, split.top5_error) == (whole.error, whole.top5_error)
        assert split.loss == pytest.approx(whole.loss, rel=1e-6)


def test_nan_is_never_right(dataset: Dataset) -> None:
    """A diverged net is wrong everywhere, among five guesses too."""

    class Nan(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.full((len(x), 10), math.nan)

    found = evaluate(Nan(), on_device(dataset).test, None, autocast=no_autocast)
    assert (found.guesses == -1).all()

    assert (found.error, found.top5_error) == (1.0, 1.0)


def test_random_crops_reach_every_place_and_mirror_half(dataset: Dataset) -> None:
    """9 places a side for 24 of 32 pixels; each image has its own."""
    data = on_device(dataset, crop=24, augment=("crop", "flip"))
    marked = replace(
        data.train,
        images=torch.arange(32 * 32, dtype=torch.int64).reshape(1, 32, 32, 1).expand(1, -1, -1, 3),
        mean=torch.zeros(32, 32, 3),
        scale=torch.ones(32, 32, 3),
    )
    generator = torch.Generator().manual_seed(0)
    rows = marked.rows(torch.zeros(2000, dtype=torch.int64))
    batch = marked.random_inputs(rows, data.augment, size=24, generators=[generator])
    left, right = batch[:, 0, 0, 0], batch[:, 0, 0, -1]
    first = torch.minimum(left, right).int()

    assert set((first // 32).tolist()) == set(range(9))
    assert set((first % 32).tolist()) == set(range(9))
    assert 0.4 < (left > right).double().mean() < 0.6


@pytest.mark.parametrize("colour", ["none", "scaled"])
@pytest.mark.parametrize("augment", [("crop", "flip"), ("crop",), ("flip",)])
def test_random_inputs_equal_their_slow_definition(
    dataset: Dataset, augment: tuple[str, ...], colour: Colour
) -> None:
    """Image by image and bit by bit: cut, less the mean of its own place, coloured, mirrored."""
    data = DeviceData(
        dataset, device=CPU, inputs="standardised", crop=24, augment=augment, colour=colour
    )
    rows = data.train.rows(torch.arange(40))
    found = data.training_inputs(rows, [torch.Generator().manual_seed(3)])

    by = torch.Generator().manual_seed(3)
    middle = torch.full((40, 1), 4)
    top, left = (
        torch.randint(9, (40, 1), generator=by) if "crop" in augment else middle for _ in range(2)
    )
    mirrored = torch.rand(40, 1, generator=by) < 0.5 if "flip" in augment else middle < 0
    noise, shrink = torch.zeros(40, 3), 1.0
    if data.augment.components is not None:
        noise = torch.randn(40, 3, generator=by) * 0.1 @ data.augment.components
        shrink = 1 / 1.1  # their code divides images with noise by so much
    for i, image in enumerate(rows):
        box = slice(top[i, 0], top[i, 0] + 24), slice(left[i, 0], left[i, 0] + 24)
        pixels = (image[box] - data.train.mean[box] + noise[i]) * shrink * data.train.scale[box]
        wanted = pixels.flip(1) if mirrored[i] else pixels
        assert torch.equal(found[i].permute(1, 2, 0), wanted)


def test_padded_crops_reach_into_a_frame_of_mean_colour(dataset: Dataset) -> None:
    """Every place of the whole image and of the padding; tests see the image as it is."""
    data = DeviceData(dataset, device=CPU, inputs="centred", crop=32, augment=("crop",), padding=4)
    rows = data.train.rows(torch.arange(200) % 40)
    found = data.training_inputs(rows, [torch.Generator().manual_seed(3)])
    by = torch.Generator().manual_seed(3)
    top, left = (torch.randint(9, (200,), generator=by).tolist() for _ in range(2))
    centred = data.train.inputs(rows)
    framed = F.pad(centred, (4, 4, 4, 4))

    for i, (y, x) in enumerate(zip(top, left, strict=True)):
        assert torch.equal(found[i], framed[i, :, y : y + 32, x : x + 32])
    assert {*top} == {*left} == set(range(9))
    assert torch.equal(data.test.inputs(rows, data.centre), data.test.inputs(rows))


def test_calibration_error_is_the_gap_of_confidence_and_accuracy() -> None:
    """Two bins by hand: 60 images at 0.9, of which 45 are right, and 40 at 0.55, of which 30."""
    guesses = torch.zeros(100, dtype=torch.int64)
    confidences = torch.tensor([0.9] * 60 + [0.55] * 40)
    labels = torch.tensor([0] * 45 + [1] * 15 + [0] * 30 + [1] * 10)
    found = Evaluation(
        error=0.25, top5_error=0.0, loss=1.0, images=100, guesses=guesses, confidences=confidences
    )

    assert calibration_error(found, labels) == pytest.approx(0.6 * 0.15 + 0.4 * 0.2)


def test_confidences_are_those_of_the_guesses(dataset: Dataset) -> None:
    """The largest probability of each image, in whatever batches."""
    data = on_device(dataset)
    found = evaluate(Fixed(), data.test, None, autocast=no_autocast)
    images, _ = data.test.batch(torch.arange(100))

    assert torch.equal(found.confidences, Fixed()(images).softmax(1).amax(1))


def test_without_flips_no_image_is_mirrored(dataset: Dataset) -> None:
    """And without crops the place is the central one, as in tests."""
    data = on_device(dataset, crop=24, augment=())

    assert not data.augment.any
    trained = data.training_inputs(data.train.rows(torch.arange(8)), [])
    tested, _ = data.train.batch(torch.arange(8), data.centre)
    torch.testing.assert_close(trained, tested)


def test_colour_noise_moves_all_pixels_of_an_image_alike(dataset: Dataset) -> None:
    """Along the principal components, by 0.1 of the standard deviation on average (sec. 4.1)."""
    data = on_device(dataset, colour="deviations")
    indices = torch.zeros(4000, dtype=torch.int64)
    generator = torch.Generator().manual_seed(0)
    noisy = data.training_inputs(data.train.rows(indices), [generator])
    clean, _ = data.train.batch(indices[:1])
    shift = (noisy - clean).flatten(2)

    assert shift.std(2).max() < 1e-3
    components = colour_components(colour_covariance(dataset.train.images), "deviations")
    expected = 0.1 * np.sqrt((components**2).sum(0))
    np.testing.assert_allclose(shift[:, :, 0].std(0).numpy(), expected, rtol=0.06)


def test_components_are_those_of_the_pixels() -> None:
    """Against numpy's covariance; the eigenvalue form is of pixels in 0 to 1."""
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3)).astype(np.uint8)
    images[..., 1] = images[..., 0] // 2  # red and green go together
    covariance = np.cov(images.reshape(-1, 3).astype(float).T, bias=True)
    np.testing.assert_allclose(colour_covariance(images), covariance, atol=1e-6)
    values = np.sort(np.linalg.eigvalsh(covariance))[::-1]

    for colour, lengths in (("deviations", np.sqrt(values)), ("eigenvalues", values / 255)):
        found = colour_components(covariance, colour)  # type: ignore[arg-type]
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), lengths, rtol=1e-6)
    first = colour_components(covariance, "deviations")[0]
    np.testing.assert_allclose(covariance @ first, values[0] * first, rtol=1e-6)


def test_crops_larger_than_the_images_are_refused(dataset: Dataset) -> None:
    """Before anything is trained."""
    with pytest.raises(ValueError, match="crops of 40 pixels do not fit into images of 32"):
        on_device(dataset, crop=40)


def test_colour_split_is_zero_for_grey_and_one_for_opposites() -> None:
    """Half of the kernels grey, half of them colour alone."""
    grey = np.ones((4, 3, 5, 5))
    coloured = np.zeros((4, 3, 5, 5))
    coloured[:, 0], coloured[:, 2] = 1.0, -1.0

    assert colour_split(np.concatenate([grey, grey])) == 0
    assert colour_split(np.concatenate([grey, coloured])) == 1
    assert colour_split(np.concatenate([coloured, coloured])) == 0
    assert math.isnan(colour_split(np.zeros((8, 3, 5, 5))))


NET = {
    "model": "alexnet_2012",
    "arguments": {"preset": "authors_2012", "width": 0.05},
    "threshold": None,
    "rate": 0.01,
}
WAY = Recipe.model_validate(
    {**RECIPE.model_dump(), "crop": 28, "augment": ("crop", "flip"), "colour": "scaled"}
)


def test_a_trial_measures_all_that_its_net_and_data_allow(tmp_path: Path) -> None:
    """One baseline serves every claim, whatever each reads of it."""
    data = tiny(tmp_path)
    run = train(trial_on(data, recipe=WAY, **NET), data, device=CPU, until=2)
    result = run.result({})

    assert {
        "train_error", "test_error", "test_top5_error", "test_loss", "calibration_error",
        "gap", "test_error_ten_crop",
        "test_top5_error_ten_crop", "colour_split", "neighbours_features", "neighbours_pixels",
        "first_epoch_error", "epochs_to_plateau", "initial_loss", "days_for_90_epochs",
    } <= result.metrics.keys()  # fmt: skip
    assert result.status == "finished"
    assert len(result.test_errors) == 2
    assert result.metric("gap") == result.metric("test_error") - result.metric("train_error")
    assert result.metric("test_error") == result.test_errors[-1]
    assert run.arrays["near_images"].shape == (5, 7, 32, 32, 3)


def test_neighbours_are_the_same_whatever_is_held_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of large images the gallery does not fit: it comes in parts, and the nearest are kept."""
    data = on_device(synthetic(n_train=100, n_test=20, size=8))
    share, near = neighbours(None, data, autocast=no_autocast)
    monkeypatch.setattr("repro.train.evaluate._GALLERY_BYTES", 30 * 8 * 8 * 3 * 4)  # thirty images
    again, same = neighbours(None, data, autocast=no_autocast)
    pixels = data.train.images.flatten(1).double()  # type: ignore[union-attr]
    first = data.test.images[0].flatten().double()  # type: ignore[union-attr,index]

    assert again == share
    assert np.array_equal(same, near)
    assert near[0, 0] == int((pixels - first).square().sum(1).argmin())


def test_a_net_with_batch_normalisation_begins_near_the_loss_of_guessing(tmp_path: Path) -> None:
    """By the statistics of the batch: it has kept none yet, and without them signals grow."""
    data = tiny(tmp_path, images=320)
    recipe = RECIPE.model_copy(update={"initialisation": "framework", "inputs": "centred"})
    net = {"model": "timm:resnet10t", "arguments": {}, "recipe": recipe, "threshold": None}
    run = train(trial_on(data, **net), data, device=CPU, until=0)
    run.measure_final()

    assert run.metrics["initial_loss"] == pytest.approx(math.log(10), abs=1.0)


def test_crops_and_noise_are_the_same_bits_across_a_pause(tmp_path: Path) -> None:
    """Mid-epoch, with dropout, crops, mirrors and colour: a function of the trial alone."""
    data = tiny(tmp_path)
    trial = trial_on(data, recipe=WAY, **NET)
    whole = train(trial, data, device=CPU, until=1)
    half = train(trial, data, device=CPU, until=1, on_window=lambda run: run.progress.windows < 4)
    rest = train(trial, data, device=CPU, until=1, checkpoint=half.state())

    assert half.progress.windows == 4
    for a, b in zip(whole.model.parameters(), rest.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert whole.metrics["test_error"] == rest.metrics["test_error"]


def test_training_stops_after_the_last_plateau(tmp_path: Path) -> None:
    """Three drops of the rate, then one more stall ends it (sec. 5)."""
    data = tiny(tmp_path)
    recipe = RECIPE.model_copy(update={"patience": 1})
    trial = trial_on(data, recipe=recipe, threshold=None, rate=1e-12)
    run = train(trial, data, device=CPU, until=50)

    assert run.result({}).status == "plateaued"
    assert run.progress.epoch == 5  # the first test error, then four that are no better


def test_images_that_stay_on_disk_give_the_same_bits(tmp_path: Path) -> None:
    """Read ahead in batches of any number, in training and in evaluation."""
    data = tiny(tmp_path)
    ways = [on_device(data, crop=24, augment=("crop",), held=held) for held in (True, False)]
    batches = torch.split(torch.randperm(320), 50)
    streams = [way.train.stream(batches) for way in ways]
    results = [evaluate(Fixed(), way.test, way.centre, autocast=no_autocast) for way in ways]

    assert isinstance(ways[0].train.images, Tensor)
    assert isinstance(ways[1].train.images, np.ndarray)
    count = 0
    for (one, labels), (two, same) in zip(*streams, strict=True):
        assert torch.equal(one, two)
        assert torch.equal(labels, same)
        count += 1
    assert count == 7
    assert results[0] == results[1]


def test_statistics_are_kept_beside_the_decoded_images(tmp_path: Path) -> None:
    """Computed once; a damaged file is computed again."""
    data = replace(tiny(tmp_path), folder=tmp_path)
    first = on_device(data)
    (path,) = tmp_path.glob("statistics-320.npz")
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    again = on_device(data)

    assert torch.equal(first.train.mean, again.train.mean)
    assert len(path.read_bytes()) == len(whole)
