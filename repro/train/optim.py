"""The paper's update rule (Krizhevsky 2012, sec. 5).

v <- 0.9 v - 0.0005 eps w - eps dL/dw;  w <- w + v

The rate eps stands inside the velocity, so the old velocity keeps its old size when the rate
drops. PyTorch keeps the rate outside (w <- w - eps v): equal at a constant rate, different right
after a drop, unless the buffers are rescaled as `set_rate` does.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd

from repro.registry import OPTIMISERS
from repro.trial import Trial


@dataclass(kw_only=True, slots=True)
class Group:
    """Parameters of one rate, `scale` times the net's, and of one weight decay."""

    parameters: list[nn.Parameter]
    scale: float
    rate: float
    weight_decay: float


class PaperSGD:
    """SGD with the rate inside the velocity; biases learn `bias_rate` times faster.

    `decay_biases`: the authors' code leaves biases out of weight decay; the paper does not say.
    `layer_decay`: weight decay of layers by the last part of their name, in place of
    `weight_decay`. Raises ValueError for a layer that the net does not have.

    It is PyTorch's own update without its class, which imports a compiler when it is made: that
    takes longer than everything else between `import torch` and the first step.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        rate: float,
        momentum: float,
        weight_decay: float,
        bias_rate: float = 1.0,
        decay_biases: bool = False,
        layer_decay: Mapping[str, float] = MappingProxyType({}),
        nesterov: bool = False,
    ) -> None:
        self.momentum, self.nesterov = momentum, nesterov
        self.groups = _groups(model, rate, weight_decay, bias_rate, decay_biases, layer_decay)
        # As PyTorch has it: less the rate, and of the gradient's sign.
        self.velocity: dict[Tensor, Tensor] = {
            parameter: torch.zeros_like(parameter, requires_grad=False)
            for group in self.groups
            for parameter in group.parameters
        }

    def set_rate(self, rate: float) -> None:
        """Change the rate and keep the velocity: it is rescaled by old over new."""
        for group in self.groups:
            new = rate * group.scale
            if new == group.rate:
                continue
            for parameter in group.parameters:
                self.velocity[parameter].mul_(group.rate / new)
            group.rate = new

    def follow_layout(self) -> None:
        """Lay the velocity out as the weights are now, which a fused step asks for."""
        for parameter, velocity in self.velocity.items():
            self.velocity[parameter] = torch.empty_like(parameter, requires_grad=False).copy_(
                velocity
            )

    @torch.no_grad()
    def step(self) -> None:
        """One update of all parameters that have a gradient."""
        for group in self.groups:
            parameters: list[Tensor] = []
            gradients: list[Tensor] = []
            for parameter in group.parameters:
                if parameter.grad is not None:
                    parameters.append(parameter)
                    gradients.append(parameter.grad)
            sgd(
                parameters,
                gradients,
                [self.velocity[parameter] for parameter in parameters],
                weight_decay=group.weight_decay,
                momentum=self.momentum,
                lr=group.rate,
                dampening=0.0,
                nesterov=self.nesterov,
                maximize=False,
                # One pass over memory, not several; None is PyTorch's own choice.
                fused=True if any(each.is_cuda for each in parameters) else None,
            )

    def state_dict(self) -> dict[str, Any]:
        """Rates and velocities, laid out as PyTorch's optimisers do."""
        state: dict[int, dict[str, Tensor]] = {
            place: {"momentum_buffer": velocity}
            for place, velocity in enumerate(self.velocity.values())
        }
        return {"state": state, "param_groups": [{"lr": group.rate} for group in self.groups]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken, of a net of the same shape; else an error."""
        for group, saved in zip(self.groups, state["param_groups"], strict=True):
            group.rate = saved["lr"]
        for place, velocity in enumerate(self.velocity.values()):
            velocity.copy_(state["state"][place]["momentum_buffer"])


def _groups(
    model: nn.Module,
    rate: float,
    weight_decay: float,
    bias_rate: float,
    decay_biases: bool,
    layer_decay: Mapping[str, float],
) -> list[Group]:
    """The net's parameters by rate and decay. ValueError for a layer that it does not have."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    unused = set(layer_decay)
    for name, parameter in model.named_parameters():
        layer, _, kind = name.rpartition(".")
        layer = layer.rpartition(".")[2]
        unused.discard(layer)
        bias = kind == "bias"
        decay = layer_decay.get(layer, weight_decay) if decay_biases or not bias else 0.0
        groups.setdefault((bias_rate if bias else 1.0, decay), []).append(parameter)
    if unused:
        raise ValueError(f"layer_decay: the net has no layer {', '.join(sorted(unused))}")
    return [
        Group(parameters=parameters, scale=scale, rate=rate * scale, weight_decay=decay)
        for (scale, decay), parameters in groups.items()
    ]


class LibraryOptimizer:
    """An optimiser of torch, timm or a plug-in, with the groups that the paper's has."""

    def __init__(
        self, build: Callable[..., torch.optim.Optimizer], groups: Sequence[Group], rate: float
    ) -> None:
        self.groups = groups
        parameter_groups = [
            {"params": group.parameters, "lr": group.rate, "weight_decay": group.weight_decay}
            for group in groups
        ]
        self.optimizer = build(parameter_groups, lr=rate, weight_decay=0.0)

    def set_rate(self, rate: float) -> None:
        """As the library has it: the rate of the next step, and of nothing before it."""
        for group, library_group in zip(self.groups, self.optimizer.param_groups, strict=True):
            library_group["lr"] = group.rate = rate * group.scale

    def step(self) -> None:
        """One update of all parameters that have a gradient."""
        self.optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """As the library lays it out."""
        return self.optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.optimizer.load_state_dict(state)


Optimizer = PaperSGD | LibraryOptimizer


def optimizer_for(model: nn.Module, trial: Trial) -> Optimizer:
    """What the trial's recipe asks for. Raises what the library raises of its arguments."""
    recipe = trial.recipe
    name = recipe.optimiser.name
    arguments: dict[str, Any] = {**recipe.optimiser.arguments}
    common: dict[str, Any] = {
        "rate": trial.rate,
        "weight_decay": recipe.weight_decay,
        "bias_rate": recipe.bias_rate,
        "decay_biases": recipe.decay_biases,
        "layer_decay": recipe.layer_decay,
    }
    if name == "sgd":
        return PaperSGD(model, momentum=recipe.momentum, **common, **arguments)
    return LibraryOptimizer(
        partial(_builder(name), **arguments), _groups(model, **common), trial.rate
    )


def _builder(name: str) -> Callable[..., torch.optim.Optimizer]:
    if name.startswith("timm:"):
        from timm.optim import _optim_factory as timm  # which the package does not list as exported

        return timm.get_optimizer_class(name.removeprefix("timm:"))
    facts = OPTIMISERS[name]
    builder: Callable[..., torch.optim.Optimizer] = getattr(
        import_module(facts.module), facts.builder
    )
    return builder
