"""Group the trials that one worker trains together in a batch. Without torch."""

from collections.abc import Sequence

from repro.errors import ReproError
from repro.execute.machine import Machine
from repro.planning import Cell
from repro.registry import CHAINS
from repro.trial import Trial


def group_cells(
    cells: Sequence[Cell], machine: Machine, *, memory: int | None = None
) -> list[list[Cell]]:
    """Groups of cells of equal shape, as large as the machine allows, in the order of the cells.

    `memory`: bytes for a group; None: the free memory of this machine's device.
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
    if trial.model not in CHAINS or not trial.batches or machine.population == 1:
        return 1
    if machine.population is not None or machine.device == "cpu":
        return machine.population or 1
    from repro.execute.worker.train_cells import max_population  # asks the device

    try:
        return max_population(trial, machine, memory)
    except ReproError:  # the trial's own, which says it when it is begun
        return 1
