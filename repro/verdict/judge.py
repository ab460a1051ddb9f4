"""From a claim and a store to its plan, next trials and verdicts: shared by the commands.

The command line only parses and prints.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from repro.claim import SCALES, Claim, TrainedClaim
from repro.claim.trainer import files_now
from repro.errors import DataError
from repro.planning import Cell, next_cells, possible_cells
from repro.registry import DATASETS
from repro.store import PlanRecord, Store
from repro.trial import Result
from repro.verdict import Verdict, decide, decide_exact, settles
from repro.verdict.analysis import Evidence, Records, analyse


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """A claim at a scale with its evidence, and a verdict for each recipe.

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


def default_scale(claim: Claim) -> str:
    """The claim's scale with the best evidence; empty where nothing is trained."""
    scales = claim.scales if isinstance(claim, TrainedClaim) else ()
    return next((scale for scale in reversed(SCALES) if scale in scales), "")


def register(
    claim: TrainedClaim, scale: str, *, fingerprint: str, title: str, store: Store
) -> PlanRecord:
    """Record the plan before the first trial; an existing record stays.

    The record counts the evaluation trials that are finished by then, even for another claim:
    somebody may have seen these results.
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
            finished_before=count_finished(claim, scale, fingerprint, store.results()),
        )
    )


def count_finished(
    claim: TrainedClaim, scale: str, fingerprint: str, results: Mapping[str, Result]
) -> int:
    """How many of its evaluation trials are finished, even for another claim.

    With a search, the trials at every rate that it may choose count, also beside the grid and
    between its rates.
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
    """The claim with the rule of its registered plan.

    A plan of an earlier version keeps its rule if the file has not changed otherwise: somebody may
    have seen its results before the new rule.
    """
    older = claim.by_the_older_rule(scale)
    digests = {record.digest for record in store.plans(claim.id, scale)}
    declared = claim.scales[scale].taken > 0 or claim.digest(scale) in digests
    return older if older.digest(scale) in digests and not declared else claim


def registered_plan(claim: TrainedClaim, scale: str, store: Store) -> PlanRecord | None:
    """The record of the current claim file by which it is judged.

    Of several, that of the command's files as they are now; without one, the newest.
    """
    records = registered_plans(claim, scale, store)
    files = files_now(claim) if len(records) > 1 else None
    present = [record for record in records if files and record.fingerprint == files.fingerprint]
    return next(iter(present or records[-1:]), None)


def registered_plans(claim: TrainedClaim, scale: str, store: Store) -> list[PlanRecord]:
    """All of the current claim file, on whatever data or files of a command, oldest first."""
    digest = as_registered(claim, scale, store).digest(scale)
    return [record for record in store.plans(claim.id, scale) if record.digest == digest]


def next_trials(
    claim: TrainedClaim,
    scale: str,
    fingerprint: str,
    results: Mapping[str, Result],
    *,
    max_seeds: int | None = None,
    records: Records | None = None,
) -> list[Cell]:
    """The next trials: those for the next interim analysis, unless the claim is decided.

    A pure function of claim and results. `max_seeds`: stop at the last analysis with at most so
    many seeds, or before the first, where nothing can be decided. None if a command does not write
    what the claim asks: more trials would not either.
    """
    evidence = analyse(claim, scale, fingerprint, results, settles=settles, records=records)
    if any(recipe.unwritten for recipe in evidence.recipes.values()):
        return []
    looks = claim.scales[scale].seeds
    most = looks[-1]
    if max_seeds is not None:
        most = max((n for n in looks if n <= max_seeds), default=max_seeds)
    seeds = {
        name: min(evidence_of_recipe.target_seeds, most)
        for name, evidence_of_recipe in evidence.recipes.items()
    }
    return next_cells(claim, scale, fingerprint, results, seeds=seeds)


def judge(
    claim: Claim, scale: str, store: Store, results: Mapping[str, Result] | None = None
) -> Judgement:
    """The verdicts by the trials in the store, finished or not; an exact claim has no scale.

    `results`: the results in the store, if they are loaded already, to read a large store once for
    many claims.
    """
    if not isinstance(claim, TrainedClaim):
        facts = store.facts(claim.id, claim.digest())
        return Judgement(claim=claim, evidence=None, verdicts=(decide_exact(claim, facts),))
    claim = as_registered(claim, scale, store)
    results = store.results() if results is None else results
    evidence = evidence_by(registered_plan(claim, scale, store), claim, scale, store, results)
    verdicts = tuple(decide(claim, evidence, recipe) for recipe in claim.recipes)
    return Judgement(claim=claim, evidence=evidence, verdicts=verdicts)


def evidence_by(
    record: PlanRecord | None,
    claim: TrainedClaim,
    scale: str,
    store: Store,
    results: Mapping[str, Result],
) -> Evidence:
    """The evidence on the data, or by the command's files, of the plan."""
    fingerprint = record.fingerprint if record else None
    evidence = analyse(claim, scale, fingerprint, results, settles=settles, records=store)
    return replace(evidence, finished_before=record.finished_before if record else 0)


def runnable_hint(claim: TrainedClaim, error: DataError) -> str:
    """How to get the data, and which scales need other images, or no download."""
    data = {name: scale.data for name, scale in claim.scales.items() if scale.data in DATASETS}
    fetched = [f"{name} ({data[name]})" for name in data if DATASETS[data[name]].fetched]
    embedded = [name for name in data if not DATASETS[data[name]].evidence]
    easy = f"whose images `repro data fetch` gets: {', '.join(fetched)}; " if fetched else ""
    now = ", ".join(embedded) or "none"
    return f"{error.hint}; scales of {claim.id} {easy}that need no download: {now} (--scale)"
