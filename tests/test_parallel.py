"""One trial over several ranks: exact shares, one process's numbers, lost ranks, other numbers."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from repro.parallel import ALONE, Ranks


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
    dealt = [batch for rank in range(size) for batch in Ranks(rank=rank, size=size).dealt(batches)]

    assert sorted(torch.cat(dealt).tolist()) == list(range(images))


def test_batch_normalisation_is_refused() -> None:
    """Each rank would normalise by its own part of the batch."""
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))

    assert ALONE.joined(net) is net
    with pytest.raises(ValueError, match="batch normalisation cannot be trained over several"):
        Ranks(rank=0, size=2).joined(net)
