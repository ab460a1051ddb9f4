"""The cache of decoded images: shared, complete or absent, and never trusted when corrupt."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from repro.data import fingerprint, open_dataset
from repro.data.dataset import content_fingerprint
from repro.data.decoded.cache import cache_folder
from repro.data.sources.find import Source, find, source_key
from repro.errors import DataError, MachineError
from tests.pictures import encoded, picture, write_folders, write_parquet

TRAIN = [(encoded(picture(i)), i % 2) for i in range(600)]  # three chunks
TEST = [(encoded(picture(1000 + i)), i % 2) for i in range(4)]
ROOT = Path(__file__).parents[1]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with a Parquet data set called tiny; its cache is to lie in home/cache."""
    write_parquet(tmp_path / "tiny", train=TRAIN, test=TEST)
    return tmp_path


def decoded(home: Path) -> tuple[str, int]:
    """Open the data set; its fingerprint, and how many images were decoded for it."""
    seen = [0]
    data = open_dataset(
        "folder:tiny", (home,), home / "cache", progress=lambda done, _all: seen.append(done)
    )
    return data.fingerprint, seen[-1]


def folder_of(home: Path) -> Path:
    source = find("folder:tiny", (home,))
    assert source is not None
    return cache_folder("folder:tiny", source, home / "cache")


def elsewhere(home: Path, code: str) -> subprocess.Popen[str]:
    """A second process that opens the data set; `code` is the body of its progress callback."""
    script = (
        "import os, signal, sys, time\n"
        "from pathlib import Path\n"
        "from repro.data import open_dataset\n"
        "home = Path(sys.argv[1])\n"
        "def progress(done, total):\n"
        f"    {code}\n"
        "data = open_dataset('folder:tiny', (home,), home / 'cache', progress=progress)\n"
        "print(data.fingerprint, 'torch' in sys.modules)\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", script, str(home)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def test_images_are_decoded_once_and_mapped_read_only(home: Path) -> None:
    """The second time nothing is decoded, and the arrays cannot be written to."""
    first, second = decoded(home), decoded(home)
    data = open_dataset("folder:tiny", (home,), home / "cache")

    assert (first[1], second[1]) == (604, 0)
    assert first[0] == second[0]
    assert isinstance(data.train.images, np.memmap)
    assert not data.train.images.flags.writeable
    assert not data.train.labels.flags.writeable


@pytest.mark.process
def test_another_process_shares_the_cache_without_torch(home: Path) -> None:
    """It would fail if it had to decode one image, and it never imports torch."""
    mine, _ = decoded(home)
    process = elsewhere(home, "sys.exit('decoded again')")

    assert process.communicate()[0].split() == [mine, "False"]


@pytest.mark.process
def test_two_processes_decode_once_between_them(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is held in mid-build until the second waits for its lock; both have the same."""
    gate = home / "gate"
    lock = fcntl.flock

    def open_the_gate_when_it_is_held(handle: int, how: int) -> None:
        try:
            lock(handle, how | fcntl.LOCK_NB)
        except BlockingIOError:
            gate.touch()
            lock(handle, how)

    monkeypatch.setattr(fcntl, "flock", open_the_gate_when_it_is_held)
    wait = f"while not Path({str(gate)!r}).exists(): time.sleep(0.01)"
    process = elsewhere(home, f"print(done, flush=True)\n    {wait}")
    assert process.stdout is not None
    assert process.stdout.readline()
    ours, images = decoded(home)
    *_, theirs, _ = process.communicate()[0].split()

    assert gate.exists()
    assert images == 0
    assert ours == theirs


@pytest.mark.process
def test_killed_in_mid_build_leaves_nothing_that_looks_complete(home: Path) -> None:
    """Kill -9 after the first images; the next process finishes and leaves nothing beside."""
    process = elsewhere(home, "done and os.kill(os.getpid(), signal.SIGKILL)")
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not folder_of(home).exists()
    assert fingerprint("folder:tiny", (home,), home / "cache") is None

    assert decoded(home)[1] == 604
    assert [p for p in (home / "cache").iterdir() if p.is_dir()] == [folder_of(home)]


MANY = [TRAIN[i % 600] for i in range(4500)]  # more than are decoded between two saves
Write = Callable[..., None]
CONTAINERS: list[Write] = [write_parquet, write_folders]


def steps(home: Path, cache: str, *, stop: int | None = None) -> list[int]:
    """Open the data set; how many images were decoded at each step. Ctrl-C at `stop`."""
    seen: list[int] = []

    def progress(done: int, _all: int) -> None:
        seen.append(done)
        if stop is not None and done >= stop:
            raise KeyboardInterrupt

    with nullcontext() if stop is None else pytest.raises(KeyboardInterrupt):
        open_dataset("folder:tiny", (home,), home / cache, progress=progress)
    return seen


def content(cache: Path) -> dict[str, bytes]:
    """All that lies in the one folder of a cache, by name."""
    (folder,) = (p for p in cache.iterdir() if p.is_dir())
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.process
@pytest.mark.parametrize("write", CONTAINERS)
def test_killed_build_continues_where_it_was_saved(write: Write, tmp_path: Path) -> None:
    """Kill -9 near the end: the same bytes as in one go, and most images are decoded once."""
    write(tmp_path / "tiny", train=MANY, test=TEST)
    assert steps(tmp_path, "other")[0] == 0
    process = elsewhere(tmp_path, "done >= 4300 and os.kill(os.getpid(), signal.SIGKILL)")
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    again = steps(tmp_path, "cache")

    assert 4000 < again[0] <= 4300
    assert again[1] > again[0]
    assert again[-1] == 4504
    assert content(tmp_path / "cache") == content(tmp_path / "other")


def test_interrupted_build_continues_in_the_test_split(tmp_path: Path) -> None:
    """Ctrl-C between the splits, and again: each goes on from where the last was saved."""
    write_parquet(tmp_path / "tiny", train=TEST, test=MANY)
    steps(tmp_path, "other")
    first, second = (steps(tmp_path, "cache", stop=stop) for stop in (4, 4200))
    again = steps(tmp_path, "cache")

    assert (first[0], second[0]) == (0, 4)
    assert 4000 < again[0] <= 4200
    assert again[-1] == 4504
    assert content(tmp_path / "cache") == content(tmp_path / "other")


@pytest.mark.process
def test_faults_found_before_a_kill_are_not_forgotten(tmp_path: Path) -> None:
    """A broken image at the beginning, a kill at the end: the next process names it and counts."""
    seen: list[int] = []
    bad = [MANY[0], (b"no image", 1), *MANY[2:], (b"no image either", 0)]
    write_parquet(tmp_path / "tiny", train=bad, test=TEST)
    elsewhere(tmp_path, "done >= 4300 and os.kill(os.getpid(), signal.SIGKILL)").communicate()

    with pytest.raises(DataError, match=r"2 of 4,505 images cannot be used:\n.* row 1 ") as caught:
        open_dataset(
            "folder:tiny",
            (tmp_path,),
            tmp_path / "cache",
            progress=lambda done, _all: seen.append(done),
        )
    assert seen[0] > 4000
    assert "row 4500 " in str(caught.value)
    assert not [p for p in (tmp_path / "cache").iterdir() if p.is_dir()]


def test_changed_files_never_continue_an_older_build(tmp_path: Path) -> None:
    """They have another key: all of them are decoded."""
    write_parquet(tmp_path / "tiny", train=MANY, test=TEST)
    steps(tmp_path, "cache", stop=4300)
    write_parquet(tmp_path / "tiny", train=[TRAIN[5], *MANY[1:]], test=TEST)

    assert steps(tmp_path, "cache")[0] == 0


@pytest.mark.parametrize("text", ["", "[]", '{"done": 4096}'])
def test_progress_that_cannot_be_read_starts_again(text: str, tmp_path: Path) -> None:
    """Nothing is believed of it."""
    write_parquet(tmp_path / "tiny", train=MANY, test=TEST)
    steps(tmp_path, "cache", stop=4300)
    (file,) = (tmp_path / "cache").glob(".*.building/progress.json")
    file.write_text(text)

    assert steps(tmp_path, "cache")[0] == 0


def test_another_decoder_starts_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the pixels from one Pillow and half from another would be no copy of anything."""
    write_parquet(tmp_path / "tiny", train=MANY, test=TEST)
    steps(tmp_path, "cache", stop=4300)
    monkeypatch.setattr("repro.data.decoded.build._DECODER", "Pillow 0.1")

    assert steps(tmp_path, "cache")[0] == 0


def truncate_images(folder: Path) -> None:
    os.truncate(folder / "train_images.npy", 1000)


def swap_labels(folder: Path) -> None:
    file = folder / "train_labels.npy"
    np.save(file, np.load(file)[::-1])


def reshape_images(folder: Path) -> None:
    file = folder / "test_images.npy"
    np.save(file, np.load(file)[:-1])


def remove_images(folder: Path) -> None:
    (folder / "test_images.npy").unlink()


def edit_meta(folder: Path) -> None:
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | {"fingerprint": "0" * 16}))


def empty_meta(folder: Path) -> None:
    (folder / "meta.json").write_text("")


def other_meta(folder: Path) -> None:
    (folder / "meta.json").write_text("[]")


@pytest.mark.parametrize(
    "damage",
    [
        truncate_images,
        swap_labels,
        reshape_images,
        remove_images,
        edit_meta,
        empty_meta,
        other_meta,
    ],
)
def test_corrupt_cache_is_set_aside_with_a_warning_and_built_again(
    damage: Callable[[Path], None], home: Path
) -> None:
    """Whatever was damaged; twice, since what was set aside before may still be there."""
    good, _ = decoded(home)
    for _ in range(2):
        damage(folder_of(home))
        assert fingerprint("folder:tiny", (home,), home / "cache") is None
        with pytest.warns(UserWarning, match="are corrupt .*; they were moved to .*corrupt"):
            again = decoded(home)

        assert again == (good, 604)
        assert fingerprint("folder:tiny", (home,), home / "cache") == good


def flip_a_pixel(folder: Path, split: str) -> None:
    file = folder / f"{split}_images.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_pixel_that_changed_is_told_and_decoded_again(split: str, home: Path) -> None:
    """One grey level in the last image, which no shape and no label shows."""
    good, _ = decoded(home)
    flip_a_pixel(folder_of(home), split)
    with pytest.warns(UserWarning, match="are corrupt .*pixels changed.*; they were moved to"):
        again = decoded(home)

    assert again == (good, 604)
    assert decoded(home) == (good, 0)
    assert folder_of(home).with_name(f"{folder_of(home).name}.corrupt").is_dir()


def test_pixels_are_looked_at_once_and_not_of_many_images(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for each claim of a run; and reading all of ImageNet is for `repro data verify`."""
    decoded(home)
    looked: list[int] = []
    monkeypatch.setattr(
        "repro.data.decoded.cache.content_fingerprint",
        lambda *splits: looked.append(1) or content_fingerprint(*splits),
    )
    decoded(home)
    decoded(home)
    assert len(looked) == 1
    flip_a_pixel(folder_of(home), "train")
    monkeypatch.setattr("repro.data.decoded.cache._MAX_CHECKED_BYTES", 1000)
    decoded(home)

    assert len(looked) == 1


def test_changed_files_are_decoded_anew(home: Path) -> None:
    """One image more: other data under the same name, and the old ones stay where they are."""
    before = decoded(home)
    write_parquet(home / "tiny", train=[*TRAIN, TEST[0]], test=TEST)
    after = decoded(home)

    assert after[1] == 605
    assert before[0] != after[0]


def test_copied_parquet_needs_no_second_decoding(home: Path) -> None:
    """Other dates, same bytes: files are known by their content."""
    decoded(home)
    for file in (home / "tiny").iterdir():
        os.utime(file, (1, 1))

    assert decoded(home)[1] == 0


def test_image_folders_are_known_by_names_sizes_and_dates(tmp_path: Path) -> None:
    """A newer image is looked at again; equal dates, sizes and names are taken for the same."""
    write_folders(tmp_path / "tiny", train=TRAIN[:6], test=TEST)
    decoded(tmp_path)
    assert decoded(tmp_path)[1] == 0
    os.utime(tmp_path / "tiny/train/ant/000.png", (1, 1))

    assert decoded(tmp_path)[1] == 10


def test_large_files_are_known_by_names_sizes_and_dates(tmp_path: Path) -> None:
    """5 GB of nothing: reading them at each command would take longer than many a training."""
    file = tmp_path / "train.parquet"
    file.touch()
    os.truncate(file, 5 * 10**9)
    source = Source(kind="parquet", path=tmp_path, train=(file,), test=())
    os.utime(file, (1, 1))
    first, same = source_key(source), source_key(source)
    os.utime(file, (2, 2))

    assert first == same
    assert source_key(source) != first


@pytest.mark.parametrize("cores", [1, 2, 5])
def test_the_number_of_cores_does_not_change_the_data(
    cores: int, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each image is where its row says, whichever thread decoded it."""
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    data = open_dataset("folder:tiny", (home,), home / "cache")

    assert np.array_equal(data.train.images, np.stack([picture(i) for i in range(600)]))


def test_fingerprint_is_known_only_once_decoded(home: Path) -> None:
    """Planning asks for it and must not start to decode."""
    assert fingerprint("folder:tiny", (home,), home / "cache") is None
    known, _ = decoded(home)

    assert fingerprint("folder:tiny", (home,), home / "cache") == known
    assert fingerprint("folder:none", (home,), home / "cache") is None
    assert fingerprint("digits", (home,), home / "cache") is not None


def test_a_cache_that_cannot_be_written_is_a_fault_of_the_machine(home: Path) -> None:
    """A file lies where the folder should be."""
    (home / "cache").write_text("")

    with pytest.raises(MachineError, match=r"cannot write the decoded images to .*cache"):
        decoded(home)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_a_fault_of_the_machine(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's own full device in place of the file of images, until there is space again."""
    normal = Path.open

    def full(self: Path, *args: str, **named: str) -> object:
        place = Path("/dev/full") if self.name == "train_images.npy" else self
        return normal(place, *args, **named)  # type: ignore[call-overload]

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        with pytest.raises(MachineError, match="No space left on device") as caught:
            decoded(home)
    assert "free some space" in caught.value.hint
    assert decoded(home)[1] == 604


def test_images_that_are_there_need_no_space_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build stopped near its end continues where the whole would no longer fit."""
    write_parquet(tmp_path / "tiny", train=MANY, test=TEST)
    steps(tmp_path, "cache", stop=4300)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=4504 * 192 // 2))

    assert steps(tmp_path, "cache")[-1] == 4504


def test_too_little_space_is_told_before_anything_is_decoded(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """604 images of 192 bytes, on a disk with one byte less than they need; then with enough."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=604 * 192 - 1))
    with pytest.raises(
        MachineError, match=r"need 115,968 more bytes in .*, where 115,967 are"
    ) as e:
        steps(home, "cache")
    assert "--cache-dir" in e.value.hint
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=604 * 192))

    assert steps(home, "cache")[-1] == 604
