"""The paper's update rule (Krizhevsky 2012, sec. 5).

v <- 0.9 v - 0.0005 eps w - eps dL/dw;  w <- w + v

The rate eps stands inside the velocity, so the old velocity keeps its old size when the rate
drops. PyTorch keeps the rate outside (w <- w - eps v): equal at a constant rate, different right
after a drop, unless the buffers are rescaled as `set_rate` does.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch
from torch import nn

__all__ = ["MOST_DROPS", "PaperSGD", "rate_at", "stalls"]

MOST_DROPS = 3  # sec. 5: the rate "was reduced three times prior to termination"


class PaperSGD(torch.optim.SGD):
    """SGD with the rate inside the velocity; biases learn `bias_rate` times faster.

    `decay_biases`: the authors' code leaves biases out of weight decay; the paper does not say.
    `layer_decay`: weight decay of layers by the last part of their name, in place of
    `weight_decay`. Raises ValueError for a layer that the net does not have.
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
        super().__init__(
            [
                {"params": params, "scale": scale, "lr": rate * scale, "weight_decay": decay}
                for (scale, decay), params in groups.items()
            ],
            lr=rate,
            momentum=momentum,
        )

    def set_rate(self, rate: float) -> None:
        """Change the rate and keep the velocity: buffers are rescaled by old over new."""
        for group in self.param_groups:
            new = rate * group["scale"]
            if new == group["lr"]:
                continue
            for parameter in group["params"]:
                buffer = self.state[parameter].get("momentum_buffer")
                if buffer is not None:
                    buffer.mul_(group["lr"] / new)
            group["lr"] = new


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
