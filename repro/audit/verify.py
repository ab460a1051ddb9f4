"""Does a store agree with itself, and its verdicts with its curves? Reads everything, once."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from repro.audit import printed
from repro.audit.curves import FromCurves, contradictions
from repro.audit.merge import APART
from repro.claim import Claim, ExactClaim, TrainedClaim
from repro.data import fingerprint
from repro.errors import NothingMeasuredError, ReproError
from repro.pages import pages
from repro.registry import DATASETS
from repro.report import csv_files
from repro.session import judge_at
from repro.store import Store
from repro.trial import Result
from repro.verdict import Verdict

__all__ = ["Verification", "verify"]


@dataclass(kw_only=True, slots=True)
class Verification:
    """What was looked at, what contradicts what (with its file), and what is worth knowing."""

    checked: list[str] = field(default_factory=list)
    contradictions: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)


def verify(store: Store, claims: Sequence[Claim], *, report: Path | None = None) -> Verification:
    """Check the store, and derive every verdict of the claims from its curves once more.

    `report`: a folder whose tables have to be the store's. Raises NothingMeasuredError when the
    store is empty.
    """
    if not _files(store):
        raise NothingMeasuredError(f"{store.root} holds no plan, no trial and no facts")
    found = Verification()
    if not (store.root / "store.json").exists():
        found.contradictions.append(
            f"{store.root / 'store.json'}: missing, so the format is a guess"
        )
    found.contradictions += [
        f"{path}: kept apart by `repro merge`, since it contradicts this store"
        for path in sorted(store.root.glob(f"{APART}/*"))
    ]
    results = _check_trials(store, found)
    _check_plans(store, claims, found)
    _check_facts(store, claims, found)
    if found.contradictions:
        found.notes.append("verdicts are not derived from a store that contradicts itself")
    else:
        _check_verdicts(store, claims, results, found)
        if report is not None:
            tables = csv_files(pages(claims, store))
            found.contradictions += printed.contradictions(report, tables)
            found.checked.append(f"the tables of {report}, cell by cell")
    return found


def _files(store: Store) -> list[Path]:
    return [path for room in ("plans", "facts", "trials") for path in store.root.glob(f"{room}/*")]


def _check_trials(store: Store, found: Verification) -> dict[str, Result]:
    results: dict[str, Result] = {}
    unfinished: list[str] = []
    litter: list[Path] = []
    folders = sorted(path for path in store.root.glob("trials/*") if path.is_dir())
    for folder in folders:
        litter += folder.glob(".*")
        if not (folder / "trial.json").exists():
            # What the driver says of a trial before a worker has begun it.
            told = {"progress.json", "fault.json"}
            if any(path.name not in told for path in folder.glob("[!.]*.*")):
                found.contradictions.append(f"{folder / 'trial.json'}: missing beside other files")
            continue
        name = folder.name
        with _noting(found, folder):
            trial, curve, result = store.trial(name), store.curve(name), store.result(name)
            store.arrays(name)
            if result is None:
                unfinished.append(name)
                continue
            results[name] = result
            found.contradictions += [
                f"{folder / 'result.json'}: {sentence}"
                for sentence in contradictions(trial, curve, result)
            ]
            if _embedded(trial.data) not in (None, trial.fingerprint):
                found.notes.append(f"{name}: {trial.data} has other images on this machine")
    found.checked.append(
        f"{len(folders)} trials ({len(results)} finished): identities, files, and results against "
        "their curves"
    )
    if unfinished:
        found.notes.append(
            f"{len(unfinished)} trials are unfinished, as after an interruption: "
            "`repro run` continues them"
        )
    if litter:
        found.notes.append(
            f"{len(litter)} files were left by writes that were cut off, such as {litter[0]}; "
            "nothing reads them"
        )
    return results


@cache
def _embedded(data: str) -> str | None:
    """The fingerprint of a data set that comes with the code; None for any other."""
    facts = DATASETS.get(data)
    return None if facts is None or facts.evidence else fingerprint(data, (), Path())


class _noting:  # noqa: N801 - used as a with-statement's verb
    """Makes an error of the store one of the contradictions."""

    def __init__(self, found: Verification, path: Path) -> None:
        self.found, self.path = found, path

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        if not isinstance(error, ReproError):
            return False
        sentence = str(error)
        named = str(self.path) in sentence
        self.found.contradictions.append(sentence if named else f"{self.path}: {sentence}")
        return True


def _check_plans(store: Store, claims: Sequence[Claim], found: Verification) -> None:
    digests = {
        (claim.id, scale): claim.digest(scale)
        for claim in claims
        if isinstance(claim, TrainedClaim)
        for scale in claim.scales
    }
    older = 0
    for path in store.plan_files():
        with _noting(found, path):
            record = store.plan(path)
            older += digests.get((record.claim_id, record.scale)) != record.digest
    found.checked.append(f"{len(store.plan_files())} plans: names and digests")
    if older:
        found.notes.append(
            f"{older} plans are of claims that are not in the claims folder, or of older files"
        )


def _check_facts(store: Store, claims: Sequence[Claim], found: Verification) -> None:
    count = 0
    for claim in claims:
        if not isinstance(claim, ExactClaim):
            continue
        place = store.root / "facts"
        with _noting(found, place):
            for outcome in store.facts(claim.id, claim.digest()):
                count += 1
                fact = claim.facts.get(outcome.name)
                if fact is None or fact.holds(outcome.ours) != outcome.holds:
                    found.contradictions.append(
                        f"{place}: {claim.id}, fact {outcome.name!r}: not as the claim file has it"
                    )
    found.checked.append(f"{count} facts that need no training: whether they hold")


def _check_verdicts(
    store: Store, claims: Sequence[Claim], results: dict[str, Result], found: Verification
) -> None:
    from_curves = FromCurves(store.root)
    used: set[str] = set()
    for claim in claims:
        for scale in claim.scales if isinstance(claim, TrainedClaim) else [""]:
            judged, again = (judge_at(claim, scale, where) for where in (store, from_curves))
            used.update(judged.evidence.trials if judged.evidence else ())
            for stored, derived in zip(judged.verdicts, again.verdicts, strict=True):
                if stored.word == "not run" == derived.word:
                    continue
                found.verdicts.append(derived)
                if stored.word != derived.word or _numbers(stored) != _numbers(derived):
                    found.contradictions.append(
                        f"{store.root}: {claim.id} at {derived.scale} scale, {derived.recipe} "
                        f"recipe: {stored.word} by its results, {derived.word} by its curves"
                    )
    found.checked.append(f"{len(found.verdicts)} verdicts, derived from the curves once more")
    others = len(results.keys() - used)
    if others:
        found.notes.append(f"{others} finished trials belong to no plan of the claims folder")


def _numbers(verdict: Verdict) -> list[str]:
    """The estimate to nine digits: sums of equal rows may differ in the last one."""
    estimate = verdict.estimate
    return [f"{x:.9g}" for x in (estimate.value, estimate.low, estimate.high)] if estimate else []
