"""The GPU's kernel for crops, run on the CPU by Triton's interpreter."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from repro.data.device import Augment, DeviceSplit
from repro.data.device.images import crop_windows
from repro.train import Population, Run, device_data
from repro.train.population import PATHS
from repro.train.ranks import SINGLE_RANK
from tests.interpreted import interpreted
from tests.worlds import RECIPE, tiny, trial_on

pytest.importorskip("triton")

HEIGHT, WIDTH, PADDING = 26, 29, 2
LOW = torch.bfloat16


@pytest.fixture
def kernel() -> Iterator[ModuleType]:
    with interpreted("repro.data.device.crop_kernel") as module:
        yield module


@pytest.fixture
def split() -> DeviceSplit:
    generator = torch.Generator().manual_seed(0)
    shape = HEIGHT, WIDTH, 3
    return DeviceSplit(
        images=torch.randint(256, (8, *shape), generator=generator, dtype=torch.uint8),
        labels=torch.zeros(8, dtype=torch.int64),
        mean=255 * torch.rand(shape, generator=generator),
        scale=torch.tensor([0.3, 0.02, 1.7]).expand(shape).contiguous(),
    )


def corners(size: int, padding: int) -> Tensor:
    """The four outermost crops, as they are and mirrored, each with a colour of its own."""
    places = [(0, side + 2 * padding - size) for side in (HEIGHT, WIDTH)]
    columns = torch.tensor([*itertools.product(*places, (0, 1))], dtype=torch.float32)
    return torch.cat((columns, torch.linspace(-9, 9, 24).view(8, 3)), 1)


@pytest.mark.parametrize(("size", "padding"), [(11, 0), (24, PADDING), (26, PADDING)])
def test_outermost_crops_are_those_of_pytorchs_operations(
    size: int, padding: int, kernel: ModuleType, split: DeviceSplit
) -> None:
    """Bit by bit, at sizes that fill no tile or more than one."""
    augment = Augment(
        crop=True, flip=True, components=torch.ones(3, 3), padding=padding, shrink=1 / 1.1
    )
    assert isinstance(split.images, Tensor)
    given = split, split.images, corners(size, padding), augment, size
    plain, crops, low = crop_windows(*given), kernel.crop(*given), kernel.crop(*given, dtype=LOW)

    assert crops.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(crops, plain)
    # The interpreter cuts off the bits that a GPU rounds.
    assert torch.equal(low, (plain.view(torch.int32) >> 16 << 16).view(torch.float32).to(LOW))


@pytest.mark.parametrize("crop", [False, True])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("coloured", [False, True])
def test_what_is_drawn_is_done_to_every_image(
    crop: bool, flip: bool, coloured: bool, kernel: ModuleType, split: DeviceSplit
) -> None:
    """For two runs together, by generators of their own."""
    augment = Augment(crop=crop, flip=flip, components=torch.eye(3) if coloured else None)

    def inputs(how: object) -> Tensor:
        generators = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
        return split.random_inputs(
            split.images,  # type: ignore[arg-type]
            augment,
            size=20,
            generators=generators,
            crop=how,  # type: ignore[arg-type]
        )

    assert torch.equal(inputs(kernel.crop), inputs(None))


CROPPED = {"crop": 32, "padding": 4, "augment": ("crop", "flip"), "colour": "deviations"}


def population(folder: Path, paths: frozenset[str], **recipe: object) -> Population:
    dataset = tiny(folder, images=160)
    trial = trial_on(dataset, recipe=RECIPE.model_copy(update=CROPPED | recipe))
    run = Run(trial, device_data(trial, dataset, torch.device("cpu")), until=0.2)
    return Population([run], paths=paths)


@pytest.mark.usefixtures("kernel")
def test_a_net_trains_on_the_kernels_crops_as_on_others(tmp_path: Path) -> None:
    """To the bit."""
    losses = []
    for paths in (PATHS, PATHS | {"crop_kernel"}):
        trained = population(tmp_path, paths)
        trained.train_window()
        trained.train_window()
        losses.append([row.loss for row in trained.runs[0].progress.rows])

    assert len(losses[0]) == 2
    assert losses[0] == losses[1]


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize(
    ("recipe", "dtype"),
    [
        ({"precision": "float32"}, torch.float32),
        ({"precision": "bfloat16"}, LOW),
        ({"precision": "bfloat16", "mixup": 0.2}, torch.float32),
    ],
)
def test_crops_are_rounded_where_a_convolution_would(
    recipe: dict[str, object], dtype: torch.dtype, tmp_path: Path
) -> None:
    """Not before images are blended."""
    own = population(tmp_path, PATHS | {"crop_kernel"}, **recipe)
    rows = own.data.train.rows(torch.arange(4))
    share = SINGLE_RANK.share(torch.arange(4))
    inputs = own.inputs(rows, [own.runs[0].generator("augment")], share)

    assert inputs.dtype == dtype
