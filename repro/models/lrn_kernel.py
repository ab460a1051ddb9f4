"""Response normalisation on a GPU: one Triton kernel each way, each number read and written once.

Written out as PyTorch's operations it moves its tensor through memory ten times, and it is memory
that it costs. Nothing is kept for the way back but the input: what the neighbours come to is
computed again, from numbers that the cache still holds. Sums are in float32 whatever comes in, in
float64 where that does.

Places are the N H W of a tensor with channels last; C maps stand side by side at each.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["normalise"]

_TILE = 1024  # numbers that one program holds


@triton.jit  # type: ignore[untyped-decorator]
def _squares(  # type: ignore[no-untyped-def]
    x,
    rows,
    inside,
    maps,
    near,
    GROUPS: tl.constexpr,
    HALF: tl.constexpr,
    WIDE: tl.constexpr,
):
    """Sum of squares over the neighbours of the maps `near`, within their group."""
    total = tl.full(inside.shape, 0.0, WIDE)
    for step in tl.static_range(-HALF, HALF + 1):
        far = near + step
        known = (far >= 0) & (far < maps) & (far * GROUPS // maps == near * GROUPS // maps)
        a = tl.load(x + rows + far[None, :], mask=inside & known[None, :], other=0.0).to(WIDE)
        total += a * a
    return total


@triton.jit  # type: ignore[untyped-decorator]
def _forward(  # type: ignore[no-untyped-def]
    x,
    y,
    places,
    maps,
    K: tl.constexpr,
    ALPHA: tl.constexpr,
    BETA: tl.constexpr,
    GROUPS: tl.constexpr,
    HALF: tl.constexpr,
    WIDE: tl.constexpr,
    PLACES: tl.constexpr,
    MAPS: tl.constexpr,
):
    place = tl.program_id(0).to(tl.int64) * PLACES + tl.arange(0, PLACES)
    own = tl.arange(0, MAPS)
    rows = place[:, None] * maps
    inside = (place < places)[:, None] & (own < maps)[None, :]
    denominator = K + ALPHA * _squares(x, rows, inside, maps, own, GROUPS, HALF, WIDE)
    a = tl.load(x + rows + own[None, :], mask=inside, other=0.0).to(WIDE)
    b = a * tl.exp(-BETA * tl.log(denominator))
    tl.store(y + rows + own[None, :], b.to(y.dtype.element_ty), mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def _backward(  # type: ignore[no-untyped-def]
    x,
    gradient,
    result,
    places,
    maps,
    K: tl.constexpr,
    ALPHA: tl.constexpr,
    BETA: tl.constexpr,
    GROUPS: tl.constexpr,
    HALF: tl.constexpr,
    WIDE: tl.constexpr,
    PLACES: tl.constexpr,
    MAPS: tl.constexpr,
):
    place = tl.program_id(0).to(tl.int64) * PLACES + tl.arange(0, PLACES)
    own = tl.arange(0, MAPS)
    rows = place[:, None] * maps
    inside = (place < places)[:, None] & (own < maps)[None, :]
    spread = tl.full((PLACES, MAPS), 0.0, WIDE)
    for step in tl.static_range(-HALF, HALF + 1):
        near = own + step
        known = (near >= 0) & (near < maps) & (near * GROUPS // maps == own * GROUPS // maps)
        there = inside & known[None, :]
        denominator = K + ALPHA * _squares(x, rows, there, maps, near, GROUPS, HALF, WIDE)
        a = tl.load(x + rows + near[None, :], mask=there, other=0.0).to(WIDE)
        g = tl.load(gradient + rows + near[None, :], mask=there, other=0.0).to(WIDE)
        spread += g * a * tl.exp(-(BETA + 1) * tl.log(denominator))
    denominator = K + ALPHA * _squares(x, rows, inside, maps, own, GROUPS, HALF, WIDE)
    a = tl.load(x + rows + own[None, :], mask=inside, other=0.0).to(WIDE)
    g = tl.load(gradient + rows + own[None, :], mask=inside, other=0.0).to(WIDE)
    d = g * tl.exp(-BETA * tl.log(denominator)) - 2 * ALPHA * BETA * a * spread
    tl.store(result + rows + own[None, :], d.to(result.dtype.element_ty), mask=inside)


class _Kernel(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, size: int, groups: int, k: float, alpha: float, beta: float
    ) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        ctx.save_for_backward(x)
        ctx.fixed = {"K": k, "ALPHA": alpha, "BETA": beta, "GROUPS": groups, "HALF": size // 2}
        return _launch(_forward, x, **ctx.fixed)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        (x,) = ctx.saved_tensors
        gradient = gradient.to(x.dtype).contiguous(memory_format=torch.channels_last)
        return _launch(_backward, x, gradient, **ctx.fixed), None, None, None, None, None


def _launch(kernel: Any, x: Tensor, *more: Tensor, **fixed: float) -> Tensor:
    result = torch.empty_like(x)  # channels last, as x
    maps, places = x.shape[1], x.numel() // x.shape[1]
    wide = triton.next_power_of_2(maps)
    tall = max(1, _TILE // wide)
    with torch.cuda.device(x.get_device()):  # Triton starts it on the current one; -1: no GPU
        kernel[(triton.cdiv(places, tall),)](
            x,
            *more,
            result,
            places,
            maps,
            **fixed,
            WIDE=tl.float64 if x.dtype == torch.float64 else tl.float32,
            PLACES=tall,
            MAPS=wide,
            enable_fp_fusion=True,
        )
    return result


def normalise(x: Tensor, *, size: int, groups: int, k: float, alpha: float, beta: float) -> Tensor:
    """X / (k + alpha * sum of squares over `size` maps of the group)^beta, (N, C, H, W), kept."""
    result: Tensor = _Kernel.apply(x, size, groups, k, alpha, beta)
    return result
