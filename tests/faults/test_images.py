"""Faults of images: what was decoded is decoded again, what does not decode is told by name."""

import os
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from repro.store import Store
from tests.faults.conftest import Tally
from tests.faults.smoke import GOLDEN, SEARCH, error_claim, launch, numbers, run
from tests.pictures import encoded, picture, write_parquet

pytestmark = pytest.mark.faults

IMAGES = [(encoded(picture(seed, height=32, width=32)), seed % 2) for seed in range(200)]
TRAIN, TEST = IMAGES[:160], IMAGES[160:]


def run_on_images(folder: Path, name: str) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a cache that was set aside
        return run(folder, name, scale="proxy")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A claim on a folder of images, run from start to end: its folder, and its numbers."""
    folder = tmp_path_factory.mktemp("images")
    write_parquet(folder / "pictures", train=TRAIN, test=TEST)
    text = GOLDEN.read_text(encoding="utf-8").replace(SEARCH, "rate: {small: 0.01}")
    text = error_claim(text, data="folder:pictures", epochs="1", seeds="3")
    (folder / "error.yaml").write_text(text.replace("smoke:", "proxy:"), encoding="utf-8")
    assert launch(run_on_images, folder, "whole") == 0
    found = numbers(folder / "whole")
    assert len(found) == 3
    return folder, found


def swap_labels(file: Path) -> None:
    np.save(file, np.load(file)[::-1])


def flip_a_pixel(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def open_a_bracket(file: Path) -> None:
    """In the header, which numpy reads as Python."""
    file.write_bytes(file.read_bytes().replace(b"}", b"{", 1))


DAMAGE: dict[str, tuple[str, Callable[[Path], object]]] = {
    "images truncated": ("train_images.npy", lambda file: os.truncate(file, 1000)),
    "images gone": ("test_images.npy", Path.unlink),
    "labels in another order": ("train_labels.npy", swap_labels),
    "the header damaged": ("train_images.npy", open_a_bracket),
    "a pixel flipped": ("train_images.npy", flip_a_pixel),
    "nothing of what they are": ("meta.json", lambda file: file.write_text("")),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_decoded_images_damaged(
    damage: str, pictures: tuple[Path, dict[str, str]], tally: Tally
) -> None:
    """The cache of decoded images is damaged. They are decoded again, and trained on."""
    folder, expected = pictures
    name, spoil = DAMAGE[damage]
    (file,) = (path for path in folder.glob(f"cache/**/{name}") if "corrupt" not in str(path))
    spoil(file)
    tally.provoked += 1

    assert launch(run_on_images, folder, damage) == 0
    if numbers(folder / damage) != expected:
        tally.wrong.append(f"{damage}: other numbers")


BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda content: content[: len(content) // 2],
    "empty": lambda _: b"",
    "no image": lambda _: b"no image",
}


@pytest.mark.parametrize("damage", BROKEN)
def test_an_image_that_does_not_decode(
    damage: str, pictures: tuple[Path, dict[str, str]], tally: Tally, tmp_path: Path
) -> None:
    """An image cannot be decoded. Nothing is trained until it is replaced."""
    claim, expected = pictures
    (tmp_path / "error.yaml").write_bytes((claim / "error.yaml").read_bytes())
    broken = [(BROKEN[damage](content) if i == 7 else content, n) for i, (content, n) in
              enumerate(TRAIN)]  # fmt: skip
    write_parquet(tmp_path / "pictures", train=broken, test=TEST)
    assert launch(run_on_images, tmp_path, "store") == 5
    tally.provoked += 1
    assert Store(tmp_path / "store").results() == {}
    write_parquet(tmp_path / "pictures", train=TRAIN, test=TEST)

    assert launch(run_on_images, tmp_path, "store") == 0
    if numbers(tmp_path / "store") != expected:
        tally.wrong.append(f"{damage}: other numbers")
