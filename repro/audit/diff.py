"""How two stores differ: what they say of each claim, and what lies behind it."""

from collections.abc import Sequence
from dataclasses import dataclass

from repro.audit.merge import shared_numbers
from repro.claim import Claim, TrainedClaim
from repro.errors import NothingMeasuredError
from repro.store import Store
from repro.verdict import Verdict
from repro.verdict.judge import Judgement, judge, registered_plan


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """One store's word on a claim's recipe at a scale. `origin`: code, data and device by name."""

    verdict: Verdict
    spec: str  # the plan's digest; empty where none was registered
    origin: dict[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Two stores' words on one claim, recipe and scale, and how far their trials are the same.

    `trials`: how many both have with equal numbers, both have with others, the first alone has,
    and the second alone.
    """

    claim: str
    scale: str
    recipe: str
    one: Side
    two: Side
    trials: tuple[int, int, int, int]

    @property
    def agrees(self) -> bool:
        return self.one.verdict.word == self.two.verdict.word


def compare(one: Store, two: Store, claims: Sequence[Claim]) -> list[Difference]:
    """Every claim of which at least one store says something.

    Raises NothingMeasuredError when neither says anything.
    """
    differences: list[Difference] = []
    stores = [(store, store.results()) for store in (one, two)]
    for claim in claims:
        scales = claim.scales if isinstance(claim, TrainedClaim) else [""]
        for scale in scales:
            sides = [judge(claim, scale, store, results) for store, results in stores]
            trials = _trials(
                one, two, *(side.evidence.trials if side.evidence else () for side in sides)
            )
            for a, b in zip(sides[0].verdicts, sides[1].verdicts, strict=True):
                if a.word == "not run" == b.word:
                    continue
                differences.append(
                    Difference(
                        claim=claim.id,
                        scale=a.scale,
                        recipe=a.recipe,
                        one=_side(claim, scale, sides[0], a, one),
                        two=_side(claim, scale, sides[1], b, two),
                        trials=trials,
                    )
                )
    if not differences:
        raise NothingMeasuredError(
            f"neither {one.root} nor {two.root} says anything of these claims"
        )
    return differences


def _side(claim: Claim, scale: str, judged: Judgement, verdict: Verdict, store: Store) -> Side:
    record = registered_plan(claim, scale, store) if isinstance(claim, TrainedClaim) else None
    provenance = judged.evidence.provenance if judged.evidence else {}
    return Side(
        verdict=verdict,
        spec=record.digest[:12] if record else "",
        origin={name: ", ".join(values) for name, values in provenance.items()},
    )


def _trials(
    one: Store, two: Store, first: Sequence[str], second: Sequence[str]
) -> tuple[int, int, int, int]:
    both = set(first) & set(second)
    shared = (shared_numbers(one, two, name) for name in both)
    equal = sum(repr(ours) == repr(theirs) for ours, theirs in shared)  # NaN equals NaN
    return equal, len(both) - equal, len(set(first) - both), len(set(second) - both)
