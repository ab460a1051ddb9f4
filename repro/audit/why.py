"""Why a stored trial is, or is not, what a claim's plan wants now: which field, or which code."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from repro.claim import Claim, TrainedClaim
from repro.claim.trainer import files_now
from repro.errors import ClaimError, NothingMeasuredError
from repro.planning import Cell
from repro.store import Store
from repro.trial import Result, Trial
from repro.verdict.judge import judge, next_trials, registered_plan
from repro.verdict.versions import version_notes

_TRIAL_ID = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Place:
    """A claim at a scale: the trials that count for it, and those that it still wants."""

    claim: TrainedClaim
    scale: str
    used: frozenset[str]
    fingerprint: str  # of the images, or of a command's files as they are now
    pending: tuple[Cell, ...]
    notes: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.claim.id} at {self.scale} scale"


def why(target: str, store: Store, claims: Sequence[Claim]) -> str:
    """About one trial, or a claim's, by its name or file.

    ClaimError when it is neither, NothingMeasuredError when the store knows nothing of it.
    """
    results = store.results()
    if _TRIAL_ID.fullmatch(target):
        if target not in store.ids():
            raise NothingMeasuredError(f"{store.root} holds no trial {target}")
        places = [place for claim in claims for place in _places(claim, store, results)]
        return "\n".join(_trial(store.trial(target), store, results, places))
    by_name = {claim.id: claim for claim in claims}
    name = target.removesuffix(".yaml").removesuffix(".yml").rpartition("/")[2]
    if name not in by_name:
        close = get_close_matches(name, by_name, n=1)
        raise ClaimError(
            f"{target!r} is neither a trial nor a claim",
            hint=f"did you mean {close[0]!r}?" if close else f"claims: {', '.join(by_name)}",
        )
    if not isinstance(by_name[name], TrainedClaim):
        return f"{name}: trains nothing, its facts follow from the claim file"
    lines = [
        line
        for place in _places(by_name[name], store, results)
        for line in _claim(place, store, results)
    ]
    if not lines:
        raise NothingMeasuredError(f"{store.root} holds no plan of {name}")
    return "\n".join(lines)


def _places(claim: Claim, store: Store, results: Mapping[str, Result]) -> Iterator[_Place]:
    """The scales of the claim for which the store has a plan, of this or an older claim file."""
    if not isinstance(claim, TrainedClaim):
        return
    for scale in claim.scales:
        current = registered_plan(claim, scale, store)
        records = [current] if current else store.plans(claim.id, scale)[-1:]
        for record in records:
            judged = judge(claim, scale, store, results)
            files, rule = files_now(claim), judged.claim
            assert isinstance(rule, TrainedClaim)
            fingerprint = files.fingerprint if files else record.fingerprint
            changed = ["the claim file has changed since it was planned"] * (current is None)
            recipes = judged.evidence.recipes.values() if judged.evidence else ()
            unwritten = [recipe.unwritten for recipe in recipes if recipe.unwritten]
            yield _Place(
                claim=claim,
                scale=scale,
                used=frozenset(judged.evidence.trials if judged.evidence else ()),
                fingerprint=fingerprint,
                pending=tuple(next_trials(rule, scale, fingerprint, results, records=store)),
                notes=(*changed, *unwritten, *version_notes(claim, scale, store, results)),
            )


def _trial(
    trial: Trial, store: Store, results: Mapping[str, Result], places: Sequence[_Place]
) -> Iterator[str]:
    uses = [place for place in places if trial.id in place.used]
    waits = [(p, cell) for p in places for cell in p.pending if cell.trial.id == trial.id]
    for place in uses:
        yield f"{trial.id}: a hit, {place.name} counts it"
    for place, cell in waits:
        epochs = results[trial.id].epochs if trial.id in results else 0.0
        yield (
            f"{trial.id}: wanted by {place.name} as {cell.name}, to epoch {cell.until:g}; "
            f"finished to epoch {epochs:g}"
        )
    if uses or waits:
        return
    yield f"{trial.id}: stale, no plan of these claims wants it"
    candidates = [
        (_differences(trial, other), place)
        for place in places
        for other in [cell.trial for cell in place.pending] + [store.trial(i) for i in place.used]
    ]
    if candidates:
        differences, place = min(candidates, key=lambda pair: len(pair[0]))
        yield f"  nearest is a trial of {place.name}, which wants"
        yield from (f"    {difference}" for difference in differences)


def _claim(place: _Place, store: Store, results: Mapping[str, Result]) -> Iterator[str]:
    yield (
        f"{place.name}: {len(place.used)} trials are hits, {len(place.pending)} are wanted next"
        + "".join(f"; {note}" for note in place.notes)
    )
    trials = {name: store.trial(name) for name in results}
    spare = [
        trial
        for name, trial in trials.items()
        if name not in place.used or trial.fingerprint != place.fingerprint
    ]
    alike: dict[tuple[str, ...], list[str]] = {}
    for cell in place.pending:
        if cell.trial.id in results:
            epochs = results[cell.trial.id].epochs
            yield f"  {cell.name}: finished to epoch {epochs:g} of {cell.until:g}"
        else:
            stored = [tuple(_differences(other, cell.trial)) for other in spare]
            alike.setdefault(min(stored, key=len, default=()), []).append(cell.name)
    for nearest, (first, *others) in alike.items():
        which = f"{first} and {len(others)} more" if others else first
        yield f"  {which}: not run" + "; the nearest trial in the store differs in" * bool(nearest)
        yield from (f"    {difference}" for difference in nearest)


def _differences(stored: Trial, target: Trial) -> list[str]:
    """A sentence for each field that differs; nothing said stands for the default."""
    one, two = (dict(_flat("", json.loads(trial.to_json()))) for trial in (stored, target))
    by_command = target.trainer is not None
    return [
        f"{_FILES if by_command and name == 'fingerprint' else name} {_said(two.get(name))}, "
        f"stored is {_said(one.get(name))}"
        for name in sorted(one.keys() | two.keys())
        if one.get(name) != two.get(name)
    ]


_FILES = "fingerprint (of the command's files and inputs, which have changed)"


def _said(value: object) -> str:
    return "the default" if value is None else repr(value)


def _flat(path: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(f"{path}.{key}" if path else key, inner)
    else:
        yield path, value
