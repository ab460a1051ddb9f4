"""One use of the tool: claims in, trials run, verdicts out. What the commands share.

The command line parses and prints; what it does with claims, machine and store stands here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from repro.analysis import Evidence, analyse
from repro.claim import Claim
from repro.errors import DataError
from repro.registry import DATASETS
from repro.report import Page
from repro.store import PlanRecord, Store
from repro.verdict import Verdict, decide

__all__ = ["Judged", "default_scale", "judge", "pages", "planned", "register", "runnable_hint"]

# Best evidence first.
SCALES = ("paper", "proxy", "smoke")


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """A claim at a scale with all that is known of it; one verdict a recipe."""

    claim: Claim
    evidence: Evidence
    verdicts: tuple[Verdict, ...]

    @property
    def deciding(self) -> Verdict:
        """The verdict of the recipe that the claim file names."""
        return next(v for v in self.verdicts if v.recipe == self.claim.verdict_recipe)


def default_scale(claim: Claim) -> str:
    """The scale with the best evidence among those that the claim has."""
    return next(scale for scale in SCALES if scale in claim.scales)


def register(claim: Claim, scale: str, *, fingerprint: str, title: str, store: Store) -> PlanRecord:
    """Write down what will be run, before the first trial; the first record of it stands."""
    return store.register(
        PlanRecord(
            claim_id=claim.id,
            scale=scale,
            digest=claim.digest,
            fingerprint=fingerprint,
            data_title=title,
            registered=datetime.now(UTC).isoformat(timespec="seconds"),
        )
    )


def planned(claim: Claim, scale: str, store: Store) -> PlanRecord | None:
    """The record of the claim file as it stands, the newest when there are several data sets."""
    records = [r for r in store.plans(claim.id, scale) if r.digest == claim.digest]
    return records[-1] if records else None


def judge(claim: Claim, scale: str, store: Store) -> Judged:
    """What the store says of the claim now, whether or not all of it was run."""
    record = planned(claim, scale, store)
    evidence = analyse(claim, scale, record.fingerprint if record else None, store)
    verdicts = tuple(decide(claim, evidence, recipe) for recipe in claim.recipes)
    return Judged(claim=claim, evidence=evidence, verdicts=verdicts)


def pages(claims: Sequence[Claim], store: Store) -> list[Page]:
    """A page for each claim and each of its scales, planned or not."""
    found: list[Page] = []
    for claim in claims:
        for scale in SCALES:
            if scale not in claim.scales:
                continue
            judged = judge(claim, scale, store)
            trials = judged.evidence.trials
            results = store.results()
            found.append(
                Page(
                    claim=claim,
                    evidence=judged.evidence,
                    verdicts=judged.verdicts,
                    trials={name: store.trial(name) for name in trials},
                    results={name: results[name] for name in trials},
                    curves={name: store.curve(name) for name in trials},
                    plan=planned(claim, scale, store),
                )
            )
    return found


def runnable_hint(claim: Claim, error: DataError) -> str:
    """How to get the data, and which scales need none."""
    embedded = [
        name
        for name, scale in claim.scales.items()
        if scale.data in DATASETS and not DATASETS[scale.data].evidence
    ]
    now = ", ".join(embedded) or "none"
    return f"{error.hint}; scales of {claim.id} that need no download: {now} (--scale)"
