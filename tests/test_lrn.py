"""Response normalisation against the sum of sec. 3.3 written out."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repro.models.lrn import ConstantScale, LocalResponseNorm, SpatialResponseNorm


def printed(a: Tensor, *, n: int, alpha: float, beta: float, k: float, groups: int) -> Tensor:
    """The paper's formula, map by map: a (N, C, H, W) float64."""
    total = a.shape[1] // groups
    b = torch.empty_like(a)
    for i in range(a.shape[1]):
        first = i // total * total
        low = max(first, i - n // 2)
        high = min(first + total - 1, i + n // 2)
        squares = sum((a[:, j] ** 2 for j in range(low, high + 1)), torch.zeros_like(a[:, 0]))
        b[:, i] = a[:, i] / (k + alpha * squares) ** beta
    return b


def maps(dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 8, 3, 4, generator=generator, dtype=torch.float64).to(dtype)


CASES = [
    {"n": 5, "alpha": 1e-4, "beta": 0.75, "k": 2.0, "groups": 1},
    {"n": 5, "alpha": 0.5, "beta": 0.75, "k": 2.0, "groups": 2},
    {"n": 9, "alpha": 0.3, "beta": 0.6, "k": 1.0, "groups": 1},
    {"n": 1, "alpha": 0.3, "beta": 0.75, "k": 1.0, "groups": 4},
]


def ours(case: dict[str, float], convention: str = "sum") -> LocalResponseNorm:
    fields = {**case, "size": case["n"]}
    del fields["n"]
    return LocalResponseNorm(8, convention=convention, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("case", CASES)
def test_it_is_the_printed_formula(case: dict[str, float]) -> None:
    """In double precision, to the last digits; both memory formats."""
    expected = printed(maps(), **case)  # type: ignore[arg-type]
    wide = ours(case).double()

    torch.testing.assert_close(wide(maps()), expected)
    torch.testing.assert_close(wide(maps().to(memory_format=torch.channels_last)), expected)


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_those_of_the_formula(case: dict[str, float]) -> None:
    """Against finite differences."""
    assert torch.autograd.gradcheck(ours(case).double(), maps().requires_grad_())


def test_the_authors_divide_alpha_by_n_as_pytorch_does() -> None:
    """nn.LocalResponseNorm(5, 1e-4, 0.75, 2) is their code; the paper's needs alpha 5e-4."""
    x = 100 * maps(torch.float32)
    case = CASES[0]

    torch.testing.assert_close(ours(case, "mean")(x), nn.LocalResponseNorm(5, 1e-4, 0.75, 2.0)(x))
    torch.testing.assert_close(ours(case)(x), nn.LocalResponseNorm(5, 5e-4, 0.75, 2.0)(x))


def test_half_precision_is_summed_in_single() -> None:
    """Squares of raw activations overflow 16 bits of float; the output keeps its type."""
    x = 1000 * maps(torch.float32)
    narrow = x.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = ours(CASES[0])(narrow)

    assert result.dtype == torch.bfloat16
    torch.testing.assert_close(result, ours(CASES[0])(narrow.float()).bfloat16())


def test_an_even_window_is_refused() -> None:
    """It has no middle map."""
    with pytest.raises(ValueError, match="size 4 is even"):
        LocalResponseNorm(8, size=4)
    with pytest.raises(ValueError, match="size 4 is even"):
        SpatialResponseNorm(size=4)


def test_silent_maps_are_scaled_by_the_constant() -> None:
    """The control of the claim on LRN: the scale without the normalisation."""
    x = 1e-6 * maps(torch.float32)

    torch.testing.assert_close(ConstantScale()(x), LocalResponseNorm(8)(x))


def test_the_spatial_norm_looks_at_one_map_alone() -> None:
    """X / (k + alpha * mean over the window)^beta, zeros beyond the edge."""
    x = maps(torch.float32)
    mean = F.conv2d((x * x).flatten(0, 1)[:, None], torch.full((1, 1, 5, 5), 1 / 25), padding=2)
    expected = x / (1 + 0.5 * mean.reshape(x.shape)) ** 0.75

    torch.testing.assert_close(SpatialResponseNorm(alpha=0.5)(x), expected)


def test_the_spatial_norm_has_a_gradient() -> None:
    """It is differentiated automatically."""
    assert torch.autograd.gradcheck(SpatialResponseNorm(alpha=0.5), maps().requires_grad_())
