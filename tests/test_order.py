"""The order of an epoch: shuffled within bounds, the same however it is read."""

from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from repro.claim import Recipe
from repro.data import Dataset
from repro.data.device import DeviceData
from repro.data.device.order import Bounds, bounded_order
from repro.train import Run, train_all
from repro.train.ranks import Ranks
from repro.trial import Trial
from tests.worlds import RECIPE, curve_of, tiny, trial_on

BOUNDS = Bounds(block=20, buffer=120, lanes=4)


@given(
    images=st.integers(1, 2000),
    block=st.integers(1, 50),
    buffer=st.integers(1, 500),
    lanes=st.integers(1, 8),
    each=st.integers(1, 5),
)
def test_an_order_within_bounds(
    images: int, block: int, buffer: int, lanes: int, each: int
) -> None:
    """Every image once; at no moment are more blocks begun and not ended than the bounds say."""
    bounds = Bounds(block=block, buffer=buffer, lanes=lanes)

    def order(seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return bounded_order(images, bounds, batch=each * lanes, generator=generator)

    found = order(0)
    assert torch.equal(found.sort().values, torch.arange(images))
    assert torch.equal(found, order(0))
    if images > 100:
        assert not torch.equal(found, order(1))
    blocks = (found // block).tolist()
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for place, one in enumerate(blocks):
        first.setdefault(one, place)
        last[one] = place
    changes = Counter(first.values())
    changes.subtract(Counter(place + 1 for place in last.values()))
    most = begun = 0
    for place in sorted(changes):
        begun += changes[place]
        most = max(most, begun)
    # In a lane an image is put off by less than buffer / lanes; a block may be cut at both ends.
    assert most <= lanes * (buffer / lanes / block + 3)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_each_rank_reads_its_own_blocks(size: int) -> None:
    """Of full batches; but for blocks that lie across two lanes, none is read by two ranks."""
    generator = torch.Generator().manual_seed(0)
    order = bounded_order(4000, BOUNDS, batch=32, generator=generator)
    read: Counter[int] = Counter()
    for rank in range(size):
        shares = [
            Ranks(rank=rank, size=size).share(batch).indices for batch in torch.split(order, 32)
        ]
        read.update(set((torch.cat(shares) // BOUNDS.block).tolist()))

    assert len(read) == 200
    assert sum(read.values()) <= 200 + BOUNDS.lanes


def trial_of(dataset: Dataset) -> Trial:
    shuffle = {"block": BOUNDS.block, "buffer": BOUNDS.buffer, "lanes": BOUNDS.lanes}
    recipe = Recipe.model_validate(RECIPE.model_dump() | {"shuffle": shuffle})
    return trial_on(dataset, recipe=recipe, threshold=None, seed=3)


def run_on(dataset: Dataset, *, held: bool, until: float, checkpoint: bytes | None = None) -> Run:
    """On the device, or where its images lie."""
    trial = trial_of(dataset)
    data = DeviceData(dataset, device=torch.device("cpu"), inputs="standardised", held=held)
    run = Run(trial, data, until=until, checkpoint=checkpoint)
    assert list(train_all([run])) == [run]
    return run


def test_a_trial_goes_on_in_the_middle_of_its_order(tmp_path: Path) -> None:
    """Bit for bit, whether images are held on the device or read ahead."""
    dataset = tiny(tmp_path, images=390)
    whole = run_on(dataset, held=True, until=1.0)
    half = run_on(dataset, held=False, until=0.5)
    rest = run_on(dataset, held=False, until=1.0, checkpoint=half.state())
    ours, theirs = (curve_of(run).drop(columns="train_seconds") for run in (rest, whole))

    assert ours.equals(theirs)
    for a, b in zip(rest.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(a, b)
