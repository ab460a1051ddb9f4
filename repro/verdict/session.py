"""Claims in, verdicts out: what the commands share.

The command line parses and prints; what it does with claims and their store stands here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from repro.claim import SCALES, Claim, ExactClaim, TrainedClaim
from repro.errors import DataError
from repro.plan import Cell, next_cells, possible_cells
from repro.registry import DATASETS
from repro.store import PlanRecord, Store
from repro.trial import Result
from repro.verdict import Verdict, decide, decide_exact, settles
from repro.verdict.analysis import Evidence, Records, analyse

__all__ = [
    "Judged",
    "as_registered",
    "default_scale",
    "finished",
    "judge",
    "judge_at",
    "judge_exact",
    "next_trials",
    "planned",
    "register",
    "runnable_hint",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """A claim at a scale with all that is known of it; one verdict a recipe.

    `evidence` is None for a claim that needs no training.
    """

    claim: Claim
    evidence: Evidence | None
    verdicts: tuple[Verdict, ...]

    @property
    def deciding(self) -> Verdict:
        """The verdict of the recipe that the claim file names."""
        if isinstance(self.claim, TrainedClaim):
            return next(v for v in self.verdicts if v.recipe == self.claim.verdict_recipe)
        return self.verdicts[0]


def default_scale(claim: TrainedClaim) -> str:
    """The scale with the best evidence among those that the claim has."""
    return next(scale for scale in reversed(SCALES) if scale in claim.scales)


def register(
    claim: TrainedClaim, scale: str, *, fingerprint: str, title: str, store: Store
) -> PlanRecord:
    """Write down what will be run, before the first trial; the first record of it stands.

    How many of its evaluation trials were finished by then, for whatever claim they were run, is
    written down with it: results that were there could have been looked at.
    """
    claim = as_registered(claim, scale, store)
    return store.register(
        PlanRecord(
            claim_id=claim.id,
            scale=scale,
            digest=claim.digest(scale),
            fingerprint=fingerprint,
            data_title=title,
            registered=datetime.now(UTC).isoformat(timespec="seconds"),
            finished_before=finished(claim, scale, fingerprint, store.results()),
        )
    )


def finished(
    claim: TrainedClaim, scale: str, fingerprint: str, results: Mapping[str, Result]
) -> int:
    """How many of its evaluation trials there are, for whatever claim they were run.

    Where rates are searched, those at every rate that the search may choose count, beside the grid
    and between its rates, too.
    """
    cells = {
        cell.trial.id
        for recipe in claim.recipes
        for arm in claim.arms
        for cell in possible_cells(claim, scale, recipe, arm, fingerprint)
        if cell.done(results)
    }
    return len(cells)


def as_registered(claim: TrainedClaim, scale: str, store: Store) -> TrainedClaim:
    """The claim by the rule that its plan was registered with.

    A plan of an earlier version, of which the file as it stands says all else, keeps its own rule:
    its results could be looked at before there was another.
    """
    older = claim.by_the_older_rule(scale)
    digests = {record.digest for record in store.plans(claim.id, scale)}
    declared = claim.scales[scale].taken > 0 or claim.digest(scale) in digests
    return older if older.digest(scale) in digests and not declared else claim


def planned(claim: TrainedClaim, scale: str, store: Store) -> PlanRecord | None:
    """The record of the claim file as it stands, the newest when there are several data sets."""
    digest = as_registered(claim, scale, store).digest(scale)
    records = [record for record in store.plans(claim.id, scale) if record.digest == digest]
    return records[-1] if records else None


def next_trials(
    claim: TrainedClaim,
    scale: str,
    fingerprint: str,
    results: Mapping[str, Result],
    *,
    max_seeds: int | None = None,
    records: Records | None = None,
) -> list[Cell]:
    """The trials that come next: those of the look after the last one, unless that settled it.

    A pure function of claim and results. `max_seeds` ends at the last look with so many seeds; or
    short of the first, where nothing can be decided.
    """
    evidence = analyse(claim, scale, fingerprint, results, settles=settles, records=records)
    looks = claim.scales[scale].seeds
    most = looks[-1]
    if max_seeds is not None:
        most = max((n for n in looks if n <= max_seeds), default=max_seeds)
    seeds = {name: min(found.wanted, most) for name, found in evidence.recipes.items()}
    return next_cells(claim, scale, fingerprint, results, seeds=seeds)


def judge(
    claim: TrainedClaim, scale: str, store: Store, results: Mapping[str, Result] | None = None
) -> Judged:
    """What the store says of the claim now, whether or not all of it was run.

    `results`: of its trials, where they are known already: a store of thousands is read once for
    many claims.
    """
    claim = as_registered(claim, scale, store)
    evidence = _evidence(claim, scale, store, store.results() if results is None else results)
    verdicts = tuple(decide(claim, evidence, recipe) for recipe in claim.recipes)
    return Judged(claim=claim, evidence=evidence, verdicts=verdicts)


def judge_exact(claim: ExactClaim, store: Store) -> Judged:
    """What was computed of a claim that needs no training."""
    facts = store.facts(claim.id, claim.digest())
    return Judged(claim=claim, evidence=None, verdicts=(decide_exact(claim, facts),))


def judge_at(claim: Claim, scale: str, store: Store, results: Mapping[str, Result]) -> Judged:
    """What the store says of a claim of any kind; `scale` is not asked for where none is had."""
    if isinstance(claim, TrainedClaim):
        return judge(claim, scale, store, results)
    assert isinstance(claim, ExactClaim)
    return judge_exact(claim, store)


def _evidence(
    claim: TrainedClaim, scale: str, store: Store, results: Mapping[str, Result]
) -> Evidence:
    record = planned(claim, scale, store)
    fingerprint = record.fingerprint if record else None
    evidence = analyse(claim, scale, fingerprint, results, settles=settles, records=store)
    return replace(evidence, finished_before=record.finished_before if record else 0)


def runnable_hint(claim: TrainedClaim, error: DataError) -> str:
    """How to get the data, and which scales need other images, or none."""
    data = {name: scale.data for name, scale in claim.scales.items() if scale.data in DATASETS}
    fetched = [f"{name} ({data[name]})" for name in data if DATASETS[data[name]].fetched]
    embedded = [name for name in data if not DATASETS[data[name]].evidence]
    easy = f"whose images `repro data fetch` gets: {', '.join(fetched)}; " if fetched else ""
    now = ", ".join(embedded) or "none"
    return f"{error.hint}; scales of {claim.id} {easy}that need no download: {now} (--scale)"
