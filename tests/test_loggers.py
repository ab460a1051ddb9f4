"""What loggers wrote is what was measured, read back with the tools' own readers."""

from importlib.util import find_spec
from pathlib import Path

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


@pytest.mark.parametrize("workers", [1, 2])
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


def test_a_logger_that_is_not_installed_names_its_extra(tmp_path: Path) -> None:
    """Before anything is run."""
    if find_spec("mlflow") is not None:
        pytest.skip("mlflow is installed")
    _, done = run_with(tmp_path, "mlflow")

    assert done.exit_code == 5
    assert "next: pip install 'repro[mlflow]'" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_logger_that_is_unknown_is_guessed(tmp_path: Path) -> None:
    """A usage error."""
    _, done = run_with(tmp_path, "tensorbord")

    assert done.exit_code == 2
    assert "no logger 'tensorbord' (did you mean 'tensorboard'?)" in " ".join(done.stderr.split())
