"""What loggers wrote is what was measured, read back with the tools' own readers."""

import json
import struct
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from repro.cli import main
from repro.store import Store
from tests.worlds import quick_claim_file


def run_with(folder: Path, *logs: str, workers: int = 1) -> tuple[Store, Result]:
    """A claim of a few short trials, logged."""
    path = quick_claim_file(folder)
    asked = [word for log in logs for word in ("--log", log)]
    done = CliRunner().invoke(
        main, ["run", str(path), "--store", str(folder / "runs"), "--workers", str(workers), *asked]
    )
    return Store(folder / "runs"), done


def online(curve: pd.DataFrame) -> dict[int, float]:
    """Error by tenth of an epoch."""
    rows = curve[curve["source"] == "online"]
    return dict(zip((rows["epoch"] * 10).round().astype(int), rows["error"], strict=True))


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
        assert read == pytest.approx(online(store.curve(trial)))
        assert final.value == pytest.approx(result.metrics["test_error"])
        assert "settings/text_summary" in events.Tags()["tensors"]


def test_mlflow_s_store_has_a_run_for_every_trial(tmp_path: Path) -> None:
    """Parameters, curves and final metrics, found by the trial's identity."""
    mlflow = pytest.importorskip("mlflow", reason="the extra repro[mlflow] is not installed")
    store, done = run_with(tmp_path, f"mlflow:{tmp_path / 'ml'}")
    assert done.exit_code == 0, done.output
    client = mlflow.MlflowClient(tracking_uri=(tmp_path / "ml").as_uri())
    (experiment,) = [e for e in client.search_experiments() if e.name == "repro"]
    runs = {run.data.tags["trial"]: run for run in client.search_runs([experiment.experiment_id])}

    assert runs.keys() == set(store.ids())
    for trial, result in store.results().items():
        run = runs[trial]
        history = client.get_metric_history(run.info.run_id, "online/error")
        assert {one.step: one.value for one in history} == pytest.approx(online(store.curve(trial)))
        assert run.data.metrics["final/test_error"] == pytest.approx(result.metrics["test_error"])
        assert run.data.params["rate"] == str(store.trial(trial).rate)
        assert run.info.status == "FINISHED"


def test_weights_and_biases_have_an_offline_run_for_every_trial(tmp_path: Path) -> None:
    """Settings, curves and final metrics, read from the file that `wandb sync` would send."""
    pytest.importorskip("wandb", reason="the extra repro[wandb] is not installed")
    store, done = run_with(tmp_path, f"wandb:{tmp_path / 'wb'}")
    assert done.exit_code == 0, done.output
    files = {path.stem.removeprefix("run-"): path for path in (tmp_path / "wb").rglob("*.wandb")}

    assert files.keys() == set(store.ids())
    for trial, result in store.results().items():
        config, history, summary = offline_run(files[trial])
        read = {row["_step"]: row["online/error"] for row in history if "online/error" in row}
        assert read == pytest.approx(online(store.curve(trial)))
        assert summary["final/test_error"] == pytest.approx(result.metrics["test_error"])
        assert config["rate"] == store.trial(trial).rate


def offline_run(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]:
    """What Weights & Biases keep of a run: its configuration, its rows, its summary.

    The file is a log of LevelDB's format: blocks of 32 KiB, in them pieces of records, each after
    its checksum (4 bytes), length (2) and kind (1: whole; 2, 3, 4: first, middle, last piece).
    """
    from wandb.proto.wandb_internal_pb2 import Record

    config: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    summary: dict[str, Any] = {}
    data, at, whole = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            record = Record.FromString(whole)
            whole = b""
            config |= _values(record.run.config.update)
            summary |= _values(record.summary.update)
            if record.HasField("history"):
                rows.append({"_step": 0} | _values(record.history.item))
    return config, rows, summary


def _values(items: Iterable[Any]) -> dict[str, Any]:
    return {one.key or "/".join(one.nested_key): json.loads(one.value_json) for one in items}


def test_a_logger_that_is_not_installed_names_its_extra(tmp_path: Path) -> None:
    """Before anything is run."""
    if find_spec("mlflow") is not None:
        pytest.skip("mlflow is installed")
    _, done = run_with(tmp_path, "mlflow")

    assert done.exit_code == 5
    assert "next: pip install -e '.[mlflow]' in the checkout" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_logger_that_is_unknown_is_guessed(tmp_path: Path) -> None:
    """A usage error."""
    _, done = run_with(tmp_path, "tensorbord")

    assert done.exit_code == 2
    assert "no logger 'tensorbord' (did you mean 'tensorboard'?)" in " ".join(done.stderr.split())
