"""The trials of an arm, by learning rate and seed, and their places in the plan."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

from repro.claim import (
    COMMAND,
    MOST_SEEDS,
    Recipe,
    Search,
    TimeClaim,
    TrainedClaim,
    arms_of,
    images_for,
    model_for,
    recipe_for,
    threshold_for,
)
from repro.registry.plugins import versions
from repro.trial import Result, Trial
from repro.trial.numerics import numerics

# Tuning seeds start here, evaluation seeds at 0: no seed is both.
TUNING_SEEDS_FROM = MOST_SEEDS


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """A place in the plan: a trial, its purpose, and the epochs to which it is trained.

    `decides`: the verdict needs it; other arms and recipes only explain. `claim_file`: with the
    command that trains it.
    """

    recipe: str
    arm: str
    purpose: Literal["tune", "confirm"]
    trial: Trial
    until: float
    decides: bool
    claim_file: Path | None = None

    @property
    def name(self) -> str:
        return f"{self.recipe}/{self.arm} {self.label}"

    @property
    def label(self) -> str:
        """What distinguishes it from the other trials of its arm."""
        return f"{self.purpose} rate {self.trial.rate:g} seed {self.trial.seed}"

    @property
    def home(self) -> Path | None:
        """The folder in which a command runs."""
        return self.claim_file and self.claim_file.parent

    def done(self, results: Mapping[str, Result]) -> bool:
        return self.result(results) is not None

    def result(self, results: Mapping[str, Result]) -> Result | None:
        result = results.get(self.trial.id)
        is_done = result is not None and (result.ended or result.epochs >= self.until - 1e-9)
        return result if is_done else None


class ArmCells:
    """The cells of one arm, recipe and scale, cached by learning rate and seed.

    A search needs the same cells at every rung and after every trial, and a trial's identity is
    slow to hash.
    """

    def __init__(
        self, claim: TrainedClaim, scale: str, recipe: str, arm: str, fingerprint: str
    ) -> None:
        self.claim = claim
        self.scale = scale
        self.recipe = recipe
        self.arm = arm
        self.spec = claim.scales[scale]
        self.decides = recipe == claim.verdict_recipe and arm in arms_of(claim)
        self._first = _first_trial(claim, scale, recipe, arm, fingerprint)
        self._trials: dict[tuple[float, int], Trial] = {}
        self._cells: dict[tuple[str, float, float], tuple[Cell, ...]] = {}

    @property
    def trials(self) -> Collection[Trial]:
        """Those of all cells that were asked for so far."""
        return self._trials.values()

    @property
    def search(self) -> Search:
        return self.spec.search[self.recipe]

    def tuning(self, rate: float, until: float = 0.0) -> tuple[Cell, ...]:
        seeds = range(TUNING_SEEDS_FROM, TUNING_SEEDS_FROM + self.search.seeds)
        return self._cells_for("tune", rate, until, seeds)

    def confirming(self, rate: float) -> tuple[Cell, ...]:
        """The cells of a rate on the evaluation seeds of all interim analyses."""
        return self._cells_for("confirm", rate, self.spec.epochs, range(self.spec.seeds[-1]))

    def _cells_for(
        self, purpose: Literal["tune", "confirm"], rate: float, until: float, seeds: range
    ) -> tuple[Cell, ...]:
        key = purpose, rate, until
        if key not in self._cells:
            self._cells[key] = tuple(
                Cell(
                    recipe=self.recipe,
                    arm=self.arm,
                    purpose=purpose,
                    trial=self._trial(rate, seed),
                    until=until,
                    decides=self.decides,
                    claim_file=self.claim.path.absolute() if self.claim.trainer else None,
                )
                for seed in seeds
            )
        return self._cells[key]

    def _trial(self, rate: float, seed: int) -> Trial:
        if (rate, seed) not in self._trials:
            self._trials[rate, seed] = replace(self._first, rate=rate, seed=seed)
        return self._trials[rate, seed]


def _first_trial(claim: TrainedClaim, scale: str, recipe: str, arm: str, fingerprint: str) -> Trial:
    """A trial of the arm; its other trials differ in rate and seed."""
    spec = claim.scales[scale]
    model, settings = model_for(claim, scale, arm), recipe_for(claim, scale, recipe, arm)
    trial = Trial(
        model=model.name,
        arguments=model.arguments,
        recipe=settings,
        data=spec.data,
        fingerprint=fingerprint,
        images=images_for(claim, scale, arm),
        resample=spec.resample,
        further_test=spec.further_test,
        rate=math.nan,
        seed=0,
        numerics=code(model.name, spec.data, settings),
        trainer=claim.trainer,
    )
    if not isinstance(claim, TimeClaim) or claim.decided_by is None:
        return trial
    return replace(
        trial,
        threshold=threshold_for(claim, scale),
        near=claim.near or 0.0,
        decided_by=claim.decided_by,
        crossing=claim.crossing,
    )


class _ByIdentity:
    """A claim as a key of the cache: compared by identity, since hashing its content is slow."""

    def __init__(self, claim: TrainedClaim) -> None:
        self.claim = claim

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByIdentity) and self.claim is other.claim

    def __hash__(self) -> int:
        return id(self.claim)


# The plan is asked after every trial, and computing the identities takes most of the time.
@lru_cache(maxsize=1024)
def _cached(claim: _ByIdentity, scale: str, recipe: str, arm: str, fingerprint: str) -> ArmCells:
    return ArmCells(claim.claim, scale, recipe, arm, fingerprint)


def cells_of(claim: TrainedClaim, scale: str, recipe: str, arm: str, fingerprint: str) -> ArmCells:
    return _cached(_ByIdentity(claim), scale, recipe, arm, fingerprint)


def code(model: str, data: str, recipe: Recipe) -> int | str:
    """A trial's `numerics`: the version of repro's code, and of plug-ins that it uses."""
    if model == COMMAND:
        return 1  # its numbers do not depend on repro's code
    own, packages = numerics(model), versions(model, data, *recipe.names)
    if not packages:
        return own
    return " ".join([str(own), *(f"{package}={version}" for package, version in packages.items())])
