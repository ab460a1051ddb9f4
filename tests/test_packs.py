"""Packs: the same images and trials wherever they lie, read in a row, each shard once an epoch."""

import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from torch import distributed as dist

from repro.claim import Recipe
from repro.cli import main
from repro.data import Dataset, content_fingerprint, fingerprint, open_dataset, status, synthetic
from repro.data.device import DeviceData
from repro.data.device.order import Bounds, bounded_order
from repro.data.packing import write_pack
from repro.data.sources.packs import Pack, PackedImages, Shards, open_pack
from repro.errors import DataError, MachineError
from repro.execute.backends.torchrun import join
from repro.train import Population, Run, train_all
from repro.train.ranks import Ranks
from repro.trial import Trial
from tests.pictures import NO_FILES
from tests.test_ranks import BOUND, in_processes, meet
from tests.worlds import RECIPE, curve_of, tiny, trial_on

NAME = "folder:digits"
PLACE = "memory://packs/digits"
EACH = 20  # images in a shard: 20 of training, the last of 10, and 5 of test
BOUNDS = Bounds(block=20, buffer=120, lanes=4)


@pytest.fixture(autouse=True)
def _empty_memory() -> Iterator[None]:
    yield
    fsspec.filesystem("memory").store.clear()


@pytest.fixture
def digits(tmp_path: Path) -> Dataset:
    """In memory, under a name that is looked for in folders."""
    dataset = tiny(tmp_path, images=390)
    found = content_fingerprint(dataset.train, dataset.test, dataset.classes)
    return replace(dataset, name=NAME, fingerprint=found)


@pytest.fixture
def small() -> Dataset:
    """Images of 8 pixels: two shards of training, the last of 19, and one of test."""
    return replace(synthetic(n_train=39, n_test=10, size=8), name=NAME)


def in_rows(folder: Path) -> Dataset:
    return open_dataset(NAME, ("memory://packs",), folder / "cache", in_rows=True)


class Reads(Counter[str]):
    """How often each file of the pack was read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        read = Pack.read

        def counted(pack: Pack, file: str, *args: Any, **named: Any) -> bytes:
            self[file] += 1
            return read(pack, file, *args, **named)

        monkeypatch.setattr(Pack, "read", counted)

    def of_training(self) -> Counter[str]:
        return Counter({name: n for name, n in self.items() if name.startswith("train-")})


def test_a_pack_is_the_same_data_set_wherever_it_lies(digits: Dataset, tmp_path: Path) -> None:
    """Same fingerprint, title and images, read in place or copied; as a folder, too."""
    write_pack(digits, PLACE, each=EACH)
    write_pack(digits, str(tmp_path / "packs" / "digits"), each=64)

    here = open_dataset(NAME, (tmp_path / "packs",), tmp_path / "cache", in_rows=True)
    for found in (in_rows(tmp_path), here, open_dataset(NAME, ("memory://packs",), tmp_path)):
        assert (found.title, found.fingerprint) == (digits.title, digits.fingerprint)
        assert found.classes == digits.classes
        for ours, theirs in ((found.train, digits.train), (found.test, digits.test)):
            np.testing.assert_array_equal(np.asarray(ours.images), theirs.images)
            np.testing.assert_array_equal(ours.labels, theirs.labels)
        assert content_fingerprint(found.train, found.test, found.classes) == digits.fingerprint
    assert fingerprint(NAME, ("memory://packs",), tmp_path / "empty") == digits.fingerprint
    known = {one.name: one for one in status(("memory://packs",), tmp_path)}
    assert known["cifar10"].problem == "not found"


@given(start=st.integers(0, 390), stop=st.integers(0, 390), seed=st.integers(0, 99))
def test_images_of_a_pack_are_those_of_the_array(start: int, stop: int, seed: int) -> None:
    """Slices of slices, and any of them by number."""
    every = np.arange(390 * 4 * 4 * 3, dtype=np.int64).astype(np.uint8).reshape(390, 4, 4, 3)
    images = PackedImages(in_memory(every), "train")
    part, theirs = images[start:stop][1:], every[start:stop][1:]

    assert part.shape == theirs.shape
    np.testing.assert_array_equal(np.asarray(part), theirs)
    if len(theirs):
        wanted = np.random.default_rng(seed).integers(0, len(theirs), 7)
        np.testing.assert_array_equal(part[wanted], theirs[wanted])


class InMemory(Pack):
    """A pack that is not written anywhere."""

    images: Any

    def shard(self, _split: str, number: int) -> Any:
        return self.images[number * EACH : (number + 1) * EACH]


def in_memory(images: Any) -> Pack:
    about = Shards(images=len(images), labels="", shards=())
    pack = InMemory(
        place="", key="", title="", fingerprint="", classes=(), size=images.shape[1:3],
        each=EACH, statistics="", train=about, test=about,
    )  # fmt: skip
    object.__setattr__(pack, "images", images)
    return pack


@given(
    images=st.integers(1, 2000),
    block=st.integers(1, 50),
    buffer=st.integers(1, 500),
    lanes=st.integers(1, 8),
    each=st.integers(1, 5),
)
def test_an_order_within_bounds(
    images: int, block: int, buffer: int, lanes: int, each: int
) -> None:
    """Every image once; at no moment are more blocks begun and not ended than the bounds say."""
    bounds = Bounds(block=block, buffer=buffer, lanes=lanes)

    def order(seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return bounded_order(images, bounds, batch=each * lanes, generator=generator)

    found = order(0)
    assert torch.equal(found.sort().values, torch.arange(images))
    assert torch.equal(found, order(0))
    if images > 100:
        assert not torch.equal(found, order(1))
    blocks = (found // block).tolist()
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for place, one in enumerate(blocks):
        first.setdefault(one, place)
        last[one] = place
    changes = Counter(first.values())
    changes.subtract(Counter(place + 1 for place in last.values()))
    most = begun = 0
    for place in sorted(changes):
        begun += changes[place]
        most = max(most, begun)
    # In a lane an image is put off by less than buffer / lanes; a block may be cut at both ends.
    assert most <= lanes * (buffer / lanes / block + 3)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_each_rank_reads_its_own_blocks(size: int) -> None:
    """Of full batches; but for blocks that lie across two lanes, none is read by two ranks."""
    generator = torch.Generator().manual_seed(0)
    order = bounded_order(4000, BOUNDS, batch=32, generator=generator)
    read: Counter[int] = Counter()
    for rank in range(size):
        shares = [
            Ranks(rank=rank, size=size).share(batch).indices for batch in torch.split(order, 32)
        ]
        read.update(set((torch.cat(shares) // BOUNDS.block).tolist()))

    assert len(read) == 200
    assert sum(read.values()) <= 200 + BOUNDS.lanes


def trial_of(dataset: Dataset, *, alexnet: bool = False) -> Trial:
    shuffle = {"block": BOUNDS.block, "buffer": BOUNDS.buffer, "lanes": BOUNDS.lanes}
    recipe = Recipe.model_validate(RECIPE.model_dump() | {"shuffle": shuffle})
    net = {"model": "alexnet_2012", "arguments": {"width": 0.0625, "drop_rate": 0.0}}
    return trial_on(dataset, recipe=recipe, threshold=None, seed=3, **(net if alexnet else {}))


def run_on(dataset: Dataset, *, until: float, checkpoint: bytes | None = None) -> Run:
    """Images stay where they lie."""
    trial = trial_of(dataset)
    data = DeviceData(dataset, device=torch.device("cpu"), inputs="standardised", held=False)
    run = Run(trial, data, until=until, checkpoint=checkpoint)
    assert list(train_all([run])) == [run]
    return run


def test_a_trial_reads_each_shard_once_an_epoch_and_goes_on_in_the_middle(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a pack as from memory, bit for bit, also where it was stopped in between."""
    write_pack(digits, PLACE, each=EACH)
    whole = run_on(digits, until=1.0)
    dataset = in_rows(tmp_path)
    assert trial_of(dataset).id == trial_of(digits).id
    DeviceData(dataset, device=torch.device("cpu"), inputs="standardised", held=False)  # statistics

    reads = Reads(monkeypatch)
    half = run_on(dataset, until=0.5)
    first = reads.of_training()
    again = in_rows(tmp_path)
    reads.clear()
    rest = run_on(again, until=1.0, checkpoint=half.state())
    # Each in training, where the half needs it, and in the evaluation at the end.
    for read in (first, reads.of_training()):
        assert len(read) == 20
        assert max(read.values()) == 2
        assert 20 < read.total() < 40

    assert not isinstance(rest.data.train.images, torch.Tensor)
    ours, theirs = (curve_of(run).drop(columns="train_seconds") for run in (rest, whole))
    assert ours.equals(theirs)
    for a, b in zip(rest.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_shards_are_let_go_after_their_last_use(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over the windows of an epoch each is read once, and few are open at any moment."""
    write_pack(digits, PLACE, each=EACH)
    images = in_rows(tmp_path).train.images
    assert isinstance(images, PackedImages)
    reads = Reads(monkeypatch)
    order = bounded_order(
        390, Bounds(block=20, buffer=40, lanes=1), batch=10,
        generator=torch.Generator().manual_seed(0),
    ).numpy()  # fmt: skip
    batches = np.split(order, range(10, 390, 10))
    for window in range(3):
        these = batches[window * 13 : (window + 1) * 13]
        for _ in images.stream(these, [order[(window + 1) * 130 :]]):
            assert len(images._open) <= 40 / 20 + 2 + 8  # and those that are read ahead

    assert images._open == {}
    assert set(reads.values()) == {1}
    assert len(reads) == 20


def test_a_damaged_shard_is_told(digits: Dataset, tmp_path: Path) -> None:
    """Before any of its images is used; and written again by the same command."""
    write_pack(digits, PLACE, each=EACH)
    images = in_rows(tmp_path).train.images
    fsspec.filesystem("memory").pipe_file("/packs/digits/train-00003.npy", b"damaged")

    with pytest.raises(DataError, match=r"memory://packs/digits/train-00003.npy has SHA-256"):
        np.asarray(images)
    fsspec.filesystem("memory").rm("/packs/digits/train-00000.npy")
    with pytest.raises(DataError, match=r"memory://packs/digits has no train-00000.npy"):
        np.asarray(images)
    assert write_pack(digits, PLACE, each=EACH) == 2
    assert np.asarray(images).shape == images.shape


MANIFESTS: dict[str, tuple[dict[str, Any] | str, str]] = {
    "empty": ("{}", "KeyError: 'each'"),
    "nested": ("[" * 100_000, "nested too deep"),
    "no object": ("[1]", "TypeError"),
    "shards": ({"each": 41}, "2 shards for 39 images"),
    "pixels": ({"size": [31_623, 31_623]}, "31623x31623 pixels; at most 89,478,485 are read"),
    "no size": ({"size": [32]}, "ValueError"),
    "a size of text": ({"size": ["32", 32]}, "'32' is no whole number from 1 on"),
    "infinite": ({"each": float("inf")}, "inf is no whole number"),
    "none each": ({"each": 0}, "0 is no whole number"),
    "a title of none": ({"title": None}, "None does not have the form"),
    "no fingerprint": ({"fingerprint": "x"}, "'x' does not have the form"),
    "a class of half a letter": ({"classes": ["\ud800"] * 10}, "does not have the form"),
    "statistics": ({"statistics": "../../secret"}, "'../../secret' does not have the form"),
}


@pytest.mark.parametrize("kind", MANIFESTS)
def test_what_is_no_pack_is_told(kind: str, small: Dataset, tmp_path: Path) -> None:
    """Each value of the manifest is checked before anything is made of that size."""
    write_pack(small, str(tmp_path / "digits"), each=EACH)
    manifest = tmp_path / "digits" / "pack.json"
    said, message = MANIFESTS[kind]
    if not isinstance(said, str):
        said = json.dumps(json.loads(manifest.read_bytes()) | said)
    manifest.write_text(said)

    with pytest.raises(DataError, match=r"pack.json is no pack's: ") as error:
        open_pack(str(tmp_path / "digits"))
    assert message in str(error.value)


def test_a_store_that_nobody_knows_is_told() -> None:
    """With the package that would know it."""
    with pytest.raises(DataError, match="nostore://x cannot be read"):
        open_pack("nostore://x")


def forge(place: Path, **changes: Any) -> None:
    """Write a file anew, with its hash in the manifest, or a line of the manifest."""
    manifest = json.loads((place / "pack.json").read_bytes())
    for name, value in changes.items():
        if isinstance(value, bytes):
            file = {"shard": "train-00000.npy", "labels": "train_labels.npy"}[name]
            (place / file).write_bytes(value)
            sha256 = hashlib.sha256(value).hexdigest()
            train = manifest["train"]
            train["shards"] = [sha256, *train["shards"][1:]] if name == "shard" else train["shards"]
            train["labels"] = sha256 if name == "labels" else train["labels"]
        else:
            manifest[name] = value
    (place / "pack.json").write_text(json.dumps(manifest))


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def header(shape: tuple[int, ...]) -> bytes:
    """Of an array of bytes that does not follow."""
    buffer = io.BytesIO()
    about = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, about)
    return buffer.getvalue()


FORGED: dict[str, tuple[dict[str, Any], str]] = {
    "fingerprint": ({"fingerprint": "0" * 16}, "its pack.json says 0000000000000000"),
    "classes": ({"classes": [str(10 - i) for i in range(10)]}, "have fingerprint .*, but its pack"),
    "pixels": ({"shard": npy(np.zeros((EACH, 8, 8, 3), np.uint8))}, "have fingerprint .*, but"),
    "shape": (
        {"shard": npy(np.zeros((EACH, 8, 8), np.uint8))},
        "of uint8 .20, 8, 8., not",
    ),
    "type": ({"shard": npy(np.zeros((EACH, 8, 8, 3)))}, "larger than|bytes|float64"),
    "columns": ({"shard": npy(np.zeros((3, 8, 8, EACH), np.uint8).T)}, "unlike pack.json says"),
    "too short": ({"shard": header((EACH, 8, 8, 3))}, "0 bytes for an array of uint8"),
    "too large to allocate": ({"shard": header((10**15,))}, "an array of uint8 .10+,., not of"),
    "no array": ({"shard": b"-"}, "unlike pack.json says"),
    "labels too high": ({"labels": npy(np.full(39, 10))}, "labels from 10 to 10, but pack.json"),
    "labels below": ({"labels": npy(np.full(39, -1))}, "labels from -1 to -1, but pack.json"),
    "labels of floats": (
        {"labels": npy(np.zeros(39))},
        "an array of float64 .39,., not of int64",
    ),
    "labels of objects": ({"labels": npy(np.array(["x"] * 39))}, "not of int64|larger than"),
    "another size": ({"size": [4, 16]}, "not of uint8 .20, 4, 16, 3."),
}


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("kind", FORGED)
def test_a_pack_that_lies_is_refused(
    kind: str, in_place: bool, small: Dataset, tmp_path: Path
) -> None:
    """Manifest and hashes agree, and the images are not those: read in place or copied."""
    write_pack(small, str(tmp_path / "digits"), each=EACH)
    changes, message = FORGED[kind]
    forge(tmp_path / "digits", **changes)

    for _ in range(2):  # nothing is remembered as right
        with pytest.raises(DataError, match=message):
            open_dataset(NAME, (tmp_path,), tmp_path / "cache", in_rows=in_place)


@pytest.mark.parametrize("file", ["pack.json", "train-00000.npy", "train_labels.npy"])
@pytest.mark.parametrize("kind", NO_FILES)
def test_a_pack_of_what_is_no_file_is_refused_and_written_anew(
    kind: str, file: str, small: Dataset, tmp_path: Path
) -> None:
    """Nobody waits for a FIFO, and nothing is read without end."""
    place = tmp_path / "digits"
    write_pack(small, str(place), each=EACH)
    (place / file).unlink()
    NO_FILES[kind](place / file)

    with pytest.raises(DataError, match=file):
        open_dataset(NAME, (tmp_path,), tmp_path / "cache", in_rows=True)
    if kind != "folder" and file != "pack.json":
        assert write_pack(small, str(place), each=EACH) == 1
        assert in_place_fingerprint(tmp_path) == small.fingerprint


def in_place_fingerprint(folder: Path) -> str:
    """Of the images as they lie in the pack."""
    dataset = open_dataset(NAME, (folder,), folder / "cache", in_rows=True)
    return content_fingerprint(dataset.train, dataset.test, dataset.classes)


def test_a_pack_takes_no_place_of_others(digits: Dataset, tmp_path: Path) -> None:
    """Neither of another pack nor of images; the same images may be packed again."""
    write_pack(digits, str(tmp_path / "pack"), each=20)
    before = (tmp_path / "pack" / "pack.json").read_bytes()
    other = replace(digits, fingerprint="0" * 16)
    (tmp_path / "images" / "train" / "ant").mkdir(parents=True)

    with pytest.raises(MachineError, match="holds the pack of other images"):
        write_pack(other, str(tmp_path / "pack"), each=20)
    with pytest.raises(MachineError, match="holds images by class"):
        write_pack(digits, str(tmp_path / "images"), each=20)
    assert write_pack(digits, str(tmp_path / "pack"), each=20) == 0
    assert (tmp_path / "pack" / "pack.json").read_bytes() == before


def test_a_pack_from_the_command_line(tmp_path: Path) -> None:
    """Written once; what is there is not written again; found behind its URL."""
    from PIL import Image

    for split, count in (("train", 6), ("test", 2)):
        for name in ("a", "b"):
            folder = tmp_path / "data" / "birds" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                Image.new("RGB", (8, 8), (i, 0, 0)).save(folder / f"{i}.png")

    def repro(*words: str, data: str) -> str:
        cache = ["--cache-dir", str(tmp_path / "cache"), "--data-dir", data]
        done = CliRunner().invoke(main, ["data", *words, *cache], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    packing = ("pack", "folder:birds", "memory://packs/birds", "--images", "5")
    folder = str(tmp_path / "data")
    # 3 and 1 of images, 2 of labels, statistics, and the manifest.
    assert "8 files written to memory://packs/birds" in repro(*packing, data=folder)
    assert "0 files written" in repro(*packing, data=folder)
    said = repro("prepare", "folder:birds", data="memory://packs")
    assert "birds (PNG copy, image folder): 16 images, 16 decoded now" in said


def _rank(rank: int, size: int, port: int, folder: str) -> None:
    meet(rank, size, port)
    dataset = open_dataset(NAME, (Path(folder) / "packs",), Path(folder) / "cache", in_rows=True)
    data = DeviceData(dataset, device=torch.device("cpu"), inputs="standardised", held=False)
    run = Run(trial_of(dataset, alexnet=True), data, until=1.0)
    with pytest.MonkeyPatch.context() as patch:
        reads = Reads(patch)
        population = Population([run], join().ranks)
        while not run.ended:
            population.train_window()
    (Path(folder) / f"{rank}.json").write_text(json.dumps([reads, run.progress.rows]))
    dist.destroy_process_group()


@pytest.mark.cluster
def test_ranks_read_their_own_shards_and_train_as_one(digits: Dataset, tmp_path: Path) -> None:
    """Two processes on one pack: hardly a shard is read twice, and the curve is that of one."""
    write_pack(digits, str(tmp_path / "packs" / "digits"), each=EACH)
    in_processes(_rank, 2, str(tmp_path))
    said = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    alone = Run(
        trial_of(digits, alexnet=True),
        DeviceData(digits, device=torch.device("cpu"), inputs="standardised"),
        until=1.0,
    )
    population = Population([alone])
    while not alone.ended:
        population.train_window()

    read = sum((Counter(reads) for reads, _ in said), Counter())
    assert len(read) == 20
    # A block across two lanes, and the last batch, which lanes need not fill alike.
    assert read.total() <= 20 + 3
    for _, rows in said:
        losses = np.array([[row[0], row[3]] for row in rows])
        ours = np.array([[row[0], row[3]] for row in alone.progress.rows])
        np.testing.assert_allclose(losses, ours, rtol=BOUND)
