"""Before the first trial, without torch: open the images and register the plans."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from repro.claim import Claim, TrainedClaim
from repro.claim.trainer import OWN_DATA, fingerprint_of
from repro.data import Dataset, open_dataset
from repro.errors import ClaimError, DataError
from repro.execute.machine import Machine
from repro.execute.monitor.console import decoding_bar
from repro.messages import say
from repro.store import Store
from repro.text import counted
from repro.verdict.judge import as_registered, default_scale, judge, register, runnable_hint


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """A claim at a scale, with open images and a registered plan; a command has no `dataset`."""

    claim: TrainedClaim
    scale: str
    fingerprint: str
    dataset: Dataset | None


def claims_with_scale(claims: Sequence[Claim], scale: str | None) -> list[Claim]:
    """The claims that have the scale, or need no training; ClaimError if there are none."""
    if scale is None:
        return list(claims)
    selected: list[Claim] = []
    for claim in claims:
        if isinstance(claim, TrainedClaim) and scale not in claim.scales:
            say(f"{claim.id} has no {scale} scale (it has: {', '.join(claim.scales)}): left out")
        else:
            selected.append(claim)
    if not selected:
        raise ClaimError(
            f"no claim that was named has the {scale} scale",
            hint="`repro list` shows the scales of each claim",
        )
    return selected


def prepare(
    claims: Sequence[TrainedClaim], scale: str | None, machine: Machine
) -> tuple[list[Work], list[DataError]]:
    """Open the images of each claim and register its plan, before any trial runs."""
    store = Store(machine.store)
    work: list[Work] = []
    faults: list[DataError] = []
    for claim in claims:
        claim_scale = scale or default_scale(claim)
        try:
            item, title = _find_work(claim, claim_scale, machine.data_dirs, machine.cache_dir)
        except DataError as error:
            faults.append(error)
            continue
        if _planned_for_others(item, store):
            inputs = "images" if item.dataset else "files or inputs of the command"
            say(
                f"{claim.id} at {claim_scale} scale was planned for other {inputs}: the trials on "
                "those stay in the store and do not count; new ones are trained"
            )
        register(claim, claim_scale, fingerprint=item.fingerprint, title=title, store=store)
        work.append(replace(item, claim=as_registered(claim, claim_scale, store)))
        evidence = judge(claim, claim_scale, store).evidence
        finished = counted(len(evidence.trials) if evidence else 0, "trial")
        say(f"{claim.id} at {claim_scale} scale on {title}: {finished} already finished")
    return work, faults


def _planned_for_others(work: Work, store: Store) -> bool:
    """Whether the plan is registered, but only for data other than these."""
    claim = as_registered(work.claim, work.scale, store)
    digest = claim.digest(work.scale)
    fingerprints = {r.fingerprint for r in store.plans(claim.id, work.scale) if r.digest == digest}
    return bool(fingerprints) and work.fingerprint not in fingerprints


def fingerprint_at(
    claim: TrainedClaim, scale: str, data_dirs: Sequence[Path], cache_dir: Path
) -> str:
    return _find_work(claim, scale, data_dirs, cache_dir)[0].fingerprint


def _find_work(
    claim: TrainedClaim, scale: str, data_dirs: Sequence[Path], cache_dir: Path
) -> tuple[Work, str]:
    if claim.trainer is not None:
        command_fingerprint = fingerprint_of(claim)
        title = claim.scales[scale].data or OWN_DATA
        return Work(claim=claim, scale=scale, fingerprint=command_fingerprint, dataset=None), title
    dataset = open_images(claim, scale, data_dirs, cache_dir)
    work = Work(claim=claim, scale=scale, fingerprint=dataset.fingerprint, dataset=dataset)
    return work, dataset.title


def register_plans(claims: Sequence[Claim], scale: str | None, machine: Machine) -> None:
    """Register the plans, as `repro run` does before its first trial; raise the first fault."""
    trained_claims = [
        claim for claim in claims_with_scale(claims, scale) if isinstance(claim, TrainedClaim)
    ]
    _, faults = prepare(trained_claims, scale, machine)
    for fault in faults:
        raise fault


def open_images(
    claim: TrainedClaim, scale: str, data_dirs: Sequence[Path], cache_dir: Path
) -> Dataset:
    """The images of the scale, decoded if needed; DataError names the scales that need none."""
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
