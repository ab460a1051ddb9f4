"""What the report is told: all that is known of one claim at one scale, decided and computed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from repro.claim import ExactClaim, Scale, TimeClaim, TrainedClaim, threshold_for
from repro.registry import metric_facts
from repro.store import PlanRecord
from repro.trial import FactOutcome, Result, Row, Trial
from repro.verdict import Verdict
from repro.verdict.analysis import Evidence, RecipeEvidence
from repro.verdict.effects import Contrast

Arrays = Mapping[str, npt.NDArray[np.generic]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """One claim at one scale; `verdicts` one a recipe.

    `trials`, `results`, `curves` (and as CSV) and `arrays` hold what is finished, by trial id; the
    latter three may be read only when they are asked for. `plan` is None while nothing was
    registered. `notes`: on other versions of a command's files.
    """

    claim: TrainedClaim
    evidence: Evidence
    verdicts: tuple[Verdict, ...]
    trials: Mapping[str, Trial]
    results: Mapping[str, Result]
    curves: Mapping[str, Sequence[Row]]
    curve_csv: Mapping[str, str]
    arrays: Mapping[str, Arrays]
    plan: PlanRecord | None
    notes: tuple[str, ...] = ()

    @property
    def scale(self) -> Scale:
        return self.claim.scales[self.evidence.scale]

    @property
    def threshold(self) -> float:
        """The error, a fraction, that an arm has to reach; NaN where there is none."""
        claim = self.claim
        return (
            threshold_for(claim, self.evidence.scale) if isinstance(claim, TimeClaim) else math.nan
        )

    @property
    def threshold_text(self) -> str:
        """`25 % training error`."""
        return f"{100 * self.threshold:g} % {metric_facts(self.claim.metric).title}"

    @property
    def smoke(self) -> bool:
        """Whether this can never be evidence."""
        return self.evidence.scale == "smoke"

    @property
    def measured(self) -> bool:
        return bool(self.results)

    @property
    def name(self) -> str:
        return f"{self.claim.id}-{self.evidence.scale}"

    @property
    def contrasts(self) -> tuple[Contrast, ...]:
        """What is compared, the contrast that decides first, as any recipe has it."""
        return next(iter(self.evidence.recipes.values())).contrasts

    @property
    def unit(self) -> str:
        """Of the contrast that decides."""
        return self.contrasts[0].unit

    def recipe(self, name: str) -> RecipeEvidence:
        """What is known under a recipe of the claim, of all its arms, whether they ran or not."""
        return self.evidence.recipes[name]


@dataclass(frozen=True, kw_only=True, slots=True)
class FactPage:
    """A claim that needs no training; no facts while nothing was computed."""

    claim: ExactClaim
    facts: tuple[FactOutcome, ...]
    verdict: Verdict

    @property
    def measured(self) -> bool:
        return bool(self.facts)

    @property
    def name(self) -> str:
        return self.claim.id
