"""How strong the paper's own evidence is, where its number is a difference of two single runs.

The authors trained many nets that differ in details: learning rates, places of the norms, one
without those of layer 2. Two runs of one net may differ by as much as those scatter, or by less.
"""

import math
from dataclasses import dataclass
from statistics import stdev

import scipy

from repro.claim import Claim, read_siblings

__all__ = ["Prior", "prior"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Prior:
    """The paper's difference beside the scatter of such a difference, both in points.

    `siblings`: how many nets of the authors the scatter is taken from.
    """

    value: float
    scatter: float
    siblings: int

    @property
    def times(self) -> float:
        """How many times the scatter the difference is."""
        return self.value / self.scatter

    @property
    def beyond_chance(self) -> bool:
        """Whether two runs of one net differ by so much less often than 5 times in 100."""
        return self.times > float(scipy.special.stdtrit(self.siblings - 1, 0.975))

    @property
    def sentence(self) -> str:
        """In plain words."""
        meaning = "more than" if self.beyond_chance else "no more than"
        return (
            f"{self.value:g} points between two single runs. {self.siblings} nets of the authors "
            "that differ in details scatter so that two of them differ by "
            f"{self.scatter:.2f} points (standard deviation): the paper's difference is "
            f"{self.times:.1f} times that, {meaning} chance between two runs explains."
        )


def prior(claim: Claim) -> Prior | None:
    """What the claim's own siblings say; None where its number is no difference of two runs."""
    if claim.paper.siblings is None or claim.paper.value is None:
        return None
    errors = read_siblings(claim.path.parent / claim.paper.siblings)
    scatter = 100 * math.sqrt(2) * stdev(errors)
    return Prior(value=claim.paper.value, scatter=scatter, siblings=len(errors))
