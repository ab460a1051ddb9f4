"""How fast this machine is at what trials are made of: `repro bench`.

On a CPU everything has one thread, as each of our workers has. Nothing here is a trial, and
nothing is stored. May import `train` and what it stands on.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from repro.bench.images import input_path
from repro.bench.race import Table, race, ratio_text, ratios
from repro.bench.training import (
    a_trial,
    population,
    populations,
    repeated,
    response_normalisation,
    steps,
    window,
)
from repro.train import device_context

__all__ = [
    "BENCHES",
    "Table",
    "a_trial",
    "measure",
    "population",
    "race",
    "ratio_text",
    "ratios",
    "repeated",
    "window",
]

BENCHES: dict[str, Callable[[torch.device, int], Table]] = {
    "steps": steps,
    "populations": populations,
    "lrn": response_normalisation,
    "input": input_path,
}


def measure(
    names: Sequence[str], device: str, *, rounds: int, images: Path | None = None
) -> list[Table]:
    """The benchmarks of these names, or all; on a CPU with one thread.

    `images`: a folder of images for that of the input path, in place of generated ones.
    """
    benches = BENCHES | {"input": partial(input_path, images=images)}
    with device_context(torch.device(device)):
        return [benches[name](torch.device(device), rounds) for name in names or benches]
