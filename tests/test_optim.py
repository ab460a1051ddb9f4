"""The paper's update rule against a loop written from its equation."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import nn

from repro.train.optim import PaperSGD, rate_at, stalls


def paper_loop(
    w: torch.Tensor, gradients: list[torch.Tensor], rates: list[float], decay: float
) -> torch.Tensor:
    """Section 5, literally: v <- 0.9 v - decay eps w - eps g; w <- w + v."""
    v = torch.zeros_like(w)
    for g, eps in zip(gradients, rates, strict=True):
        v = 0.9 * v - decay * eps * w - eps * g
        w = w + v
    return w


class OneWeight(nn.Module):
    def __init__(self, w: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(w.clone())
        self.bias = nn.Parameter(torch.zeros(2, dtype=w.dtype))


@settings(max_examples=25, deadline=None)
@given(
    drop=st.integers(1, 9),
    decay=st.sampled_from([0.0, 5e-4]),
    seed=st.integers(0, 2**20),
)
def test_velocity_survives_a_rate_drop_as_in_the_paper(drop: int, decay: float, seed: int) -> None:
    """The old velocity keeps its old size after the rate is divided by ten."""
    generator = torch.Generator().manual_seed(seed)
    w = torch.randn(4, generator=generator, dtype=torch.float64)
    gradients = [torch.randn(4, generator=generator, dtype=torch.float64) for _ in range(10)]
    rates = [0.01 if step < drop else 0.001 for step in range(10)]
    model = OneWeight(w)
    optimizer = PaperSGD(model, rate=0.01, momentum=0.9, weight_decay=decay)

    for gradient, rate in zip(gradients, rates, strict=True):
        optimizer.set_rate(rate)
        model.weight.grad = gradient.clone()
        optimizer.step()

    torch.testing.assert_close(
        model.weight.data, paper_loop(w, gradients, rates, decay), rtol=1e-12, atol=1e-14
    )


def test_biases_learn_faster_and_are_not_decayed() -> None:
    """The authors' files: weight rate .001, bias rate .002, and no decay of biases."""
    model = OneWeight(torch.zeros(2))
    model.bias.data.fill_(1.0)
    optimizer = PaperSGD(model, rate=0.1, momentum=0.0, weight_decay=0.5, bias_rate=2.0)
    model.weight.grad = torch.ones(2)
    model.bias.grad = torch.ones(2)
    optimizer.step()

    assert model.weight.tolist() == pytest.approx([-0.1, -0.1])
    assert model.bias.tolist() == pytest.approx([0.8, 0.8])


def test_biases_are_decayed_when_asked() -> None:
    """`decay_biases` is the paper's text read literally."""
    model = OneWeight(torch.zeros(2))
    model.bias.data.fill_(1.0)
    optimizer = PaperSGD(model, rate=0.1, momentum=0.0, weight_decay=0.5, decay_biases=True)
    model.weight.grad = torch.zeros(2)
    model.bias.grad = torch.zeros(2)
    optimizer.step()

    assert model.bias.tolist() == pytest.approx([0.95, 0.95])


@pytest.mark.parametrize(
    ("epoch", "expected"), [(0.0, 0.01), (7.9, 0.01), (8.0, 0.001), (20.0, 0.0001)]
)
def test_rate_is_divided_by_ten_at_each_drop(epoch: float, expected: float) -> None:
    """The drop counts from its epoch on."""
    assert rate_at(epoch, rate=0.01, drops=(8.0, 12.0)) == pytest.approx(expected)


def test_the_rate_falls_when_the_error_stalls_three_times_at_most() -> None:
    """Sec. 5: divided by ten when the validation error stopped improving."""
    errors = [0.9, 0.8, 0.8, 0.85, 0.7, 0.7, 0.7]

    assert [stalls(errors[:n], patience=2) for n in range(8)] == [0, 0, 0, 0, 1, 1, 1, 2]
    assert rate_at(7.0, rate=0.01, stalled=2) == pytest.approx(1e-4)
    assert rate_at(99.0, rate=0.01, stalled=9) == pytest.approx(1e-5)


def test_layers_have_a_decay_of_their_own() -> None:
    """As in the authors' CIFAR files; a name that no layer has is an error."""
    net = nn.Sequential()
    net.conv1, net.fc10 = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)
    optimizer = PaperSGD(
        net, rate=0.1, momentum=0.9, weight_decay=0.0, layer_decay={"fc10": 0.01}, bias_rate=2.0
    )
    found = {
        id(p): (group.rate, group.weight_decay)
        for group in optimizer.groups
        for p in group.parameters
    }

    assert found[id(net.conv1.weight)] == (0.1, 0.0)
    assert found[id(net.fc10.weight)] == (0.1, 0.01)
    assert found[id(net.fc10.bias)] == (0.2, 0.0)
    with pytest.raises(ValueError, match="no layer fc11"):
        PaperSGD(net, rate=0.1, momentum=0.9, weight_decay=0.0, layer_decay={"fc11": 0.1})
