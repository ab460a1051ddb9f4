"""Facts on disk: round trips, atomic writes, locks, damaged files."""

import json
import math
import multiprocessing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from repro.audit import export
from repro.errors import ContradictionError, IntegrityError, LockLostError, MachineError
from repro.files import write_atomic
from repro.store import PlanRecord, Store
from tests.test_trial import RESULT, TRIAL

PLAN = PlanRecord(
    claim_id="c",
    scale="smoke",
    digest="d" * 64,
    fingerprint="f",
    data_title="t",
    registered="2026-01-01T00:00:00+00:00",
)
CURVE = [(0.1, "online", 0.5, float("nan"), 128, 1.0), (0.2, "test", 0.1, 1e-7, 100, 1.5)]


def filled(root: Path) -> Store:
    store = Store(root)
    store.begin(TRIAL)
    store.save(TRIAL.id, checkpoint=b"weights", curve=CURVE)
    store.finish(RESULT)
    return store


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """Trial, curve and result, by another object on the same folder."""
    filled(tmp_path)
    store = Store(tmp_path)

    assert store.ids() == [TRIAL.id]
    assert store.trial(TRIAL.id) == TRIAL
    assert store.results()[TRIAL.id].status == "diverged"
    assert repr([tuple(row) for row in store.rows(TRIAL.id)]) == repr(CURVE)


def test_nan_stays_nan_in_curves(tmp_path: Path) -> None:
    """Nothing turns it into zero on the way."""
    assert [math.isnan(row.loss) for row in filled(tmp_path).rows(TRIAL.id)] == [True, False]


def test_a_folder_with_spaces_and_other_letters_works(tmp_path: Path) -> None:
    """Paths are the user's."""
    assert filled(tmp_path / "Läufe vom Montag").ids() == [TRIAL.id]


def test_a_trial_that_begins_anew_leaves_the_curve_of_its_result(tmp_path: Path) -> None:
    """An export has no checkpoint: until it is as far again, what was measured stays."""
    store = filled(tmp_path)
    store.finish(replace(RESULT, epochs=0.2))
    again = [(0.1, "online", 0.5, float("nan"), 128, 9.0)]
    store.save(TRIAL.id, checkpoint=b"at 0.1", curve=again)
    kept = store.rows(TRIAL.id)
    store.save(TRIAL.id, checkpoint=b"at 0.2", curve=[*again, (0.2, "online", 0.4, 1.0, 128, 9.5)])

    assert len(kept) == len(CURVE)
    assert [row.train_seconds for row in Store(tmp_path).rows(TRIAL.id)] == [9.0, 9.5]


def test_an_unfinished_trial_has_no_result(tmp_path: Path) -> None:
    """A curve without a result is a trial that still runs or was killed."""
    store = Store(tmp_path)
    store.begin(TRIAL)
    store.save(TRIAL.id, checkpoint=b"weights", curve=CURVE)

    assert store.results() == {}
    assert store.result(TRIAL.id) is None
    assert store.checkpoint(TRIAL.id) == b"weights"


def test_only_a_censored_trial_keeps_its_checkpoint(tmp_path: Path) -> None:
    """What crossed or diverged can go no further."""
    assert filled(tmp_path).checkpoint(TRIAL.id) is None


def test_an_empty_folder_is_an_empty_store(tmp_path: Path) -> None:
    """Reading creates nothing."""
    store = Store(tmp_path / "none")

    assert store.results() == {}
    assert store.plans("x", "smoke") == []
    assert store.rows("x") == ()
    assert not (tmp_path / "none").exists()


def test_a_store_of_another_format_is_refused(tmp_path: Path) -> None:
    """Rather than misread."""
    (tmp_path / "store.json").write_text('{"format": 99}')

    with pytest.raises(IntegrityError, match="store format 99, this version reads 1"):
        Store(tmp_path)


@pytest.mark.parametrize("name", ["trial.json", "result.json"])
def test_a_truncated_file_is_named(tmp_path: Path, name: str) -> None:
    """The message says what cannot be read."""
    store = filled(tmp_path)
    path = store.folder(TRIAL.id) / name
    path.write_text(path.read_text()[:20])

    with pytest.raises(IntegrityError, match="not a trial's"):
        store.results() if name == "result.json" else store.trial(TRIAL.id)


def test_a_folder_that_holds_another_trial_is_refused(tmp_path: Path) -> None:
    """Copied by hand under another name."""
    store = filled(tmp_path)
    store.folder(TRIAL.id).rename(store.folder("0" * 16))

    with pytest.raises(IntegrityError, match=f"describes trial {TRIAL.id}, not 0000000000000000"):
        store.trial("0" * 16)


def test_a_changed_date_of_registration_is_told(tmp_path: Path) -> None:
    """A plan cannot be made older than it is by accident; plans of old versions are still read."""
    store = Store(tmp_path)
    store.register(PLAN)
    path = store.plan_file(PLAN)
    fields = json.loads(path.read_text())

    path.write_text(json.dumps(fields | {"registered": "2025-01-01T00:00:00+00:00"}))
    with pytest.raises(IntegrityError, match="changed since it was written"):
        store.plan(path)

    path.write_text(json.dumps({key: fields[key] for key in fields if key != "sha256"}))
    assert store.plan(path) == PLAN


def test_the_first_registered_plan_stands(tmp_path: Path) -> None:
    """Registering again changes no time."""
    later = replace(PLAN, registered="2026-02-02T00:00:00+00:00")
    store = Store(tmp_path)

    assert store.register(PLAN) == PLAN
    assert store.register(later) == PLAN
    assert store.plans("c", "smoke") == [PLAN]


def test_export_leaves_out_checkpoints_and_reads_the_same(tmp_path: Path) -> None:
    """Evidence is rows, curves and provenance."""
    store = filled(tmp_path / "a")
    store.begin(TRIAL)
    count = export(store, tmp_path / "b")
    copy = Store(tmp_path / "b")

    assert count == (1, 0)
    assert copy.results().keys() == store.results().keys()
    assert repr(copy.rows(TRIAL.id)) == repr(store.rows(TRIAL.id))  # NaN equals NaN
    assert not list((tmp_path / "b").rglob("*.pt"))


@pytest.mark.parametrize(
    ("data", "kept"),
    [
        ("cifar10", {"near_images", "right_centre", "conv1", "test_images"}),
        ("tiny-imagenet", {"right_centre", "conv1", "test_images"}),
        ("folder:holiday", {"right_centre", "conv1", "test_images"}),
    ],
)
def test_an_export_carries_no_images_that_are_not_anyones(
    data: str, kept: set[str], tmp_path: Path
) -> None:
    """ImageNet's may not be passed on, and a folder of the user's is nobody's business."""
    trial = replace(TRIAL, data=data)
    store = Store(tmp_path / "a")
    store.begin(trial)
    store.save(trial.id, checkpoint=b"", curve=CURVE)
    store.finish(
        replace(RESULT, trial_id=trial.id),
        {
            "near_images": np.zeros((2, 7, 8, 8, 3), np.uint8),
            "right_centre": np.packbits(np.ones(9, bool)),
            "test_images": np.array(9),
            "conv1": np.zeros((4, 3, 5, 5), np.float32),
        },
    )
    export(store, tmp_path / "b")
    export(store, tmp_path / "c")

    assert Store(tmp_path / "b").arrays(trial.id).keys() == kept
    assert store.arrays(trial.id).keys() == kept | {"near_images"}
    assert (tmp_path / "b/others.tar").read_bytes() == (tmp_path / "c/others.tar").read_bytes()


def test_an_export_leaves_what_was_trained_further(tmp_path: Path) -> None:
    """An older store does not take back what the newer one has."""
    longer = filled(tmp_path / "a")
    longer.finish(replace(RESULT, epochs=RESULT.epochs + 1))
    export(longer, tmp_path / "out")
    count = export(filled(tmp_path / "b"), tmp_path / "out")

    assert count == (0, 1)
    assert Store(tmp_path / "out").results()[TRIAL.id].epochs == RESULT.epochs + 1


def test_an_export_of_facts_alone_is_a_store(tmp_path: Path) -> None:
    """With its format, without which `repro verify` could only guess."""
    store = Store(tmp_path / "a")
    store.keep_facts("c", "0" * 12, [])
    export(store, tmp_path / "out")

    assert (tmp_path / "out" / "store.json").is_file()


def test_an_export_replaces_no_other_numbers(tmp_path: Path) -> None:
    """Who is right is not for a copy to decide: it says where they differ, and writes nothing."""
    export(filled(tmp_path / "a"), tmp_path / "out")
    before = Store(tmp_path / "out").numbers(TRIAL.id)
    other = filled(tmp_path / "b")
    other.finish(replace(RESULT, train_error=RESULT.train_error + 0.1))
    with pytest.raises(ContradictionError, match=r"\(train_error\): nothing was exported"):
        export(other, tmp_path / "out")

    assert Store(tmp_path / "out").numbers(TRIAL.id) == before


def _hold(root: Path, ready: "multiprocessing.connection.Connection") -> None:
    with Store(root).lock(TRIAL.id) as mine:
        ready.send(mine)
        ready.poll(None)  # until the test ends


@pytest.mark.process
def test_a_trial_is_held_by_one_process_and_freed_by_its_death(tmp_path: Path) -> None:
    """Kill -9 leaves no lock behind."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_hold, args=(tmp_path, theirs))
    process.start()
    theirs.close()
    assert ours.recv()
    with Store(tmp_path).lock(TRIAL.id) as mine:
        assert not mine
    process.kill()
    process.join()

    with Store(tmp_path).lock(TRIAL.id) as mine:
        assert mine


def test_who_took_a_trial_over_is_not_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a file system that forgets locks: the curve and the result are of the last holder."""
    monkeypatch.setattr("fcntl.flock", lambda *_: None)
    first, second = Store(tmp_path), Store(tmp_path)
    first.begin(TRIAL)
    with first.lock(TRIAL.id), second.lock(TRIAL.id):
        second.save(TRIAL.id, checkpoint=b"second", curve=CURVE)

        with pytest.raises(LockLostError, match="another process trains"):
            first.save(TRIAL.id, checkpoint=b"first", curve=CURVE[:1])
        with pytest.raises(LockLostError, match="another process trains"):
            first.finish(RESULT)
        assert len(first.rows(TRIAL.id)) == len(CURVE)
        assert first.results() == {}

        second.finish(RESULT)
        assert set(first.results()) == {TRIAL.id}


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    """A reader sees the old content until the new one is whole."""
    path = tmp_path / "file"
    write_atomic(path, "old")
    path.unlink()
    path.mkdir()
    (path / "inside").touch()

    with pytest.raises(MachineError, match="cannot write"):
        write_atomic(path, "new")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_what_a_cut_off_write_left_goes_with_the_next_training(tmp_path: Path) -> None:
    """Each may be as large as a net; what another process writes meanwhile stays."""
    store = filled(tmp_path)
    folder = store.folder(TRIAL.id)
    for name in (".checkpoint.pt.a1b2", ".weights.safetensors.c3d4", ".progress.json.e5f6"):
        (folder / name).write_bytes(b"half")
    with store.lock(TRIAL.id) as mine:
        assert mine

    assert [path.name for path in folder.glob(".*")] == [".progress.json.e5f6"]


def test_results_are_plain_json(tmp_path: Path) -> None:
    """Other tools can read the rows."""
    path = filled(tmp_path).folder(TRIAL.id) / "result.json"

    assert json.loads(path.read_text())["seconds"] == {
        "evaluate": 2.0,
        "other": 3.0,
        "saving": 0.0,
        "train": 1.0,
        "waiting": 0.0,
    }


def test_results_are_read_again_when_they_have_changed(tmp_path: Path) -> None:
    """Another process finishes, or takes a trial further, while this one looks on."""
    store = filled(tmp_path)
    assert store.results()[TRIAL.id].epochs == RESULT.epochs
    Store(tmp_path).finish(replace(RESULT, epochs=RESULT.epochs + 1))

    assert store.results()[TRIAL.id].epochs == RESULT.epochs + 1


@pytest.mark.parametrize("name", ["../../c", "/outside/c", ".c", "a/c"])
def test_a_plan_of_a_claim_that_leads_elsewhere_is_refused(name: str, tmp_path: Path) -> None:
    """A stranger's plan says where it would be copied to: its name is that of its file."""
    store = Store(tmp_path)
    store.register(PLAN)
    (path,) = (tmp_path / "plans").glob("*.json")
    plan = json.loads(path.read_text()) | {"claim_id": name, "sha256": None}
    forged = path.with_name(path.name.replace("c-", f"{name.rpartition('/')[2]}-", 1))
    path.rename(forged)
    forged.write_text(json.dumps(plan))

    with pytest.raises(IntegrityError, match="belongs into a file of another name"):
        store.plan(forged)


def test_curves_and_arrays_are_read_again_where_memory_holds_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store may have many times what fits."""
    monkeypatch.setattr("repro.store.store._MOST_ROWS", len(CURVE))
    monkeypatch.setattr("repro.store.store._MOST_ARRAY_BYTES", 0)
    store = Store(tmp_path)
    bits = {"right_centre": np.array([1], dtype=np.uint8), "test_images": np.array(8)}
    trials = [replace(TRIAL, seed=seed) for seed in range(3)]
    for trial in trials:
        store.begin(trial)
        store.save(trial.id, checkpoint=b"", curve=CURVE)
        store.finish(replace(RESULT, trial_id=trial.id), bits)

    for _ in range(2):
        for trial in trials:
            assert repr([*map(tuple, store.rows(trial.id))]) == repr(CURVE)
            assert store.arrays(trial.id).keys() == bits.keys()
