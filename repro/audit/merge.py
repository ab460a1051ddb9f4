"""Stores of several machines joined into one: no trial is lost, none counted twice.

A trial in both with equal numbers becomes one: that which was trained further, or has more metrics.
Numbers that disagree are never chosen between: the other store's trial lies below `apart/` and is
told.
Unfinished trials and checkpoints stay where they are: what nobody can check is not continued.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from repro.errors import IntegrityError, MachineError, NothingMeasuredError
from repro.files import File, Part, exists, read_bytes, write_atomic
from repro.store import MOST_BYTES, WEIGHTS, PlanRecord, Store, checksums, facts_in
from repro.store.archive import Contents, contents

APART = "apart"  # what contradicts the store, kept beside it

Numbers = dict[str, Any]

_FILES = ("trial.json", "arrays.npz", "curve.csv", "result.json")


@dataclass(kw_only=True, slots=True)
class Merged:
    """How many trials came in, were the same, or say more; and what could not be joined.

    `unfinished`: trials of a source that were left there. `notes`: what is worth knowing.
    """

    added: int = 0
    same: int = 0
    further: int = 0
    unfinished: int = 0
    plans: int = 0
    notes: list[str] = field(default_factory=list)
    apart: list[str] = field(default_factory=list)


def merge(into: Store, sources: Sequence[Store]) -> Merged:
    """Join `sources` into `into`; each file in one step, so that a cut leaves a store that works.

    Raises NothingMeasuredError when a source is empty, MachineError when a trial is being trained
    in one of them, IntegrityError when `into` is damaged: all before anything is written. What is
    damaged in a source is told and left.
    """
    into.check()
    others = [_Source(source.root) for source in sources]
    for source in others:
        _check(source)
    merged, sealed = Merged(), checksums.is_sealed(into.root)
    for source in others:
        _join(into, source, merged)
    if sealed and not checksums.is_sealed(into.root):
        merged.notes.append(
            f"{into.root} was an export: its {checksums.TABLE} and the checksums of the whole are "
            f"gone, and `repro export --store {into.root} OUT` writes them into another folder"
        )
    return merged


class _Source(Store):
    """A store that is joined, what is damaged in it, and no archive that is."""

    @cached_property
    def damage(self) -> dict[Path, str]:
        return checksums.damage(self.root)

    @cached_property
    def archived(self) -> Contents:
        return contents(self.root, without=self.damage.keys())


def _join(into: Store, source: _Source, merged: Merged) -> None:
    damage = source.damage
    merged.apart += [f"{sentence}: left where it is" for sentence in damage.values()]
    if {source.root / name for name in (checksums.SUMS, "store.json")} & damage.keys():
        return  # nothing says what its files were
    damaged = {_holder(path, source.root) for path in damage}
    before = merged.unfinished
    into.prepare()
    for path in source.plan_files():
        with _leaving(merged):
            if _holder(path, source.root) not in damaged:
                _plan(into, source.plan(path), merged)
    for path in source.fact_files():
        with _leaving(merged):
            if _holder(path, source.root) not in damaged:
                _facts(into, path, merged)
    for name in source.names():
        with _leaving(merged):
            if _holder(source.file(name, "trial.json"), source.root) not in damaged:
                _trial(into, source, name, merged)
    if unfinished := merged.unfinished - before:
        merged.notes.append(
            f"{source.root}: {unfinished} unfinished trials were left there, since only finished "
            "ones are joined"
        )
    merged.apart += [
        f"{path}: kept apart in the source: left where it is"
        for path in sorted(source.root.glob(f"{APART}/*"))
    ]


def _holder(file: File, root: Path) -> Path:
    """What is left as a whole where a part of it is damaged: an archive, or a trial's folder."""
    path = Path(str(file))
    first, *rest = path.relative_to(root).parts
    if first.endswith(".tar"):
        return root / first
    return path.parent if first == "trials" and len(rest) > 1 else path


def _check(source: _Source) -> None:
    names = source.names()
    if not names and not source.fact_files() and not source.damage:
        raise NothingMeasuredError(f"{source.root} holds no trial and no facts")
    for name in names:
        if source.held(name):  # what is copied would be of several moments
            raise MachineError(f"trial {name} is being trained in {source.root} just now")


@contextmanager
def _leaving(merged: Merged) -> Iterator[None]:
    """What cannot be read is told and left where it is."""
    try:
        yield
    except (IntegrityError, PermissionError) as error:
        merged.apart.append(f"{error}: left where it is")


def _plan(into: Store, record: PlanRecord, merged: Merged) -> None:
    """When something was registered here is not for another store to say."""
    merged.plans += not exists(into.plan_file(record))
    standing = into.register(record)
    if record != standing:
        merged.notes.append(
            f"{into.plan_file(record)}: registered {standing.registered} here, and "
            f"{record.registered} in the source: ours stands"
        )


def _facts(into: Store, path: File, merged: Merged) -> None:
    facts_in(path)  # readable, before anything is written
    place, content = into.root / "facts" / path.name, content_of(path)
    ours = {file.name: file for file in into.fact_files()}.get(path.name)
    if ours is None:
        into.keep_record(place, content)
    elif content_of(ours) != content:
        apart = into.root / APART / f"{place.stem}-{_short(content)}.json"
        checksums.unseal(into.root)
        write_atomic(apart, content)
        merged.apart.append(f"{path} differs from {ours}: kept apart in {apart}")


def _trial(into: Store, source: Store, name: str, merged: Merged) -> None:
    if not exists(source.file(name, "trial.json")):
        return  # killed before it began
    if source.held(name):
        raise MachineError(f"trial {name} is being trained in {source.root} since a moment ago")
    source.trial(name)  # the folder's name is the trial's identity, or nothing is read of it
    if source.result(name) is None:
        merged.unfinished += 1
        return
    there = exists(into.file(name, "trial.json"))
    if there and not disagreement(into, source, name) and not _lacking(into, source, name):
        into.trial(name)
        merged.same += 1  # without a lock, which would be a new file in a store that is kept
        merged.notes += _left_behind(into, source, name)
        return
    with into.lock(name) as mine:
        if not mine:
            raise MachineError(f"trial {name} is being trained in {into.root} just now")
        if not exists(into.file(name, "trial.json")):
            source.numbers(name)  # readable, before anything is written
            _take(into, source, name, (*_FILES, *WEIGHTS))
            merged.added += 1
            return
        into.trial(name)
        why = disagreement(into, source, name)
        if why is None:
            further = _take_over(into, source, name)
            merged.further += further
            merged.same += not further
            merged.notes += _left_behind(into, source, name)
            return
        apart = into.root / APART / f"{name}-{_short(source.numbers(name).encode())}"
        checksums.unseal(into.root)
        _copy(source, name, apart, (*_FILES, *WEIGHTS))
        merged.apart.append(
            f"{source.folder(name)} contradicts {into.folder(name)} ({why}): kept apart in {apart}"
        )


def _left_behind(into: Store, source: Store, name: str) -> Iterator[str]:
    """Metrics of one moment that the source alone has, where ours has others that it lacks."""
    mine, theirs = into.result(name), source.result(name)
    assert mine is not None
    assert theirs is not None
    left = sorted(theirs.metrics.keys() - mine.metrics.keys())
    if left and mine.epochs == theirs.epochs:
        yield (
            f"{source.folder(name)}: {', '.join(left)} left there: ours has metrics that it lacks"
        )


def disagreement(into: Store, source: Store, name: str) -> str | None:
    """Where the two have different numbers of one moment; None when they agree."""
    one, two = _measured(into, name), _measured(source, name)
    for epoch, kind in one:
        if (epoch, kind) in two and one[epoch, kind] != two[epoch, kind]:
            return f"{kind} error at epoch {epoch:g}"
    mine, theirs = into.result(name), source.result(name)
    if mine and theirs and mine.epochs == theirs.epochs:
        ours, others = shared_numbers(into, source, name)
        for key in sorted(ours.keys() - {"curve"}):
            if repr(ours[key]) != repr(others[key]):  # NaN equals NaN
                return str(key)
    return None


def shared_numbers(one: Store, two: Store, name: str) -> tuple[Numbers, Numbers]:
    """What each says of a trial; of metrics, those that both have.

    An earlier version measured fewer, and so does a machine that lacks a package.
    """
    ours, theirs = (json.loads(store.numbers(name)) for store in (one, two))
    both = sorted(ours["metrics"].keys() & theirs["metrics"].keys())
    return (
        ours | {"metrics": {metric: ours["metrics"][metric] for metric in both}},
        theirs | {"metrics": {metric: theirs["metrics"][metric] for metric in both}},
    )


def _measured(store: Store, name: str) -> dict[tuple[float, str], str]:
    return {(row.epoch, row.source): repr(row[2:5]) for row in store.rows(name)}


def _lacking(into: Store, source: Store, name: str) -> tuple[str, ...]:
    """Files of the source that are of more training, have further metrics, or are a net to keep.

    A curve goes with its result: another one, of more training, has not the test at that epoch.
    """
    mine, theirs = into.result(name), source.result(name)
    assert theirs is not None
    measured = ("curve.csv", "arrays.npz", "result.json")
    if mine is None or theirs.epochs > mine.epochs:
        return (*measured, *WEIGHTS)
    if theirs.epochs < mine.epochs:
        return ()
    more = theirs.metrics.keys() > mine.metrics.keys()
    net = source.has_weights(name) and not into.has_weights(name)
    return (*(measured if more else ()), *(WEIGHTS if net else ()))


def _take_over(into: Store, source: Store, name: str) -> bool:
    """What ours lacks; whether its result is among it."""
    mine, theirs = into.result(name), source.result(name)
    assert theirs is not None
    files = _lacking(into, source, name)
    trained = mine is None or theirs.epochs > mine.epochs
    if trained:
        into.drop_weights(name)
    if files:
        _take(into, source, name, files)
    if trained and theirs.ended:
        (into.folder(name) / "checkpoint.pt").unlink(missing_ok=True)
    return "result.json" in files


def _take(into: Store, source: Store, name: str, files: Sequence[str]) -> None:
    """Into the trial, whose checksums are gone until all of it is there."""
    into.begin(source.trial(name))
    _copy(source, name, into.folder(name), files)
    checksums.write(into.folder(name))


def _copy(source: Store, trial_id: str, target: Path, names: Sequence[str]) -> None:
    """In the order of the names; a link may lead out of the store, and is none of its files."""
    for name in names:
        file = source.file(trial_id, name)
        if exists(file) and (isinstance(file, Part) or not file.is_symlink()):
            write_atomic(target / name, content_of(file))


def content_of(path: File) -> bytes:
    """Of a file of a store; IntegrityError when it cannot be read."""
    try:
        return read_bytes(path, most=MOST_BYTES)
    except OSError as error:
        raise IntegrityError(f"cannot read {path}: {error.strerror}") from error


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]
