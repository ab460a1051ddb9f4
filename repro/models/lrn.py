"""Response normalisation, by the paper's formula and by its authors' code.

Paper, sec. 3.3:  b_i = a_i / (k + alpha * sum_j a_j^2)^beta,  over n maps around i, same place.
The authors' code, Caffe and PyTorch divide alpha by n, so that PyTorch's alpha is n times the
paper's.

N images, C maps, H by W places.
"""

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_LOW = (torch.bfloat16, torch.float16)
Window = Callable[[Tensor], Tensor]  # (N, C, H, W), kept


class AcrossMaps(nn.Module):
    """A layer that looks at one place of each image, across its maps.

    Nets beside each other are told of it by this name, so that the code of one layer is not among
    what the numbers of nets without it come from.
    """


class LocalResponseNorm(AcrossMaps):
    """Normalisation across `size` adjacent maps of one group; in float32 under lower precision.

    `convention`: `sum` is the paper's k + alpha * sum, `mean` its authors' k + alpha/n * sum.
    `groups`: maps on different GPUs are not neighbours. Raises ValueError for an even `size`,
    which has no middle.
    """

    def __init__(
        self,
        maps: int,
        *,
        size: int = 5,
        alpha: float = 1e-4,
        beta: float = 0.75,
        k: float = 2.0,
        convention: Literal["sum", "mean"] = "sum",
        groups: int = 1,
    ) -> None:
        super().__init__()
        if size % 2 == 0:
            raise ValueError(f"size {size} is even: as many neighbours on either side are needed")
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k
        self.convention, self.groups = convention, groups
        place = torch.arange(maps)
        near = (place[:, None] - place).abs() <= size // 2
        together = place[:, None] * groups // maps == place * groups // maps
        self.band: Tensor
        self.register_buffer("band", (near & together).float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W), kept."""
        alpha = self.alpha / (1 if self.convention == "sum" else self.size)
        if (kernel := _kernel_for(x)) is not None:
            return kernel(
                x, size=self.size, groups=self.groups, k=self.k, alpha=alpha, beta=self.beta
            )
        result: Tensor = _Normalise.apply(x, self._neighbours, self.k, alpha, self.beta)
        return result

    def _neighbours(self, values: Tensor) -> Tensor:
        """Sums over neighbouring maps."""
        return _window_sum(values, self.band[:, :, None, None])

    def extra_repr(self) -> str:
        """For `print(model)`."""
        return (
            f"size={self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}, "
            f"convention={self.convention!r}, groups={self.groups}"
        )


_kernels_used = True


def use_kernel(use: bool) -> None:
    """Whether this process has a GPU's kernel where there is one."""
    global _kernels_used  # noqa: PLW0603 - nets are built before it is known
    _kernels_used = use


def _kernel_for(x: Tensor) -> Callable[..., Tensor] | None:
    return _kernel(x.device) if x.is_cuda and _kernels_used else None


@cache
def _kernel(device: torch.device) -> Callable[..., Tensor] | None:
    """What a GPU has in place of PyTorch's operations; None, said once, where it does not start.

    Triton may be missing, or the C compiler and Python's headers, which its first start wants.
    """
    try:
        from repro.models.lrn_kernel import normalise

        normalise(torch.ones(1, 1, 1, 1, device=device), k=1, alpha=1, beta=1)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - of whatever Triton wants of the machine
        warnings.warn(
            f"response normalisation runs slowly on the GPU: no kernel of Triton's ({error})",
            stacklevel=2,
        )
        return None
    return normalise


class _Normalise(torch.autograd.Function):
    """x D^-beta with D = k + alpha W(x^2); W sums over neighbours and is symmetric.

    Its derivative is g D^-beta - 2 alpha beta x W(g x D^(-beta - 1)): two sums over neighbours
    in all, and three tensors kept, where automatic differentiation keeps one for every operation.
    W is a convolution in float32: on a CPU oneDNN has it in half of the time of a matrix product
    or less, and in a fifth of the time of a pool.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, window: Window, k: float, alpha: float, beta: float) -> Tensor:
        wide = _wide(x)
        denominator = window(wide * wide).mul_(alpha).add_(k)
        power = _inverse_power(denominator, beta)
        ctx.save_for_backward(x, denominator, power)
        ctx.window, ctx.factor = window, 2 * alpha * beta
        return (wide * power).to(x.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        x, denominator, power = ctx.saved_tensors
        wide, scaled = _wide(x), power * gradient
        spread = ctx.window((scaled * wide).div_(denominator))
        result = scaled.sub_(spread.mul_(wide), alpha=ctx.factor)
        return result.to(gradient.dtype), None, None, None, None


def _wide(values: Tensor) -> Tensor:
    return values.float() if values.dtype in _LOW else values


def _window_sum(values: Tensor, weight: Tensor, *, groups: int = 1) -> Tensor:
    """(N, C, H, W), kept; in the precision of `values`, of which autocast would keep a half."""
    device = "cpu" if values.is_meta else values.device.type  # meta tensors have no autocast
    with torch.autocast(device, enabled=False):
        padding = weight.shape[-1] // 2
        return F.conv2d(values, weight.to(values.dtype), padding=padding, groups=groups)


def _inverse_power(values: Tensor, beta: float) -> Tensor:
    """values^-beta. The paper's 0.75 by two roots, which take a tenth of the time of a power."""
    if beta == 0.75:
        root = values.rsqrt()
        return root.sqrt().mul_(root)
    return values.pow(-beta)


class SpatialResponseNorm(nn.Module):
    """Normalisation over a window of the same map: layer 2 of the authors' code, not in the paper.

    x / (k + alpha * mean of x^2 over size x size)^beta, zeros beyond the edge. Raises ValueError
    for an even `size`, which has no middle.
    """

    def __init__(
        self, *, size: int = 5, alpha: float = 1e-3, beta: float = 0.75, k: float = 1.0
    ) -> None:
        super().__init__()
        if size % 2 == 0:
            raise ValueError(f"size {size} is even: as many neighbours on either side are needed")
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W), kept."""
        alpha = self.alpha / self.size**2
        if (kernel := _kernel_for(x)) is not None:
            return kernel(x, side=self.size, k=self.k, alpha=alpha, beta=self.beta)
        result: Tensor = _Normalise.apply(x, self._neighbours, self.k, alpha, self.beta)
        return result

    def _neighbours(self, values: Tensor) -> Tensor:
        """Sums over the window around each place, with zeros beyond the edge."""
        maps = values.shape[1]
        return _window_sum(values, values.new_ones(maps, 1, self.size, self.size), groups=maps)


class ConstantScale(nn.Module):
    """The scale that LRN applies to silent maps, k^-beta, and no normalisation: its control."""

    def __init__(self, *, beta: float = 0.75, k: float = 2.0) -> None:
        super().__init__()
        self.scale: float = k**-beta

    def forward(self, x: Tensor) -> Tensor:
        """Any shape, kept."""
        return x * self.scale
