"""The script for a borrowed GPU: what it does in which order, and what it keeps."""

import re
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import bare_machine
import pytest
from bare_machine import GPU_TESTS, Stage

from benchmarks.run import ALL
from repro.claim import load

ROOT = Path(__file__).parents[1]

# Of what tests and package import, all that a bare machine has neither itself nor by wheel.
ABSENT = ("submitit", "ray", "playwright", "nox", "mkdocs", "mlflow", "wandb")


def stages(
    tmp_path: Path, is_open: Callable[[str, str], bool] = lambda *_: True, **more: object
) -> list[Stage]:
    arguments = Namespace(**{"rehearse": False, "brief": False, "data_dir": None} | more)
    return bare_machine.stages(arguments, tmp_path, is_open)


def test_claims_come_first_and_each_table_is_a_stage_of_its_own(tmp_path: Path) -> None:
    """A benchmark that fails keeps neither a claim nor another benchmark from its turn."""
    names = [stage.name for stage in stages(tmp_path)]

    tables = [name for name in names if name.startswith("table-")]

    assert names[:2] == ["claims-relu_speedup", "tests"]
    assert names.index(tables[0]) > names.index("claims-large_proxies")
    # What a store takes, and what is counted on paper, has nothing to do with the card.
    measured = ALL.keys() - {"stores", "arithmetic"}
    assert {name.removeprefix("table-") for name in tables} == measured


def test_all_claims_that_it_names_have_the_scale() -> None:
    """Every one is in `claims/`; so is every claim that it leaves out, for want of images."""
    for _, scale, _, members in bare_machine.CLAIMS:
        for member in members:
            assert scale in load(ROOT / "claims" / f"{member}.yaml").scales  # type: ignore[union-attr]


def test_what_the_kept_evidence_has_decided_is_left_out(tmp_path: Path) -> None:
    """Words that more trials could change stay; so does what was never run."""
    rows = [
        {"claim": "lrn", "scale": "proxy", "decides": "True", "verdict": "reproduced"},
        {"claim": "depth", "scale": "proxy", "decides": "True", "verdict": "inconclusive"},
        {"claim": "depth", "scale": "proxy", "decides": "False", "verdict": "reproduced"},
    ]
    proxies = next(
        stage
        for stage in stages(tmp_path, bare_machine.undecided(rows))
        if stage.name == "claims-proxies"
    )
    command = proxies.command(60)

    assert "claims/depth.yaml" in command
    assert "claims/weight_decay.yaml" in command
    assert "claims/lrn.yaml" not in command
    assert command[command.index("--budget") + 1] == "60s"


def test_the_minutes_are_told_before_anything_begins() -> None:
    """Stages that no minute is left for are named, too."""
    some = [
        Stage(name=n, minutes=m, command=lambda _: []) for n, m in (("a", 4), ("b", 3), ("c", 2))
    ]

    assert list(bare_machine.schedule(some, 400)) == [
        "minute 0.0 to 4.0 at most: a",
        "minute 4.0 to 6.7 at most: b",
        "c: when another ends early, or in a later call",
    ]


@pytest.mark.parametrize(
    ("code", "used", "done"), [(0, 60, True), (4, 10, True), (4, 60, False), (5, 10, False)]
)
def test_inconclusive_is_done_only_where_time_was_left(code: int, used: float, done: bool) -> None:
    """Otherwise another turn goes on; a fault is tried again in the next call."""
    stage = Stage(name="a", minutes=1, command=lambda _: [], done_early=(4,))

    assert bare_machine.complete(stage, code, used=used, turn=60) == done


def test_a_stage_out_of_time_gets_another_turn_and_a_finished_one_does_not(tmp_path: Path) -> None:
    """What is done is written down at once, for the same command."""
    line = "import pathlib; open('{0}', 'a').write('x')"

    def stage(name: str, code: int) -> Stage:
        script = f"{line.format(tmp_path / name)}; raise SystemExit({code})"
        return Stage(name=name, minutes=1, command=lambda _: [sys.executable, "-c", script])

    some = [stage("good", 0), stage("bad", 1)]
    for _ in range(2):
        left = [s for s in some if s.name not in bare_machine.read(tmp_path / "finished.json")]
        bare_machine.go_on(left, float("inf"), tmp_path, {})

    assert bare_machine.read(tmp_path / "finished.json") == {"good": 0}
    assert {name: (tmp_path / name).read_text() for name in ("good", "bad")} == {
        "good": "x",
        "bad": "xx",
    }


def test_a_file_in_parts_is_whole_once_all_were_carried(tmp_path: Path) -> None:
    """One part a call; what came earlier stays."""
    data, whole = tmp_path / "data", b"abcdefgh"
    for number, piece in ((2, whole[3:6]), (1, whole[:3]), (3, whole[6:])):
        carried = tmp_path / str(number) / "tiny-imagenet"
        carried.mkdir(parents=True)
        (carried / f"train.parquet.part-{number}-of-3").write_bytes(piece)
        assert not (data / "tiny-imagenet" / "train.parquet").exists()
        bare_machine.join_parts(carried.parent, data)

    assert (data / "tiny-imagenet" / "train.parquet").read_bytes() == whole
    assert len(list(data.rglob("*part*"))) == 0


def test_here_nothing_is_missing_and_an_empty_machine_lacks_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the names of pyproject.toml, whatever their spelling."""
    assert bare_machine.missing(tmp_path) == []
    monkeypatch.setattr(sys, "path", [])
    assert {"pydantic", "torch", "nvidia-ml-py"} <= set(bare_machine.missing(tmp_path))


def test_every_test_for_a_gpu_is_in_a_file_that_it_names() -> None:
    """And in no other."""
    marked = re.compile(r"^@?.*pytest\.mark\.gpu", re.MULTILINE)
    files = [path for path in ROOT.glob("tests/test_*.py") if marked.search(path.read_text())]

    assert sorted(GPU_TESTS) == sorted(
        str(path.relative_to(ROOT)) for path in files if path.name != Path(__file__).name
    )


@pytest.mark.process
def test_they_are_collected_with_what_a_bare_machine_has() -> None:
    """Without the packages of other tests, whose files are not imported."""
    script = (
        f"import sys; sys.modules.update(dict.fromkeys({ABSENT}));"
        f"import pytest; sys.exit(pytest.main(['--collect-only', '-q', '-m', 'gpu', '-p',"
        f"'no:randomly', '-p', 'no:cacheprovider', *{GPU_TESTS}]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_bfloat16_learns_on_the_accelerator" in done.stdout
