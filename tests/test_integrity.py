"""Stores whose bytes cannot be trusted: told by the file's name, and never by a hang or a crash."""

import datetime as dt
import hashlib
import io
import json
import math
import os
import resource
import shutil
import warnings
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repro.audit.crate import write_crate
from repro.audit.curves import contradictions
from repro.claim import load, load_all
from repro.cli import main
from repro.data import open_dataset
from repro.errors import IntegrityError
from repro.execute import Machine
from repro.execute.machine import PlainFlag
from repro.execute.worker.train_cells import train_cells
from repro.planning import next_cells
from repro.report.figures import kernels
from repro.report.read_pages import pages
from repro.report.svg import svg
from repro.store import Store, checksums
from repro.store.arrays import ARRAYS, pack, unpack
from repro.trial import FactOutcome
from tests.test_store import PLAN as RECORD
from tests.worlds import quick_claim_file

GOLDEN = Path(__file__).parent / "golden"
KEPT = GOLDEN / "store-2"
CLAIMS = GOLDEN / "claims"
FINISHED = "25f0ebab72d07362"  # a trial of the golden store, which ran without a threshold

ABOUT = {"trial_id": FINISHED, "recipe": "r", "arm": "a", "purpose": "tune", "rate": 0.1, "seed": 0}
TOLD = ABOUT | {"told": "2026-01-01T00:00:00+00:00"}
NET = {"architecture": "x", "arguments": {}, "crop": None, "image_side": 32}
FACT = FactOutcome(name="n", states="s", printed=None, ours=1, holds=True, decides=True)
TABLE = {"confusion": np.eye(2, dtype=np.int32), "classes": np.array(["a", "b"])}


def small(root: Path) -> Path:
    """A store of one finished trial that has every file that a store can have."""
    from safetensors.numpy import save

    trial = root / "trials" / FINISHED
    shutil.copytree(GOLDEN / "store-1" / "trials" / FINISHED, trial)
    shutil.copy(GOLDEN / "store-1" / "store.json", root)
    shutil.copytree(GOLDEN / "store-1" / "plans", root / "plans")
    (root / "facts").mkdir()
    (root / "facts" / "f.json").write_text(json.dumps([asdict(FACT)]))
    (trial / "arrays.npz").write_bytes(pack(TABLE))
    for name in ("weights.safetensors", "inputs.safetensors"):
        (trial / name).write_bytes(save({"x": np.zeros(3, np.float32)}))
    (trial / "weights.json").write_text(json.dumps(NET))
    (trial / "progress.json").write_text(json.dumps(TOLD | {"epoch": 0.5, "until": 1.0}))
    (trial / "fault.json").write_text(json.dumps(TOLD | {"code": "E", "message": "", "hint": ""}))
    (trial / "lock").write_bytes(b"0123456789abcdef")
    checksums.write(trial)
    return root


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """That store."""
    return small(tmp_path / "store")


def repro(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)])


def verified(store: Path) -> Result:
    return repro("verify", store, "--claims", CLAIMS)


def test_the_store_of_these_tests_is_sound(store: Path) -> None:
    """Else what follows would show nothing."""
    assert verified(store).exit_code == 0


# Files that are not what they say

PLAN = "plans/levels-smoke-05b14f515086-46be159dc5a2b2ef.json"
JSON = (
    "store.json", PLAN, "facts/f.json", "trial.json", "result.json", "weights.json",
    "progress.json", "fault.json",
)  # fmt: skip
FILES = (
    *JSON, "curve.csv", "arrays.npz", "weights.safetensors", "inputs.safetensors", "lock",
    "SHA256SUMS",
)  # fmt: skip


def placed(store: Path, name: str) -> Path:
    return store / ("" if "/" in name or name == "store.json" else f"trials/{FINISHED}") / name


def spoil(path: Path, how: str) -> None:
    path.unlink()
    match how:
        case "FIFO":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "folder":
            path.mkdir()
        case "huge":
            with path.open("wb") as file:
                file.truncate(1 << 40)
        case "nested":
            path.write_text("[" * 100_000)


@pytest.mark.parametrize("how", ["FIFO", "device", "folder", "huge", "nested"])
@pytest.mark.parametrize("name", FILES)
def test_verify_names_what_is_no_file_of_a_store(name: str, how: str, store: Path) -> None:
    """Nothing is waited for, filled memory with, or taken for a bug."""
    path = placed(store, name)
    if how == "nested" and name not in JSON:
        pytest.skip("no JSON")
    if how == "huge" and name == "lock":
        pytest.skip("only its lock is taken")
    spoil(path, how)
    done = verified(store)

    assert done.exit_code == 5, done.output
    assert str(path) in done.output
    assert "E900" not in done.output


COMMANDS: dict[str, Callable[[Path, Path], Result]] = {
    "merge": lambda store, out: repro("merge", out, store),
    "merge into": lambda store, out: repro("merge", store, small(out)),
    "report": lambda store, out: repro(
        "report", "--store", store, "--claims", CLAIMS, "--out", out, "--format", "csv"
    ),
    "publish": lambda store, out: repro("publish", "--store", store, "--claims", CLAIMS, out),
    "export": lambda store, out: repro("export", "--store", store, out),
    "diff": lambda store, out: repro("diff", store, small(out), "--claims", CLAIMS),
    "why": lambda store, _: repro("why", FINISHED, "--store", store, "--claims", CLAIMS),
    "status": lambda store, _: repro("status", "--store", store),
}
READ_BY = {
    "status": {"store.json", "fault.json"},
    "why": {"store.json", "trial.json", "result.json", PLAN},
}
SUMMED = set(FILES) - {"store.json", PLAN, "facts/f.json", "progress.json", "fault.json", "lock"}


@pytest.mark.parametrize("name", ["store.json", PLAN, "result.json", "arrays.npz", "fault.json"])
@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_waits_for_a_fifo(command: str, name: str, store: Path, tmp_path: Path) -> None:
    """It names the file that it needs and cannot read."""
    path = placed(store, name)
    spoil(path, "FIFO")
    done = COMMANDS[command](store, tmp_path / "out")
    reads = READ_BY.get(command, SUMMED | {"store.json"})

    assert "E900" not in done.output
    if name in reads:
        assert done.exit_code == 5, done.output
        assert str(path) in done.output


# Fields

FIELDS: list[tuple[str, str, object]] = [
    (PLAN, "registered", 5),
    (PLAN, "registered", None),
    (PLAN, "registered", "yesterday"),
    (PLAN, "registered", "2026-01-01T00:00:00"),
    (PLAN, "data_title", 5),
    (PLAN, "data_title", None),
    (PLAN, "finished_before", -1),
    (PLAN, "more", 1),
    ("result.json", "epochs", "5"),
    ("result.json", "epochs", -1.0),
    ("result.json", "epochs", float("inf")),
    ("result.json", "loss", "5"),
    ("result.json", "status", "fine"),
    ("result.json", "seconds", {"train": float("inf")}),
    ("result.json", "seconds", {"train": float("nan")}),
    ("result.json", "metrics", {"test_error": None}),
    ("result.json", "provenance", {"device": 5}),
    ("result.json", "more", 1),
    ("trial.json", "rate", "0.1"),
    ("trial.json", "seed", 0.5),
    ("trial.json", "arguments", {"x": [1]}),
    ("trial.json", "recipe", {"inputs": "raw"}),
    ("trial.json", "more", 1),
    ("progress.json", "epoch", "5"),
    ("progress.json", "seconds_left", float("inf")),
    ("progress.json", "trial_id", "0" * 16),
    ("fault.json", "message", 5),
    ("fault.json", "told", "now"),
    ("weights.json", "image_side", "32"),
    ("weights.json", "crop", {"top": 0}),
    ("store.json", "format", True),
    ("store.json", "more", 1),
]  # fmt: skip


@pytest.mark.parametrize(("name", "field", "value"), FIELDS)
def test_a_field_of_another_type_is_named(
    name: str, field: str, value: object, store: Path
) -> None:
    """And its file: nothing is taken for what it is not."""
    path = placed(store, name)
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    (path.parent / "SHA256SUMS").unlink(missing_ok=True)
    done = verified(store)

    assert done.exit_code == 5, done.output
    assert str(path) in done.output
    assert field.removesuffix("_id") in done.output


@pytest.mark.parametrize(("field", "value"), [("ours", "1"), ("holds", 1), ("more", 0)])
def test_a_fact_of_another_type_is_named(field: str, value: object, store: Path) -> None:
    """Each of a list."""
    path = store / "facts" / "f.json"
    path.write_text(json.dumps([asdict(FACT), asdict(FACT) | {field: value}]))
    done = verified(store)

    assert f"{path}: not a list of facts: 1.{field}" in done.output


# Curves and arrays

ROWS = {
    "text for a number": "0.1,online,x,1,10,1",
    "another source": "0.1,guess,0.5,1,10,1",
    "no source": "0.1,,0.5,1,10,1",
    "half an image": "0.1,online,0.5,1,10.5,1",
    "no images": "0.1,online,0.5,1,,1",
    "fewer than no images": "0.1,online,0.5,1,-1,1",
    "no epoch": ",online,0.5,1,10,1",
    "infinite epoch": "inf,online,0.5,1,10,1",
    "an epoch that goes back": "0.2,online,0.5,1,10,1\n0.1,online,0.5,1,10,1",
    "infinite time": "0.1,online,0.5,1,10,inf",
    "a cell too many": "0.1,online,0.5,1,10,1,7",
    "a cell too few": "0.1,online",
    "a truth value": "True,online,0.5,1,10,1",
    "endless digits": f"{'9' * 500},online,0.5,1,{'9' * 500},1",
}


@pytest.mark.parametrize("row", ROWS)
def test_a_row_that_no_curve_has_is_told(row: str, store: Path) -> None:
    """Before any number is taken from it."""
    path = placed(store, "curve.csv")
    head = path.read_text().splitlines()[0]
    path.write_text(f"{head}\n{ROWS[row]}\n")

    with pytest.raises(IntegrityError, match=f"{path}: not a curve: "):
        Store(store).rows(FINISHED)


def claimed(name: str, shape: tuple[int, ...], descr: str) -> bytes:
    """An archive whose only array has a header that claims a shape, and few bytes."""
    import zipfile

    member, archive = io.BytesIO(), io.BytesIO()
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(member, header)
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(f"{name}.npy", member.getvalue() + bytes(8))
    return archive.getvalue()


KERNELS = np.zeros((4, 3, 5, 5), np.float32)
CROOKED: dict[str, tuple[str, bytes]] = {
    "10^15 elements": ("conv1", claimed("conv1", (10**15, 3, 1, 1), "<f4")),
    "objects": ("classes", pack({"classes": np.array([{}, []], dtype=object)})),
    "strings for numbers": ("conv1", pack({"conv1": np.full((2, 3, 1, 1), "x")})),
    "one dimension": ("conv1", pack({"conv1": KERNELS.ravel()})),
    "no elements": ("conv1", pack({"conv1": KERNELS[:0]})),
    "infinite": (
        "example_probabilities",
        pack({"example_probabilities": np.full((1, 2), np.inf, np.float32)}),
    ),
    "counts that are no integers": ("confusion", pack({"confusion": np.eye(2)})),
    "negative counts": ("confusion", pack({"confusion": -np.eye(2, dtype=np.int32)})),
    "classes of another number": ("classes", pack(TABLE | {"classes": np.array(["a"])})),
    "kernels without halves": ("conv1", pack({"conv1": KERNELS[:3]})),
    "bits of other images": (
        "right_centre",
        pack({"right_centre": np.zeros(3, np.uint8), "test_images": np.array(99)}),
    ),
    "an unknown array": ("other", pack({"other": KERNELS})),
    "letters that no text has": (
        "classes",
        pack({"classes": np.array([0x110000], np.uint32).view("U1")}),
    ),
    "half a letter": ("classes", pack({"classes": np.array(["\ud800"])})),
}


@pytest.mark.parametrize("how", CROOKED)
def test_an_array_that_is_not_as_the_table_says_is_named(how: str, store: Path) -> None:
    """From its header, before it is made; `repro verify` names the file, too."""
    name, content = CROOKED[how]
    placed(store, "arrays.npz").write_bytes(content)

    with pytest.raises(ValueError, match=f"array '{name}'"):
        unpack(content)
    with pytest.raises(IntegrityError, match=f"arrays.npz: array '{name}'"):
        Store(store).arrays(FINISHED)


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_net_that_broke_in_its_last_step_is_kept_and_drawn(number: float, store: Path) -> None:
    """Its status need not be `diverged`; its metric is NaN, as the arrays give it."""
    placed(store, "arrays.npz").write_bytes(pack({"conv1": KERNELS + np.float32(number)}))
    kept, result = Store(store), Store(store).result(FINISHED)
    arrays = kept.arrays(FINISHED)
    assert result is not None
    broken = replace(result, metrics={"colour_split": math.nan})

    assert result.status != "diverged"
    assert list(contradictions(broken, broken, arrays)) == []
    svg("kernels", [("", lambda ax: kernels(ax, arrays["conv1"].astype(float)))], inches=(3, 2))


def test_arrays_survive_the_round_trip() -> None:
    """Every kind of the table."""
    lengths = {"maps": 4, "bytes": 2, "guesses": 3}
    arrays = {
        name: np.full([lengths.get(str(n), n if isinstance(n, int) else 5) for n in kind.shape],
                      "a" if kind.dtype == "U" else 9, dtype=kind.dtype)
        for name, kind in ARRAYS.items()
    }  # fmt: skip
    back = unpack(pack(arrays))

    assert back.keys() == arrays.keys() == ARRAYS.keys()
    assert all((back[name] == arrays[name]).all() for name in arrays)


# Checksums


def sealed(folder: Path) -> Path:
    assert repro("export", "--store", small(folder / "store"), folder / "out").exit_code == 0
    return folder / "out"


def files_of(store: Path) -> list[Path]:
    return sorted(path for path in store.rglob("*") if path.is_file())


def test_an_export_is_sealed_as_sha256sum_would_do_it(tmp_path: Path) -> None:
    """Every file but the list itself, by its name."""
    store = sealed(tmp_path)
    lines = (store / "SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, name in (line.split("  ") for line in lines)}

    assert sums == {
        path.relative_to(store).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files_of(store)
        if path.name != "SHA256SUMS"
    }
    assert "checked: checksums of the whole store" in verified(store).stdout


def test_a_store_is_read_anew_for_its_checksums(store: Path) -> None:
    """Also by the same object, of a file that keeps its size and its time."""
    kept, curve = Store(store), store / "trials" / FINISHED / "curve.csv"
    kept.check()
    before = curve.stat()
    curve.write_bytes(curve.read_bytes().replace(b"epoch", b"epoce"))
    os.utime(curve, ns=(before.st_atime_ns, before.st_mtime_ns))

    with pytest.raises(IntegrityError, match=r"curve\.csv: changed since"):
        kept.check()


@pytest.fixture(scope="module")
def seal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export that no test leaves changed."""
    return sealed(tmp_path_factory.mktemp("seal"))


@given(data=st.data())
@settings(max_examples=25, suppress_health_check=list(HealthCheck), deadline=None)
def test_any_byte_that_was_changed_is_told_by_name(seal: Path, data: st.DataObject) -> None:
    """By `repro verify`, of every file of a sealed store, the list of checksums included."""
    path = data.draw(st.sampled_from(files_of(seal)))
    content = path.read_bytes()
    place = data.draw(st.integers(0, len(content) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda value: value != content[place]))
    path.write_bytes(content[:place] + bytes([other]) + content[place + 1 :])
    try:
        done = verified(seal)
    finally:
        path.write_bytes(content)

    assert done.exit_code == 5, (path, place, other)
    assert str(path) in done.output


@pytest.mark.parametrize("change", ["missing", "added"])
@pytest.mark.parametrize("name", ["levels.tar", "results.csv"])
def test_a_file_that_is_missing_or_was_added_is_told(
    name: str, change: str, tmp_path: Path
) -> None:
    """By its name, and by every command that would take numbers from the store."""
    store = sealed(tmp_path)
    path = store / name
    if change == "added":
        path = path.with_name(f"{path.stem}-2{path.suffix}")
        shutil.copy(store / name, path)
    else:
        path.unlink()
    commands = ("report", "export", "merge", "diff")
    told = [COMMANDS[command](store, tmp_path / command) for command in commands]

    for done in [verified(store), *told]:
        assert done.exit_code == 5, done.output
        assert f"{path}: {change}" in done.output


def test_a_merge_leaves_what_is_damaged_and_takes_the_rest(store: Path, tmp_path: Path) -> None:
    """Each by name, and the exit code says that something is missing."""
    for other in sorted((GOLDEN / "store-1" / "trials").iterdir())[:3]:
        if other.name != FINISHED:
            shutil.copytree(other, store / "trials" / other.name)
    path = placed(store, "result.json")
    path.write_text(path.read_text().replace('"cpu"', '"gpu"') + " ")
    done = repro("merge", tmp_path / "into", store)

    assert done.exit_code == 5
    assert f"contradiction: {path}: changed since" in done.stdout
    assert "left where it is" in done.stdout
    assert Store(tmp_path / "into").ids() == sorted(set(Store(store).ids()) - {FINISHED})
    assert verified(tmp_path / "into").exit_code == 0


def test_nothing_is_taken_of_a_store_whose_seal_cannot_be_read(tmp_path: Path) -> None:
    """Nobody can say which of its files are as they were."""
    root = sealed(tmp_path)
    (root / "SHA256SUMS").write_text("no checksum\n")
    done = repro("merge", tmp_path / "into", root)

    assert done.exit_code == 5
    assert "SHA256SUMS: line 1 is no checksum" in done.stdout
    assert Store(tmp_path / "into").ids() == []


def sealed_by_an_earlier_version(folder: Path) -> Path:
    """In folders, where no trial has a list of its own."""
    root = small(folder / "out")
    for name in ("weights.safetensors", "inputs.safetensors", "weights.json", "lock"):
        placed(root, name).unlink()
    placed(root, "SHA256SUMS").unlink()
    checksums.seal(root)
    return root


def test_training_breaks_an_older_seal_in_the_open(tmp_path: Path) -> None:
    """Each other trial's checksums take over, so that nothing is uncovered that was covered."""
    root = sealed_by_an_earlier_version(tmp_path)
    assert verified(root).exit_code == 0
    store = Store(root)
    before = dict(line.split("  ")[::-1] for line in (root / "SHA256SUMS").read_text().splitlines())
    other = min((GOLDEN / "store-1" / "trials").iterdir())
    store.begin(Store(GOLDEN / "store-1").trial(other.name))
    lines = placed(root, "SHA256SUMS").read_text().splitlines()

    assert not (root / "SHA256SUMS").exists()
    assert {f"trials/{FINISHED}/{name}": digest for digest, name in map(str.split, lines)} == {
        name: digest for name, digest in before.items() if name.startswith("trials/")
    }
    assert not (root / "trials" / other.name / "SHA256SUMS").exists()
    assert verified(root).exit_code == 0
    path = placed(root, "curve.csv")
    path.write_bytes(path.read_bytes() + b" ")
    assert f"{path}: changed since" in verified(root).stdout


def test_a_seal_that_was_half_broken_raises_no_alarm(tmp_path: Path) -> None:
    """Killed before the list at the root went, and before all trials had theirs."""
    root = sealed_by_an_earlier_version(tmp_path)
    whole = (root / "SHA256SUMS").read_bytes()
    checksums.unseal(root)
    (root / "SHA256SUMS").write_bytes(whole)

    assert verified(root).exit_code == 0
    checksums.unseal(root)
    assert not (root / "SHA256SUMS").exists()


def test_nothing_that_only_reads_breaks_a_seal(tmp_path: Path) -> None:
    """A plan that is registered already, facts that were computed before, a second merge."""
    root = sealed(tmp_path)
    store = Store(root)
    before = (root / "SHA256SUMS").read_bytes()
    for path in store.plan_files():
        store.register(store.plan(path))
    assert repro("merge", root, shutil.copytree(root, tmp_path / "again")).exit_code == 0
    store.keep_report(FINISHED, "progress.json", "{}")
    with store.lock(FINISHED):
        pass

    assert (root / "SHA256SUMS").read_bytes() == before
    assert checksums.damage(root) == {}


def test_a_store_without_checksums_says_so(tmp_path: Path) -> None:
    """As earlier versions wrote them: it is read, with a note."""
    shutil.copytree(GOLDEN / "store-1", tmp_path / "old")
    done = verified(tmp_path / "old")

    assert done.exit_code == 0
    assert "note: 10 finished trials and 2 plans and files of facts have no" in done.stdout


@pytest.mark.parametrize("room", ["plans", "facts"])
@pytest.mark.parametrize("change", ["one byte", "removed", "of another"])
def test_a_plan_or_facts_that_changed_in_a_store_that_runs_are_named(
    room: str, change: str, tmp_path: Path
) -> None:
    """They are no trial's files: each has a checksum beside it, as `sha256sum -c` reads it."""
    store = Store(tmp_path)
    store.register(RECORD)
    store.keep_facts("c", "0" * 12, [FACT])
    (path,) = (tmp_path / room).glob("*.json")
    assert path.with_name(f"{path.name}.sha256").exists()
    assert checksums.damage(tmp_path) == {}
    match change:
        case "one byte":
            path.write_bytes(path.read_bytes().replace(b"s", b"t", 1))
        case "removed":
            path.unlink()
        case _:
            checksums.beside(path).write_text(f"{'0' * 64}  other.json\n")

    assert path in checksums.damage(tmp_path)
    assert str(path) in verified(tmp_path).output


def test_a_checksum_of_a_file_that_is_not_the_store_s_is_nobody_s_business(store: Path) -> None:
    """Somebody keeps an archive of the store beside it, with its checksum in another format."""
    (store / "all.tar.gz.sha256").write_text("SHA256 (all.tar.gz) = 0\n")

    assert checksums.damage(store) == {}


def test_facts_computed_anew_have_their_own_checksum(tmp_path: Path) -> None:
    """Another version computes others, and writes over what a disk has damaged."""
    store = Store(tmp_path)
    store.keep_facts("c", "0" * 12, [FACT])
    store.keep_facts("c", "0" * 12, [replace(FACT, ours=2)])

    assert checksums.damage(tmp_path) == {}
    assert store.facts("c", "0" * 12)[0].ours == 2


def test_an_export_that_goes_on_misses_an_archive(tmp_path: Path) -> None:
    """The checksums of the whole are gone, and each archive has its own."""
    root = sealed(tmp_path)
    checksums.unseal(root)
    archive = max(root.glob("*.tar"))
    assert checksums.damage(root) == {}
    archive.unlink()

    assert archive in checksums.damage(root)


def test_a_crate_can_be_checked_by_hand(store: Path, tmp_path: Path) -> None:
    """Its list covers every file of it."""
    crate = published(store, tmp_path)
    lines = (crate / "SHA256SUMS").read_text().splitlines()
    sums = {crate / name: digest for digest, name in map(str.split, lines)}

    assert {*sums, crate / "SHA256SUMS"} == set(files_of(crate))
    for path, digest in sums.items():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == digest


def test_a_crate_is_checked_as_a_whole_with_its_own_claims(store: Path, tmp_path: Path) -> None:
    """Evidence, claim files, pages and description: whichever was changed is named."""
    crate = published(store, tmp_path)
    assert repro("verify", crate).exit_code == 0

    for name in (
        "levels.tar", "claims/levels.yaml", "index.html", "ro-crate-metadata.json"
    ):  # fmt: skip
        path = crate / name
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        done = repro("verify", crate)

        assert done.exit_code == 5, done.output
        assert f"{path}: " in done.output
        path.write_bytes(content)
    path.unlink()
    assert f"{path}: missing" in repro("verify", crate).output


def published(store: Path, folder: Path) -> Path:
    """A crate of the store."""
    crate = folder / "crate"
    done = repro("publish", "--store", store, "--claims", CLAIMS, crate)
    assert done.exit_code == 0, done.output
    return crate


@pytest.mark.parametrize(
    ("added", "named"),
    [("claims/extra.yaml", "claims/extra.yaml: added"), ("evil.html", "evil.html: added")],
)
def test_what_was_added_to_a_crate_is_told(
    added: str, named: str, store: Path, tmp_path: Path
) -> None:
    """A page or a claim file is as much a part of it as a trial."""
    crate = published(store, tmp_path)
    (crate / added).write_text("id: extra\n")
    done = repro("verify", crate)

    assert done.exit_code == 5
    assert named in done.output


def test_a_crate_without_its_checksums_is_told(store: Path, tmp_path: Path) -> None:
    """Else anything could be missing from it."""
    crate = published(store, tmp_path)
    (crate / "SHA256SUMS").unlink()
    done = repro("verify", crate)

    assert done.exit_code == 5
    assert f"{crate / 'SHA256SUMS'}: missing, though" in done.output


def test_a_crate_names_its_files_as_addresses_and_what_it_leaves_out(tmp_path: Path) -> None:
    """By RO-Crate 1.2 an `@id` is a URI: a space in a name is `%20`."""
    sheets, problem = pages(load_all([CLAIMS / "levels.yaml"]), Store(KEPT)), "odd.yaml: no id"
    further = {"claims/my table.csv": b"1\n"}
    write_crate(sheets, further, tmp_path, [problem], published=dt.date(2026, 1, 1))
    graph = json.loads((tmp_path / "ro-crate-metadata.json").read_text())["@graph"]
    (root,) = (entity for entity in graph if entity["@id"] == "./")

    assert {"@id": "claims/my%20table.csv"} in root["hasPart"]
    assert "claims/my%20table.csv" in [entity["@id"] for entity in graph]
    assert f"not valid: {problem}" in root["description"]


def test_an_export_onto_a_crate_makes_a_store_of_it(store: Path, tmp_path: Path) -> None:
    """Its pages would be of what it was; and a crate takes no folder that has anything in it."""
    crate = published(store, tmp_path)
    done = repro("export", "--store", store, "--claims", CLAIMS, crate)
    again = repro("publish", "--store", store, "--claims", CLAIMS, crate)

    assert done.exit_code == 0, done.output
    assert not (crate / "ro-crate-metadata.json").exists()
    assert again.exit_code == 2
    assert "is not empty: a crate has a folder of its own" in again.output


def with_metric(store: Path, folder: Path, name: str) -> Path:
    """A copy whose finished trial has a further metric."""
    richer = shutil.copytree(store, folder)
    path = placed(richer, "result.json")
    result = json.loads(path.read_text())
    result["metrics"][name] = 1.0
    path.write_text(json.dumps(result))
    checksums.write(path.parent)
    return richer


def test_a_merge_says_which_metrics_it_left(store: Path, tmp_path: Path) -> None:
    """Where each store has one that the other lacks; one result is never made of two."""
    one, two = (with_metric(store, tmp_path / name, f"my_{name}") for name in ("one", "two"))
    done = repro("merge", one, two)

    assert done.exit_code == 0, done.output
    assert f"{FINISHED}: my_two left there: ours has metrics that it lacks" in done.output


def test_a_merge_brings_the_arrays_of_a_richer_result(store: Path, tmp_path: Path) -> None:
    """Curve, arrays and result are of one moment."""
    richer = with_metric(store, tmp_path / "richer", "my_metric")
    poorer = shutil.copytree(store, tmp_path / "poorer")
    placed(poorer, "arrays.npz").unlink()
    checksums.write(poorer / "trials" / FINISHED)
    done = repro("merge", poorer, richer)

    assert done.exit_code == 0, done.output
    assert placed(poorer, "arrays.npz").read_bytes() == placed(store, "arrays.npz").read_bytes()


def test_an_export_keeps_what_was_measured_further(store: Path, tmp_path: Path) -> None:
    """A metric that the other store lacks, all else being equal."""
    out, richer = tmp_path / "out", with_metric(store, tmp_path / "richer", "my_metric")
    assert repro("export", "--store", richer, "--claims", CLAIMS, out).exit_code == 0
    done = repro("export", "--store", store, "--claims", CLAIMS, out)

    assert done.exit_code == 0, done.output
    assert Store(out).results()[FINISHED].metric("my_metric") == 1.0


# Checkpoints


def trained(folder: Path, name: str, *, pause: bool = False) -> Store:
    """A trial of the claim in the folder, to its end or to its first pause."""
    claim = load(folder / "tiny.yaml")
    data = open_dataset("digits", (), folder)
    (cell, *_) = next_cells(claim, "smoke", data.fingerprint, {})  # type: ignore[arg-type]
    machine = Machine(
        device="cpu", workers=1, store=folder / name, data_dirs=(), cache_dir=folder / "cache"
    )
    stop = PlainFlag()
    train_cells([cell], machine, stop=stop, on_event=lambda _: stop.set() if pause else None)
    return Store(folder / name)


@pytest.mark.parametrize("damage", ["one bit", "cut", "without its checksum", "FIFO"])
def test_a_checkpoint_that_was_changed_is_not_continued(damage: str, tmp_path: Path) -> None:
    """It is set aside with a warning; the trial starts again and ends with the same numbers."""
    quick_claim_file(tmp_path)
    whole = trained(tmp_path, "whole")
    store = trained(tmp_path, "damaged", pause=True)
    (name,) = store.ids()
    path = store.folder(name) / "checkpoint.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    match damage:
        case "one bit":
            path.write_bytes(content)
        case "cut":
            path.write_bytes(path.read_bytes()[:-1])
        case "without its checksum":
            path.write_bytes(store.checkpoint(name) or b"")
        case _:
            spoil(path, "FIFO")
    with pytest.warns(UserWarning, match=f"checkpoint of trial {name} cannot be continued"):
        again = trained(tmp_path, "damaged")

    assert again.numbers(name) == whole.numbers(name)
    assert os.path.lexists(store.folder(name) / "checkpoint.corrupt")


def test_a_checkpoint_that_cannot_be_read_now_is_kept(tmp_path: Path) -> None:
    """Where the machine is at fault, here by its limit of open files, nothing is begun again."""
    quick_claim_file(tmp_path)
    store = trained(tmp_path, "runs", pause=True)
    (name,) = store.ids()
    sound = store.checkpoint(name)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            store.checkpoint(name)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    assert store.checkpoint(name) == sound


def test_a_checkpoint_that_is_sound_is_continued(tmp_path: Path) -> None:
    """Without a word."""
    quick_claim_file(tmp_path)
    (name,) = trained(tmp_path, "runs", pause=True).ids()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store = trained(tmp_path, "runs")

    assert store.result(name) is not None
    assert checksums.damage(store.root) == {}
    assert store.is_covered(name)


# Groups


@pytest.mark.parametrize(("umask", "mode"), [(0o002, 0o664), (0o022, 0o644), (0o077, 0o600)])
def test_files_follow_the_umask(umask: int, mode: int, tmp_path: Path) -> None:
    """So a store in a folder of a group can be gone on with by the others of it, or by nobody."""
    before = os.umask(umask)
    try:
        store = sealed(tmp_path)
        Store(store).begin(Store(store).trial(FINISHED))
        with Store(store).lock(FINISHED):
            Store(store).save(FINISHED, checkpoint=b"", curve=[(9.9, "test", 0.5, 0.5, 1, 9.9)])
    finally:
        os.umask(before)

    names = {path.name for path in files_of(store)}
    assert {"lock", "checkpoint.pt", "curve.csv", "store.json"} <= names
    assert {
        path.name: oct(path.stat().st_mode & 0o777) for path in files_of(store)
    } == dict.fromkeys(names, oct(mode))
