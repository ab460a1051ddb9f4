"""What all loggers record of a trial: its name, its settings, and its measurements."""

from collections.abc import Iterator, Mapping

from repro.execute.monitor.observer import Event
from repro.plan import Cell
from repro.trial import WINDOWS, Result


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


def measurements(event: Event) -> Iterator[tuple[str, float, int]]:
    """Name, value and step of each measurement; a step is a tenth of an epoch.

    `online`: over training batches; `train` and `test`: full passes.
    """
    for row in event.rows:
        step = round(row.epoch * WINDOWS)
        yield f"{row.source}/error", row.error, step
        yield f"{row.source}/loss", row.loss, step
    yield "images_per_second", event.images_per_second, round(event.epoch * WINDOWS)


def final_metrics(result: Result) -> Iterator[tuple[str, float, int]]:
    """The final metrics, at the trial's last step."""
    for name, value in result.metrics.items():
        yield f"final/{name}", value, round(result.epochs * WINDOWS)
