"""Images of strangers: what is no file, no number, no name or no whole data set is refused by name.

Every container is held to the same rules, and nothing is waited for, allocated, or left out in
silence.
"""

import io
import os
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from pyarrow import parquet

from repro.cli import main
from repro.data import Dataset, find, open_dataset, prepare, status
from repro.data.device import DeviceData
from repro.errors import DataError
from tests.pictures import (
    CLASSES,
    NO_FILES,
    encoded,
    picture,
    write_folders,
    write_parquet,
)
from tests.worlds import claim_file

ROWS = [(encoded(picture(i)), i % 2) for i in range(4)]
Write = Callable[..., None]
CONTAINERS: dict[str, Write] = {
    "parquet": write_parquet,
    "folder": write_folders,
}
FILES = {  # one of the training images' files
    "parquet": "tiny/train-00000-of-00001.parquet",
    "folder": "tiny/train/ant/000.png",
}


def opened(folder: Path, name: str = "folder:tiny") -> Dataset:
    return open_dataset(name, (folder,), folder / "cache")


def told(folder: Path, *words: str) -> tuple[int, str]:
    """Exit code and output of a command on the data in that folder."""
    where = ["--data-dir", str(folder), "--cache-dir", str(folder / "cache")]
    done = CliRunner().invoke(main, [*words, *where])
    return done.exit_code, done.output


# Only regular files are opened


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("kind", NO_FILES)
def test_what_is_no_file_among_the_images_is_told(
    kind: str, container: str, tmp_path: Path
) -> None:
    """By its name, by every command that would read it; nobody waits for it."""
    CONTAINERS[container](tmp_path / "tiny", train=ROWS, test=ROWS)
    file = tmp_path / FILES[container]
    file.unlink()
    NO_FILES[kind](file)

    for words in (("prepare", "folder:tiny"), ("verify", "folder:tiny")):
        code, output = told(tmp_path, "data", *words)
        assert (code, "error[E200]" in output, file.name in output) == (5, True, True), output


def shows_the_other_set(file: Path, output: str) -> bool:
    """Which is at fault, and where the one beside it is."""
    broken = next(line for line in output.splitlines() if "cifar10" in line.split(" CIFAR")[0])
    sound = "train/*/* (4 files) to train on, val/*/* (4 files) to test on"
    return file.name in broken and sound in output


@pytest.mark.parametrize("kind", NO_FILES)
def test_a_broken_set_keeps_its_line_and_no_other(kind: str, tmp_path: Path) -> None:
    """`data status`, and `doctor` after it, say what is wrong with it, and where the others are."""
    write_parquet(tmp_path / "cifar10", train=ROWS, test=ROWS)
    write_folders(tmp_path / "tiny-imagenet", train=ROWS, test=ROWS, test_name="val")
    file = tmp_path / "cifar10/train-00000-of-00001.parquet"
    file.unlink()
    NO_FILES[kind](file)

    commands = [("data", "status")]
    if kind == "FIFO":  # reads them by the same function, and looks at the whole machine besides
        commands.append(("doctor", "--store", str(tmp_path / "runs")))
    for words in commands:
        _, output = told(tmp_path, *words)
        assert shows_the_other_set(file, output), output


@pytest.mark.parametrize("command", ["plan", "run"])
@pytest.mark.parametrize("container", CONTAINERS)
def test_what_is_no_file_is_told_before_anything_is_planned(
    container: str, command: str, tmp_path: Path
) -> None:
    """A FIFO among the images of a claim, whose commands would wait for ever."""
    CONTAINERS[container](tmp_path / "tiny", train=ROWS, test=ROWS)
    (tmp_path / FILES[container]).unlink()
    os.mkfifo(tmp_path / FILES[container])
    claim = claim_file(tmp_path, seeds=3)
    text = claim.read_text().replace("data: digits", "data: folder:tiny")
    claim.write_text(text.replace("smoke:", "proxy:"))
    words = (command, str(claim), "--scale", "proxy", "--store", str(tmp_path / "runs"))

    code, output = told(tmp_path, *words)
    assert code == 5
    assert f"{Path(FILES[container]).name}: not a regular file" in output


def test_a_class_that_is_a_dangling_link_is_told(tmp_path: Path) -> None:
    """Left out, it would be another data set. Plain files beside the classes are no images."""
    write_folders(tmp_path / "tiny", train=ROWS, test=ROWS)
    (tmp_path / "tiny/train/labels.csv").write_text("-")
    assert opened(tmp_path).classes == CLASSES
    for split in ("train", "test"):
        (tmp_path / "tiny" / split / "cat").symlink_to("nowhere")

    with pytest.raises(DataError, match=r"cannot look into .*/cat: No such file"):
        opened(tmp_path)


# Labels


LABELS = {
    "beyond memory": pa.array([2**40, 1, 0, 1]),
    "beyond signed numbers": pa.array([2**63, 1, 0, 1], pa.uint64()),
    "below": pa.array([-1, 1, 0, 1]),
    "of many classes": pa.array([999_999_999, 1, 0, 1]),
    "of no class": pa.array([7, 1, 0, 1]),
    "null": pa.array([None, 1, 0, 1]),
    "fractions": pa.array([0.5, 1, 0, 1]),
    "text": pa.array(["0", "1", "0", "1"]),
    "truth": pa.array([False, True, False, True]),
    "lists": pa.array([[0], [1], [0], [1]]),
    "a dictionary": pa.array(["0", "1", "0", "1"]).dictionary_encode(),
}


@pytest.mark.parametrize("names", [CLASSES, None])
@pytest.mark.parametrize("kind", LABELS)
def test_labels_that_number_no_class_are_told(
    kind: str, names: tuple[str, ...] | None, tmp_path: Path
) -> None:
    """Neither are so many classes made up for one stray label, nor is a number rounded."""
    write_parquet(tmp_path / "tiny", train=ROWS, test=ROWS, names=names)
    file = tmp_path / FILES["parquet"]
    parquet.write_table(parquet.read_table(file).set_column(1, "label", LABELS[kind]), file)

    with pytest.raises(DataError, match=r"labels (go|of)|column 'label' is"):
        opened(tmp_path)


# Parquet


@pytest.mark.parametrize("rows", [0, 3])
def test_a_shard_without_rows_adds_nothing(rows: int, tmp_path: Path) -> None:
    """Wherever it stands among the others; all of them empty are no images."""
    write_parquet(tmp_path / "tiny", train=ROWS[:rows], test=ROWS)
    file = tmp_path / "tiny/train-00000-of-00001.parquet"
    empty = parquet.read_table(file).slice(0, 0)
    parquet.write_table(empty, file.with_name("train-00000-of-00003.parquet"))
    parquet.write_table(empty, file.with_name("train-00002-of-00003.parquet"))
    file.rename(file.with_name("train-00001-of-00003.parquet"))
    if rows:
        assert len(opened(tmp_path).train.labels) == rows
        return

    with pytest.raises(DataError, match="the split 'train' holds no images"):
        opened(tmp_path)


def test_text_in_the_place_of_images_is_no_path(tmp_path: Path) -> None:
    """A column of names would let a stranger's table open any file of the user's."""
    secret = tmp_path / "secret.png"
    secret.write_bytes(ROWS[0][0])
    write_parquet(tmp_path / "tiny", train=ROWS, test=ROWS)
    file = tmp_path / "tiny/train-00000-of-00001.parquet"
    images = [{"bytes": str(secret), "path": None}] * len(ROWS)
    parquet.write_table(pa.table({"image": images, "label": [label for _, label in ROWS]}), file)

    with pytest.raises(DataError, match=r"disagree|column 'image' is struct<bytes: string"):
        opened(tmp_path)


@pytest.mark.parametrize(
    "images", [[b"-"] * 4, ["a.png"] * 4, [1.5] * 4, [{"path": "a.png"}] * 4, [[b"-"]] * 4]
)
def test_a_column_that_holds_no_images_is_told(images: list[Any], tmp_path: Path) -> None:
    """With its type, once, and not as so many broken images."""
    for split in ("train", "test"):
        (tmp_path / "tiny").mkdir(exist_ok=True)
        table = pa.table({"image": images, "label": [0, 1, 0, 1]})
        parquet.write_table(table, tmp_path / "tiny" / f"{split}.parquet")

    with pytest.raises(DataError, match=r"train.parquet: column 'image' is ") as error:
        opened(tmp_path)
    assert "struct{bytes: binary, path: string}" in error.value.hint


def test_metadata_nested_without_end_name_no_classes(tmp_path: Path) -> None:
    """They are optional; classes are numbers then."""
    for split in ("train", "test"):
        write_parquet(tmp_path / "tiny", train=ROWS, test=ROWS)
        file = tmp_path / f"tiny/{split}-00000-of-00001.parquet"
    for file in (tmp_path / "tiny").iterdir():
        table = parquet.read_table(file).replace_schema_metadata({"huggingface": "[" * 100_000})
        parquet.write_table(table, file)

    assert opened(tmp_path).classes == ("0", "1")


# Images


@pytest.mark.parametrize("side", [10_000, 13_000, 20_000])
def test_an_image_of_too_many_pixels_is_told(side: int, tmp_path: Path) -> None:
    """In our words, with name, size and limit, whichever of Pillow's own limits it passes."""
    buffer = io.BytesIO()
    Image.new("1", (side, side)).save(buffer, "PNG")
    train = [*ROWS, (buffer.getvalue(), 0)]
    write_folders(tmp_path / "tiny", train=train, test=ROWS)

    with pytest.raises(DataError) as error:
        opened(tmp_path, "folder:tiny@16")
    assert f"004.png: {side**2:,} pixels, and at most 89,478,485 are read" in str(error.value)


def test_pillow_itself_says_nothing_on_the_terminal(tmp_path: Path) -> None:
    """Its warning is no line of ours; also where no test makes an error of it."""
    buffer = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(buffer, "PNG")
    write_folders(tmp_path / "tiny", train=[*ROWS, (buffer.getvalue(), 0)], test=ROWS)
    done = subprocess.run(
        [sys.executable, "-m", "repro", "data", "prepare", "folder:tiny@16", "--data-dir", "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 5
    assert "004.png: 100,000,000 pixels, and at most 89,478,485 are read" in done.stderr
    assert "Warning" not in done.stderr


# Names

NFC, NFD = (unicodedata.normalize(form, "caf\xe9") for form in ("NFC", "NFD"))


def test_images_may_have_names_that_are_no_text(tmp_path: Path) -> None:
    """They go nowhere but into an error, where they can be printed."""
    write_folders(tmp_path / "tiny", train=ROWS, test=ROWS)
    image = tmp_path / FILES["folder"]
    image.rename(os.fsdecode(os.fsencode(image.parent) + b"/caf\xe9.png"))
    assert told(tmp_path, "data", "prepare", "folder:tiny")[0] == 0
    (image.parent / os.fsdecode(b"caf\xe9.png")).write_bytes(b"-")

    code, output = told(tmp_path, "data", "prepare", "folder:tiny")
    assert code == 5
    assert r"ant/caf\udce9.png: cannot identify image file" in output


def test_a_class_whose_name_is_no_text_is_told(tmp_path: Path) -> None:
    """It would stand in results and reports; `data status` has a line for it, and the others."""
    write_folders(tmp_path / "ilsvrc2010", train=ROWS, test=ROWS)
    for split in ("train", "test"):
        folder = tmp_path / "ilsvrc2010" / split
        (folder / "ant").rename(os.fsdecode(os.fsencode(folder) + b"/caf\xe9"))

    code, output = told(tmp_path, "data", "prepare", "ilsvrc2010")
    assert (code, "error[E200]" in output) == (5, True)
    assert r"class 1 has a name that is no text in UTF-8: 'caf\udce9'" in output
    code, output = told(tmp_path, "data", "status")
    assert code == 0
    assert "cifar10: " in output


def rename_class(folder: Path, split: str, name: str) -> None:
    (folder / split / "ant").rename(folder / split / name)


def test_a_name_that_two_systems_write_in_two_ways_is_told(tmp_path: Path) -> None:
    """Copied from macOS, é is two letters: one class, which looks like two."""
    write_folders(tmp_path / "tiny", train=ROWS, test=ROWS)
    rename_class(tmp_path / "tiny", "train", NFC)
    rename_class(tmp_path / "tiny", "test", NFD)

    with pytest.raises(DataError, match=r"same name: 'cafe\\u0301' and 'caf\\xe9'"):
        opened(tmp_path)


@pytest.mark.parametrize("names", [(NFC, NFD), ("ant", "ant"), ("ant", "")])
def test_lists_of_classes_name_each_once(names: tuple[str, str], tmp_path: Path) -> None:
    """As folders do by themselves."""
    write_parquet(tmp_path / "tiny", train=ROWS, test=ROWS, names=names)

    with pytest.raises(DataError, match=r"same name|no text"):
        opened(tmp_path)


# Doubtful data


@pytest.mark.parametrize(
    "copy", ["{} (1){}", "{}(1){}", "{} copy{}", "{} - Copy{}", "{}.1{}", "{}-copy{}"]
)
def test_a_second_copy_of_a_shard_is_told(copy: str, tmp_path: Path) -> None:
    """As browsers and file managers name them: never read twice, and never passed over."""
    write_parquet(tmp_path / "tiny", train=ROWS, test=ROWS)
    (file,) = (tmp_path / "tiny").glob("test*")
    twin = file.with_name(copy.format(file.stem, file.suffix))
    twin.write_bytes(file.read_bytes())

    with pytest.raises(DataError) as error:
        opened(tmp_path)
    assert f"{twin.name} is named almost like a shard of the split 'test'" in str(error.value)


@pytest.mark.parametrize(
    ("names", "held"),
    [
        (["train-00000-of-00003", "train-00002-of-00003"], "2 of 3"),
        (["train-00001-of-00003", "train-00002-of-00003"], "2 of 3"),
        (["train-00000-of-00002", "train-00001-of-00003"], "2 of 3"),
        (["train-00000", "train-00002"], "2 of 3"),
        (["train-2", "train-3"], "2 of 3"),
        (["train", "train-00000"], "twice the same"),
        (["train-00000", "train-00000-of-00001"], "twice the same"),
    ],
)
def test_shards_that_are_missing_by_their_own_count_are_told(
    names: list[str], held: str, tmp_path: Path
) -> None:
    """Whether their names say of how many, or only count."""
    write_parquet(tmp_path / "tiny", train=ROWS, test=ROWS)
    (file,) = (tmp_path / "tiny").glob("train*")
    for name in names:
        file.with_name(f"{name}.parquet").write_bytes(file.read_bytes())
    if file.stem not in names:
        file.unlink()

    with pytest.raises(DataError, match=f"holds {held} shards of the split 'train'"):
        opened(tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        ["train"],
        [f"train-{number}" for number in range(1, 12)],
        ["train-00001-of-00002", "train-00002-of-00002"],
        ["train-00000-of-00001-0123456789abcdef"],
    ],
)
def test_shards_by_names_that_are_in_use(names: list[str], tmp_path: Path) -> None:
    """Counted from 0 or 1, with or without their number, with a hash as older copies have it."""
    write_parquet(tmp_path / "tiny", train=ROWS, test=ROWS)
    (file,) = (tmp_path / "tiny").glob("train*")
    content = file.read_bytes()
    file.unlink()
    for name in names:
        file.with_name(f"{name}.parquet").write_bytes(content)

    assert len(opened(tmp_path).train.labels) == len(names) * len(ROWS)


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_class_in_one_split_only_is_told(split: str, container: str, tmp_path: Path) -> None:
    """In every container: its errors would be none, or all."""
    rows = {"train": ROWS, "test": ROWS} | {split: [ROWS[0], ROWS[2]]}
    CONTAINERS[container](tmp_path / "tiny", **rows)

    with pytest.raises(DataError, match="1 classes have images in one split only: bee"):
        opened(tmp_path)


TAKEN = {
    "parquet": ("train-00000-of-00001.parquet", "val-00000-of-00001.parquet"),
    "folder": ("train/*/* (4 files)", "val/*/* (4 files)"),
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_which_files_were_taken_is_always_said(container: str, tmp_path: Path) -> None:
    """By `data prepare` and `data status`, by name or pattern and number."""
    write = CONTAINERS[container]
    write(tmp_path / "tiny-imagenet", train=ROWS, test=ROWS, test_name="val")
    write(tmp_path / "tiny", train=ROWS, test=ROWS, test_name="val")
    train, test = TAKEN[container]
    lines = {one.name: str(one) for one in status((tmp_path,), tmp_path / "cache")}
    done = prepare(
        "folder:tiny", (tmp_path,), tmp_path / "cache", progress=lambda _done, _all: None
    )

    for said in (lines["tiny-imagenet"], str(done)):
        assert f"; read: {train} to train on, {test}" in said


def test_test_images_without_labels_are_left_for_those_with(tmp_path: Path) -> None:
    """`test/` without class folders beside `val/CLASS/`: the latter, which is said."""
    write_folders(tmp_path / "tiny", train=ROWS, test=ROWS, test_name="val")
    (tmp_path / "tiny/test").mkdir()
    (tmp_path / "tiny/test/000.png").write_bytes(ROWS[0][0])
    source = find("folder:tiny", (tmp_path,))

    assert source is not None
    assert source.description == "train/*/* (4 files) to train on, val/*/* (4 files) to test on"


@pytest.mark.parametrize("container", ["parquet", "folder"])
def test_test_images_whose_labels_are_none_are_told(container: str, tmp_path: Path) -> None:
    """Labels of -1, or one folder for all: the hint names what is read in their place."""
    CONTAINERS[container](tmp_path / "tiny", train=ROWS, test=ROWS, test_name="val")
    if container == "parquet":
        write_parquet(tmp_path / "tiny", train=ROWS, test=[(image, -1) for image, _ in ROWS])
    else:
        (tmp_path / "tiny/test/images").mkdir(parents=True)
        (tmp_path / "tiny/test/images/000.png").write_bytes(ROWS[0][0])

    with pytest.raises(DataError, match=r"split 'test' go from -1|one split only") as error:
        opened(tmp_path)
    assert "then the next of test, valid, validation and val is read" in error.value.hint


def test_what_an_editor_left_behind_is_no_image(tmp_path: Path) -> None:
    """Hidden files and `name~`, in each container."""
    write_folders(tmp_path / "tiny", train=ROWS, test=ROWS)
    for name in (".000.png.swp", "000.png~", "._000.png"):
        (tmp_path / "tiny/train/ant" / name).write_bytes(ROWS[1][0])
    (tmp_path / "tiny/train/ant~").mkdir()
    write_parquet(tmp_path / "other", train=ROWS, test=ROWS)
    (tmp_path / "other/.train-00001.parquet").write_bytes(b"-")

    assert len(opened(tmp_path).train.labels) == len(ROWS)
    assert len(opened(tmp_path, "folder:other").train.labels) == len(ROWS)


# The cache


def write_header(file: Path, shape: tuple[int, ...], descr: str = "|u1") -> None:
    with file.open("wb") as stream:
        about = {"descr": descr, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, about)


def save_by_columns(file: Path) -> None:
    np.save(file, np.asfortranarray(np.load(file)))


def save_archive(file: Path) -> None:
    with file.open("wb") as stream:
        np.savez(stream, images=np.zeros(3))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "cut off": lambda file: os.truncate(file, file.stat().st_size - 1),
    "empty": lambda file: file.write_bytes(b""),
    "a header alone": lambda file: write_header(file, (4, 8, 8, 3)),
    "a header beyond memory": lambda file: write_header(file, (10**15,)),
    "a header beyond numbers": lambda file: write_header(file, (10**30,)),
    "objects": lambda file: write_header(file, (4,), "|O"),
    "another type": lambda file: np.save(file, np.load(file).astype(np.int16)),
    "another shape": lambda file: np.save(file, np.load(file)[:2]),
    "by columns": save_by_columns,
    "an archive": save_archive,
    "half an archive": lambda file: file.write_bytes(b"PK\x03\x04"),
    **{kind: lambda file, make=make: make(file) for kind, make in NO_FILES.items()},
}


FEW = ["cut off", "another shape", "by columns", "FIFO"]  # for images of which all are looked at
CASES = [
    *(("large", "train_images.npy", kind) for kind in DAMAGE),
    *(("small", "train_images.npy", kind) for kind in FEW),
    *(("small", "test_labels.npy", kind) for kind in DAMAGE if kind != "by columns"),
    *(("small", "meta.json", kind) for kind in ("empty", "cut off", "half an archive", *NO_FILES)),
]


@pytest.mark.parametrize(("size", "name", "kind"), CASES)
def test_a_cache_that_is_not_as_it_was_built_is_built_anew(
    size: str, name: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever lies there, also of images so many that not every pixel is looked at."""
    if size == "large":
        monkeypatch.setattr("repro.data.decoded.cache._MAX_CHECKED_BYTES", 0)
    write_parquet(tmp_path / "tiny", train=ROWS, test=ROWS)
    good = opened(tmp_path).fingerprint
    (file,) = (tmp_path / "cache").glob(f"*/{name}")
    if kind in NO_FILES:
        file.unlink()
    DAMAGE[kind](file)

    with pytest.warns(UserWarning, match="are corrupt .*; they were moved to"):
        again = opened(tmp_path)
    assert again.fingerprint == good
    assert np.array_equal(again.train.images, [picture(i) for i in range(4)])


@pytest.mark.parametrize("kind", ["FIFO", "dangling link", "link loop", "file"])
def test_what_lies_in_the_place_of_the_cache_is_set_aside(kind: str, tmp_path: Path) -> None:
    """As any cache that is no cache."""
    write_parquet(tmp_path / "tiny", train=ROWS, test=ROWS)
    good = opened(tmp_path).fingerprint
    (folder,) = (path for path in (tmp_path / "cache").iterdir() if path.is_dir())
    folder.rename(tmp_path / "moved")
    if kind == "file":
        folder.write_text("-")
    else:
        NO_FILES[kind](folder)

    with pytest.warns(UserWarning, match="they were moved to"):
        assert opened(tmp_path).fingerprint == good


def save_statistics(file: Path, side: int) -> None:
    mean, std, covariance = np.zeros((side, side, 3)), np.zeros(3), np.zeros((3, 3))
    with file.open("wb") as stream:
        np.savez(stream, mean=mean, std=std, covariance=covariance)


STATISTICS: dict[str, Callable[[Path], object]] = {
    "empty": lambda file: file.write_bytes(b""),
    "half an archive": lambda file: os.truncate(file, 200),
    "of other images": lambda file: save_statistics(file, 4),
    "too large": lambda file: os.truncate(file, 1 << 40),
    "an array": lambda file: file.write_bytes(b"\x93NUMPY"),
    "other names": save_archive,
}


@pytest.mark.parametrize("kind", STATISTICS)
def test_statistics_that_are_not_of_the_images_are_computed_again(
    kind: str, tmp_path: Path
) -> None:
    """They are what is taken from each pixel: of other images, nets would see other inputs."""
    write_parquet(tmp_path / "tiny", train=ROWS, test=ROWS)

    def mean() -> torch.Tensor:
        data = opened(tmp_path)
        return DeviceData(data, device=torch.device("cpu"), inputs="centred").train.mean

    good = mean()
    (file,) = (tmp_path / "cache").glob("*/statistics-4.npz")
    STATISTICS[kind](file)

    assert torch.equal(mean(), good)
