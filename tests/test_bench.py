"""Benchmarks: contestants take turns, ratios are of the same round, and what is missing is said."""

import os
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from benchmarks.arithmetic import count_inputs, count_step
from benchmarks.goals import GOALS, UNMEASURED, goals
from benchmarks.images import can_evict, image_files, input_path
from benchmarks.race import Table, race, ratios
from benchmarks.run import ALL, main
from benchmarks.stores import make_store
from benchmarks.training import repeat_images
from repro.data import synthetic
from repro.data.device.statistics import image_statistics
from repro.errors import DataError
from tests.commands import repro

CPU = torch.device("cpu")


def test_contestants_take_turns_and_the_first_round_is_not_counted() -> None:
    """A machine that drifts drifts for all."""
    turns: list[str] = []

    def contestant(name: str) -> int:
        turns.append(name)
        return 10

    times = race({n: lambda n=n: contestant(n) for n in "ab"}, CPU, 2)  # type: ignore[misc]

    assert turns == list("ababab")
    assert {name: len(each) for name, each in times.items()} == {"a": 2, "b": 2}


def test_a_ratio_is_the_median_of_the_rounds() -> None:
    """Not the ratio of medians: 2, 2 and 8 here."""
    assert ratios({"a": [2, 20, 8], "b": [1, 10, 1]}, "a", "b") == (2, 2, 8)


def test_what_was_not_measured_is_said_to_be(tmp_path: Path) -> None:
    """The goals' table takes its figures from the tables beside it."""
    table = Table(
        title="t",
        columns=("form", "ms", "x"),
        rows=(("nn.LocalResponseNorm", "9", "3.1 (3 to 4)"),),
    )
    (tmp_path / "lrn_cpu.md").write_text(table.markdown())
    lines = goals(tmp_path).splitlines()

    (found,) = [line for line in lines if "2.5 times as fast" in line]
    assert "| 3.1 (3 to 4) times ours |" in found
    assert sum(UNMEASURED in line for line in lines) == 2 + sum(g.on == "cuda" for g in GOALS)


def test_every_goal_has_its_table() -> None:
    """By the name of a benchmark."""
    assert {goal.table for goal in GOALS} <= ALL.keys()


@pytest.mark.parametrize(("net", "spatial"), [("AlexNet", 0), ("AlexNet of the authors", 1)])
def test_the_traffic_of_a_step_is_that_of_its_tensors(net: str, spatial: int) -> None:
    """AlexNet's norms: 18 bytes a number each way together, and the kernel is a launch each way.

    Layers 1 and 2 have 96 and 256 maps of 55 and 27 squared places.
    """
    plain, kernel = (
        count_step(net, dtype=torch.bfloat16, kernel=kernel) for kernel in (False, True)
    )
    numbers = 128 * (96 * 55**2 + (1 + spatial) * 256 * 27**2)

    assert kernel.launches["the norms' kernel"] == 2 * (2 + spatial)
    assert kernel.moved["the norms' kernel"] == 18 * numbers
    assert plain.moved.total() - kernel.moved.total() > 4 * 18 * numbers
    assert kernel.launches["aten::convolution"] == 5
    assert plain.launches["aten::convolution"] == 5 + 2 * (2 + spatial)


def test_the_traffic_of_inputs_is_that_of_bytes_and_crops() -> None:
    """A byte read and two written for each number of a crop, and six draws an image."""
    plain, kernel = (count_inputs(kernel=kernel) for kernel in (False, True))
    numbers = 128 * 3 * 224**2

    assert kernel.launches == {"aten::_to_copy": 1, "the crops' kernel": 1, "aten::copy_": 1}
    assert kernel.moved["the crops' kernel"] == 3 * numbers + 128 * 6 * 4
    assert plain.moved.total() > 7 * kernel.moved.total()
    assert plain.moved["aten::copy_"] == 8 * numbers


STEPS = (
    "files read from the disk",
    "files read from memory",
    "decoded, one thread",
    "decoded on the device, nvJPEG",
    "shorter side to 256, central square, one thread",
    "packed images read at random from the disk, four threads",
    "the same from memory",
    "copied to the device",
    "crops, mirrors and colour there",
)


def photographs(folder: Path) -> Path:
    """Five of any size and format, beside what is none."""
    below = folder / "of mine" / "2012"
    below.mkdir(parents=True)
    grey = np.random.default_rng(0).integers(0, 256, (90, 70), dtype=np.uint8)
    for name in ("a.jpg", "b.JPEG", "c.png", "d.webp", "../e.jpg"):
        Image.fromarray(grey).save(below / name)
    (below / "notes.txt").write_text("no image")
    return folder


def test_images_of_a_user_are_timed_step_by_step(tmp_path: Path) -> None:
    """Whatever lies below the folder; each step has images and megabytes a second."""
    table = input_path(CPU, 1, photographs(tmp_path))
    measured = [row for row in table.rows if "from the disk" not in row[0] and row[2]]

    assert table.title.startswith(f"Images of {tmp_path}: 5 files of")
    assert tuple(row[0] for row in table.rows) == STEPS
    assert {row[0]: row[1] for row in table.rows}[STEPS[3]].startswith("not measured")
    assert len(measured) == len(STEPS) - 3
    for name, images, megabytes in measured:
        assert float(images.replace(",", "")) > 0, name
        assert float(megabytes.replace(",", "")) >= 0, name


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no file system in memory")
def test_files_that_stay_in_memory_are_not_passed_off_as_read_from_the_disk() -> None:
    """The kernel forgets nothing that lies in memory alone."""
    with TemporaryDirectory(dir="/dev/shm") as folder:
        file = Path(folder) / "image.jpg"
        file.write_bytes(bytes(10_000))

        assert not can_evict(file)


def test_a_large_folder_is_sampled_from_end_to_end(tmp_path: Path) -> None:
    """512 at most, of all classes alike."""
    for number in range(1200):
        (tmp_path / f"{number:04}.jpg").touch()
    numbers = [int(file.stem) for file in image_files(tmp_path)]

    assert 256 < len(numbers) <= 512
    assert len({b - a for a, b in pairwise(numbers)}) == 1
    assert numbers[0] == 0
    assert numbers[-1] > 1190


def test_what_cannot_be_measured_is_told(tmp_path: Path) -> None:
    """A folder without images, and a broken one."""
    with pytest.raises(DataError, match="no images below"):
        input_path(CPU, 1, tmp_path)
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"broken\.jpg cannot be read"):
        input_path(CPU, 1, tmp_path)


def test_a_benchmark_is_run_by_its_name(tmp_path: Path) -> None:
    """With images of the user's; an unknown name is refused with those that there are."""
    words = ["input", "--quick", "--device", "cpu", "--images", str(photographs(tmp_path))]
    done = CliRunner().invoke(main, words)
    unknown = CliRunner().invoke(main, ["everything"])

    assert f"## Images of {tmp_path}: 5 files of" in done.output
    assert unknown.exit_code == 2
    assert "populations" in unknown.output


def test_images_again_and_again_have_the_statistics_of_the_few(tmp_path: Path) -> None:
    """Kept beside them: computing those of thousands of large images takes minutes."""
    few = synthetic(n_train=4, n_test=2, size=16)
    many = repeat_images(few, 12, tmp_path)
    kept = image_statistics(many, None)
    computed = image_statistics(replace(many, folder=None), None)

    assert many.train.images.shape == (12, 16, 16, 3)
    np.testing.assert_allclose(kept.mean, computed.mean)
    np.testing.assert_allclose(kept.covariance, computed.covariance)


def test_a_store_that_is_made_for_measuring_is_sound(tmp_path: Path) -> None:
    """Its results follow from its curves, and every trial belongs to one of its claims."""
    make_store(tmp_path, claims=2, seeds=6)
    done = repro("verify", tmp_path / "store", "--claims", tmp_path / "claims")

    assert done.exit_code == 0, done.output
    assert "120 trials (120 finished)" in done.output
    assert "count for no verdict" not in done.output


def test_report_and_verify_open_each_curve_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For its checksum, the analysis, the figures and the tables, of claims of either kind."""
    make_store(tmp_path, claims=2, seeds=6)
    store, claims = tmp_path / "store", tmp_path / "claims"
    opened: Counter[str] = Counter()
    open_file = os.open

    def counted(path: str | Path, flags: int, mode: int = 0o777) -> int:
        opened[str(path)] += 1
        return open_file(path, flags, mode)

    monkeypatch.setattr(os, "open", counted)
    curves = {str(path): 1 for path in store.glob("trials/*/curve.csv")}
    for words in (["report", "--store", store, "--out", tmp_path / "out"], ["verify", store]):
        opened.clear()
        done = repro(*words, "--claims", claims)
        assert done.exit_code == 0, done.output
        assert {path: opened[path] for path in opened if path.endswith("curve.csv")} == curves


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no accelerator")
@pytest.mark.parametrize("name", ["steps", "populations", "lrn", "input"])
def test_every_benchmark_runs_on_the_accelerator(name: str) -> None:
    """One round."""
    assert ALL[name](torch.device("cuda"), 1).rows
