"""Crops on a GPU: one Triton kernel from stored bytes to what the net is given.

Written out as PyTorch's operations it is nineteen kernels, and images go through memory as often.
Each number is computed as there, in the same order, so that in float32 its bits are the same.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from repro.data.device.images import Augment, DeviceSplit

_TILE = 1024  # numbers that one program holds


@triton.jit  # type: ignore[untyped-decorator]
def _crop(  # type: ignore[no-untyped-def]
    rows,
    draws,
    mean,
    scale,
    crops,
    height,
    width,
    shrink,
    PADDING: tl.constexpr,
    SIZE: tl.constexpr,
    TILE: tl.constexpr,
):
    image = tl.program_id(0).to(tl.int64)
    number = tl.program_id(1) * TILE + tl.arange(0, TILE)
    inside = number < SIZE * SIZE * 3
    y, x, channel = number // (3 * SIZE), number // 3 % SIZE, number % 3
    draw = draws + 6 * image
    x = tl.where(tl.load(draw + 2) == 1, SIZE - 1 - x, x)
    row = tl.load(draw).to(tl.int32) - PADDING + y
    column = tl.load(draw + 1).to(tl.int32) - PADDING + x
    within = inside & (row >= 0) & (row < height) & (column >= 0) & (column < width)
    here = (row * width + column) * 3 + channel
    level = tl.load(rows + 3 * image * height * width + here, mask=within, other=0).to(tl.float32)
    level -= tl.load(mean + here, mask=within, other=0.0)
    level = (level + tl.load(draw + 3 + channel)) * shrink * tl.load(scale + channel)
    there = crops + 3 * image * SIZE * SIZE + number
    tl.store(there, level.to(crops.dtype.element_ty), mask=inside)


def crop(
    split: DeviceSplit,
    rows: Tensor,
    draws: Tensor,
    augment: Augment,
    size: int,
    *,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """As `crop_windows`; in another type rounded once. `rows` lie whole in memory."""
    assert rows.is_contiguous(), "the kernel counts bytes from the first on"
    count, height, width, _ = rows.shape
    crops = torch.empty(count, size, size, 3, dtype=dtype, device=rows.device)
    with torch.cuda.device(rows.get_device()):  # Triton starts it on the current one; -1: no GPU
        _crop[count, triton.cdiv(3 * size**2, _TILE)](
            rows,
            draws,
            split.mean,
            split.scale,
            crops,
            height,
            width,
            augment.shrink,
            PADDING=augment.padding,
            SIZE=size,
            TILE=_TILE,
        )
    return crops.permute(0, 3, 1, 2)
