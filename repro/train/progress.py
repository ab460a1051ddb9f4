"""What is known of a trial while it is trained."""

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from repro.trial import WINDOWS, Clocks, Row


@dataclass(kw_only=True, slots=True)
class Progress:
    """How far a trial has come. `windows` counts tenths of epochs."""

    windows: int = 0
    status: Literal["running", "crossed", "plateaued", "diverged"] = "running"
    crossing_full: tuple[float, float] | None = None
    crossing_online: tuple[float, float] | None = None
    above: float = 0.0  # last epoch at which the full training error was above the threshold
    rows: list[Row] = field(default_factory=list)
    seconds: Clocks = field(default_factory=Clocks)
    energy: float = 0.0  # joules

    @property
    def epoch(self) -> float:
        """Epochs trained, in tenths."""
        return self.windows / WINDOWS

    def online(self, last: int, *, ago: int = 0) -> tuple[float, int]:
        """Mean online error of the last windows, by images; and how many windows there were.

        `ago`: as it was so many windows ago.
        """
        until = max(self.windows - ago, 0)
        rows = [row for row in self.rows if row.source == "online"][:until][-last:]
        if not rows:
            return math.nan, 0
        return _mean_error(rows), len(rows)

    def full(self) -> list[Row]:
        """All full passes over the training set."""
        return [row for row in self.rows if row.source == "train"]

    def epoch_errors(self) -> tuple[float, ...]:
        """Online error of each whole epoch."""
        rows = [row for row in self.rows if row.source == "online"]
        complete = len(rows) // WINDOWS * WINDOWS
        return tuple(_mean_error(rows[i : i + WINDOWS]) for i in range(0, complete, WINDOWS))

    def test_errors(self) -> tuple[float, ...]:
        """Test error after each epoch; empty where it is measured at the end alone."""
        return tuple(row.error for row in self.rows if row.source == "test")


def _mean_error(rows: list[Row]) -> float:
    """By images, since the windows of an epoch differ by a batch."""
    return float(np.average([row.error for row in rows], weights=[row.images for row in rows]))
