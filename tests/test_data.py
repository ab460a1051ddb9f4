"""Data sets: embedded ones, what is read from each container, what is refused, downloads."""

import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from repro.data import Dataset, find, open_dataset, status, synthetic, verify
from repro.data.arrays import Images
from repro.data.dataset import interleaved_order
from repro.data.device import DeviceData, Inputs, pixel_statistics
from repro.errors import DataError
from repro.registry import DATASETS
from tests.pictures import CLASSES, encoded, picture, write_folders, write_parquet

TRAIN = [(picture(i), i % 2) for i in range(7)]
TEST = [(picture(100 + i), i % 2) for i in range(3)]
TRAIN_FILES = [(encoded(pixels), label) for pixels, label in TRAIN]
TEST_FILES = [(encoded(pixels), label) for pixels, label in TEST]


def opened(folder: Path, name: str = "folder:tiny") -> Dataset:
    return open_dataset(name, (folder,), folder / "cache")


# Embedded


@pytest.mark.parametrize("name", ["digits", "synthetic"])
def test_embedded_sets_are_what_the_registry_says(name: str, tmp_path: Path) -> None:
    """Number, size, classes and title; and the same bits each time."""
    first, second = opened(tmp_path, name), opened(tmp_path, name)
    facts = DATASETS[name]

    assert (len(first.train.labels), len(first.test.labels)) == facts.images
    assert first.train.images.shape[1:] == (facts.size, facts.size, 3)
    assert (len(first.classes), first.title) == (facts.classes, facts.title)
    assert first.fingerprint == second.fingerprint
    assert not (tmp_path / "cache").exists()


def test_digits_are_those_of_scikit_learn(tmp_path: Path) -> None:
    """All 1,797, each once, at 255/16 of their grey level, and 36 of each class for test."""
    from sklearn.datasets import load_digits

    grey, labels = load_digits(return_X_y=True)
    digits = opened(tmp_path, "digits")
    images = np.concatenate((digits.train.images, digits.test.images))
    ours = images[:, ::4, ::4, 1].reshape(-1, 64)
    theirs = np.rint(grey * 255 / 16 + 1e-9).astype(np.uint8)

    assert sorted(map(bytes, ours)) == sorted(map(bytes, theirs))
    assert np.bincount(digits.test.labels).tolist() == [36] * 10
    assert np.array_equal(np.bincount(digits.train.labels) + 36, np.bincount(labels))


def test_synthetic_patterns_can_be_told_apart_until_noise_hides_them() -> None:
    """Nearest class mean, a linear rule: right on clean images, no better than chance on noise."""

    def error(noise: float) -> float:
        data = synthetic(n_train=400, n_test=200, size=16, classes=5, seed=3, noise=noise)
        x = data.train.images.reshape(400, -1).astype(float)
        means = np.stack([x[data.train.labels == c].mean(0) for c in range(5)])
        y = data.test.images.reshape(200, -1).astype(float)
        guess = ((y[:, None] - means) ** 2).sum(2).argmin(1)
        return float((guess != data.test.labels).mean())

    assert error(1.0) < 0.05
    assert error(1e6) > 0.6


def test_synthetic_seed_decides_the_bits() -> None:
    """The same seed gives the same bits, another seed others."""
    args = {"n_train": 20, "n_test": 10, "size": 9, "classes": 3, "noise": 4.0}
    same = {synthetic(seed=1, **args).fingerprint for _ in range(2)}  # type: ignore[arg-type]

    assert len(same) == 1
    assert synthetic(seed=2, **args).fingerprint not in same  # type: ignore[arg-type]


# Containers


def test_same_pixels_same_data_whatever_the_container(tmp_path: Path) -> None:
    """PNG in Parquet and PNG in folders: equal arrays and fingerprint, other titles."""
    write_parquet(tmp_path / "a" / "tiny", train=TRAIN_FILES, test=TEST_FILES)
    write_folders(tmp_path / "b" / "tiny", train=TRAIN_FILES, test=TEST_FILES)
    a, b = opened(tmp_path / "a"), opened(tmp_path / "b")

    assert a.fingerprint == b.fingerprint
    assert a.classes == b.classes == CLASSES
    assert a.train.labels.tolist() == [0, 1, 0, 1, 0, 1, 0]
    assert np.array_equal(a.train.images, np.stack([pixels for pixels, _ in TRAIN]))
    assert np.array_equal(b.test.images, np.stack([pixels for pixels, _ in TEST]))
    assert (a.title, b.title) == ("tiny (PNG copy, Parquet)", "tiny (PNG copy, image folder)")


@pytest.mark.parametrize("changed", ["pixel", "label", "class", "order"])
def test_fingerprint_changes_with_the_content(changed: str, tmp_path: Path) -> None:
    """One grey level, one label, a class's name, two images of a class the other way round."""
    train, names = list(TRAIN_FILES), CLASSES
    if changed == "pixel":
        pixels = TRAIN[0][0].copy()
        pixels[0, 0, 0] ^= 1
        train[0] = (encoded(pixels), 0)
    elif changed == "label":
        train[0] = (train[0][0], 1)
    elif changed == "class":
        names = ("ant", "wasp")
    else:
        train[0], train[2] = train[2], train[0]
    write_parquet(tmp_path / "a" / "tiny", train=TRAIN_FILES, test=TEST_FILES)
    write_parquet(tmp_path / "b" / "tiny", train=train, test=TEST_FILES, names=names)

    assert opened(tmp_path / "a").fingerprint != opened(tmp_path / "b").fingerprint


def test_classes_take_turns_so_that_any_prefix_is_balanced(tmp_path: Path) -> None:
    """A source sorted by class comes out interleaved, each class in its own order."""
    rows = sorted(TRAIN_FILES, key=lambda row: row[1])
    write_parquet(tmp_path / "tiny", train=rows, test=TEST_FILES)
    data = opened(tmp_path)

    assert data.train.labels.tolist() == [0, 1, 0, 1, 0, 1, 0]
    assert np.array_equal(data.train.images, np.stack([pixels for pixels, _ in TRAIN]))


def test_in_turns_equals_its_slow_definition() -> None:
    """Again and again the first image left of each class, in the order of the classes."""
    labels = np.random.default_rng(0).integers(0, 4, 50)
    left = {c: [i for i in range(50) if labels[i] == c] for c in range(4)}
    expected = []
    while any(left.values()):
        expected += [left[c].pop(0) for c in range(4) if left[c]]

    assert interleaved_order(labels).tolist() == expected


@pytest.mark.parametrize("columns", [("img", "label"), ("image", "fine_label")])
@pytest.mark.parametrize("test_name", ["test", "valid", "validation"])
def test_parquet_columns_and_splits_by_their_usual_names(
    columns: tuple[str, str], test_name: str, tmp_path: Path
) -> None:
    """`img` or `image`, `label` or `fine_label`, `test` or `valid` or `validation`."""
    write_parquet(
        tmp_path / "tiny",
        train=TRAIN_FILES,
        test=TEST_FILES,
        image=columns[0],
        label=columns[1],
        test_name=test_name,
    )

    assert opened(tmp_path).classes == CLASSES


def test_parquet_without_class_names_numbers_them(tmp_path: Path) -> None:
    """The metadata are optional."""
    write_parquet(tmp_path / "tiny", train=TRAIN_FILES, test=TEST_FILES, names=None)

    assert opened(tmp_path).classes == ("0", "1")


def test_paths_with_spaces_and_letters_of_any_language(tmp_path: Path) -> None:
    """Data set, class and cache folders may be called anything."""
    home = tmp_path / "my data"
    write_folders(home / "Käfer 虫", train=TRAIN_FILES, test=TEST_FILES, names=("Ämeise", "b é e"))
    data = open_dataset("folder:Käfer 虫", (home,), tmp_path / "der Cache ü")

    assert data.classes == ("b é e", "Ämeise")
    assert data.title.startswith("Käfer 虫 (")


# Pixels


def as_rgb(content: bytes, tmp_path: Path) -> Images:
    write_parquet(tmp_path / "tiny", train=[(content, 0)], test=[(content, 0)])
    image: Images = opened(tmp_path).train.images[0]
    return image


@pytest.mark.parametrize(("mode", "kind"), [("L", "PNG"), ("1", "PNG"), ("LA", "PNG")])
def test_grey_becomes_three_equal_channels(mode: str, kind: str, tmp_path: Path) -> None:
    """Without and with transparency, and black and white."""
    grey = np.asarray(Image.fromarray(picture(1)).convert("1" if mode == "1" else "L"))
    rgb = as_rgb(encoded(picture(1), mode=mode, kind=kind), tmp_path)

    assert np.array_equal(
        rgb, np.repeat(grey[..., None].astype(np.uint8) * (255 if mode == "1" else 1), 3, axis=2)
    )


def test_palette_is_looked_up_and_transparency_dropped(tmp_path: Path) -> None:
    """A palette with transparent entries, and an alpha channel of zero: colours stay."""
    flat = np.zeros((8, 8, 3), dtype=np.uint8)
    flat[:, :4], flat[:, 4:] = (200, 10, 30), (1, 2, 3)
    palette, alpha = io.BytesIO(), io.BytesIO()
    Image.fromarray(flat).convert("P", palette=Image.Palette.ADAPTIVE, colors=2).save(
        palette, "PNG", transparency=b"\x00\x80"
    )
    Image.fromarray(np.dstack((flat, np.zeros((8, 8), np.uint8)))).save(alpha, "PNG")

    assert np.array_equal(as_rgb(palette.getvalue(), tmp_path / "p"), flat)
    assert np.array_equal(as_rgb(alpha.getvalue(), tmp_path / "a"), flat)


def test_cmyk_is_converted(tmp_path: Path) -> None:
    """Of one colour, so that JPEG loses next to nothing."""
    flat = np.full((8, 8, 3), (200, 100, 50), dtype=np.uint8)
    rgb = as_rgb(encoded(flat, mode="CMYK", kind="JPEG"), tmp_path)

    assert np.abs(rgb.astype(int) - flat).max() <= 3


# What is refused


def test_unreadable_images_are_named_and_counted(tmp_path: Path) -> None:
    """Truncated, empty and foreign files: all are counted, the first ten named, none left out."""
    good = encoded(picture(0))
    bad = [good[: len(good) // 2], b"", b"no image"] * 4
    train = [*((content, 1) for content in bad), (good, 0)]
    write_parquet(tmp_path / "tiny", train=train, test=[(good, 0), (good, 1)])

    with pytest.raises(DataError, match="12 of 15 images cannot be used") as caught:
        opened(tmp_path)
    assert "train-00000-of-00001.parquet row 0 (0.png): " in str(caught.value)
    assert "row 9 " in str(caught.value)
    assert "row 10 " not in str(caught.value)
    assert "not skipped automatically" in caught.value.hint
    assert not [p for p in (tmp_path / "cache").iterdir() if p.is_dir()]


def test_images_none_of_which_can_be_read_are_refused(tmp_path: Path) -> None:
    """So that their size is not known."""
    write_parquet(tmp_path / "tiny", train=[(b"no image", 0)] * 2, test=[(b"no image", 0)])

    with pytest.raises(DataError, match=r"no image can be read; the first fault: .* row 0 "):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (encoded(picture(0, height=9)), "8x9 pixels, not 8x8"),
        (encoded(np.zeros((8, 8, 3), np.uint8), mode="I;16"), "mode I;16; only 8 bits"),
    ],
)
def test_images_of_another_size_or_depth_are_faults(
    content: bytes, message: str, tmp_path: Path
) -> None:
    """Nothing is resized or clipped behind one's back."""
    write_parquet(tmp_path / "tiny", train=[*TRAIN_FILES, (content, 0)], test=TEST_FILES)

    with pytest.raises(DataError, match=f"1 of 11 images cannot be used:\n.*{message}") as caught:
        opened(tmp_path)
    assert "for images of various sizes, add a size, as in folder:tiny@256" in caught.value.hint


def test_images_that_are_no_squares_want_a_size(tmp_path: Path) -> None:
    """Crops at test time would lie off the centre, and nobody would be told."""
    wide = [(encoded(picture(seed, height=5)), label) for seed, label in enumerate((0, 1, 0))]
    write_parquet(tmp_path / "tiny", train=wide, test=wide)

    with pytest.raises(DataError, match="8x5 pixels, and nets take squares") as caught:
        opened(tmp_path)
    assert "folder:tiny@16" in caught.value.hint  # the least that a name may have


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    """Hidden files are passed over, others in a class folder are not."""
    write_folders(tmp_path / "tiny", train=TRAIN_FILES, test=TEST_FILES)
    (tmp_path / "tiny/train/ant/.hidden").write_text("-")
    assert len(opened(tmp_path).train.labels) == len(TRAIN)
    (tmp_path / "tiny/train/ant/notes.txt").write_text("-")

    with pytest.raises(DataError, match=r"1 of 11 images cannot be used:\n.*ant/notes.txt"):
        opened(tmp_path)


def test_missing_data_says_where_it_was_looked_for_and_how_to_get_it(tmp_path: Path) -> None:
    """Every folder, in order, and the next command."""
    first, second = tmp_path / "one dir", tmp_path / "two"

    with pytest.raises(DataError, match="CIFAR-10 was not found") as caught:
        open_dataset("cifar10", (first, second), tmp_path)
    places = [line.strip() for line in str(caught.value).splitlines()[1:]]
    assert places == [str(p / "cifar10") for p in (first, second)]
    assert "repro data fetch cifar10" in caught.value.hint
    with pytest.raises(DataError, match="the data set 'tiny' was not found"):
        opened(first)
    with pytest.raises(DataError, match=r"valid/CLASS/.*in place of valid also validation or val"):
        open_dataset("ilsvrc2012", (first,), tmp_path)  # whose test images have no labels
    write_folders(first / "tiny", train=TRAIN_FILES, test=TEST_FILES)
    shutil.rmtree(first / "tiny" / "test")
    with pytest.raises(DataError, match="tiny is there, and holds train"):
        opened(first)


@pytest.mark.parametrize("name", ["cifar", "folder:", "folder:..", "folder:a/b", "folder:/etc"])
def test_unknown_names_are_refused(name: str, tmp_path: Path) -> None:
    """A claim file may come from anyone: it names a folder, never a path."""
    with pytest.raises(DataError, match=r"is unknown .known: digits, .*folder:NAME"):
        find(name, (tmp_path,))


def test_a_registered_name_wants_all_its_images(tmp_path: Path) -> None:
    """A part of CIFAR-10 is not CIFAR-10."""
    write_parquet(tmp_path / "cifar10", train=TRAIN_FILES, test=TEST_FILES)

    with pytest.raises(DataError, match="holds 7 training and 3 test images of 2 classes, but"):
        open_dataset("cifar10", (tmp_path,), tmp_path / "cache")


def test_parquet_of_another_data_set_beside_is_not_taken(tmp_path: Path) -> None:
    """Each data set has a folder of its name."""
    write_parquet(tmp_path, train=TRAIN_FILES, test=TEST_FILES)

    assert find("cifar10", (tmp_path,)) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": "picture"}, "no column is called image or img .it has picture, label"),
        ({"label": "class"}, "no column is called label or fine_label"),
        ({"test": [(TEST_FILES[0][0], -1)]}, "labels of the split 'test' go from -1 to -1"),
        ({"test": [(TEST_FILES[0][0], 2)]}, "go from 2 to 2, but there are 2 classes"),
        ({"test": []}, "the split 'test' holds no images"),
    ],
)
def test_parquet_that_cannot_be_meant(
    change: dict[str, object], message: str, tmp_path: Path
) -> None:
    """Columns and labels are checked before anything is decoded."""
    write_parquet(
        tmp_path / "tiny",
        **({"train": TRAIN_FILES, "test": TEST_FILES} | change),  # type: ignore[arg-type]
    )

    with pytest.raises(DataError, match=message):
        opened(tmp_path)


def test_broken_parquet_is_named(tmp_path: Path) -> None:
    """A download that stopped half way."""
    write_parquet(tmp_path / "tiny", train=TRAIN_FILES, test=TEST_FILES)
    file = tmp_path / "tiny/train-00000-of-00001.parquet"
    file.write_bytes(file.read_bytes()[:100])

    with pytest.raises(DataError, match=r"train-00000-of-00001.parquet cannot be read as Parquet"):
        opened(tmp_path)


def test_one_class_is_nothing_to_tell_apart(tmp_path: Path) -> None:
    """Every error would be none."""
    ants = [[file for file in files if file[1] == 0] for files in (TRAIN_FILES, TEST_FILES)]
    write_folders(tmp_path / "tiny", train=ants[0], test=ants[1])

    with pytest.raises(DataError, match="all images are of one class"):
        opened(tmp_path)


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    """A dangling link stands in for it, since tests may run as root, who may read all."""
    write_folders(tmp_path / "tiny", train=TRAIN_FILES, test=TEST_FILES)
    (tmp_path / "tiny/train/ant/000.png").unlink()
    (tmp_path / "tiny/train/ant/000.png").symlink_to(tmp_path / "nowhere")

    with pytest.raises(DataError, match=r"cannot look into .*000.png: No such file"):
        opened(tmp_path)


# What there is, and whether it is what it was


def test_status_names_every_data_set(original: Path) -> None:
    """Found, decoded, embedded, missing: one line each."""
    home = original.parent
    before = {line.name: str(line) for line in status((home,), home / "cache")}
    data = opened(home, "cifar10")
    after = {line.name: str(line) for line in status((home,), home / "cache")}

    assert tuple(after) == tuple(DATASETS)
    assert "not yet decoded" in before["cifar10"]
    assert f"decoded in {home / 'cache'}" in after["cifar10"]
    assert f"fingerprint {data.fingerprint}" in after["cifar10"]
    assert "CIFAR-10 (original release), 10 + 2 images; found in" in after["cifar10"]
    assert "fingerprint" in after["digits"]
    assert after["tiny-imagenet"].endswith("100,000 + 10,000 images; not found")


def test_verify_sees_a_changed_pixel_in_the_cache(tmp_path: Path) -> None:
    """One grey level in the decoded images: told, and left as it lies."""
    write_parquet(tmp_path / "tiny", train=TRAIN_FILES, test=TEST_FILES)
    opened(tmp_path)
    assert verify("folder:tiny", (tmp_path,), tmp_path / "cache").name == "folder:tiny"
    (file,) = (tmp_path / "cache").glob("*/train_images.npy")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)

    with pytest.raises(DataError, match="when they were decoded") as caught:
        verify("folder:tiny", (tmp_path,), tmp_path / "cache")
    assert str(file.parent) in caught.value.hint


# On the device


def device_data(inputs: Inputs, images: int | None = None) -> tuple[Dataset, DeviceData]:
    data = synthetic(n_train=600, n_test=20, size=8, classes=3, noise=30.0)
    return data, DeviceData(data, device=torch.device("cpu"), inputs=inputs, images=images)


def test_centred_inputs_are_grey_levels_less_the_mean_image() -> None:
    """The paper's only preprocessing (sec. 2): the training set's mean at each pixel."""
    data, held = device_data("centred")
    inputs, labels = held.test.batch(torch.tensor([3, 1]))
    expected = data.test.images[[3, 1]] - data.train.images.mean(0, dtype=np.float64)

    assert inputs.shape == (2, 3, 8, 8)
    assert inputs.dtype == torch.float32
    assert inputs.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_allclose(inputs.permute(0, 2, 3, 1).numpy(), expected, atol=1e-4)
    assert labels.tolist() == data.test.labels[[3, 1]].tolist()


def test_standardised_inputs_have_unit_variance_in_each_channel() -> None:
    """Over the training set, after centring."""
    _, held = device_data("standardised")
    inputs, _ = held.train.batch(torch.arange(600))

    np.testing.assert_allclose(inputs.mean(0).numpy(), 0, atol=1e-5)
    np.testing.assert_allclose(inputs.double().pow(2).mean((0, 2, 3)).numpy(), 1, rtol=1e-5)


def test_statistics_are_those_of_the_images_that_are_trained_on() -> None:
    """The first n only; the test images are centred by the same mean."""
    data, held = device_data("centred", images=50)
    mean, _ = pixel_statistics(data.train.images[:50])

    assert len(held.train.labels) == 50
    assert len(held.test.labels) == 20
    np.testing.assert_allclose(held.test.mean.numpy(), mean, rtol=1e-6)


@pytest.mark.parametrize("grey", [0, 255])
def test_statistics_hold_at_the_ends_of_the_range(grey: int) -> None:
    """More than a chunk of the brightest images overflows nothing; no spread stays finite."""
    images = np.full((1500, 2, 2, 3), grey, dtype=np.uint8)
    mean, std = pixel_statistics(images)

    assert (mean == grey).all()
    assert (std == 0).all()


def test_statistics_equal_their_definition() -> None:
    """Mean over images at each pixel; spread of what is left, by channel; any chunking."""
    images = np.random.default_rng(0).integers(0, 256, (1100, 3, 4, 3), dtype=np.uint8)
    mean, std = pixel_statistics(images)
    centred = images - images.mean(0, dtype=np.float64)

    np.testing.assert_allclose(mean, images.mean(0, dtype=np.float64), rtol=1e-12)
    np.testing.assert_allclose(std, np.sqrt((centred**2).mean((0, 1, 2))), rtol=1e-9)


# Real data


@pytest.mark.data
@pytest.mark.skipif("REPRO_DATA" not in os.environ, reason="REPRO_DATA is not set")
@pytest.mark.parametrize("name", ["cifar10", "tiny-imagenet"])
def test_real_data_sets_open(name: str, tmp_path: Path) -> None:
    """Those below REPRO_DATA: as many as the registry says, the first of each class in turn."""
    home = Path(os.environ["REPRO_DATA"])
    if find(name, (home,)) is None:
        pytest.skip(f"{name} is not below REPRO_DATA")
    data = open_dataset(name, (home,), tmp_path)
    facts = DATASETS[name]

    assert (len(data.train.labels), len(data.test.labels)) == facts.images
    assert data.train.labels[: facts.classes].tolist() == list(range(facts.classes))
    assert data.train.images[:1000].std() > 30
