"""The precision of a recipe, on whatever device.

bfloat16 is PyTorch's autocast: convolutions and matrix products take and give it, weights stay
float32. A CPU without instructions for it multiplies in bfloat16 many times slower than in
float32, and on a GPU of a capability below 8 cuDNN refuses to. There the factors are rounded,
multiplied in float32, and the result is rounded. A product of two bfloat16 numbers is exact in
float32, so that what differs is the order of the sums, as between any two processors. Gradients
pass the same roundings.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

Autocast = Callable[[], AbstractContextManager[None]]

# A recipe's float32 is float32: on a GPU cuDNN would multiply in TF32, with 10 bits of 23, unless
# it is told otherwise, and so does cuBLAS where the environment says so, as in NVIDIA's containers.
# Sums of bfloat16 products are in float32, as on a CPU.
torch.backends.cudnn.allow_tf32 = False
torch.backends.cuda.matmul.allow_tf32 = False
torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False

# What autocast lowers, of all that our nets and timm's call by these names.
_PRODUCTS = {
    F.conv2d,
    F.linear,
    Tensor.__matmul__,
    Tensor.matmul,
    torch.baddbmm,
    torch.bmm,
    torch.matmul,
    torch.mm,
}


class RoundedProducts(TorchFunctionMode):
    """Inside autocast of a kind of device: its bfloat16 products, multiplied in float32."""

    def __init__(self, device: str = "cpu") -> None:
        super().__init__()
        self.device = device

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """What `func` gives under autocast; as it is where autocast is off."""
        kwargs = kwargs or {}
        if func not in _PRODUCTS or not torch.is_autocast_enabled(self.device):
            return func(*args, **kwargs)
        with torch.autocast(self.device, enabled=False):
            result = func(*map(_rounded, args), **{k: _rounded(v) for k, v in kwargs.items()})
        return result if result.dtype == torch.float64 else result.bfloat16()


def _rounded(value: Any) -> Any:
    if not isinstance(value, Tensor) or value.dtype == torch.float64:  # which autocast leaves alone
        return value
    return value.bfloat16().float()


@contextmanager
def autocast(device: torch.device, precision: str) -> Iterator[None]:
    """The precision of a recipe, `float32` or `bfloat16`, inside a `with`."""
    in_bfloat16 = precision == "bfloat16"
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=in_bfloat16):
        if in_bfloat16 and not multiplies_bfloat16(device):
            with RoundedProducts(device.type):
                yield
        else:
            yield


def instructions() -> str:
    """What the last digits of a CPU's numbers hang on, beside its name: how it multiplies."""
    cpu = torch.device("cpu")
    return f"{torch.backends.cpu.get_cpu_capability()}, {_multiplication(multiplies_bfloat16(cpu))}"


def _multiplication(multiplies: bool) -> str:
    return "bfloat16" if multiplies else "bfloat16 by rounding"


def kernels(device: torch.device) -> str:
    """What the last digits of a GPU's numbers hang on, beside its name: whose kernels it runs."""
    try:
        triton = version("triton")
    except PackageNotFoundError:
        triton = "missing"
    cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    bfloat16 = "" if multiplies_bfloat16(device) else f", {_multiplication(False)}"
    return f"CUDA {torch.version.cuda}, cuDNN {cudnn}, Triton {triton}{bfloat16}"


_BFLOAT16 = (8, 0)  # the capability from which on a GPU multiplies it


@cache
def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for it; a GPU that has none is told of once."""
    if device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        if capability < _BFLOAT16:
            warnings.warn(
                f"{torch.cuda.get_device_name(device)} has no bfloat16: factors are rounded to it "
                "and multiplied in float32, which is slower",
                stacklevel=2,
            )
        return capability >= _BFLOAT16
    try:  # there is no public name for it
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001
    except AttributeError:  # a PyTorch without oneDNN
        return False
