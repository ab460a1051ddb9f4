"""The strength of the paper's own evidence, where its number is a difference of two single runs.

The authors trained many nets that differ in details: learning rates, places of the norms, one
without the norms of layer 2. Two runs of one net differ at most by about the scatter of these.
"""

import math
from dataclasses import dataclass
from statistics import stdev

import scipy

from repro.claim import Claim, read_siblings


@dataclass(frozen=True, kw_only=True, slots=True)
class Prior:
    """The paper's difference, and the scatter of such a difference, both in points.

    `siblings`: the number of the authors' nets behind the scatter.
    """

    value: float
    scatter: float
    siblings: int

    @property
    def times(self) -> float:
        return self.value / self.scatter

    @property
    def beyond_chance(self) -> bool:
        """Whether two runs of one net differ by this much with a probability below 5 %."""
        return self.times > float(scipy.special.stdtrit(self.siblings - 1, 0.975))

    @property
    def sentence(self) -> str:
        meaning = "more than" if self.beyond_chance else "no more than"
        return (
            f"{self.value:g} points between two single runs. {self.siblings} nets of the authors "
            "that differ in details scatter so that two of them differ by "
            f"{self.scatter:.2f} points (standard deviation): the paper's difference is "
            f"{self.times:.1f} times that, {meaning} chance between two runs explains."
        )


def prior(claim: Claim) -> Prior | None:
    """The prior from the claim's siblings; None if its number is not a difference of two runs."""
    if claim.paper.siblings is None or claim.paper.value is None:
        return None
    errors = read_siblings(claim.path.parent / claim.paper.siblings)
    scatter = 100 * math.sqrt(2) * stdev(errors)
    return Prior(value=claim.paper.value, scatter=scatter, siblings=len(errors))
