"""What loggers wrote is what was measured, read back with the tools' own readers."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from repro.cli import main
from repro.store import Store
from repro.trial import Row
from tests.worlds import quick_claim_file

READ_TRACKIO = """
import json, sys, trackio
from trackio.sqlite_storage import SQLiteStorage

json.dump(
    [
        {"config": run.config, "rows": SQLiteStorage.get_logs("repro", run.name, run_id=run.id)}
        for run in trackio.Api().runs("repro")
    ],
    sys.stdout,
)
"""


def run_with(folder: Path, *logs: str, workers: int = 1) -> tuple[Store, Result]:
    """A claim of a few short trials, logged."""
    path = quick_claim_file(folder)
    asked = [word for log in logs for word in ("--log", log)]
    done = CliRunner().invoke(
        main, ["run", str(path), "--store", str(folder / "runs"), "--workers", str(workers), *asked]
    )
    return Store(folder / "runs"), done


def online(curve: Sequence[Row]) -> dict[int, float]:
    """Error by tenth of an epoch."""
    return {round(10 * row.epoch): row.error for row in curve if row.source == "online"}


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.process)])
def test_tensorboard_reads_the_curves_of_every_trial(tmp_path: Path, workers: int) -> None:
    """Online error by tenths of epochs to the last, final metrics, and the settings as text."""
    pytest.importorskip("tensorboard", reason="the extra repro[tensorboard] is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    store, done = run_with(tmp_path, f"tensorboard:{tmp_path / 'tb'}", workers=workers)
    assert done.exit_code == 0, done.output
    folders = {path.name.rpartition("-")[2]: path for path in (tmp_path / "tb").iterdir()}

    assert folders.keys() == {trial[:8] for trial in store.ids()}
    for trial, result in store.results().items():
        events = EventAccumulator(str(folders[trial[:8]])).Reload()
        read = {one.step: one.value for one in events.Scalars("online/error")}
        (final,) = events.Scalars("final/test_error")
        assert read == pytest.approx(online(store.rows(trial)))
        assert final.value == pytest.approx(result.metrics["test_error"])
        assert "settings/text_summary" in events.Tags()["tensors"]


@pytest.mark.process
def test_trackio_reads_the_curves_of_every_trial(tmp_path: Path) -> None:
    """In a process of its own, since Trackio asks for its folder once; nothing is sent anywhere."""
    pytest.importorskip("trackio", reason="the extra repro[trackio] is not installed")
    path, folder = quick_claim_file(tmp_path), tmp_path / "tk"
    words = ["run", str(path), "--store", str(tmp_path / "runs"), "--log", f"trackio:{folder}"]
    subprocess.run([sys.executable, "-m", "repro", *words], check=True)
    read = subprocess.run(
        [sys.executable, "-c", READ_TRACKIO], env=os.environ | {"TRACKIO_DIR": str(folder)},
        stdout=subprocess.PIPE, text=True, check=True,
    ).stdout  # fmt: skip
    store = Store(tmp_path / "runs")
    runs = {run["config"]["trial"]: run for run in json.loads(read)}

    assert runs.keys() == set(store.ids())
    for trial, result in store.results().items():
        rows = runs[trial]["rows"]
        errors = {row["step"]: row["online/error"] for row in rows if "online/error" in row}
        finals = [row["final/test_error"] for row in rows if "final/test_error" in row]
        assert errors == pytest.approx(online(store.rows(trial)))
        assert finals == [pytest.approx(result.metrics["test_error"])]


def test_a_logger_that_is_not_installed_names_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is run."""
    monkeypatch.setattr("repro.execute.monitor.loggers.find_spec", lambda _: None)
    _, done = run_with(tmp_path, "tensorboard")

    assert done.exit_code == 5
    assert "next: pip install -e '.[tensorboard]' in the checkout" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_logger_that_is_unknown_is_guessed(tmp_path: Path) -> None:
    """A usage error."""
    _, done = run_with(tmp_path, "tensorbord")

    assert done.exit_code == 2
    assert "no logger 'tensorbord' (did you mean 'tensorboard'?)" in " ".join(done.stderr.split())
