"""Response normalisation on a GPU: one Triton kernel each way, each number read and written once.

Written out as PyTorch's operations it moves its tensor through memory ten times, and it is memory
that it costs. Roots of the denominators are kept for the way back beside the input: computing them
again, for every neighbour of a map, takes longer than reading them. Sums are in float32 whatever
comes in, in float64 where that does.

Across maps and over places it is the same kernel: a number's neighbours are those of a box, some
maps of its group by a square of places. Places are the N H W of a tensor with channels last; C maps
stand side by side at each.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

_TILE = 1024  # numbers that one program holds
_MAPS = 32  # of them side by side where no map looks at another: more places share what they read


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
def _tile(places, MAPS: tl.constexpr, PLACES: tl.constexpr, COLUMNS: tl.constexpr):  # type: ignore[no-untyped-def]
    """Of a program: its places, its maps, where their numbers lie, and which of these there are."""
    place = tl.program_id(0).to(tl.int64) * PLACES + tl.arange(0, PLACES)
    own = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    here = place[:, None] * MAPS + own[None, :]
    return place, own, here, (place < places)[:, None] & (own < MAPS)[None, :]


@triton.jit  # type: ignore[untyped-decorator]
def _neighbour(  # type: ignore[no-untyped-def]
    number: tl.constexpr,
    down,
    place,
    own,
    height,
    width,
    GROUPS: tl.constexpr,
    HALF: tl.constexpr,
    REACH: tl.constexpr,
    MAPS: tl.constexpr,
):
    """How far off the neighbour of that number is, so many rows down, and who has it.

    It is a map of the same group at a place of the same image.
    """
    step = number % (2 * HALF + 1) - HALF
    right = number // (2 * HALF + 1) - REACH
    near = own + step
    known = (near >= 0) & (near < MAPS) & (near * GROUPS // MAPS == own * GROUPS // MAPS)
    known = known[None, :]
    if REACH > 0:
        row, column = place // width % height + down, place % width + right
        on_image = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        known &= on_image[:, None]
    return (down * width + right) * MAPS + step, known


@triton.jit  # type: ignore[untyped-decorator]
def _forward(  # type: ignore[no-untyped-def]
    x,
    y,
    roots,
    places,
    height,
    width,
    K: tl.constexpr,
    ALPHA: tl.constexpr,
    BETA: tl.constexpr,
    GROUPS: tl.constexpr,
    HALF: tl.constexpr,
    REACH: tl.constexpr,
    MAPS: tl.constexpr,
    WIDE: tl.constexpr,
    PLACES: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    place, own, here, inside = _tile(places, MAPS, PLACES, COLUMNS)
    squares = tl.full((PLACES, COLUMNS), 0.0, WIDE)
    for down in range(-REACH, REACH + 1):  # row after row: all at once take too many registers
        for number in tl.static_range((2 * HALF + 1) * (2 * REACH + 1)):
            far, known = _neighbour(
                number, down, place, own, height, width, GROUPS, HALF, REACH, MAPS
            )
            a = tl.load(x + here + far, mask=inside & known, other=0.0).to(WIDE)
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
    height,
    width,
    ALPHA: tl.constexpr,
    BETA: tl.constexpr,
    GROUPS: tl.constexpr,
    HALF: tl.constexpr,
    REACH: tl.constexpr,
    MAPS: tl.constexpr,
    WIDE: tl.constexpr,
    PLACES: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    place, own, here, inside = _tile(places, MAPS, PLACES, COLUMNS)
    spread = tl.full((PLACES, COLUMNS), 0.0, WIDE)
    for down in range(-REACH, REACH + 1):  # row after row: all at once take too many registers
        for number in tl.static_range((2 * HALF + 1) * (2 * REACH + 1)):
            far, known = _neighbour(
                number, down, place, own, height, width, GROUPS, HALF, REACH, MAPS
            )
            root = tl.load(roots + here + far, mask=inside & known, other=1.0)
            a = tl.load(x + here + far, mask=inside & known, other=0.0).to(WIDE)
            g = tl.load(gradient + here + far, mask=inside & known, other=0.0).to(WIDE)
            spread += g * a * _slope(root, BETA)
    root = tl.load(roots + here, mask=inside, other=1.0)
    a = tl.load(x + here, mask=inside, other=0.0).to(WIDE)
    g = tl.load(gradient + here, mask=inside, other=0.0).to(WIDE)
    d = g * _scale(root, BETA) - 2 * ALPHA * BETA * a * spread
    tl.store(result + here, d.to(result.dtype.element_ty), mask=inside)


class _Kernel(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, k: float, fixed: dict[str, float]) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        wide = torch.float64 if x.dtype == torch.float64 else torch.float32
        result, roots = torch.empty_like(x), torch.empty_like(x, dtype=wide)
        _launch(_forward, x, result, roots, K=k, **fixed)
        ctx.fixed = fixed
        ctx.save_for_backward(x, roots)
        return result

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        x, roots = ctx.saved_tensors
        gradient = gradient.to(x.dtype).contiguous(memory_format=torch.channels_last)
        result = torch.empty_like(x)
        _launch(_backward, x, gradient, roots, result, **ctx.fixed)
        return result, None, None


def _launch(kernel: Any, x: Tensor, *more: Tensor, **fixed: float) -> None:
    """All have their channels last, as x."""
    images, maps, height, width = x.shape
    places = images * height * width
    columns = triton.next_power_of_2(maps if fixed["HALF"] else min(maps, _MAPS))
    tall = max(1, _TILE // columns)
    with torch.cuda.device(x.get_device()):  # Triton starts it on the current one; -1: no GPU
        kernel[triton.cdiv(places, tall), triton.cdiv(maps, columns)](
            x,
            *more,
            places,
            height,
            width,
            **fixed,
            MAPS=maps,
            WIDE=tl.float64 if x.dtype == torch.float64 else tl.float32,
            PLACES=tall,
            COLUMNS=columns,
            enable_fp_fusion=True,
        )


def normalise(
    x: Tensor,
    *,
    k: float,
    alpha: float,
    beta: float,
    size: int = 1,
    groups: int = 1,
    side: int = 1,
) -> Tensor:
    """X / (k + alpha * sum of squares)^beta, (N, C, H, W), kept.

    Over `size` maps of the group by `side` x `side` places; nothing lies beyond the edges.
    """
    fixed = {"ALPHA": alpha, "BETA": beta, "GROUPS": groups, "HALF": size // 2, "REACH": side // 2}
    result: Tensor = _Kernel.apply(x, k, fixed)
    return result
