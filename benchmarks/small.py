"""A claim that is small enough to time what goes on around its trials."""

from pathlib import Path

from repro.claim import TrainedClaim, load

__all__ = ["small_claim"]

CLAIM = """\
id: {id}
title: One arm is faster
kind: time_to_threshold
paper: {{section: "sec. 0", states: It is., value: 6.0, unit: ratio of epochs}}
question: Which arm is faster?
confounds: None.
metric: train_error
threshold: {threshold}
decided_by: full
near: {near}
arms:
  fast: {{model: {{activation: relu}}}}
  slow: {{model: {{activation: tanh}}}}
contrast: {{slow: slow, fast: fast}}
region: {{low: 3.0, high: 9.0}}
recipes:
  small: {{inputs: standardised, initialisation: he, batch_size: 32}}
verdict_recipe: small
scales:
  smoke:
    data: digits
    images: 640
    model: {{name: cifar_80sec}}
    epochs: {epochs}
    seeds: {seeds}
    {rates}
deviations: []
"""


def small_claim(
    path: Path, *, rates: str, epochs: int, seeds: int, threshold: float, near: float
) -> TrainedClaim:
    """The claim, written to `path`; `rates`: its line of `rate` or `search`."""
    text = CLAIM.format(
        id=path.stem, rates=rates, epochs=epochs, seeds=seeds, threshold=threshold, near=near
    )
    path.write_text(text, encoding="utf-8")
    claim = load(path)
    assert isinstance(claim, TrainedClaim)
    return claim
