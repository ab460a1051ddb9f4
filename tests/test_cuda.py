"""What a GPU would be given, held without one: kernels, devices, launches, words of errors."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from repro.cli import executors
from repro.data.device import Augment, Crop, DeviceSplit, View
from repro.errors import MachineError
from repro.models import build, lrn
from repro.models.conv_local import neighbourhoods
from repro.registry import OWN_MODELS
from repro.train import is_out_of_memory, may_be_out_of_memory, precision
from repro.train.evaluate import evaluate
from repro.train.optim import PaperSGD
from repro.train.ranks import SINGLE_RANK
from repro.train.steps import BatchedStep, SingleStep

CAPABILITIES = (75, 80, 90)  # a T4, an A100, an H200
SIDE = {"alexnet_2012": 224, "cifar_conv_local": 24}


# Kernels, compiled ahead of time


Stages = dict[str, Any]  # by the name of each of Triton's stages


@pytest.fixture
def compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Stages]:
    """Whatever was cached: a kernel for a capability, of types by argument and of constants."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    triton = pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    def compile_kernel(
        kernel: Any, capability: int, types: dict[str, str], fixed: dict[str, Any]
    ) -> Stages:
        source = ASTSource(
            fn=kernel,
            signature={name: types.get(name, "constexpr") for name in kernel.arg_names},
            constexprs={name: fixed[name] for name in fixed if name in kernel.arg_names},
        )
        target = GPUTarget("cuda", capability, 32)
        stages: Stages = triton.compile(
            source, target=target, options={"enable_fp_fusion": True}
        ).asm
        return stages

    return compile_kernel


# Of AlexNet's first and second layer, in bfloat16.
NORMS: dict[str, dict[str, Any]] = {
    "across": {"ALPHA": 1e-4, "GROUPS": 2, "HALF": 2, "REACH": 0, "MAPS": 96, "COLUMNS": 128},
    "spatial": {"ALPHA": 4e-5, "GROUPS": 1, "HALF": 0, "REACH": 2, "MAPS": 256, "COLUMNS": 32},
}


@pytest.fixture
def norm(compiled: Callable[..., Stages]) -> Callable[[str, str, int], Stages]:
    """The kernel of a norm and a way."""

    def compile_norm(name: str, way: str, capability: int) -> Stages:
        from repro.models import lrn_kernel

        kernel = {"forward": lrn_kernel._forward, "backward": lrn_kernel._backward}[way]
        fixed = NORMS[name] | {"K": 2.0, "BETA": 0.75, "WIDE": lrn_kernel.tl.float32}
        fixed["PLACES"] = 1024 // fixed["COLUMNS"]
        types = dict.fromkeys(("x", "y", "gradient", "result"), "*bf16") | {"roots": "*fp32"}
        types |= dict.fromkeys(("places", "height", "width"), "i32")
        return compiled(kernel, capability, types, fixed)

    return compile_norm


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("way", ["forward", "backward"])
@pytest.mark.parametrize("name", NORMS)
def test_the_kernels_of_response_normalisation_compile(
    name: str, way: str, capability: int, norm: Callable[[str, str, int], Stages]
) -> None:
    """To machine code."""
    assert len(norm(name, way, capability)["cubin"]) > 0


@pytest.mark.parametrize("name", NORMS)
def test_the_way_back_of_response_normalisation_takes_no_power(
    name: str, norm: Callable[[str, str, int], Stages]
) -> None:
    """Both powers are products of the root that was kept; the way there takes the root."""
    power = re.compile(r"\b(?:sqrt|rsqrt|ex2|lg2|rcp|div)\.[a-z.]*f32")

    assert power.search(norm(name, "forward", 80)["ptx"])
    assert not power.search(norm(name, "backward", 80)["ptx"])


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
def test_the_kernel_of_crops_compiles(
    dtype: str, capability: int, compiled: Callable[..., Stages]
) -> None:
    """To machine code, which adds and multiplies one after the other: no rounding is left out."""
    from repro.data.device import crop_kernel

    types = dict.fromkeys(("draws", "mean", "scale"), "*fp32")
    types |= {
        "rows": "*u8",
        "crops": f"*{dtype}",
        "shrink": "fp32",
        "height": "i32",
        "width": "i32",
    }
    fixed = {"PADDING": 4, "SIZE": 224, "TILE": 1024}
    stages = compiled(crop_kernel._crop, capability, types, fixed)

    assert len(stages["cubin"]) > 0
    assert "fma.rn.f32" not in stages["ptx"]


# Devices, by tensors that know theirs and hold nothing


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tensors "on" a GPU that is not there; without the kernel, which wants a real one."""
    if torch.version.cuda is None:
        pytest.skip("a PyTorch for CPUs alone")
    monkeypatch.setattr(lrn, "_kernel", lambda _: None)
    monkeypatch.setattr(Tensor, "pin_memory", lambda own: own)
    with FakeTensorMode():
        yield


def on_gpu(net: nn.Module) -> nn.Module:
    """The net with fake weights there."""
    for module in net.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                module._parameters[name] = nn.Parameter(torch.empty(weight.shape, device="cuda"))
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.empty(buffer.shape, device="cuda")
    return net


@pytest.fixture(scope="module")
def nets() -> dict[str, nn.Module]:
    return {
        name: build(name, {}, classes=10, size=SIDE.get(name, 32), initialisation="he", seed=0)
        for name in OWN_MODELS
    }


def split_on_gpu(side: int, images: int = 8) -> DeviceSplit:
    return DeviceSplit(
        images=torch.empty(images, side, side, 3, dtype=torch.uint8, device="cuda"),
        labels=torch.empty(images, dtype=torch.int64, device="cuda"),
        mean=torch.empty(side, side, 3, device="cuda"),
        scale=torch.empty(side, side, 3, device="cuda"),
    )


@pytest.mark.parametrize("name", OWN_MODELS)
@pytest.mark.usefixtures("fake")
def test_a_net_on_a_gpu_meets_no_tensor_of_the_cpu(name: str, nets: dict[str, nn.Module]) -> None:
    """From stored images to logits; evaluation goes on until it asks for a number."""
    side = SIDE.get(name, 32)
    net, split = on_gpu(nets[name]), split_on_gpu(side)
    view = View(top=0, left=0, size=side)
    inputs = split.inputs(split.images, view)  # type: ignore[arg-type]
    logits = net(inputs)

    assert logits.shape == (8, 10)
    assert logits.device.type == "cuda"
    # Fake tensors hold no numbers: all that is computed before one is asked for has gone well.
    with pytest.raises(DataDependentOutputException):
        evaluate(net, split, view, autocast=lambda: torch.autocast("cuda", enabled=False))


def cropped(nets: int, crop: Crop | None = None) -> Tensor:
    """Inputs of so many runs, each with a generator of its own."""
    split = split_on_gpu(40, 8 * nets)
    augment = Augment(crop=True, flip=True, components=torch.empty(3, 3))
    generators = [torch.Generator() for _ in range(nets)]
    return split.random_inputs(split.images, augment, size=32, generators=generators, crop=crop)  # type: ignore[arg-type]


@pytest.mark.usefixtures("fake")
def test_crops_mirrors_and_colours_are_used_on_the_gpu() -> None:
    """Drawn on the host, for two runs together."""
    inputs = cropped(2)

    assert inputs.shape == (16, 3, 32, 32)
    assert inputs.device.type == "cuda"


# Launches: operations that are no views, each a kernel or more on a GPU


class Launches(TorchDispatchMode):
    """Counts them, by name; those on the `device`, or all."""

    def __init__(self, device: str | None = None) -> None:
        super().__init__()
        self.counts, self.device = Counter[str](), device

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        returns = func._schema.returns
        view = any(r.alias_info is not None and not r.alias_info.is_write for r in returns)
        result = func(*args, **(kwargs or {}))
        tensors = [t for t in tree_leaves((args, kwargs, result)) if isinstance(t, Tensor)]
        if not view and (self.device is None or any(t.device.type == self.device for t in tensors)):
            self.counts[func._schema.name] += func._schema.name != "aten::_unsafe_view"
        return result


def batch(name: str, nets: int = 1) -> tuple[Tensor, Tensor]:
    side = 64 if name == "alexnet_2012" else SIDE.get(name, 32)
    images = torch.zeros(4 * nets, 3, side, side).to(memory_format=torch.channels_last)
    return images, torch.zeros(4 * nets, dtype=torch.int64)


def small(name: str, count: int = 1) -> tuple[list[nn.Module], list[PaperSGD]]:
    arguments = {"width": 0.05, "preset": "authors_2012"} if name == "alexnet_2012" else {}
    side = batch(name)[0].shape[2]
    models = [
        build(name, arguments, classes=10, size=side, initialisation="he", seed=seed).to(
            memory_format=torch.channels_last
        )
        for seed in range(count)
    ]
    return models, [PaperSGD(m, rate=0.1, momentum=0.9, weight_decay=1e-4) for m in models]


def no_autocast() -> torch.autocast:
    return torch.autocast("cpu", enabled=False)


# As counted; more is a step that costs more on a GPU, and fewer are to be written down here.
STEPS = {"cifar_80sec": 83, "cifar_19pct": 70, "cifar_conv_local": 171, "alexnet_2012": 171}
TOGETHER = {"cifar_80sec": 93, "alexnet_2012": 188}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_launches_no_more_than_it_did(name: str) -> None:
    """Forward, backward, update and sums of one net."""
    (model,), (optimizer,) = small(name)
    step = SingleStep(model, optimizer, autocast=no_autocast, batch=4, recorded=False)

    assert launched(step, name) <= STEPS[name]


@pytest.mark.parametrize("name", TOGETHER)
def test_a_step_of_many_nets_launches_as_much_as_one_of_two(name: str) -> None:
    """But for what is drawn for each."""
    steps = [BatchedStep(*small(name, count), autocast=no_autocast, batch=4) for count in (2, 5)]
    two, five = (launched(step, name, len(step.models)) for step in steps)

    assert five - two <= 3 * 2 * len(steps[0].noise.layers)
    assert two <= TOGETHER[name]


def launched(step: SingleStep | BatchedStep, name: str, nets: int = 1) -> int:
    step.begin(range(nets))
    share = SINGLE_RANK.share(torch.arange(4 * nets))
    step(*batch(name, nets), share)  # what is made once
    with Launches() as launches:
        step(*batch(name, nets), share)
    return launches.counts.total()


@pytest.mark.usefixtures("fake")
def test_launches_for_crops_do_not_grow_with_nets() -> None:
    """What is drawn comes in one copy, which is all that the kernel needs."""
    counts = []
    for nets, crop in ((2, None), (26, None), (2, lambda *_: None)):
        with Launches("cuda") as launches:
            cropped(nets, crop)  # type: ignore[arg-type]
        del launches.counts["aten::empty"]  # of the images
        counts.append(launches.counts)

    assert counts[0] == counts[1]
    assert counts[0].total() > 15
    assert counts[2] == {"aten::_to_copy": 1}


# What is said of a GPU, and how it is understood

MEMORY = (
    "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
    "CUDA driver error: out of memory",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "Triton Error [CUDA]: out of memory",
    "NCCL error: unhandled cuda error\nLast error:\nCuda failure 2 'out of memory'",
)
UNCLEAR = (
    "GET was unable to find an engine to execute this computation",
    "FIND was unable to find an engine to execute this computation",
    "Unable to find a valid cuDNN algorithm to run convolution",
    "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
    "cuDNN error: CUDNN_STATUS_NOT_INITIALIZED",
)
OTHER = (
    "CUDA error: device-side assert triggered",
    "CUDA error: an illegal memory access was encountered",
    "CUDA error: unspecified launch failure",
    "cuDNN error: CUDNN_STATUS_BAD_PARAM",
    "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED",
    "mat1 and mat2 shapes cannot be multiplied (4x3 and 2x5)",
)


@pytest.mark.parametrize("message", [*MEMORY, *UNCLEAR, *OTHER])
def test_want_of_memory_is_known_by_what_libraries_say(message: str) -> None:
    """As they say it; what may mean that there is no way at all is neither one nor the other."""
    error = RuntimeError(message)

    assert is_out_of_memory(error) == (message in MEMORY)
    assert may_be_out_of_memory(error) == (message in UNCLEAR)


def test_the_allocators_own_error_needs_no_words() -> None:
    """Whatever it says."""
    assert is_out_of_memory(torch.OutOfMemoryError("any"))


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A T4, as far as it is asked."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Tesla T4")
    precision.multiplies_bfloat16.cache_clear()
    yield
    precision.multiplies_bfloat16.cache_clear()


@pytest.mark.usefixtures("card")
def test_a_card_without_bfloat16_multiplies_rounded_factors() -> None:
    """It is said once, and stands in the provenance of each result."""
    device = torch.device("cuda")
    with pytest.warns(UserWarning, match="Tesla T4 has no bfloat16: factors are rounded"):
        assert not precision.multiplies_bfloat16(device)

    assert precision.kernels(device).endswith("bfloat16 by rounding")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nine_slices_are_what_unfold_makes(dtype: torch.dtype) -> None:
    """And the gradients, to the bit."""
    x, weight = torch.randn(3, 4, 6, 5).to(dtype), torch.randn(3, 36, 30).to(dtype)
    one, two = x.clone().requires_grad_(), x.clone().requires_grad_()
    (neighbourhoods(one) * weight).sum().backward()  # type: ignore[no-untyped-call]
    (F.unfold(two, 3, padding=1) * weight).sum().backward()

    assert torch.equal(neighbourhoods(x), F.unfold(x, 3, padding=1))
    assert one.grad is not None
    assert two.grad is not None
    assert torch.equal(one.grad, two.grad)


@pytest.mark.usefixtures("fake")
def test_launches_of_unshared_weights_do_not_grow_with_images() -> None:
    """On a GPU `F.unfold` goes from image to image."""
    counts = []
    for images in (2, 200):
        with Launches() as launches:
            neighbourhoods(torch.empty(images, 4, 6, 6, device="cuda"))
        counts.append(launches.counts)

    assert counts[0] == counts[1]
    assert not any("im2col" in name for name in counts[0])


@pytest.fixture
def two_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")


@pytest.mark.usefixtures("two_cards")
def test_each_process_of_torchrun_has_a_card_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its rank on this machine; more processes than cards are refused before anything begins."""
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert executors._own_card("cuda") == "cuda:1"
    with pytest.raises(MachineError, match="'cuda:0' is one GPU, and torchrun started 2"):
        executors._own_card("cuda:0")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    with pytest.raises(MachineError, match="3 processes on this machine, which has 2 GPUs"):
        executors._own_card("cuda")
