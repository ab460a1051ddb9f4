"""On an accelerator: the CPU's numbers within bounds, resuming, and low precision."""

from pathlib import Path

import pytest
import torch

from repro.data import Dataset
from repro.train import train
from tests.worlds import RECIPE, tiny, trial_on

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no accelerator"),
]

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return tiny(tmp_path)


def test_float32_equals_the_cpu_within_a_bound(dataset: Dataset) -> None:
    """The first windows agree to TF32's rounding; later ones part as trainings do."""
    trial = trial_on(dataset)
    losses = [
        train(trial, dataset, device=device, until=0.3).progress.curve().query("source=='online'")
        for device in (CPU, CUDA)
    ]

    assert losses[1].loss.tolist() == pytest.approx(losses[0].loss.tolist(), rel=2e-2)


def test_bfloat16_learns_on_the_accelerator(dataset: Dataset) -> None:
    """Float32 masters under autocast reach the error that float32 reaches on the CPU."""
    low = RECIPE.model_copy(update={"precision": "bfloat16"})
    result = train(trial_on(dataset, recipe=low), dataset, device=CUDA, until=4.0).result({})

    assert result.train_error < 0.3


def test_resuming_on_the_accelerator_goes_on(dataset: Dataset) -> None:
    """A checkpoint from the card continues on the card and on the CPU."""
    trial = trial_on(dataset)
    part = train(trial, dataset, device=CUDA, until=0.5).state()
    for device in (CUDA, CPU):
        rest = train(trial, dataset, device=device, until=1.0, checkpoint=part)
        assert rest.progress.windows == 10
