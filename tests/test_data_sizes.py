"""Images of any size, as ImageNet has them: the shorter side resized, the central square."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from repro.data import Dataset, find, open_dataset
from repro.data.arrays import Images
from repro.errors import DataError
from repro.registry import DATASETS
from tests.pictures import CLASSES, encoded, picture, write_folders, write_parquet

RED, GREEN = (200, 30, 30), (30, 200, 30)
SAMPLES = Path(os.environ.get("REPRO_DATA", "")) / "imagenet-samples"


def opened(folder: Path, *contents: bytes, name: str = "folder:tiny@32") -> Dataset:
    """A data set whose training images are `contents`."""
    write_parquet(folder / "tiny", train=[(c, 0) for c in contents], test=[(contents[0], 0)])
    return open_dataset(name, (folder,), folder / "cache")


def resized(folder: Path, *contents: bytes, name: str = "folder:tiny@32") -> Images:
    return opened(folder, *contents, name=name).train.images


def smooth(height: int, width: int) -> Images:
    """Red grows to the right and green downwards, in grey levels of the shorter side's 200."""
    rows, columns = np.mgrid[:height, :width]
    side = min(height, width)
    grey = np.stack(
        [columns - (width - side) / 2, rows - (height - side) / 2, np.zeros((height, width))], 2
    )
    return np.clip(np.rint(20 + grey * 200 / side), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("height", "width"), [(64, 96), (96, 64), (33, 250), (250, 33), (32, 32), (5, 9), (1, 1)]
)
def test_images_of_every_shape_become_squares(height: int, width: int, tmp_path: Path) -> None:
    """Landscape, portrait, longer than eight to one, already right, and smaller, enlarged."""
    images = resized(tmp_path, encoded(picture(1, height=height, width=width)))

    assert images.shape == (1, 32, 32, 3)


@pytest.mark.parametrize("upright", [False, True])
def test_the_central_square_is_central(upright: bool, tmp_path: Path) -> None:
    """A red square between green margins, three times as long as wide: only red is left."""
    pixels = np.full((64, 192, 3), GREEN, dtype=np.uint8)
    pixels[:, 64:128] = RED
    (image,) = resized(tmp_path, encoded(pixels.swapaxes(0, 1) if upright else pixels))
    image = image.swapaxes(0, 1) if upright else image

    assert (image[:, 2:-2] == RED).all()
    assert np.abs(image.astype(int) - RED).max() < 20  # the filter sees the margin from the edge
    assert np.array_equal(image, image[:, ::-1])


@pytest.mark.parametrize("upright", [False, True])
def test_the_shorter_side_is_kept_whole(upright: bool, tmp_path: Path) -> None:
    """A frame of two pixels of 64, above and below, is one pixel of 32; left and right is none."""
    pixels = np.full((64, 192, 3), RED, dtype=np.uint8)
    pixels[:2] = pixels[-2:] = GREEN
    pixels[:, :2] = pixels[:, -2:] = GREEN
    (image,) = resized(tmp_path, encoded(pixels.swapaxes(0, 1) if upright else pixels))
    image = image.swapaxes(0, 1) if upright else image
    green = image[..., 1].astype(int) > image[..., 0]

    assert green[0].all()
    assert green[-1].all()
    assert not green[1:-1].any()


@pytest.mark.parametrize(("height", "width"), [(77, 131), (131, 77), (500, 375), (20, 24)])
def test_resizing_equals_its_definition(height: int, width: int, tmp_path: Path) -> None:
    """Where a pixel of the result lies in the image is known, and a slope shows its colour."""
    (image,) = resized(tmp_path, encoded(smooth(height, width)))
    inner = slice(3, -3)  # beyond the shorter side there is nothing that the slope could go on to
    expected = 20 + (np.arange(32) + 0.5) * 200 / 32 - 100 / min(height, width)

    np.testing.assert_allclose(image[inner, inner, 0], np.tile(expected[inner], (26, 1)), atol=1.5)
    np.testing.assert_allclose(
        image[inner, inner, 1], np.tile(expected[inner, None], (1, 26)), atol=1.5
    )


def test_shrinking_aliases_nothing(tmp_path: Path) -> None:
    """Stripes of one pixel become grey at an eighth of the size, not stripes."""
    pixels = np.zeros((256, 256, 3), dtype=np.uint8)
    pixels[:, ::2] = 255
    (image,) = resized(tmp_path, encoded(pixels))

    assert np.abs(image[:, 1:-1].astype(int) - 127).max() <= 3


def test_images_of_the_right_size_are_left_as_they_are(tmp_path: Path) -> None:
    """Someone resized them before: not one grey level changes."""
    (image,) = resized(tmp_path, encoded(picture(3, height=32, width=32)))

    assert np.array_equal(image, picture(3, height=32, width=32))


def test_what_cannot_be_decoded_is_named_at_any_size(tmp_path: Path) -> None:
    """A truncated image is no smaller image."""
    good = encoded(picture(0, height=40, width=50), kind="JPEG")

    with pytest.raises(DataError, match="1 of 3 images cannot be used") as caught:
        opened(tmp_path, good, good[: len(good) // 2])
    assert "various sizes" not in caught.value.hint


def test_the_title_says_that_images_were_resized(tmp_path: Path) -> None:
    """It goes with every result; a data set of another size is other data, in another folder."""
    files = [(encoded(picture(i, height=40, width=50), kind="JPEG"), i % 2) for i in range(4)]
    write_folders(tmp_path / "tiny", train=files, test=files, test_name="val")
    small, large = (
        open_dataset(f"folder:tiny@{size}", (tmp_path,), tmp_path / "cache") for size in (16, 48)
    )

    assert small.title == (
        "tiny (JPEG copy, image folder, shorter side resized to 16, central square)"
    )
    assert small.train.images.shape[1:] == (16, 16, 3)
    assert large.train.images.shape[1:] == (48, 48, 3)
    assert len([p for p in (tmp_path / "cache").iterdir() if p.is_dir()]) == 2


def test_a_registered_set_is_resized_to_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ILSVRC in its usual layout, `train/CLASS/*.JPEG` and `val/CLASS/*.JPEG`."""
    facts = replace(DATASETS["ilsvrc2012"], images=(4, 2), classes=2)
    monkeypatch.setitem(DATASETS.own, "ilsvrc2012", facts)
    files = [(encoded(picture(i, height=40, width=50), kind="JPEG"), i % 2) for i in range(4)]
    write_folders(tmp_path / "ilsvrc2012", train=files, test=files[:2], test_name="val")
    data = open_dataset("ilsvrc2012", (tmp_path,), tmp_path / "cache")

    assert data.train.images.shape == (4, 256, 256, 3)
    assert data.title.startswith("ILSVRC-2012 (JPEG copy, image folder, shorter side resized to 2")
    assert data.classes == CLASSES


@pytest.mark.parametrize("write", [write_parquet, write_folders])
def test_ilsvrc2012_is_tested_on_its_validation_images(
    write: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The labels of its test images are kept back, so copies hold them without any, or with -1."""
    facts = replace(DATASETS["ilsvrc2012"], images=(4, 2), classes=2, size=16)
    monkeypatch.setitem(DATASETS.own, "ilsvrc2012", facts)
    files = [(encoded(picture(i)), i % 2) for i in range(4)]
    for test_name, images in (("test", files[:3]), ("val", files[:2])):
        write(tmp_path / "ilsvrc2012", train=files, test=images, test_name=test_name)

    assert len(open_dataset("ilsvrc2012", (tmp_path,), tmp_path / "cache").test.labels) == 2


def test_ilsvrc2010_counts_classes_but_not_images(tmp_path: Path) -> None:
    """Its published numbers differ by a few."""
    files = [(encoded(picture(i)), i % 2) for i in range(4)]
    write_folders(tmp_path / "ilsvrc2010", train=files, test=files)

    with pytest.raises(
        DataError, match="2010 holds 2 classes, but ILSVRC-2010 has 1,000"
    ) as caught:
        open_dataset("ilsvrc2010", (tmp_path,), tmp_path / "cache")
    assert caught.value.hint.endswith("folder:ilsvrc2010@256")


@pytest.mark.parametrize(
    "size", ["", "15", "1025", "0256", "-64", "64x64", "2e2", "64@64", "\uff12\uff15\uff16"]
)
def test_sizes_that_cannot_be_meant_are_refused(size: str, tmp_path: Path) -> None:
    """From 16 to 1024, written in one way only."""
    with pytest.raises(DataError, match="the size after @ is a whole number from 16 to 1024"):
        find(f"folder:tiny@{size}", (tmp_path,))


def test_a_size_does_not_open_other_folders(tmp_path: Path) -> None:
    """The name before @ obeys the same rule."""
    with pytest.raises(DataError, match=r"is unknown .known: .*folder:NAME@SIZE"):
        find("folder:../tiny@64", (tmp_path,))


def coarse(image: Images) -> npt.NDArray[np.float64]:
    """Means of 16 by 16 pixels."""
    means: npt.NDArray[np.float64] = image.reshape(16, 16, 16, 16, 3).mean((1, 3))
    return means


@pytest.mark.data
@pytest.mark.skipif(not SAMPLES.is_dir(), reason="REPRO_DATA has no imagenet-samples")
def test_real_images_of_imagenet_are_resized(tmp_path: Path) -> None:
    """Full-size photographs, some grey: like a resize and crop in two steps, none left out."""
    files = sorted(SAMPLES.glob("*/*.JPEG"))
    for split in ("train", "val"):
        (tmp_path / "samples" / split).mkdir(parents=True)
        for folder in {file.parent for file in files}:
            (tmp_path / "samples" / split / folder.name).symlink_to(folder)
    data = open_dataset("folder:samples@256", (tmp_path,), tmp_path / "cache")

    assert data.train.images.shape == (len(files), 256, 256, 3)
    for image, file in zip(data.train.images, files, strict=True):
        photo = Image.open(file).convert("RGB")
        scale = 256 / min(photo.size)
        width, height = (max(256, round(side * scale)) for side in photo.size)
        whole = photo.resize((width, height), Image.Resampling.BICUBIC)
        left, top = (width - 256) // 2, (height - 256) // 2
        expected = np.asarray(whole.crop((left, top, left + 256, top + 256)))
        # Two roundings, of the longer side and of the crop's place, shift by half a pixel, which
        # moves means of 16 by 16 pixels by little.
        assert np.abs(coarse(image) - coarse(expected)).max() < 12
