"""Dropout whose draws can be given from outside, so that nets trained together keep their own."""

import torch
from torch import Tensor, nn


class Dropout(nn.Dropout):
    """As nn.Dropout, of outputs of `shape` an image; with `mask` set, that is what it multiplies.

    A net draws the same masks from the same generator whether it is trained alone or with others.
    """

    mask: Tensor | None

    def __init__(self, p: float, shape: tuple[int, ...]) -> None:
        super().__init__(p)
        self.shape = shape
        self.register_buffer("mask", None, persistent=False)

    def draw(self, out: Tensor, generator: torch.Generator) -> None:
        """Fill `out`, (B, *shape), with zeros, and with 1 / (1 - p) where an output is kept.

        On the CPU these are the very numbers that F.dropout draws from a generator seeded alike.
        """
        if self.p == 0:  # draws nothing there, either
            out.fill_(1)
            return
        out.bernoulli_(1 - self.p, generator=generator).div_(1 - self.p)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """(B, *shape), kept."""
        if self.mask is None or self.p == 0 or not self.training:
            return super().forward(input)
        return input * self.mask.to(input.dtype)
