"""A trained net that is kept is the net that was measured."""

import json
import shutil
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file

from repro.data import open_dataset
from repro.models import with_timm
from repro.store import Store
from repro.train import train
from tests.commands import repro
from tests.worlds import quick_claim_file


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two short trials with their nets."""
    folder = tmp_path_factory.mktemp("trained")
    path = quick_claim_file(folder)
    store = folder / "runs"
    done = repro("run", path, "--store", store, "--workers", "1", "--keep-weights")
    assert done.exit_code == 0, done.output
    return folder


def test_a_reloaded_net_is_the_one_that_was_measured(trained: Path, tmp_path: Path) -> None:
    """By timm, as the how-to says: equal logits, and the test error of the trial's result."""
    store = Store(trained / "runs")
    assert with_timm.default_cfgs  # imported, as the how-to says: now timm knows the net
    (name,) = (i for i in store.ids() if store.trial(i).arguments["activation"] == "relu")
    trial, result = store.trial(name), store.result(name)
    assert result is not None
    dataset = open_dataset(trial.data, (tmp_path,), tmp_path)
    folder = store.folder(name)
    about = json.loads((folder / "weights.json").read_text())
    model = timm.create_model(
        about["architecture"],
        checkpoint_path=str(folder / "weights.safetensors"),
        **about["arguments"],
    ).eval()
    inputs = load_file(folder / "inputs.safetensors")
    pixels = (torch.tensor(dataset.test.images).float() - inputs["mean"]) * inputs["scale"]
    again = train(trial, dataset, device=torch.device("cpu"), until=result.epochs)
    again.model.eval()
    with torch.inference_mode():
        logits = model(pixels.permute(0, 3, 1, 2))
        ours = again.model(again.data.test.inputs(torch.tensor(dataset.test.images)))
    error = (logits.argmax(1).numpy() != dataset.test.labels).mean()

    assert torch.allclose(logits, ours, rtol=1e-5, atol=1e-5)
    assert error == pytest.approx(result.metrics["test_error"])


def trained_further(trained: Path, folder: Path) -> tuple[Path, Path]:
    """The claim of two epochs, and its store, without nets of its own."""
    shutil.copytree(trained, folder)
    path, store = folder / "tiny.yaml", folder / "runs"
    path.write_text(path.read_text().replace("epochs: 1", "epochs: 2"))
    repro("run", path, "--store", store, "--workers", "1")
    return path, store


def test_a_net_that_was_trained_further_is_not_the_one_that_was_kept(
    trained: Path, tmp_path: Path
) -> None:
    """A net with the numbers of other weights is worse than none."""
    store = Store(trained_further(trained, tmp_path / "more")[1])

    assert len(store.results()) == 2
    assert any(not store.has_weights(name) for name in store.ids())


@pytest.mark.parametrize("damage", ["cut", "no weights", "of another epoch", "not JSON"])
def test_a_damaged_net_is_told(trained: Path, tmp_path: Path, damage: str) -> None:
    """By `repro verify`; `repro merge` leaves it where it is."""
    shutil.copytree(trained / "runs", tmp_path / "runs")
    name, _ = Store(tmp_path / "runs").ids()
    net = tmp_path / "runs" / "trials" / name / "weights.safetensors"
    about = net.with_name("weights.json")
    match damage:
        case "cut":
            net.write_bytes(net.read_bytes()[:100])
        case "no weights":
            net.unlink()
        case "of another epoch":
            about.write_text(json.dumps(json.loads(about.read_text()) | {"epochs": 7.0}))
        case _:
            about.write_text("{")
    checked = repro("verify", tmp_path / "runs", "--claims", trained)
    merged = [repro("merge", tmp_path / "into", tmp_path / "runs").exit_code for _ in range(2)]

    assert (checked.exit_code, merged) == (5, [5, 5])
    assert f"contradiction: {net.parent}" in checked.stdout.replace("cannot read the net of ", "")


def test_stores_that_are_merged_keep_their_nets(trained: Path, tmp_path: Path) -> None:
    """Of a new trial, and of one that the store has without its net."""
    runs, bare, into = trained / "runs", tmp_path / "bare", tmp_path / "into"
    shutil.copytree(runs, bare)
    names = Store(bare).ids()
    for name in names:
        for pattern in ("*weights*", "SHA256SUMS"):
            for file in (bare / "trials" / name).glob(pattern):
                file.unlink()
    for target, source in ((into, runs), (into, bare), (bare, runs)):
        assert repro("merge", target, source).exit_code == 0

    for store in (Store(into), Store(bare)):
        assert [store.weights(name) for name in names] == [Store(runs).weights(n) for n in names]


def test_a_merged_trial_that_went_further_loses_the_net_of_before(
    trained: Path, tmp_path: Path
) -> None:
    """The net that was kept is not that of its numbers."""
    _, store = trained_further(trained, tmp_path / "more")
    shutil.copytree(trained / "runs", tmp_path / "into")
    merged = repro("merge", tmp_path / "into", store)
    further = [name for name in Store(store).ids() if not Store(store).weights(name)]

    assert further
    assert f"{len(further)} trained further than here" in merged.stdout
    assert not any(Store(tmp_path / "into").weights(name) for name in further)


def test_nets_are_kept_only_when_asked_for(tmp_path: Path) -> None:
    """They are large; that they were asked for too late is told."""
    path = quick_claim_file(tmp_path)
    run = ("run", path, "--store", tmp_path / "runs", "--workers", "1")
    asked = [repro(*run, *late) for late in ((), ("--keep-weights",))]

    assert "weights" not in asked[0].stderr
    assert "2 trials were finished earlier without --keep-weights" in asked[1].stderr
    assert not list((tmp_path / "runs").glob("trials/*/weights*"))
