"""Tar shards: what is read of them, what is refused, and that names in them reach nothing."""

import gzip
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from repro.data import Dataset, open_dataset, verify
from repro.errors import DataError
from tests.pictures import CLASSES, encoded, picture, write_parquet, write_shards, write_tar

TRAIN = [(encoded(picture(i)), i % 2) for i in range(7)]
TEST = [(encoded(picture(100 + i)), i % 2) for i in range(3)]
IMAGE = TRAIN[0][0]


def opened(folder: Path) -> Dataset:
    return open_dataset("folder:tiny", (folder,), folder / "cache")


def shard(folder: Path, *members: tuple[str, bytes]) -> Dataset:
    """A data set with one training shard of these files."""
    write_shards(folder / "tiny", train=TRAIN, test=TEST, names=None)
    write_tar(folder / "tiny/train-000000.tar", members)
    return opened(folder)


def test_shards_hold_the_same_data_as_parquet(tmp_path: Path) -> None:
    """Equal pixels, labels, classes and fingerprint, over several shards; another title."""
    write_parquet(tmp_path / "a/tiny", train=TRAIN, test=TEST)
    write_shards(tmp_path / "b/tiny", train=TRAIN, test=TEST, each=3)
    a, b = opened(tmp_path / "a"), opened(tmp_path / "b")

    assert len(list((tmp_path / "b/tiny").glob("train-*.tar"))) == 3
    assert a.fingerprint == b.fingerprint
    assert b.classes == CLASSES
    assert np.array_equal(b.train.images, np.stack([picture(i) for i in range(7)]))
    assert b.title == "tiny (PNG copy, webdataset)"


@pytest.mark.parametrize("test_name", ["test", "valid", "validation", "val"])
@pytest.mark.parametrize("prefix", ["", "imagenet1k-"])
def test_shards_by_their_usual_names(prefix: str, test_name: str, tmp_path: Path) -> None:
    """With the data set's name before them, as timm's copy of ImageNet has it, or without."""
    write_shards(
        tmp_path / "tiny", train=TRAIN, test=TEST, prefix=prefix, test_name=test_name, each=2
    )

    assert len(opened(tmp_path).test.labels) == 3


def test_without_names_classes_are_numbers(tmp_path: Path) -> None:
    """And names that are added later make it other data."""
    write_shards(tmp_path / "tiny", train=TRAIN, test=TEST, names=None)
    numbered = opened(tmp_path)
    write_shards(tmp_path / "tiny", train=TRAIN, test=TEST)
    named = opened(tmp_path)

    assert (numbered.classes, named.classes) == (("0", "1"), CLASSES)
    assert numbered.fingerprint != named.fingerprint


def test_other_files_of_a_sample_are_passed_over(tmp_path: Path) -> None:
    """Label before or after the image, endings in capitals, notes, folders, hidden files."""
    data = shard(
        tmp_path,
        ("about.txt", b"-"),
        ("a/1.json", b"{}"),
        ("a/1.PNG", IMAGE),
        ("a/._1.png", b"-"),
        ("a/1.cls", b"1\n"),
        ("b.c/1.cls", b"0"),
        ("b.c/1.seg.png", b"-"),
        ("b.c/1.jpeg", TRAIN[1][0]),
    )

    assert data.train.labels.tolist() == [0, 1]
    assert np.array_equal(data.train.images, np.stack([picture(1), picture(0)]))


def test_names_in_a_shard_reach_nothing(tmp_path: Path) -> None:
    """Above the folder, or anywhere: the images are read, and no file appears."""
    home = tmp_path / "home"
    names = ("../../evil", f"{tmp_path}/evil", "a/../../../b")
    files = [(f"{name}.{kind}", c) for name in names for kind, c in (("png", IMAGE), ("cls", b"0"))]
    data = shard(home, *files, ("c.png", IMAGE), ("c.cls", b"1"))

    assert len(data.train.labels) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    assert {path.name for path in home.iterdir()} == {"cache", "tiny"}
    assert sorted(path.name for path in (home / "tiny").iterdir()) == [
        "test-000000.tar",
        "train-000000.tar",
    ]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("a.png", IMAGE)], "a has 1 images and 0 labels, not one of each"),
        ([("a.cls", b"0")], "a has 0 images and 1 labels"),
        ([("a.png", IMAGE), ("a.jpg", IMAGE), ("a.cls", b"0")], "a has 2 images and 1 labels"),
        ([("a.png", IMAGE), ("b.png", IMAGE), ("a.cls", b"0")], "a has 1 images and 0 labels"),
        ([("a.png", IMAGE), ("a.cls", b"ant")], "a.cls holds b'ant', not the number of a class"),
        ([("a.png", IMAGE), ("a.cls", b"")], "a.cls holds b'', not the number"),
        ([("a.png", IMAGE), ("a.cls", b"-1")], "labels of the split 'train' go from -1 to -1"),
        ([("a.txt", b"-")], "the split 'train' holds no images"),
        ([], "the split 'train' holds no images"),
    ],
)
def test_shards_that_cannot_be_meant(
    members: list[tuple[str, bytes]], message: str, tmp_path: Path
) -> None:
    """Every image has one label, and every label one image."""
    with pytest.raises(DataError, match=message):
        shard(tmp_path, *members)


def test_a_label_without_a_name_is_refused(tmp_path: Path) -> None:
    """classes.txt has one line too few."""
    write_shards(tmp_path / "tiny", train=TRAIN, test=TEST, names=CLASSES[:1])

    with pytest.raises(DataError, match="go from 0 to 1, but there are 1 classes"):
        opened(tmp_path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(kind: bytes, tmp_path: Path) -> None:
    """A link in the place of an image would otherwise be read as an empty one, or followed."""
    write_shards(tmp_path / "tiny", train=TRAIN, test=TEST)
    with tarfile.open(tmp_path / "tiny/train-000000.tar", "a") as tar:
        link = tarfile.TarInfo("secret.jpg")
        link.type, link.linkname = kind, "/etc/passwd"
        tar.addfile(link)

    with pytest.raises(DataError, match=r"train-000000.tar: secret.jpg is no plain file"):
        opened(tmp_path)


def blocks(content: bytes) -> list[int]:
    """Where members begin."""
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return [member.offset for member in tar]


@pytest.mark.parametrize("where", ["between", "inside", "header", "compressed", "empty"])
def test_a_damaged_shard_is_never_read_as_a_shorter_one(where: str, tmp_path: Path) -> None:
    """Cut off between two files or inside one, a header overwritten, gzip, nothing at all."""
    write_shards(tmp_path / "tiny", train=TRAIN, test=TEST)
    file = tmp_path / "tiny/train-000000.tar"
    content = file.read_bytes()
    begin = blocks(content)[4]
    file.write_bytes(
        {
            "between": content[:begin],
            "inside": content[: begin + 600],
            "header": content[:begin] + b"x" * 512 + content[begin + 512 :],
            "compressed": gzip.compress(content),
            "empty": b"",
        }[where]
    )

    with pytest.raises(DataError, match=r"train-000000.tar (is damaged or|cannot be read as tar)"):
        opened(tmp_path)


def test_a_broken_image_is_named_by_shard_and_file(tmp_path: Path) -> None:
    """As everywhere: named, counted, and not left out."""
    with pytest.raises(
        DataError, match=r"1 of 5 images cannot be used:\n.*000000.tar b.png: "
    ) as e:
        shard(tmp_path, ("a.png", IMAGE), ("a.cls", b"0"), ("b.png", b"-"), ("b.cls", b"1"))
    assert "not skipped automatically" in e.value.hint


@pytest.mark.parametrize("lost", [1, 2])
def test_a_missing_shard_is_told(lost: int, tmp_path: Path) -> None:
    """They count without a gap."""
    write_shards(tmp_path / "tiny", train=TRAIN, test=TEST, each=2)
    (tmp_path / f"tiny/train-{lost:06d}.tar").unlink()

    with pytest.raises(DataError, match="holds 3 of 4 shards of the split 'train'"):
        opened(tmp_path)


def test_two_versions_in_one_folder_are_told(tmp_path: Path) -> None:
    """Each image would count twice."""
    for prefix in ("old-", "new-"):
        write_shards(tmp_path / "tiny", train=TRAIN, test=TEST, prefix=prefix)

    with pytest.raises(
        DataError,
        match="holds twice the same shards of the split 'train'",
    ):
        opened(tmp_path)


def test_shards_are_verified(tmp_path: Path) -> None:
    """Decoded images against their fingerprint."""
    write_shards(tmp_path / "tiny", train=TRAIN, test=TEST)
    report = verify("folder:tiny", (tmp_path,), tmp_path / "cache")

    assert str(report).startswith("tiny (PNG copy, webdataset): images match their fingerprint ")
