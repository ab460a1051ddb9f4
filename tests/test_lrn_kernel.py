"""The GPU's kernel for response normalisation, run on the CPU by Triton's interpreter."""

import sys
from collections.abc import Iterator
from types import ModuleType

import pytest
import torch
from torch import Tensor

from repro.models import lrn
from repro.models.lrn import LocalResponseNorm
from tests.test_lrn import CASES, maps, ours, printed

pytest.importorskip("triton")

CPU = torch.device("cpu")


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Imported anew: whether a kernel is interpreted is decided when it is defined."""
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.delitem(sys.modules, "repro.models.lrn_kernel", raising=False)
    import repro.models.lrn_kernel as module

    lrn._kernel.cache_clear()
    yield module
    lrn._kernel.cache_clear()
    del sys.modules["repro.models.lrn_kernel"]
    del sys.modules["repro.models"].lrn_kernel  # by which `from repro.models import` would find it


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
