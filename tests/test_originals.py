"""Data sets as their authors give them out: CIFAR-10's own files, and what is downloaded."""

import hashlib
import http.server
import io
import os
import pickle
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import CIFAR10

from repro.data import Dataset, fetch, find, open_dataset
from repro.errors import DataError
from repro.registry import DATASETS
from tests.pictures import CLASSES, encoded, picture

FETCH = sys.modules["repro.data.sources.fetch"]  # the package has the function by that name


def opened(folder: Path, name: str) -> Dataset:
    return open_dataset(name, (folder,), folder / "cache")


class Runs:
    """A pickle that makes a file when it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, (str(self.mark),))


@pytest.mark.parametrize("below", [".", "cifar10"])
def test_original_files_are_read_and_named_as_such(
    below: str, original: Path, tmp_path: Path
) -> None:
    """Planes of 1024 red, green and blue become pixels, in either place."""
    place = tmp_path / "data" / below
    place.mkdir(parents=True, exist_ok=True)
    original.rename(place / original.name)
    data = opened(tmp_path / "data", "cifar10")
    rows = np.random.default_rng(1).integers(0, 256, (2, 3072), dtype=np.uint8)

    assert data.title == "CIFAR-10 (original release)"
    assert data.classes == CLASSES
    assert np.array_equal(data.train.images[:2], rows.reshape(2, 3, 32, 32).transpose(0, 2, 3, 1))
    assert data.train.labels.tolist() == [0, 1] * 5


@pytest.mark.parametrize("file", ["data_batch_3", "batches.meta"])
def test_a_foreign_pickle_is_never_opened(file: str, original: Path, tmp_path: Path) -> None:
    """Its hash is compared first; the code in it does not run."""
    (original / file).write_bytes(pickle.dumps(Runs(tmp_path / "it ran")))

    with pytest.raises(DataError, match="the files are not those of the original release"):
        opened(original.parent, "cifar10")
    assert not (tmp_path / "it ran").exists()


def test_an_incomplete_original_folder_is_named(original: Path) -> None:
    """A batch is missing."""
    (original / "data_batch_2").unlink()

    with pytest.raises(DataError, match=r"cannot look into .*data_batch_2: No such file"):
        opened(original.parent, "cifar10")


def archive(*, folder: Path | None = None, escape: bool = False) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        if folder is not None:
            tar.add(folder, arcname=folder.name)
        if escape:
            member = tarfile.TarInfo("../escaped")
            member.size = 4
            tar.addfile(member, io.BytesIO(b"evil"))
    return buffer.getvalue()


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """Whatever is put under "archive" is what the authors' addresses answer."""
    content: dict[str, bytes] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content["archive"])))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content["archive"])

        do_HEAD = do_GET  # noqa: N815 - the name that http.server asks for

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    monkeypatch.setattr(CIFAR10, "url", f"http://127.0.0.1:{server.server_port}/c.tar.gz")
    monkeypatch.setattr(FETCH, "TINY_URL", f"http://127.0.0.1:{server.server_port}/t.zip")
    yield content
    server.shutdown()
    server.server_close()
    thread.join()


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_fetch_downloads_checks_and_puts_in_place(
    original: Path, serve: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder that `find` finds, and nothing beside it; a second time it is left alone."""
    serve["archive"] = archive(folder=original)
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(serve["archive"]).hexdigest())
    home = tmp_path / "my data"
    place = fetch("cifar10", home)
    source = find("cifar10", (home,))

    assert source is not None
    assert source.path == place
    assert [path.name for path in place.parent.iterdir()] == [CIFAR10.base_folder]
    with pytest.raises(DataError, match="is there already"):
        fetch("cifar10", home)


@pytest.mark.parametrize("failure", ["network", "hash", "escape", "content"])
def test_a_failed_fetch_leaves_everything_as_it_was(
    failure: str,
    original: Path,
    serve: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No network, another archive, one that reaches outside its folder, one with other files."""
    (original / "data_batch_1").write_bytes(b"other")
    serve["archive"] = archive(folder=original, escape=failure == "escape")
    if failure == "network":
        monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/c.tar.gz")
    if failure in ("escape", "content"):
        monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(serve["archive"]).hexdigest())
    home = tmp_path / "home"
    (home / "cifar10").mkdir(parents=True)
    (home / "cifar10" / "mine.txt").write_text("kept")
    before = everything(tmp_path)

    with pytest.raises(DataError, match=r"cannot download http://127.0.0.1") as caught:
        fetch("cifar10", home)
    assert "is there a network" in caught.value.hint
    assert everything(tmp_path) == before


@pytest.mark.parametrize(
    ("name", "message"),
    [("digits", "is embedded"), ("ilsvrc2012", "cannot be fetched"), ("nope", "is unknown")],
)
def test_only_what_can_be_had_is_fetched(name: str, message: str, tmp_path: Path) -> None:
    """Others say what to do instead."""
    with pytest.raises(DataError, match=message):
        fetch(name, tmp_path)


# Tiny ImageNet

TOP, ANT, BEE = "tiny-imagenet-200", "n01443537", "n01629819"
LABELS = f"val_0.JPEG\t{BEE}\t0\t32\t44\t62\nval_1.JPEG\t{ANT}\t0\t0\t7\t7\n"


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The members of a Tiny ImageNet of three training images and two others."""
    facts = replace(DATASETS["tiny-imagenet"], images=(3, 2), classes=2, size=8)
    monkeypatch.setitem(DATASETS.own, "tiny-imagenet", facts)
    images = (
        f"train/{BEE}/images/{BEE}_0", f"train/{ANT}/images/{ANT}_0", f"train/{ANT}/images/{ANT}_1",
        "val/images/val_0", "val/images/val_1", "test/images/test_0",
    )  # fmt: skip
    return {
        f"{TOP}/wnids.txt": f"{BEE}\n{ANT}\n".encode(),
        f"{TOP}/train/{ANT}/{ANT}_boxes.txt": b"-",
        f"{TOP}/val/val_annotations.txt": LABELS.encode(),
        **{
            f"{TOP}/{image}.JPEG": encoded(picture(seed), kind="JPEG")
            for seed, image in enumerate(images)
        },
    }


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


def served(content: bytes, serve: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """As what the authors published."""
    serve["archive"] = content
    monkeypatch.setattr(FETCH, "TINY_MD5", hashlib.md5(content).hexdigest())


def test_tiny_imagenet_is_put_in_place_and_opens(
    tiny: dict[str, bytes],
    serve: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Validation images by the class that the annotations give; the unlabelled ones stay out."""
    served(zipped(tiny), serve, monkeypatch)
    place = fetch("tiny-imagenet", tmp_path)
    there = [path.name for path in tmp_path.iterdir()]
    data = opened(tmp_path, "tiny-imagenet")

    assert there == ["tiny-imagenet"]
    assert {str(path.relative_to(place)) for path in place.rglob("*.JPEG")} == {
        f"train/{BEE}/{BEE}_0.JPEG", f"train/{ANT}/{ANT}_0.JPEG", f"train/{ANT}/{ANT}_1.JPEG",
        f"valid/{BEE}/val_0.JPEG", f"valid/{ANT}/val_1.JPEG",
    }  # fmt: skip
    assert data.classes == (ANT, BEE)
    assert sorted(data.train.labels.tolist()) == [0, 0, 1]
    assert sorted(data.test.labels.tolist()) == [0, 1]
    with pytest.raises(DataError, match="is there already"):
        fetch("tiny-imagenet", tmp_path)


@pytest.mark.parametrize("failure", ["network", "hash", "no zip", "unlabelled", "escape"])
def test_a_failed_fetch_of_tiny_imagenet_leaves_nothing(
    failure: str,
    tiny: dict[str, bytes],
    serve: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where labels are missing, or name a class that would lie outside the folder."""
    labels = {
        "unlabelled": LABELS.splitlines(keepends=True)[0],
        "escape": LABELS.replace(ANT, "../../../escaped"),
    }.get(failure, LABELS)
    tiny[f"{TOP}/val/val_annotations.txt"] = labels.encode()
    served(b"no zip" if failure == "no zip" else zipped(tiny), serve, monkeypatch)
    if failure == "hash":
        serve["archive"] = zipped({"other": b""})
    if failure == "network":
        monkeypatch.setattr(FETCH, "TINY_URL", "http://127.0.0.1:9/t.zip")

    with pytest.raises(DataError, match=r"cannot download http://127.0.0.1") as caught:
        fetch("tiny-imagenet", tmp_path)
    assert "is there a network" in caught.value.hint
    assert everything(tmp_path) == set()


def test_members_that_reach_outside_are_not_unpacked(
    tiny: dict[str, bytes],
    serve: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is written is what the release is known to hold, whatever else the archive names."""
    tiny |= {
        "../escaped.JPEG": b"-",
        f"{TOP}/train/{ANT}/images/../../../../escaped.JPEG": b"-",
        f"{TOP}/train/{ANT}/images/more/deep.JPEG": b"-",
    }
    served(zipped(tiny), serve, monkeypatch)
    fetch("tiny-imagenet", tmp_path / "home")

    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 5
