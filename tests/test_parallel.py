"""One trial over several ranks: exact shares, one process's numbers, lost ranks, other numbers."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import distributed as dist

from repro.data import open_dataset
from repro.errors import ClaimError, WorkerKilledError
from repro.execute import Machine
from repro.execute.backends import torchrun as ranks
from repro.planning import Cell
from repro.train import Run, device_data
from repro.train.ranks import Ranks, check_splits
from tests.worlds import RECIPE, planned, tiny, trial_on


@given(images=st.integers(1, 300), size=st.integers(1, 9))
def test_shares_of_a_batch_make_up_the_batch(images: int, size: int) -> None:
    """No image twice and none missing, and the weights are those of the mean over the batch."""
    batch = torch.randperm(images, generator=torch.Generator().manual_seed(0))
    shares = [Ranks(rank=rank, size=size).share(batch) for rank in range(size)]
    counted = [share for share in shares if share.weight]

    assert torch.equal(torch.cat([share.indices for share in counted]), batch)
    assert all(len(share.indices) >= 1 for share in shares)
    for share in counted:
        assert share.weight == pytest.approx(len(share.indices) * size / images)
        assert torch.equal(batch[share.first :][: len(share.indices)], share.indices)


@given(images=st.integers(1, 300), size=st.integers(1, 9))
def test_an_evaluation_is_dealt_out_whole(images: int, size: int) -> None:
    """Every batch goes to one rank."""
    batches = torch.split(torch.arange(images), 7)
    own_batches = [
        batch for rank in range(size) for batch in Ranks(rank=rank, size=size).own_batches(batches)
    ]

    assert sorted(torch.cat(own_batches).tolist()) == list(range(images))


def test_batch_normalisation_is_refused() -> None:
    """Each rank would normalise by its own part of the batch."""
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))

    with pytest.raises(ValueError, match="batch normalisation cannot be trained over several"):
        check_splits(net, planned(RECIPE))
    check_splits(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3)), planned(RECIPE))


@pytest.mark.parametrize("way", ["mixup", "cutmix"])
def test_blended_images_are_refused(way: str) -> None:
    """The other image may be another rank's."""
    with pytest.raises(ValueError, match="`mixup` and `cutmix` cannot be trained over several"):
        check_splits(torch.nn.Linear(2, 2), planned(RECIPE, **{way: 0.2}))


def test_an_augmentation_of_a_package_is_refused() -> None:
    """It would draw for a part of the batch."""
    with pytest.raises(ValueError, match="the augmentation 'speckle' of a package cannot be train"):
        check_splits(torch.nn.Linear(2, 2), planned(RECIPE, augment=("flip", "speckle")))


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (RuntimeError("[../gloo/transport/tcp/pair.cc:547] Connection closed by peer"), True),
        (dist.DistNetworkError("the store is gone"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (NotImplementedError("no such operator"), False),
    ],
)
def test_only_what_a_peer_leaves_behind_is_a_lost_process(
    error: RuntimeError, lost: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Anything else is told as what it is, with its place in the code."""

    def broken(*_: object, **__: object) -> Iterator[Run]:
        raise error
        yield

    dataset = tiny(tmp_path)
    trial = trial_on(dataset)
    run = Run(trial, device_data(trial, dataset, torch.device("cpu")), until=0.1)
    monkeypatch.setattr(ranks, "train_all", broken)
    with pytest.raises(WorkerKilledError if lost else type(error)):
        list(ranks.lead(Talking(), [run], on_window=lambda _: True))  # type: ignore[arg-type]


@dataclass
class Talking:
    """A group of two that notes what its first process says."""

    said: list[object] = field(default_factory=list)
    ranks: Ranks = field(default_factory=lambda: Ranks(rank=0, size=2))

    def say(self, said: object = None, *, of: str = "") -> object:
        del of
        self.said.append(said)
        return said


def test_a_fault_before_the_others_were_told_anything_parts_nobody(tmp_path: Path) -> None:
    """The next trial begins, and is not refused for the sake of the one before."""
    dataset = open_dataset("digits", (), tmp_path)
    trial = trial_on(dataset, data="digits", images=1438)  # one more than there are
    group = Talking()
    where = Machine(device="cpu", workers=1, store=tmp_path / "s", data_dirs=(), cache_dir=tmp_path)
    cells = [
        Cell(
            recipe="r", arm="a", purpose="confirm", trial=replace(trial, seed=seed), until=1.0,
            decides=True,
        )
        for seed in range(2)
    ]  # fmt: skip
    with ranks.TorchrunBackend(where, group) as backend:  # type: ignore[arg-type]
        for cell in cells:
            with pytest.raises(ClaimError, match="asks for 1438 training images"):
                backend.submit([cell]).result()
        assert group.said == []
