"""The paper's update rule (Krizhevsky 2012, sec. 5).

v <- 0.9 v - 0.0005 eps w - eps dL/dw;  w <- w + v

The rate eps stands inside the velocity, so the old velocity keeps its old size when the rate
drops. PyTorch keeps the rate outside (w <- w - eps v): equal at a constant rate, different right
after a drop, unless the buffers are rescaled as `set_rate` does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd

__all__ = ["MOST_DROPS", "Group", "PaperSGD", "rate_at", "stalls"]

MOST_DROPS = 3  # sec. 5: the rate "was reduced three times prior to termination"


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
    ) -> None:
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
        self.momentum = momentum
        self.groups = [
            Group(parameters=parameters, scale=scale, rate=rate * scale, weight_decay=decay)
            for (scale, decay), parameters in groups.items()
        ]
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

    @torch.no_grad()
    def step(self) -> None:
        """One update of all parameters that have a gradient."""
        for group in self.groups:
            learning: list[Tensor] = []
            gradients: list[Tensor] = []
            for parameter in group.parameters:
                if parameter.grad is not None:
                    learning.append(parameter)
                    gradients.append(parameter.grad)
            sgd(
                learning,
                gradients,
                [self.velocity[parameter] for parameter in learning],
                weight_decay=group.weight_decay,
                momentum=self.momentum,
                lr=group.rate,
                dampening=0.0,
                nesterov=False,
                maximize=False,
                # One pass over memory, not several; None is PyTorch's own choice.
                fused=True if any(each.is_cuda for each in learning) else None,
            )

    def state_dict(self) -> dict[str, Any]:
        """Rates and velocities, laid out as PyTorch's optimisers do."""
        kept: dict[int, dict[str, Tensor]] = {
            place: {"momentum_buffer": velocity}
            for place, velocity in enumerate(self.velocity.values())
        }
        return {"state": kept, "param_groups": [{"lr": group.rate} for group in self.groups]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken, of a net of the same shape; else an error."""
        for group, kept in zip(self.groups, state["param_groups"], strict=True):
            group.rate = kept["lr"]
        for place, velocity in enumerate(self.velocity.values()):
            velocity.copy_(state["state"][place]["momentum_buffer"])


def rate_at(
    epoch: float,
    *,
    rate: float,
    drops: tuple[float, ...] = (),
    stalled: int = 0,
) -> float:
    """The rate at `epoch`: a tenth of the last at each of `drops` (epochs) and for each stall."""
    fallen = sum(epoch >= drop for drop in drops) + min(stalled, MOST_DROPS)
    return float(rate / 10**fallen)


def stalls(errors: Sequence[float], *, patience: int) -> int:
    """How often the error of each epoch has not improved for `patience` epochs on end.

    The authors divided by ten by hand "when the validation error rate stopped improving" (sec. 5);
    this is that rule with the hand left out. After MOST_DROPS of them one more ends training.
    """
    best, waited, count = float("inf"), 0, 0
    for error in errors:
        waited = 0 if error < best else waited + 1
        best = min(best, error)
        if waited == patience:
            count, waited = count + 1, 0
    return count
