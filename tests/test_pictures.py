"""What is kept of a trained net to be looked at: it agrees with what was measured."""

import numpy as np
import pytest
import torch

from repro.data import Dataset
from repro.train import Run, train
from repro.train.pictures import arrays_to_store, confusion, correct_by_image, shrink
from tests.worlds import RECIPE, tiny, trial_on

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return tiny(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def run(data: Dataset) -> Run:
    return train(trial_on(data, threshold=None), data, device=CPU, until=2)


def test_the_confusion_matrix_counts_the_errors_that_were_measured(run: Run, data: Dataset) -> None:
    """A row a class, each test image once; off the diagonal lies the test error."""
    arrays = arrays_to_store(run.model, run.data, data.classes, run.arrays, autocast=run.autocast)
    table = arrays["confusion"].astype(int)

    assert (table.sum(1) == np.bincount(data.test.labels, minlength=10)).all()
    assert 1 - np.trace(table) / table.sum() == pytest.approx(run.metrics["test_error"])
    assert arrays["classes"].tolist() == list(data.classes)


def test_examples_are_the_first_images_with_their_likeliest_classes(
    run: Run, data: Dataset
) -> None:
    """Fig. 4: the likeliest class first, at most five, each with its probability."""
    arrays = arrays_to_store(run.model, run.data, data.classes, run.arrays, autocast=run.autocast)
    likely = arrays["example_probabilities"].astype(float)

    assert arrays["example_images"].tolist() == data.test.images[:8].tolist()
    assert arrays["example_labels"].tolist() == [data.classes[i] for i in data.test.labels[:8]]
    assert arrays["example_guesses"].shape == likely.shape == (8, 5)
    assert (np.diff(likely, axis=1) <= 0).all()
    assert (likely.sum(1) <= 1 + 1e-5).all()


def test_many_classes_have_no_matrix(run: Run) -> None:
    """A thousand rows are no picture."""
    names = tuple(map(str, range(1000)))

    assert "confusion" not in arrays_to_store(
        run.model, run.data, names, run.arrays, autocast=run.autocast
    )


def test_large_images_are_kept_small(run: Run, data: Dataset) -> None:
    """At most 96 pixels a side, of the same shape and colour; numbers stay as they are."""
    images = np.full((2, 3, 128, 192, 3), 7, dtype=np.uint8)
    images[..., 2] = 200
    found = arrays_to_store(
        run.model, run.data, data.classes,
        run.arrays | {"near_images": images, "conv1": np.ones((9, 3, 200, 200))},
        autocast=run.autocast,
    )  # fmt: skip

    assert found["near_images"].shape == (2, 3, 64, 96, 3)
    assert (found["near_images"] == [7, 7, 200]).all()
    assert found["conv1"].shape == (9, 3, 200, 200)
    assert shrink(images[:, :, :32, :32]).shape == (2, 3, 32, 32, 3)


def test_outcomes_by_image_add_up_to_the_errors_that_were_measured(data: Dataset) -> None:
    """Of the central crop and of ten, bit by bit."""
    trial = trial_on(
        data,
        threshold=None,
        model="alexnet_2012",
        arguments={"preset": "authors_2012", "width": 0.125},
        recipe=RECIPE.model_copy(update={"crop": 28}),
    )
    ran = train(trial, data, device=CPU, until=1)
    arrays = arrays_to_store(ran.model, ran.data, data.classes, ran.arrays, autocast=ran.autocast)
    images = int(arrays["test_images"])

    assert images == len(data.test.labels)
    for name, metric in (("centre", "test_error"), ("ten_crop", "test_error_ten_crop")):
        bits = np.unpackbits(arrays[f"right_{name}"], count=images)
        assert 1 - bits.mean() == pytest.approx(ran.metrics[metric])


def test_without_crops_there_is_nothing_to_pair(run: Run, data: Dataset) -> None:
    """One way to look at an image."""
    assert "test_images" not in arrays_to_store(
        run.model, run.data, data.classes, run.arrays, autocast=run.autocast
    )


def test_a_guess_that_is_no_number_is_taken_for_nothing() -> None:
    """Neither for a class nor for the last one."""
    labels = np.array([0, 1, 1])
    guesses = np.array([0, -1, 0])

    assert confusion(guesses, labels, ("a", "b"))["confusion"].tolist() == [[1, 0], [1, 0]]
    bits = correct_by_image({"guesses_centre": guesses, "guesses_ten_crop": labels}, labels)
    assert np.unpackbits(bits["right_centre"], count=3).tolist() == [1, 0, 0]
    assert np.unpackbits(bits["right_ten_crop"], count=3).tolist() == [1, 1, 1]
