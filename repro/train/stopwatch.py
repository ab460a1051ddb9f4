"""Time and energy of trials, by what they were spent on."""

import time
from collections.abc import Sequence

import torch

from repro.train.energy import Meter
from repro.train.progress import Progress
from repro.trial import Clocks

_READING_INTERVAL = (
    0.5  # seconds at least between two looks at the energy, which cost a millisecond or so
)


class Stopwatch:
    """Seconds, and joules, of trials that share it, booked to each of those in training alike."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.meter = device, Meter(device)
        self.last_booking = self.last_reading = time.perf_counter()

    def now(self) -> float:
        """Once the device has done all that it was asked for."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def book(
        self,
        trials: Sequence[Progress],
        *,
        train: float = 0.0,
        evaluate: float = 0.0,
        waiting: float = 0.0,
        saving: float = 0.0,
    ) -> None:
        """Book the seconds; all since the last booking that is neither of the first is `other`."""
        now = time.perf_counter()
        other = max(0.0, now - self.last_booking - train - evaluate)
        self.last_booking = now
        share = 1 / len(trials)
        energy = self._energy(now)
        for trial in trials:
            trial.energy += energy * share
            trial.seconds += Clocks(
                train=train * share,
                evaluate=evaluate * share,
                other=other * share,
                waiting=waiting * share,
                saving=saving * share,
            )

    def _energy(self, now: float) -> float:
        if now - self.last_reading < _READING_INTERVAL:
            return 0.0
        self.last_reading = now
        return self.meter.read()
