"""What the report is told: all that is known of one claim at one scale, decided and computed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import pandas as pd

from repro.analysis import Evidence, RecipeEvidence
from repro.claim import Claim, Scale
from repro.trial import Result, Trial
from repro.verdict import Verdict

__all__ = ["Page", "Registration"]


class Registration(Protocol):
    """What was written down before the first trial; `repro.store.PlanRecord` is one."""

    @property
    def digest(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def data_title(self) -> str: ...
    @property
    def registered(self) -> str: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """One claim at one scale; `verdicts` one a recipe.

    `trials`, `results` and `curves` (columns CURVE_COLUMNS) hold what is finished, by trial id;
    `plan` is None while nothing was registered.
    """

    claim: Claim
    evidence: Evidence
    verdicts: tuple[Verdict, ...]
    trials: Mapping[str, Trial]
    results: Mapping[str, Result]
    curves: Mapping[str, pd.DataFrame]
    plan: Registration | None

    @property
    def scale(self) -> Scale:
        """The scale as the claim file has it."""
        return self.claim.scales[self.evidence.scale]

    @property
    def threshold(self) -> float:
        """Training error, a fraction, that an arm has to reach at this scale."""
        here = self.scale.threshold
        return self.claim.threshold if here is None else here

    @property
    def threshold_text(self) -> str:
        """`25 %`."""
        return f"{100 * self.threshold:g} %"

    @property
    def smoke(self) -> bool:
        """Whether this can never be evidence."""
        return self.evidence.scale == "smoke"

    @property
    def name(self) -> str:
        """Names the section in the page and the files of its figures."""
        return f"{self.claim.id}-{self.evidence.scale}"

    def recipe(self, name: str) -> RecipeEvidence | None:
        """What was found under a recipe; None when nothing was."""
        return self.evidence.recipes.get(name)
