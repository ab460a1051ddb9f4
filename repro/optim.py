"""The paper's update rule (Krizhevsky 2012, sec. 5).

v <- 0.9 v - 0.0005 eps w - eps dL/dw;  w <- w + v

The rate eps stands inside the velocity, so the old velocity keeps its old size when the rate
drops. PyTorch keeps the rate outside (w <- w - eps v): equal at a constant rate, different right
after a drop, unless the buffers are rescaled as `set_rate` does.
"""

import torch
from torch import nn

__all__ = ["PaperSGD", "rate_at"]


class PaperSGD(torch.optim.SGD):
    """SGD with the rate inside the velocity; biases learn `bias_rate` times faster.

    `decay_biases`: the authors' code leaves biases out of weight decay; the paper does not say.
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
    ) -> None:
        biases = [p for n, p in model.named_parameters() if n.endswith("bias")]
        weights = [p for n, p in model.named_parameters() if not n.endswith("bias")]
        super().__init__(
            [
                {"params": weights, "scale": 1.0},
                {
                    "params": biases,
                    "scale": bias_rate,
                    "lr": rate * bias_rate,
                    "weight_decay": weight_decay if decay_biases else 0.0,
                },
            ],
            lr=rate,
            momentum=momentum,
            weight_decay=weight_decay,
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


def rate_at(epoch: float, *, rate: float, drops: tuple[float, ...]) -> float:
    """The rate at `epoch`: a tenth of the last at each of `drops` (epochs)."""
    return float(rate / 10 ** sum(epoch >= drop for drop in drops))
