"""Does a store agree with itself, and its verdicts with its curves? Reads everything, once."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from repro.audit import printed
from repro.audit.curves import FROM_CURVE, contradictions, rederived
from repro.audit.merge import APART
from repro.claim import Claim, ExactClaim, TimeClaim, TrainedClaim, arms_of, metric_of
from repro.claim.trainer import files_now
from repro.data import fingerprint
from repro.errors import IntegrityError, NothingMeasuredError, ReproError
from repro.execute.monitor.progress import Fault, TrialProgress, read_report
from repro.files import File, exists
from repro.registry import DATASETS
from repro.report.frames import csv_files
from repro.report.read_pages import pages
from repro.store import Store, checksums, facts_in
from repro.store.archive import archives
from repro.text import counted
from repro.trial import FactOutcome, Result
from repro.verdict import Verdict
from repro.verdict.judge import judge
from repro.verdict.versions import version_notes


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
    verification = Verification()
    verification.contradictions += store.damaged_files().values()
    try:
        store.ids()
    except IntegrityError as error:  # one of the contradictions already
        verification.notes.append(f"checksums alone were compared, since {error}")
        return verification
    _say_what_has_sums(store, verification)
    if not (store.root / "store.json").exists():
        verification.contradictions.append(
            f"{store.root / 'store.json'}: missing, so the format is a guess"
        )
    verification.contradictions += [
        f"{path}: kept apart by `repro merge`, since it contradicts this store"
        for path in sorted(store.root.glob(f"{APART}/*"))
    ]
    derived = _check_trials(store, claims, verification)
    _check_plans(store, claims, verification)
    _check_facts(store, claims, verification)
    if verification.contradictions:
        verification.notes.append("verdicts are not derived from a store that contradicts itself")
    else:
        _check_verdicts(store, claims, derived, verification)
        if report is not None:
            tables = {n: "".join(parts) for n, parts in csv_files(pages(claims, store)).items()}
            verification.contradictions += printed.contradictions(report, tables)
            verification.checked.append(f"the tables of {report}, cell by cell")
    return verification


def claims_beside(store: Path) -> Path | None:
    """The folder of claim files of a store that is a crate."""
    return store / "claims" if (store / checksums.CRATE).exists() else None


def _files(store: Store) -> list[Path]:
    rooms = ("plans/*", "facts/*", "trials/*")
    return [*archives(store.root), *(path for room in rooms for path in store.root.glob(room))]


def _say_what_has_sums(store: Store, verification: Verification) -> None:
    trials, records = store.finished(), [*store.plan_files(), *store.fact_files()]
    without = sum(not store.is_covered(name) for name in trials)
    records_without = sum(not store.is_record_covered(file) for file in records)
    verification.checked.append(
        "checksums of the whole store"
        if checksums.is_sealed(store.root)
        else f"checksums of {len(trials) - without} finished trials, and of "
        f"{len(records) - records_without} plans and files of facts"
    )
    if without or records_without:
        counts = {"finished trials": without, "plans and files of facts": records_without}
        verification.notes.append(
            f"{' and '.join(f'{count} {what}' for what, count in counts.items() if count)} have no "
            "checksums, as those of earlier versions, or of a run that was killed just then: a "
            "change that contradicts nothing cannot be seen in them"
        )


def _check_trials(
    store: Store, claims: Sequence[Claim], verification: Verification
) -> dict[str, Result]:
    """The results of finished trials, as they follow from the curves."""
    derived: dict[str, Result] = {}
    litter: list[Path] = []
    names = store.names()
    for name in names:
        folder = store.folder(name)
        litter += folder.glob(".*")
        _check_reports(folder, verification)
        with _noting(verification, folder):
            if exists(store.file(name, "trial.json")):
                derived |= _check_trial(store, name, verification)
            # What the driver says of a trial before a worker has begun it.
            elif {path.name for path in folder.glob("[!.]*.*")} - _REPORTS.keys():
                verification.contradictions.append(
                    f"{folder / 'trial.json'}: missing beside other files"
                )
    finished = store.finished()
    unfinished = {*store.ids()} - finished
    outdated = _outdated(unfinished, store, claims)
    verification.checked.append(
        f"{counted(len(names), 'trial')} ({len(finished)} finished): identities, files, and "
        "results against their curves and arrays"
    )
    if waiting := len(unfinished) - len(outdated):
        verification.notes.append(
            f"{waiting} trials are unfinished, as after an interruption: `repro run` continues them"
        )
    if outdated:
        verification.notes.append(
            f"{len(outdated)} unfinished trials are of a command, or of files of it, that no claim "
            f"has now, such as {min(outdated)}: no run continues them"
        )
    if litter:
        verification.notes.append(
            f"{len(litter)} files were left by writes that were cut off, such as {litter[0]}; "
            "nothing reads them"
        )
    return derived


def _outdated(names: Iterable[str], store: Store, claims: Sequence[Claim]) -> set[str]:
    """The trials of these claims alone whose command, or a file of it, has changed since."""
    present = {
        claim.id: (claim.trainer, files.fingerprint)
        for claim in claims
        if isinstance(claim, TrainedClaim) and (files := files_now(claim))
    }
    planned_by: dict[str, set[str]] = {}  # claims, by the fingerprint of a plan
    for path in store.plan_files():
        with suppress(IntegrityError):  # one of the contradictions already
            record = store.plan(path)
            planned_by.setdefault(record.fingerprint, set()).add(record.claim_id)
    outdated = set()
    for name in names:
        with suppress(IntegrityError):
            trial = store.trial(name)
            owners = planned_by.get(trial.fingerprint, set())
            is_present = (trial.trainer, trial.fingerprint) in present.values()
            if trial.trainer and owners and owners <= present.keys() and not is_present:
                outdated.add(name)
    return outdated


_REPORTS: dict[str, type[TrialProgress | Fault]] = {
    "progress.json": TrialProgress,
    "fault.json": Fault,
}


def _check_reports(folder: Path, verification: Verification) -> None:
    """What other commands read of a trial that runs, or that a fault has stopped."""
    for name, kind in _REPORTS.items():
        with _noting(verification, folder):
            if os.path.lexists(folder / name):
                read_report(folder / name, kind)


def _check_trial(store: Store, name: str, verification: Verification) -> dict[str, Result]:
    """A finished trial's result as it follows from its curve, by identity; nothing of another."""
    store.held(name)  # its lock can be read
    trial, rows, result = store.trial(name), store.rows(name), store.result(name)
    if result is None:
        return {}
    path = store.file(name, "result.json")
    try:
        derived = rederived(trial, rows, result)
    except ValueError as error:
        raise IntegrityError(f"{path}: {error}") from error
    # Of one that was trained further since, they may be of a later moment already.
    later = max((row.epoch for row in rows), default=0.0) > result.epochs
    arrays = {} if later else store.arrays(name)
    if not later:
        store.weights(name)
    verification.contradictions += [
        f"{path}: {sentence}" for sentence in contradictions(result, derived, arrays)
    ]
    if trial.trainer is None and _embedded(trial.data) not in (None, trial.fingerprint):
        verification.notes.append(f"{name}: {trial.data} has other images on this machine")
    return {name: result if derived == result else derived}  # one in memory, not two


@cache
def _embedded(data: str) -> str | None:
    """The fingerprint of a data set that comes with the code; None for any other."""
    facts = DATASETS.get(data)
    return None if facts is None or facts.evidence else fingerprint(data, (), Path())


@contextmanager
def _noting(verification: Verification, path: File) -> Iterator[None]:
    """Makes an error of the store one of the contradictions."""
    try:
        yield
    except ReproError as error:
        sentence = str(error)
        named = str(path) in sentence
        verification.contradictions.append(sentence if named else f"{path}: {sentence}")


def _check_plans(store: Store, claims: Sequence[Claim], verification: Verification) -> None:
    digests = {
        (claim.id, scale, rule.digest(scale))
        for claim in claims
        if isinstance(claim, TrainedClaim)
        for scale in claim.scales
        for rule in (claim, claim.by_the_older_rule(scale))
    }
    older = 0
    for path in store.plan_files():
        with _noting(verification, path):
            record = store.plan(path)
            older += (record.claim_id, record.scale, record.digest) not in digests
    verification.checked.append(f"{counted(len(store.plan_files()), 'plan')}: names and digests")
    if older:
        verification.notes.append(
            f"{older} plans are of claims that are not in the claims folder, or of older files"
        )


def _check_facts(store: Store, claims: Sequence[Claim], verification: Verification) -> None:
    count = 0
    for path in store.fact_files():
        with _noting(verification, path):
            facts_in(path)
    for claim in claims:
        if not isinstance(claim, ExactClaim):
            continue
        place = store.root / "facts"
        with _noting(verification, place):
            stored = {fact.name: fact for fact in store.facts(claim.id, claim.digest())}
            computed: dict[str, FactOutcome] = {}
            if stored:
                from repro.models.facts import compute  # torch, which others do not need

                computed = {fact.name: fact for fact in compute(claim)}
            count += len(computed)
            verification.contradictions += [
                f"{place}: {claim.id}, fact {name!r}: not as it follows from the claim file"
                for name in {**stored, **computed}
                if stored.get(name) != computed.get(name)
            ]
    verification.checked.append(f"{count} facts that need no training, computed once more")


def _check_verdicts(
    store: Store, claims: Sequence[Claim], derived: dict[str, Result], verification: Verification
) -> None:
    results = store.results()
    used: set[str] = set()
    for claim in claims:
        for scale in claim.scales if isinstance(claim, TrainedClaim) else [""]:
            judged = again = judge(claim, scale, store, results)
            trials = judged.evidence.trials if judged.evidence else ()
            if any(derived.get(name) is not results[name] for name in trials):
                again = judge(claim, scale, store, derived)
            used.update(trials)
            if isinstance(claim, TrainedClaim):
                verification.notes += [
                    f"{claim.id} at {scale} scale: {note}"
                    for note in version_notes(claim, scale, store, results)
                ]
            for stored, anew in zip(judged.verdicts, again.verdicts, strict=True):
                if stored.word == "not run" == anew.word:
                    continue
                verification.verdicts.append(anew)
                if stored.word != anew.word or _numbers(stored) != _numbers(anew):
                    verification.contradictions.append(
                        f"{store.root}: {claim.id} at {anew.scale} scale, {anew.recipe} "
                        f"recipe: {stored.word} by its results, {anew.word} by its curves"
                    )
    verification.checked.append(
        f"{counted(len(verification.verdicts), 'verdict')}, derived from the curves once more"
    )
    judged_claims = {verdict.claim_id for verdict in verification.verdicts}
    stored_only = sorted(_metrics(c for c in claims if c.id in judged_claims) - FROM_CURVE)
    if stored_only:
        verification.notes.append(
            f"no curve holds {', '.join(stored_only)}: held against outcomes by image and kernels "
            "where these were kept, else as stored"
        )
    others = len(derived.keys() - used)
    if others:
        verification.notes.append(
            f"{counted(others, 'finished trial')} count for no verdict of the claims folder"
        )


def _metrics(claims: Iterable[Claim]) -> set[str]:
    """What the claims' verdicts are read from, where a net is measured at its end."""
    return {
        metric_of(claim, arm)
        for claim in claims
        if isinstance(claim, TrainedClaim) and not isinstance(claim, TimeClaim)
        for arm in arms_of(claim)
    }


def _numbers(verdict: Verdict) -> list[str]:
    """The estimate to nine digits: sums of equal rows may differ in the last one."""
    estimate = verdict.estimate
    return [f"{x:.9g}" for x in (estimate.value, estimate.low, estimate.high)] if estimate else []
