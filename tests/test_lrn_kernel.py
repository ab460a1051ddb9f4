"""The GPU's kernel for response normalisation, run on the CPU by Triton's interpreter."""

from collections.abc import Iterator
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from repro.models import lrn
from repro.models.lrn import LocalResponseNorm, SpatialResponseNorm
from tests.interpreted import interpreted
from tests.test_lrn import CASES, maps, ours, printed

pytest.importorskip("triton")

CPU = torch.device("cpu")


@pytest.fixture
def kernel() -> Iterator[ModuleType]:
    with interpreted("repro.models.lrn_kernel") as module:
        lrn._kernel.cache_clear()
        yield module
        lrn._kernel.cache_clear()


def of(case: dict[str, float], kernel: ModuleType, x: Tensor) -> Tensor:
    fields = {**case, "size": case["n"]}
    del fields["n"]
    result: Tensor = kernel.normalise(x, **fields)
    return result


@pytest.mark.parametrize("case", CASES)
def test_the_kernel_is_the_printed_formula(case: dict[str, float], kernel: ModuleType) -> None:
    """In double precision; maps of 3 x 4 places do not fill its tiles."""
    torch.testing.assert_close(of(case, kernel, maps()), printed(maps(), **case))  # type: ignore[arg-type]


@pytest.mark.parametrize("case", CASES)
def test_its_gradients_are_those_of_the_formula(case: dict[str, float], kernel: ModuleType) -> None:
    """Against those of the portable form, which finite differences hold."""
    gradient = maps().flip(0)
    one, two = maps().requires_grad_(), maps().requires_grad_()
    of(case, kernel, one).backward(gradient)  # type: ignore[no-untyped-call]
    ours(case).double()(two).backward(gradient)

    assert one.grad is not None
    torch.testing.assert_close(one.grad, two.grad)


def test_half_precision_is_summed_in_single_by_the_kernel(kernel: ModuleType) -> None:
    """Squares of raw activations overflow 16 bits of float; the output keeps its type."""
    x = (1000 * maps(torch.float32)).bfloat16()
    result = of(CASES[0], kernel, x)

    assert result.dtype == torch.bfloat16
    assert result.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(result, ours(CASES[0])(x), rtol=1e-2, atol=0)


def test_as_many_maps_as_are_no_power_of_two(kernel: ModuleType) -> None:
    """The first layer's 96, cut in two."""
    x = torch.randn(2, 96, 5, 5, generator=torch.Generator().manual_seed(1))
    expected = LocalResponseNorm(96, groups=2, alpha=0.1)(x)

    torch.testing.assert_close(
        kernel.normalise(x, size=5, groups=2, k=2.0, alpha=0.1, beta=0.75), expected
    )


# Height, width, maps (of which a program holds 32), and side of the window, which may be wider.
IMAGES = [(7, 5, 3, 5), (1, 9, 40, 3), (6, 13, 33, 5), (2, 2, 1, 7)]


def places(image: tuple[int, int, int, int], dtype: torch.dtype = torch.float64) -> Tensor:
    """Two images of that size, with signs and a wide range."""
    height, width, count, _ = image
    generator = torch.Generator().manual_seed(2)
    return 10 * torch.randn(2, count, height, width, generator=generator, dtype=dtype)


@pytest.fixture
def on_kernel(kernel: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers take it, as on a GPU."""
    monkeypatch.setattr(lrn, "_kernel_for", lambda _: kernel.normalise)


def outputs_and_gradients(layer: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    result = layer(x)
    result.backward(torch.linspace(-1, 2, x.numel(), dtype=x.dtype).view_as(x))
    assert x.grad is not None
    return result.detach(), x.grad


@pytest.mark.parametrize(
    "layer",
    [
        SpatialResponseNorm(size=5, alpha=0.5),
        SpatialResponseNorm(size=3, alpha=0.2, beta=0.6, k=2.0),
        LocalResponseNorm(8, groups=2, convention="mean", alpha=0.5),
    ],
    ids=repr,
)
def test_layers_compute_on_the_kernel_what_they_compute_without(
    layer: nn.Module, request: pytest.FixtureRequest
) -> None:
    """Forward and backward, in double precision."""
    expected = outputs_and_gradients(layer, maps())
    request.getfixturevalue("on_kernel")

    torch.testing.assert_close(outputs_and_gradients(layer, maps()), expected)


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("image", IMAGES)
def test_the_window_ends_at_the_edges_of_its_image(
    image: tuple[int, int, int, int],
    dtype: torch.dtype,
    rtol: float,
    request: pytest.FixtureRequest,
) -> None:
    """Whatever the sizes; the other image is no neighbour. Held against double precision."""
    layer = SpatialResponseNorm(size=image[3], alpha=0.3)
    x = places(image, dtype)
    expected = outputs_and_gradients(layer, x.double())
    request.getfixturevalue("on_kernel")
    results = outputs_and_gradients(layer, x)

    for result, wide in zip(results, expected, strict=True):
        assert result.dtype == dtype
        torch.testing.assert_close(
            result.double(), wide, rtol=rtol, atol=rtol * float(wide.abs().max()) / 10
        )


def test_the_kernel_is_used_where_it_starts(kernel: ModuleType) -> None:
    """Tried once, on the smallest tensor."""
    assert lrn._kernel(CPU) is kernel.normalise


def test_a_kernel_that_cannot_be_started_is_done_without(
    kernel: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Triton builds its first part with the machine's C compiler, which may be missing."""

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("Failed to find C compiler")

    monkeypatch.setattr(kernel, "normalise", broken)
    with pytest.warns(UserWarning, match="slowly on the GPU: .*Failed to find C compiler"):
        assert lrn._kernel(CPU) is None
