"""Before the first trial, without torch: images found, and plans written down."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from repro.claim import Claim, TrainedClaim
from repro.claim.trainer import OWN_DATA, fingerprint_of
from repro.data import Dataset, open_dataset
from repro.errors import ClaimError, DataError
from repro.execute.monitor.console import decoding_bar
from repro.store import Store
from repro.talk import say
from repro.verdict.session import as_registered, default_scale, judge, register, runnable_hint

__all__ = ["Work", "fingerprint_at", "having", "open_images", "prepare", "register_plans"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """A claim at a scale, its images found and its plan registered; a command finds its own."""

    claim: TrainedClaim
    scale: str
    fingerprint: str
    dataset: Dataset | None


def having(claims: Sequence[Claim], scale: str | None) -> list[Claim]:
    """Those that have the scale, or need none; ClaimError when no claim does."""
    if scale is None:
        return list(claims)
    found: list[Claim] = []
    for claim in claims:
        if isinstance(claim, TrainedClaim) and scale not in claim.scales:
            say(f"{claim.id} has no {scale} scale (it has: {', '.join(claim.scales)}): left out")
        else:
            found.append(claim)
    if not found:
        raise ClaimError(
            f"no claim that was named has the {scale} scale",
            hint="`repro list` shows the scales of each claim",
        )
    return found


def prepare(
    claims: Sequence[TrainedClaim],
    scale: str | None,
    store: Store,
    data_dirs: Sequence[Path],
    cache_dir: Path,
) -> tuple[list[Work], list[DataError]]:
    """Find the images of each claim and write down its plan, before any trial is run."""
    work: list[Work] = []
    faults: list[DataError] = []
    for claim in claims:
        at = scale or default_scale(claim)
        try:
            one, title = _found(claim, at, data_dirs, cache_dir)
        except DataError as error:
            faults.append(error)
            continue
        if _planned_for_others(one, store):
            what = "images" if one.dataset else "files or inputs of the command"
            say(
                f"{claim.id} at {at} scale was planned for other {what}: trials of those stay in "
                "the store and do not count; new ones are trained"
            )
        register(claim, at, fingerprint=one.fingerprint, title=title, store=store)
        work.append(replace(one, claim=as_registered(claim, at, store)))
        evidence = judge(claim, at, store).evidence
        found = len(evidence.trials) if evidence else 0
        say(f"{claim.id} at {at} scale on {title}: {found} trials found done")
    return work, faults


def _planned_for_others(work: Work, store: Store) -> bool:
    """Whether the same plan was made before, and never for what it is trained on now."""
    claim = as_registered(work.claim, work.scale, store)
    digest = claim.digest(work.scale)
    known = {r.fingerprint for r in store.plans(claim.id, work.scale) if r.digest == digest}
    return bool(known) and work.fingerprint not in known


def fingerprint_at(
    claim: TrainedClaim, scale: str, data_dirs: Sequence[Path], cache_dir: Path
) -> str:
    """Of what the claim is trained on at the scale."""
    return _found(claim, scale, data_dirs, cache_dir)[0].fingerprint


def _found(
    claim: TrainedClaim, scale: str, data_dirs: Sequence[Path], cache_dir: Path
) -> tuple[Work, str]:
    """What it is trained on, and how that is called."""
    if claim.trainer is not None:
        own = fingerprint_of(claim)
        title = claim.scales[scale].data or OWN_DATA
        return Work(claim=claim, scale=scale, fingerprint=own, dataset=None), title
    dataset = open_images(claim, scale, data_dirs, cache_dir)
    work = Work(claim=claim, scale=scale, fingerprint=dataset.fingerprint, dataset=dataset)
    return work, dataset.title


def register_plans(
    claims: Sequence[Claim],
    scale: str | None,
    store: Store,
    data_dirs: Sequence[Path],
    cache_dir: Path,
) -> None:
    """Write the plans down, as a run does before its first trial; the first fault is raised."""
    trained = [claim for claim in having(claims, scale) if isinstance(claim, TrainedClaim)]
    _, faults = prepare(trained, scale, store, data_dirs, cache_dir)
    for fault in faults:
        raise fault


def open_images(
    claim: TrainedClaim, scale: str, data_dirs: Sequence[Path], cache_dir: Path
) -> Dataset:
    """Those of the scale, decoded where they are not yet; DataError says which scales need none."""
    try:
        with decoding_bar() as progress:
            return open_dataset(
                claim.scales[scale].data,
                data_dirs,
                cache_dir,
                progress=progress,
            )
    except DataError as error:
        raise DataError(str(error), hint=runnable_hint(claim, error)) from error
