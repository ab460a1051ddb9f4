"""Low precision gives the same numbers, whatever the processor has instructions for."""

from collections.abc import Callable, Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from repro.models import alexnet_2012
from repro.train import precision
from repro.train.precision import RoundedProducts, autocast

CPU = torch.device("cpu")
Product = Callable[[Tensor, Tensor], Tensor]

# Each takes (2, 6, 4) and (2, 4, 3), or what it makes of them.
PRODUCTS: dict[str, Product] = {
    "matmul": torch.matmul,
    "operator": lambda a, b: a @ b,
    "method": lambda a, b: a.matmul(b),
    "mm": lambda a, b: torch.mm(a[0], b[0]),
    "bmm": torch.bmm,
    "baddbmm": lambda a, b: torch.baddbmm(a[:, :1, :3], a, b),
    "linear": lambda a, b: F.linear(a, b[0].mT, bias=b[1, 0]),
    # One image, no place twice: without oneDNN PyTorch rounds gradients as it goes along both.
    "conv2d": lambda a, b: F.conv2d(a[:1, None], b[:1, None, :2], b[1, 0, :1], stride=(4, 2)),
}


@pytest.fixture
def without_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda _: False)


def with_gradients(product: Product, a: Tensor, b: Tensor) -> Iterator[Tensor]:
    """The result, and the gradients of a sum of it with whole weights."""
    a, b = a.clone().requires_grad_(), b.clone().requires_grad_()
    result = product(a, b)
    weights = torch.arange(result.numel()).remainder(5) - 2.0
    torch.autograd.backward(result.float().flatten() @ weights)
    yield from (result, *(each.grad for each in (a, b) if each.grad is not None))


@pytest.mark.parametrize("name", PRODUCTS)
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_where_sums_are_exact_the_bits_are_autocasts(name: str, data: st.DataObject) -> None:
    """Whole numbers: no order of summation can tell the two apart, roundings would."""
    draw = st.integers(-600, 600)  # beyond 256 bfloat16 has no longer every one of them
    a, b = (
        torch.tensor(data.draw(st.lists(draw, min_size=n, max_size=n)), dtype=torch.float32)
        for n in (48, 24)
    )
    a, b = a.view(2, 6, 4), b.view(2, 4, 3)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected = list(with_gradients(PRODUCTS[name], a, b))
        with RoundedProducts():
            found = list(with_gradients(PRODUCTS[name], a, b))

    assert found[0].dtype == torch.bfloat16
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.usefixtures("without_instructions")
def test_a_net_gives_what_it_gives_elsewhere() -> None:
    """AlexNet's outputs and gradients, its norms in float32 as ever, within bfloat16's steps."""
    torch.manual_seed(0)
    net = alexnet_2012(preset="authors_2012", width=0.125, img_size=32, num_classes=10).eval()
    x, labels = torch.randn(8, 3, 32, 32), torch.arange(8)

    def run() -> list[Tensor]:
        net.zero_grad()
        with autocast(CPU, "bfloat16"):
            loss = F.cross_entropy(net(x).float(), labels)
        torch.autograd.backward(loss)
        return [loss.detach(), *(p.grad for p in net.parameters() if p.grad is not None)]

    found = run()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precision, "multiplies_bfloat16", lambda _: True)
        expected = run()

    assert len(found) == 17  # the loss; weights and biases of eight layers
    for one, other in zip(found, expected, strict=True):
        step = 2.0**-7 * other.abs().max().item()
        torch.testing.assert_close(one, other, rtol=0, atol=2 * step)


@pytest.mark.usefixtures("without_instructions")
def test_float32_is_left_alone() -> None:
    """In a recipe of float32, and where a module turns autocast off, as response norms do."""
    layer, x = nn.Linear(64, 64), torch.randn(16, 64)
    plain = layer(x)

    with autocast(CPU, "float32"):
        assert torch.equal(layer(x), plain)
    with autocast(CPU, "bfloat16"):
        assert not torch.equal(layer(x).float(), plain)
        with torch.autocast("cpu", enabled=False):
            assert torch.equal(layer(x), plain)


@pytest.mark.usefixtures("without_instructions")
def test_factors_of_float64_come_out_as_autocast_gives_them() -> None:
    """Autocast leaves float64 as it is."""
    x = torch.randn(4, 4, dtype=torch.float64)
    with autocast(CPU, "bfloat16"):
        assert (x @ x).dtype == torch.float64


def test_float32_is_not_shortened_on_a_gpu() -> None:
    """TF32 has ten bits, and no result would say so."""
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
