"""The paper's update rule against a loop written from its equation."""

import inspect
import math
from itertools import pairwise

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import nn

from repro.claim import Recipe, Schedule
from repro.registry import OPTIMISERS, OWN_SCHEDULES
from repro.train.optim import PaperSGD, optimizer_for
from repro.train.schedule import rate_at, scheduled_rate, stalls
from tests.worlds import RECIPE, planned


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
    assert rate_at(7.0, rate=0.01, plateaus=2) == pytest.approx(1e-4)
    assert rate_at(99.0, rate=0.01, plateaus=9) == pytest.approx(1e-5)


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


# torch's schedulers, which count epochs one by one, beside the same in a recipe.
TORCHS = [
    ({"name": "constant"}, lambda own: torch.optim.lr_scheduler.ConstantLR(own, 1.0)),
    (
        {"name": "cosine", "epochs": 20.0, "eta_min": 0.01},
        lambda own: torch.optim.lr_scheduler.CosineAnnealingLR(own, 20, eta_min=0.01),
    ),
    (
        {"name": "polynomial", "epochs": 20.0, "power": 2.0},
        lambda own: torch.optim.lr_scheduler.PolynomialLR(own, 20, power=2.0),
    ),
    (
        {"name": "multi_step", "milestones": (5.0, 12.0), "gamma": 0.3},
        lambda own: torch.optim.lr_scheduler.MultiStepLR(own, [5, 12], gamma=0.3),
    ),
    (
        {"name": "step", "step_size": 6.0},
        lambda own: torch.optim.lr_scheduler.StepLR(own, 6, gamma=0.1),
    ),
]


@pytest.mark.parametrize(("keys", "torchs"), TORCHS)
def test_schedules_are_torchs(keys: dict[str, object], torchs: object) -> None:
    """At whole epochs, where torch has them; those of the table and no others."""
    trial = planned(RECIPE, schedule=Schedule(**keys))
    own = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=trial.rate)
    theirs = torchs(own)
    for epoch in range(20):
        assert scheduled_rate(trial, epoch) == pytest.approx(own.param_groups[0]["lr"], rel=1e-6)
        own.step()
        theirs.step()


def test_every_schedule_is_compared_with_torchs() -> None:
    """None is left out above."""
    assert {keys["name"] for keys, _ in TORCHS} == OWN_SCHEDULES.keys()


@pytest.mark.parametrize("keys", [keys for keys, _ in TORCHS])
def test_a_warm_up_grows_linearly_from_zero_and_no_rate_is_zero(keys: dict[str, object]) -> None:
    """Over its epochs; cosines and lines begin after it, milestones count it."""
    cold = planned(RECIPE, schedule=Schedule(**keys))
    warm = planned(RECIPE, schedule=Schedule(**keys, warmup=4.0))
    rates = [scheduled_rate(warm, epoch / 10) for epoch in range(41)]
    steps = [after - before for before, after in pairwise(rates)]

    assert rates[0] == pytest.approx(0, abs=1e-9)
    assert steps == pytest.approx([cold.rate / 40] * 40)
    assert all(scheduled_rate(warm, epoch) > 0 for epoch in (0.0, 19.95, 20.0, 99.0))
    if "epochs" in keys:
        assert scheduled_rate(warm, 12.0) == pytest.approx(scheduled_rate(cold, 10.0))
    else:
        assert scheduled_rate(warm, 13.0) == pytest.approx(scheduled_rate(cold, 13.0))


@pytest.mark.parametrize("name", sorted(OPTIMISERS.keys() - {"sgd"}))
def test_arguments_of_optimisers_are_torchs(name: str) -> None:
    """With torch's defaults; all but what the recipe and the harness say."""
    facts = OPTIMISERS[name]
    theirs = inspect.signature(getattr(torch.optim, facts.builder)).parameters.values()
    ours = {"params", "lr", "weight_decay"} | {
        *("foreach", "fused", "maximize", "capturable", "differentiable")
    }
    known = {each.name: each.default for each in theirs if each.name not in ours}
    known.pop("decoupled_weight_decay", None) if name == "adam" else None  # which is AdamW

    assert facts.arguments == known


@pytest.mark.parametrize("name", ["adamw", "timm:lamb"])
def test_an_optimiser_is_the_librarys_own_with_the_recipes_groups(name: str) -> None:
    """Rates, biases and decay as for sgd; a library's weight decay is never its default."""
    recipe = RECIPE.model_copy(update={"bias_rate": 2.0})
    changes = {"optimiser": {"name": name, "arguments": {"betas": (0.5, 0.9)}}}
    trial = planned(Recipe.model_validate(recipe.model_dump() | changes))
    optimizer = optimizer_for(OneWeight(torch.ones(2)), trial)
    optimizer.set_rate(0.5)
    groups = optimizer.optimizer.param_groups

    assert [group["lr"] for group in groups] == [0.5, 1.0]
    assert [group["weight_decay"] for group in groups] == [0.0, 0.0]
    assert {group["betas"] for group in groups} == {(0.5, 0.9)}


def test_adamw_takes_the_step_that_it_is_known_for() -> None:
    """The first is the rate times the gradient's sign, after a decay by rate times weight decay."""
    changes = {"optimiser": "adamw", "weight_decay": 0.1}
    trial = planned(Recipe.model_validate(RECIPE.model_dump() | changes))
    model = OneWeight(torch.tensor([1.0, -1.0]))
    model.weight.grad = torch.tensor([3.0, 0.5])
    optimizer_for(model, trial).step()
    decayed = 1 - trial.rate * 0.1

    assert model.weight.tolist() == pytest.approx([decayed - trial.rate, -decayed - trial.rate])


def test_nesterov_looks_ahead() -> None:
    """Torch's own: the gradient and the momentum times the new velocity."""
    model = OneWeight(torch.zeros(2, dtype=torch.float64))
    optimizer = PaperSGD(model, rate=0.1, momentum=0.9, weight_decay=0.0, nesterov=True)
    model.weight.grad = torch.ones(2, dtype=torch.float64)
    optimizer.step()

    assert model.weight.tolist() == pytest.approx([-0.19, -0.19])
    assert math.isclose(optimizer.velocity[model.weight][0].item(), 1.0)
