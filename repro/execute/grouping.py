"""Which trials a worker is given together, to be trained as one program. Without torch."""

from collections.abc import Sequence

from repro.errors import ReproError
from repro.execute.machine import Machine
from repro.plan import Cell
from repro.registry import OWN_MODELS
from repro.trial import Trial

__all__ = ["in_populations"]


def in_populations(
    cells: Sequence[Cell], machine: Machine, *, memory: int | None = None
) -> list[list[Cell]]:
    """Cells in their order, those of one shape together as far as the machine allows.

    `memory`: bytes that a population may count on; None: what is free on the device here.
    """
    sizes: dict[str, int] = {}
    filling: dict[str, list[Cell]] = {}
    groups: list[list[Cell]] = []
    for cell in cells:
        shape = cell.trial.shape
        if shape not in sizes:
            sizes[shape] = _population_size(cell.trial, machine, memory)
        if len(filling.get(shape, ())) % sizes[shape] == 0:
            filling[shape] = []
            groups.append(filling[shape])
        filling[shape].append(cell)
    return groups


def _population_size(trial: Trial, machine: Machine, memory: int | None) -> int:
    if trial.model not in OWN_MODELS or not trial.batches or machine.population == 1:
        return 1
    if machine.population is not None or machine.device == "cpu":
        return machine.population or 1
    from repro.execute.worker.work import most_abreast  # asks the device

    try:
        return most_abreast(trial, machine, memory)
    except ReproError:  # the trial's own, which says it when it is begun
        return 1
