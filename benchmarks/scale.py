"""How long claims take on many devices: `python benchmarks/scale.py claims/*.yaml --on 1,8,64,512`.

A simulation of the driver on a virtual clock. The plan is the real one, asked again whenever a
trial ends. A trial takes as long as the one most like it did in the store: same net and images,
then arm, rate and seed. One of which no like was measured runs to its end, at the multiply-adds a
second of the measured net whose images take most nearly as many. Devices are lost at random, and a
trial then goes on from its last checkpoint. All looks are taken.

`benchmarks/scale_held.py` holds it against runs of its own.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


import heapq
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from statistics import median
from typing import Literal

import click

from repro.claim import SCALES, Claim, TrainedClaim, load_all
from repro.models.facts import epoch_work
from repro.planning import Cell, next_cells
from repro.store import Store
from repro.text import duration
from repro.trial import Clocks, Result, Trial
from repro.verdict.judge import default_scale

_HOUR = 3600.0
_ILSVRC = 1.2e6  # "roughly 1.2 million training images" (Krizhevsky 2012, sec. 2)


class Unmeasured(Exception):  # noqa: N818 - no fault: the claim is left out, and it is said
    """Nothing at all was measured, or nobody knows how many images there are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Devices:
    """Devices, each as fast as the one that was measured.

    `start_seconds`: before a device's first step, and again after it was lost;
    `hours_between_losses`: of one device; `checkpoint_seconds`: the most that a loss takes back.
    """

    number: int
    start_seconds: float = 20.0
    hours_between_losses: float = math.inf
    checkpoint_seconds: float = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """What came out. `work`: seconds needed on one device; `last`: the claim that ends last."""

    devices: int
    seconds: float
    work: float
    trials: int
    losses: int
    last: str

    @property
    def efficiency(self) -> float:
        """Share of all devices' time in which they do what is needed."""
        return self.work / (self.devices * self.seconds) if self.seconds else 1.0


class Measured:
    """Trials that ran, as patterns for those that did not. `times`: how much faster a device is."""

    def __init__(
        self, trials: Mapping[str, Trial], results: Mapping[str, Result], *, times: float = 1.0
    ) -> None:
        self.known = [(trials[name], results[name]) for name in results if results[name].epochs > 0]
        self.times = times
        self._rates: dict[tuple[str, float], list[float]] = {}
        for trial, result in self.known:
            work = epoch_work(trial)
            if work > 0:
                self._rates.setdefault((trial.model, image_work(trial)), []).append(
                    result.seconds.wall / (result.epochs * work)
                )

    def fingerprint(self, data: str) -> str:
        """Of the images of that name that were trained on, else one of no images at all."""
        return next((t.fingerprint for t, _ in self.known if t.data == data), "0" * 16)

    def has(self, trial: Trial) -> bool:
        """Whether a trial of its net on its images was measured."""
        return any(not self._distance(known, trial)[0] for known, _ in self.known)

    def result(self, cell: Cell) -> Result:
        """As the trial would end at the cell's `until`: that of the trial most like it."""
        like = [(self._distance(trial, cell.trial), n) for n, (trial, _) in enumerate(self.known)]
        distance, nearest = min(like, default=((True,), 0))
        if distance[0]:
            return _cut_off(cell, self._by_work(cell.trial) * cell.until / self.times)
        pattern = self.known[nearest][1]
        if pattern.ended and pattern.epochs <= cell.until:
            return replace(pattern, seconds=Clocks(train=pattern.seconds.wall / self.times))
        return replace(
            pattern,
            status=_uncrossed(cell),
            epochs=cell.until,
            crossing_full=None,
            crossing_online=None,
            seconds=Clocks(train=pattern.seconds.wall * cell.until / pattern.epochs / self.times),
        )

    def _by_work(self, trial: Trial) -> float:
        """Seconds an epoch, at the speed of the measured net that does most nearly as much."""
        one, work = image_work(trial), epoch_work(trial)
        if not one > 0 or not self._rates:
            raise Unmeasured(f"nothing like {trial.model} on {trial.data} was measured")
        if math.isnan(work):
            work = one * _ILSVRC
        nearest = min(self._rates, key=lambda rate: abs(math.log(rate[1] / one)))
        return work * median(self._rates[nearest])

    @staticmethod
    def _distance(known: Trial, asked: Trial) -> tuple[object, ...]:
        """Sort key: the same net on the same images, then arm and recipe, then rate, then seed."""
        return (
            (known.model, known.data, known.images) != (asked.model, asked.data, asked.images),
            (known.arguments, known.threshold) != (asked.arguments, asked.threshold),
            known.recipe != asked.recipe,
            abs(math.log(known.rate / asked.rate)),
            abs(known.seed - asked.seed),
        )


def time_text(seconds: float) -> str:
    """As everywhere, or in days."""
    return duration(seconds) if seconds < 100 * _HOUR else f"{seconds / 24 / _HOUR:,.0f} days"


def image_work(trial: Trial) -> float:
    """Multiply-adds of one image, forward."""
    return epoch_work(replace(trial, images=1))


def _uncrossed(cell: Cell) -> Literal["finished", "censored"]:
    return "finished" if cell.trial.threshold is None else "censored"


def _cut_off(cell: Cell, seconds: float) -> Result:
    """A result that has not crossed by the end of the cell, and is like every other."""
    return Result(
        trial_id=cell.trial.id,
        status=_uncrossed(cell),
        epochs=cell.until,
        crossing_full=None,
        crossing_online=None,
        train_error=0.5,
        epoch_errors=(0.5,) * math.floor(cell.until),
        test_errors=(0.5,) * math.floor(cell.until),
        loss=1.0,
        seconds=Clocks(train=seconds),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Attempt:
    """A trial on a device; `left`: seconds of work that remain after it."""

    name: str
    result: Result
    left: float


@dataclass(kw_only=True)
class _Simulation:
    claims: Sequence[tuple[TrainedClaim, str]]
    seeds: int
    measured: Measured
    devices: Devices
    chance: random.Random
    now: float = 0.0
    work: float = 0.0
    losses: int = 0
    last: str = ""
    results: dict[str, Result] = field(default_factory=dict)
    left: dict[str, float] = field(default_factory=dict)  # seconds, of trials that were cut off
    wanted: list[dict[str, Cell]] = field(default_factory=list)  # by claim, in their order
    running: set[str] = field(default_factory=set)

    def run(self) -> Forecast:
        ends: list[tuple[float, int, _Attempt]] = []
        order = count()
        # A device is free from a moment on: at first, and after a loss, it has to start.
        free = [self.devices.start_seconds] * self.devices.number
        self.wanted = [self._next(place) for place in range(len(self.claims))]
        while True:
            for name, cell in self._waiting(len(free)).items():
                begins = max(self.now, heapq.heappop(free))
                self.running.add(name)
                ended, attempt = self._attempt(name, cell, begins)
                heapq.heappush(ends, (ended, next(order), attempt))
            if not ends:
                break
            self.now, _, attempt = heapq.heappop(ends)
            heapq.heappush(free, self.now + (self.devices.start_seconds if attempt.left else 0.0))
            self._end(attempt)
        return Forecast(
            devices=self.devices.number,
            seconds=self.now,
            work=self.work,
            trials=len(self.results),
            losses=self.losses,
            last=self.last,
        )

    def _next(self, place: int) -> dict[str, Cell]:
        claim, scale = self.claims[place]
        fingerprint = self.measured.fingerprint(claim.scales[scale].data)
        seeds = dict.fromkeys(claim.recipes, self.seeds)
        cells = next_cells(claim, scale, fingerprint, self.results, seeds=seeds)
        return {cell.trial.id: cell for cell in cells}

    def _waiting(self, most: int) -> dict[str, Cell]:
        found: dict[str, Cell] = {}
        for cells in self.wanted:
            for name, cell in cells.items():
                if len(found) == most:
                    return found
                if name not in self.running:
                    found.setdefault(name, cell)
        return found

    def _attempt(self, name: str, cell: Cell, begins: float) -> tuple[float, _Attempt]:
        result = replace(self.measured.result(cell), trial_id=name)
        if name not in self.left:
            before = self.results.get(name)
            needed = result.seconds.wall - (before.seconds.wall if before else 0.0)
            self.left[name] = max(0.0, needed)
            self.work += self.left[name]
        seconds = self.left[name]
        hours = self.devices.hours_between_losses
        lost_after = math.inf if hours == math.inf else self.chance.expovariate(1 / hours) * _HOUR
        if lost_after >= seconds:
            return begins + seconds, _Attempt(name=name, result=result, left=0.0)
        kept = lost_after - lost_after % self.devices.checkpoint_seconds
        return begins + lost_after, _Attempt(name=name, result=result, left=seconds - kept)

    def _end(self, attempt: _Attempt) -> None:
        name = attempt.name
        self.running.remove(name)
        if attempt.left:
            self.losses += 1
            self.left[name] = attempt.left
            return
        del self.left[name]
        self.results[name] = attempt.result
        for place, cells in enumerate(self.wanted):
            cell = cells.pop(name, None)
            self.last = self.last if cell is None else self.claims[place][0].id
            # Only a trial of the search changes what comes next.
            if cell is not None and (cell.purpose == "tune" or not cell.done(self.results)):
                self.wanted[place] = self._next(place)


def forecast(
    claims: Sequence[tuple[TrainedClaim, str]],
    measured: Measured,
    devices: Devices,
    *,
    seeds: int,
) -> Forecast:
    """All claims, each at its scale, with all looks up to `seeds` confirming seeds an arm.

    Raises Unmeasured. The same arguments give the same numbers.
    """
    asked = [(_with_seeds(claim, scale, seeds), scale) for claim, scale in claims]
    return _Simulation(
        claims=asked,
        seeds=seeds,
        measured=measured,
        devices=devices,
        chance=random.Random(0),
    ).run()


def _with_seeds(claim: TrainedClaim, scale: str, seeds: int) -> TrainedClaim:
    at = claim.scales[scale].model_copy(update={"seeds": (seeds,)})
    return claim.model_copy(update={"scales": claim.scales | {scale: at}})


def measured_in(store: Store, *, times: float = 1.0) -> Measured:
    """All finished trials of a store."""
    results = store.results()
    return Measured({name: store.trial(name) for name in results}, results, times=times)


def table(
    work: Sequence[tuple[TrainedClaim, str]],
    measured: Measured,
    each: Sequence[Devices],
    seeds: int,
) -> str:
    """Markdown: how long, how well used, and what keeps it from being faster."""
    endless = forecast(work, measured, replace(each[0], number=100_000), seeds=seeds)
    lines = [
        "| devices | time | efficiency | devices lost | limited by |",
        "| --- | --- | --- | --- | --- |",
    ]
    for devices in each:
        found = forecast(work, measured, devices, seeds=seeds)
        chain = endless.seconds > found.work / devices.number
        limit = f"the trials in turn of {endless.last}" if chain else "the work"
        lines.append(
            f"| {devices.number} | {time_text(found.seconds)} | {100 * found.efficiency:.0f} % "
            f"| {found.losses} | {limit} |"
        )
    return "\n".join(lines)


def first_trials(claim: TrainedClaim, scale: str, measured: Measured) -> list[Trial]:
    """Those that come first, of every arm and recipe."""
    fingerprint = measured.fingerprint(claim.scales[scale].data)
    return [cell.trial for cell in next_cells(claim, scale, fingerprint, {})]


def chosen(
    claims: Sequence[Claim], scale: str | None, measured: Measured
) -> list[tuple[TrainedClaim, str]]:
    """Claims with the scale at which each is forecast; how each is known goes to stderr."""
    work: list[tuple[TrainedClaim, str]] = []
    known: dict[str, list[str]] = {"by trials of their own": [], "by multiply-adds": []}
    for claim in claims:
        if not isinstance(claim, TrainedClaim) or (scale and scale not in claim.scales):
            continue
        at = scale or default_scale(claim)
        try:
            forecast([(claim, at)], measured, Devices(number=100_000), seeds=1)
        except Unmeasured as error:
            click.echo(f"left out: {claim.id} at {at} scale, {error}", err=True)
            continue
        work.append((claim, at))
        own = all(map(measured.has, first_trials(claim, at, measured)))
        known["by trials of their own" if own else "by multiply-adds"].append(f"{claim.id} ({at})")
    for how, names in known.items():
        click.echo(f"{how}: {', '.join(names) or 'none'}", err=True)
    return work


@click.command()
@click.argument("claims", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--scale", type=click.Choice(SCALES))
@click.option("--store", type=click.Path(path_type=Path), default=Path("reports/store"))
@click.option("--on", default="1,8,64,512", show_default=True, help="Numbers of devices.")
@click.option("--seeds", default=12, show_default=True, help="Confirming seeds an arm.")
@click.option("--times", default=1.0, show_default=True, help="As fast as so many measured ones.")
@click.option("--start-seconds", default=20.0, show_default=True)
@click.option("--hours-between-losses", default=1000.0, show_default=True, help="Of one device.")
def main(
    claims: tuple[Path, ...],
    scale: str | None,
    store: Path,
    on: str,
    seeds: int,
    times: float,
    start_seconds: float,
    hours_between_losses: float,
) -> None:
    """Say how long the claims take on so many devices, each like the one that was measured."""
    measured = measured_in(Store(store), times=times)
    work = chosen(load_all(claims), scale, measured)
    if not work:
        sys.exit(f"nothing was measured in {store}")
    each = [
        Devices(
            number=int(number),
            start_seconds=start_seconds,
            hours_between_losses=hours_between_losses,
        )
        for number in on.split(",")
    ]
    click.echo(table(work, measured, each, seeds))


if __name__ == "__main__":
    main()
