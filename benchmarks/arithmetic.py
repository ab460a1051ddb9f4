"""What a training step moves through memory, counted without a device: a floor for its time.

Every operation that is no view is a launch, which reads its tensors and writes its results once.
What a cache saves, and what cuDNN adds of its own, is not counted; nor is what the host does.
"""

from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.race import Table
from repro.data.device import Augment, DeviceSplit
from repro.models import build
from repro.models.lrn import LocalResponseNorm, SpatialResponseNorm
from repro.train.optim import PaperSGD
from repro.train.ranks import SINGLE_RANK
from repro.train.steps import SingleStep

__all__ = ["StepTraffic", "arithmetic", "count_inputs", "count_step"]

_COPY = 4.3e12  # bytes a second of an H200, measured on such a card through PyTorch
_IMAGES = 128
_NETS: dict[str, tuple[str, dict[str, str], int, int]] = {
    "AlexNet": ("alexnet_2012", {}, 224, 1000),
    "AlexNet of the authors": ("alexnet_2012", {"preset": "authors_2012"}, 224, 1000),
    "the CIFAR net": ("cifar_80sec", {}, 32, 10),
}
_FORMS = {
    "float32": (torch.float32, False),
    "bfloat16 by autocast": (torch.bfloat16, False),
    "bfloat16 by autocast, the norms' kernel": (torch.bfloat16, True),
}
_NO_LAUNCH = {"aten::_unsafe_view", "aten::empty_like", "aten::empty"}


class StepTraffic(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Launches and bytes by the name of the operation, of tensors on a kind of device."""

    def __init__(self, device: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.device = device
        self.launches, self.moved = Counter[str](), Counter[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name, returns = func._schema.name, func._schema.returns  # noqa: SLF001 - nothing else has it
        is_view = any(r.alias_info is not None and not r.alias_info.is_write for r in returns)
        tensors = {id(t): t for t in tree_leaves((args, kwargs, result)) if isinstance(t, Tensor)}
        there = any(t.device.type == self.device for t in tensors.values())
        if name.startswith("aten::") and not is_view and name not in _NO_LAUNCH and there:
            # A look-up reads as much as it writes, wherever it looks.
            self.add(name, *((result, result) if name == "aten::index" else tensors.values()))
        return result

    def add(self, name: str, *tensors: Tensor) -> None:
        """A launch that moves each tensor once."""
        self.launches[name] += 1
        self.moved[name] += sum(tensor.nbytes for tensor in tensors)


class _Kernel(torch.autograd.Function):
    """The traffic of `repro/models/lrn_kernel.py`: roots are float32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, traffic: StepTraffic) -> Tensor:
        ctx.traffic = traffic
        result, roots = torch.empty_like(x), torch.empty_like(x, dtype=torch.float32)
        ctx.save_for_backward(x, roots)
        traffic.add("the norms' kernel", x, result, roots)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        result = torch.empty_like(gradient)
        ctx.traffic.add("the norms' kernel", gradient, result, *ctx.saved_tensors)
        return result, None


class _KernelNorm(nn.Module):
    def __init__(self, traffic: StepTraffic) -> None:
        super().__init__()
        self.traffic = traffic

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = _Kernel.apply(x, self.traffic)
        return result


def count_step(net: str, *, dtype: torch.dtype, kernel: bool) -> StepTraffic:
    """Forward, backward, update and sums of one step. `kernel`: the norms as on a GPU."""
    name, arguments, side, classes = _NETS[net]
    traffic = StepTraffic("cpu")
    model = build(name, arguments, classes=classes, size=side, initialisation="he", seed=0)
    model.to(memory_format=torch.channels_last)
    with FakeTensorMode(allow_non_fake_inputs=True):
        for module in [*model.modules()]:
            for key, weight in [*module.named_parameters(recurse=False)]:
                module.register_parameter(key, nn.Parameter(torch.empty_like(weight)))
            for key, child in [*module.named_children()]:
                if kernel and isinstance(child, LocalResponseNorm | SpatialResponseNorm):
                    module.register_module(key, _KernelNorm(traffic))
        step = SingleStep(
            model,
            PaperSGD(model, rate=0.1, momentum=0.9, weight_decay=1e-4),
            autocast=lambda: torch.autocast("cpu", dtype, enabled=dtype != torch.float32),
            batch=_IMAGES,
            recorded=False,
        )
        step.begin(range(1))
        images = torch.empty(_IMAGES, 3, side, side).to(memory_format=torch.channels_last)
        batch = images, torch.zeros(_IMAGES, dtype=torch.int64)
        share = SINGLE_RANK.share(torch.arange(_IMAGES))
        step(*batch, share)  # what is made once
        traffic.launches.clear()
        traffic.moved.clear()
        with traffic:
            step(*batch, share)
    return traffic


def count_inputs(*, kernel: bool) -> StepTraffic:
    """From images of 256 pixels to what a step of AlexNet reads: with mirrors and colours."""
    rows = torch.empty(_IMAGES, 256, 256, 3, dtype=torch.uint8, device="meta")
    mean = torch.empty(rows.shape[1:], device="meta")
    split = DeviceSplit(images=rows, labels=mean, mean=mean, scale=mean)
    traffic = StepTraffic("meta")

    def crop(_: DeviceSplit, rows: Tensor, draws: Tensor, __: Augment, size: int) -> Tensor:
        crops = torch.empty(len(rows), 3, size, size, dtype=torch.bfloat16, device="meta")
        traffic.add("the crops' kernel", crops, draws, rows[:, :size, :size])
        return crops

    with traffic:
        inputs = split.random_inputs(
            rows,
            Augment(crop=True, flip=True, components=torch.eye(3)),
            size=224,
            generators=[torch.Generator()],
            crop=crop if kernel else None,
        )
        torch.empty_like(inputs).copy_(inputs)  # into the memory that a recorded step reads
    return traffic


def arithmetic(_device: torch.device, _rounds: int) -> Table:
    """A step in float32, in the precision of a GPU, and with the kernels that a GPU has."""
    rows = [
        _row(f"{net}, {form}", count_step(net, dtype=dtype, kernel=kernel))
        for net in _NETS
        for form, (dtype, kernel) in _FORMS.items()
        if net != "the CIFAR net" or not kernel  # which has no norms
    ] + [
        _row(f"AlexNet's inputs, {form}", count_inputs(kernel=kernel))
        for form, kernel in (("PyTorch's operations", False), ("the crops' kernel, bfloat16", True))
    ]
    return Table(
        title=f"A step of {_IMAGES} images by arithmetic, at {_COPY / 1e12} TB/s",
        columns=("step", "launches", "bytes", "time to move them", "images/s at most"),
        rows=tuple(rows),
    )


def _row(name: str, traffic: StepTraffic) -> tuple[str, ...]:
    moved = traffic.moved.total()
    seconds = moved / _COPY
    return (
        name,
        f"{traffic.launches.total()}",
        f"{moved / 1e9:.2f} GB",
        f"{1e3 * seconds:.2f} ms",
        f"{_IMAGES / seconds:,.0f}",
    )
