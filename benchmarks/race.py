"""Contestants take turns, round after round, so that a machine that drifts drifts for all.

The median over rounds of each ratio is what counts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from types import MappingProxyType

import torch

from repro.train import Stopwatch

__all__ = ["Table", "race", "ratio_text", "ratios"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """What was measured: a title that says of what, and a row a contestant."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """With its title as a heading."""
        lines = [self.columns, ("---",) * len(self.columns), *self.rows]
        return "\n".join([f"## {self.title}", "", *(f"| {' | '.join(line)} |" for line in lines)])


def race(
    contestants: Mapping[str, Callable[[], int]],
    device: torch.device,
    rounds: int,
    *,
    before: Mapping[str, Callable[[], object]] = MappingProxyType({}),
) -> dict[str, list[float]]:
    """Seconds an item, by contestant and round; one round before the first is not counted.

    A contestant does some work and says how many items that was. `before`: what is done ahead of a
    contestant's turn, outside the clock.
    """
    now = Stopwatch(device).now
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds + 1):
        for name, work in contestants.items():
            if name in before:
                before[name]()
            started = now()
            items = work()
            times[name].append((now() - started) / items)
    return {name: seconds[1:] for name, seconds in times.items()}


def ratios(times: Mapping[str, Sequence[float]], of: str, to: str) -> tuple[float, float, float]:
    """How many times longer `of` takes than `to`: median, least and most of the rounds."""
    each = [a / b for a, b in zip(times[of], times[to], strict=True)]
    return median(each), min(each), max(each)


def ratio_text(times: Mapping[str, Sequence[float]], of: str, to: str) -> str:
    """Median and range."""
    middle, least, most = ratios(times, of, to)
    return "1" if of == to else f"{middle:.2f} ({least:.2f} to {most:.2f})"
