"""Response normalisation on a GPU: one Triton kernel each way, each number read and written once.

Written out as PyTorch's operations it moves its tensor through memory ten times, and it is memory
that it costs. Roots of the denominators are kept for the way back beside the input: computing them
again, for every neighbour of a map, takes longer than reading them. Sums are in float32 whatever
comes in, in float64 where that does.

Places are the N H W of a tensor with channels last; C maps stand side by side at each.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

_TILE = 1024  # numbers that one program holds


@triton.jit  # type: ignore[untyped-decorator]
def _root(denominators, BETA: tl.constexpr):  # type: ignore[no-untyped-def]
    """What is kept of the denominators D: D^-1/4 for the paper's power 0.75, else D itself.

    Both powers that the way back needs are products of it, which take a tenth of the time of a
    power, and it reads five of them for each number.
    """
    if BETA == 0.75:
        return tl.sqrt(tl.rsqrt(denominators))
    return denominators


@triton.jit  # type: ignore[untyped-decorator]
def _scale(roots, BETA: tl.constexpr):  # type: ignore[no-untyped-def]
    """D^-BETA."""
    if BETA == 0.75:
        return roots * roots * roots
    return tl.exp(-BETA * tl.log(roots))


@triton.jit  # type: ignore[untyped-decorator]
def _slope(roots, BETA: tl.constexpr):  # type: ignore[no-untyped-def]
    """D^-(BETA + 1)."""
    if BETA == 0.75:
        square = roots * roots
        return square * square * square * roots
    return tl.exp(-BETA * tl.log(roots)) / roots


@triton.jit  # type: ignore[untyped-decorator]
def _forward(  # type: ignore[no-untyped-def]
    x,
    y,
    roots,
    places,
    K: tl.constexpr,
    ALPHA: tl.constexpr,
    BETA: tl.constexpr,
    GROUPS: tl.constexpr,
    HALF: tl.constexpr,
    MAPS: tl.constexpr,
    WIDE: tl.constexpr,
    PLACES: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    place = tl.program_id(0).to(tl.int64) * PLACES + tl.arange(0, PLACES)
    own = tl.arange(0, COLUMNS)
    here = place[:, None] * MAPS + own[None, :]
    inside = (place < places)[:, None] & (own < MAPS)[None, :]
    squares = tl.full((PLACES, COLUMNS), 0.0, WIDE)
    for step in tl.static_range(-HALF, HALF + 1):
        near = own + step
        known = (near >= 0) & (near < MAPS) & (near * GROUPS // MAPS == own * GROUPS // MAPS)
        a = tl.load(x + here + step, mask=inside & known[None, :], other=0.0).to(WIDE)
        squares += a * a
    root = _root(K + ALPHA * squares, BETA)
    a = tl.load(x + here, mask=inside, other=0.0).to(WIDE)
    b = a * _scale(root, BETA)
    tl.store(roots + here, root, mask=inside)
    tl.store(y + here, b.to(y.dtype.element_ty), mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def _backward(  # type: ignore[no-untyped-def]
    x,
    gradient,
    roots,
    result,
    places,
    ALPHA: tl.constexpr,
    BETA: tl.constexpr,
    GROUPS: tl.constexpr,
    HALF: tl.constexpr,
    MAPS: tl.constexpr,
    WIDE: tl.constexpr,
    PLACES: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    place = tl.program_id(0).to(tl.int64) * PLACES + tl.arange(0, PLACES)
    own = tl.arange(0, COLUMNS)
    here = place[:, None] * MAPS + own[None, :]
    inside = (place < places)[:, None] & (own < MAPS)[None, :]
    spread = tl.full((PLACES, COLUMNS), 0.0, WIDE)
    for step in tl.static_range(-HALF, HALF + 1):
        near = own + step
        known = (near >= 0) & (near < MAPS) & (near * GROUPS // MAPS == own * GROUPS // MAPS)
        there = inside & known[None, :]
        root = tl.load(roots + here + step, mask=there, other=1.0)
        a = tl.load(x + here + step, mask=there, other=0.0).to(WIDE)
        g = tl.load(gradient + here + step, mask=there, other=0.0).to(WIDE)
        spread += g * a * _slope(root, BETA)
    root = tl.load(roots + here, mask=inside, other=1.0)
    a = tl.load(x + here, mask=inside, other=0.0).to(WIDE)
    g = tl.load(gradient + here, mask=inside, other=0.0).to(WIDE)
    d = g * _scale(root, BETA) - 2 * ALPHA * BETA * a * spread
    tl.store(result + here, d.to(result.dtype.element_ty), mask=inside)


class _Kernel(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, size: int, groups: int, k: float, alpha: float, beta: float
    ) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        wide = torch.float64 if x.dtype == torch.float64 else torch.float32
        result, roots = torch.empty_like(x), torch.empty_like(x, dtype=wide)
        ctx.fixed = {"ALPHA": alpha, "BETA": beta, "GROUPS": groups, "HALF": size // 2}
        _launch(_forward, x, result, roots, K=k, **ctx.fixed)
        ctx.save_for_backward(x, roots)
        return result

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        x, roots = ctx.saved_tensors
        gradient = gradient.to(x.dtype).contiguous(memory_format=torch.channels_last)
        result = torch.empty_like(x)
        _launch(_backward, x, gradient, roots, result, **ctx.fixed)
        return result, None, None, None, None, None


def _launch(kernel: Any, x: Tensor, *more: Tensor, **fixed: float) -> None:
    """All have their channels last, as x."""
    maps, places = x.shape[1], x.numel() // x.shape[1]
    columns = triton.next_power_of_2(maps)
    tall = max(1, _TILE // columns)
    with torch.cuda.device(x.get_device()):  # Triton starts it on the current one; -1: no GPU
        kernel[(triton.cdiv(places, tall),)](
            x,
            *more,
            places,
            **fixed,
            MAPS=maps,
            WIDE=tl.float64 if x.dtype == torch.float64 else tl.float32,
            PLACES=tall,
            COLUMNS=columns,
            enable_fp_fusion=True,
        )


def normalise(x: Tensor, *, size: int, groups: int, k: float, alpha: float, beta: float) -> Tensor:
    """X / (k + alpha * sum of squares over `size` maps of the group)^beta, (N, C, H, W), kept."""
    result: Tensor = _Kernel.apply(x, size, groups, k, alpha, beta)
    return result
