"""What our loggers record of a trial: its name, its settings, and its measurements."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from repro.execute.monitor.observer import Event, Observer, TrainedCell
from repro.planning import Cell
from repro.trial import WINDOWS, Result

Measurement = tuple[str, float, int]  # name, value and step, a tenth of an epoch


class TrialLogger(Observer, ABC):
    """A record for each running trial, of which a subclass says how it is written."""

    def __init__(self) -> None:
        self.records: dict[str, Any] = {}

    @abstractmethod
    def begin(self, cell: Cell) -> Any:
        """The record of a trial, with its settings; that of a continued trial continues."""

    @abstractmethod
    def write(self, record: Any, values: Iterable[Measurement]) -> None: ...

    @abstractmethod
    def end(self, record: Any) -> None: ...

    def __exit__(self, *_: object) -> None:
        for record in self.records.values():
            self.end(record)

    def start(self, cell: Cell) -> None:
        self.records[cell.trial.id] = self.begin(cell)

    def event(self, event: Event) -> None:
        if event.trial_id in self.records:
            self.write(self.records[event.trial_id], measurements(event))

    def finish(self, cell: Cell, outcome: TrainedCell) -> None:
        if cell.trial.id in self.records:
            record = self.records.pop(cell.trial.id)
            if outcome.result is not None:
                self.write(record, final_metrics(outcome.result))
            self.end(record)


def run_name(cell: Cell) -> str:
    """A folder name from data, arm, rate, seed and the trial's identity."""
    trial = cell.trial
    return (
        f"{trial.data.replace(':', '-')}-{cell.recipe}-{cell.arm}-{cell.purpose}-"
        f"rate{trial.rate:g}-seed{trial.seed}-{trial.id[:8]}"
    )


def settings(cell: Cell) -> Mapping[str, str | int | float]:
    """All settings of the trial as a flat mapping, with the names of the claim file."""
    trial = cell.trial
    recipe = {f"recipe.{k}": v for k, v in trial.recipe.model_dump(mode="json").items()}
    arguments = {f"model.{k}": v for k, v in trial.arguments.items()}
    values = {
        "trial": trial.id,
        "arm": cell.arm,
        "recipe": cell.recipe,
        "purpose": cell.purpose,
        "model": trial.model,
        "data": trial.data,
        "fingerprint": trial.fingerprint,
        "rate": trial.rate,
        "seed": trial.seed,
        **arguments,
        **recipe,
    }
    return {k: v if isinstance(v, int | float) else str(v) for k, v in values.items()}


def measurements(event: Event) -> Iterator[Measurement]:
    """`online`: over training batches; `train` and `test`: full passes."""
    for row in event.rows:
        step = round(row.epoch * WINDOWS)
        yield f"{row.source}/error", row.error, step
        yield f"{row.source}/loss", row.loss, step
    yield "images_per_second", event.images_per_second, round(event.epoch * WINDOWS)


def final_metrics(result: Result) -> Iterator[Measurement]:
    for name, value in result.metrics.items():
        yield f"final/{name}", value, round(result.epochs * WINDOWS)
