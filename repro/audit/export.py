"""The evidence of a store as a few files, to keep with the code: an archive for each claim.

`results.csv` beside them has a row for each trial and each arm that it belongs to, for programs
that know nothing of this one.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path

import numpy as np

from repro.audit.merge import content_of, disagreement
from repro.claim import Claim, TrainedClaim
from repro.errors import ContradictionError, NothingMeasuredError
from repro.files import File, exists, write_together
from repro.planning import TUNING_SEEDS_FROM, next_cells
from repro.registry import DATASETS, METRICS
from repro.report.frames import trial_cells, trial_table
from repro.store import ARCHIVED, Store, checksums, facts_in
from repro.store.archive import pack
from repro.store.arrays import Array
from repro.store.arrays import pack as pack_arrays
from repro.trial import Result, Trial

_OTHERS = "others"  # the archive of trials that no claim at hand asks for


@dataclass(frozen=True, kw_only=True, slots=True)
class _Arm:
    claim: str
    scale: str
    recipe: str
    arm: str
    rate: float | None = None  # its own


_NOWHERE = _Arm(claim="", scale="", recipe="", arm="")
_Arms = Mapping[str, Sequence[_Arm]]  # by what the trials of an arm have in common


@dataclass(kw_only=True, slots=True)
class _Archive:
    """What goes into one: plans and facts by their paths, and trials with the store that has it."""

    records: dict[str, File] = field(default_factory=dict)
    trials: dict[str, Store] = field(default_factory=dict)


def export(store: Store, out: Path, claims: Sequence[Claim] = ()) -> tuple[int, int]:
    """Copy what is evidence, and seal `out`: one file has the checksums of all others."""
    counts = copy_evidence(store, out, claims)
    checksums.seal(out)
    return counts


def copy_evidence(store: Store, out: Path, claims: Sequence[Claim] = ()) -> tuple[int, int]:
    """Copy what is evidence: plans, facts, and finished trials without checkpoints and nets.

    A trial goes into the archive of the first of the claims that has it; what lies in an archive of
    `out` stays in that one.

    Returns how many trials were copied, and how many were left, since `out` has them trained or
    measured further. Images in pictures stay behind, unless they are of a data set that anyone may
    pass on. Raises NothingMeasuredError for a store with no results and no facts, and
    ContradictionError, before anything is written, where `out` has other numbers of a trial.
    """
    target = Store(out)
    for each in (store, target):
        each.check()
    results = store.results()
    if not results and not store.fact_files():
        raise NothingMeasuredError(f"{store.root} holds no finished trial and no facts")
    for trial_id in results:
        _check_agreement(store, target, trial_id)
    there = target.results()
    further = {n for n in results.keys() & there.keys() if _has_more(there[n], results[n])}
    holders = dict.fromkeys(there, target) | {n: store for n in results if n not in further}
    arms = _arms(claims)
    archives = _cut(store, target, holders, arms)
    target.prepare(ARCHIVED)
    checksums.unseal(out)
    for name, archive in archives.items():
        checksums.drop_beside(out / f"{name}.tar")
        write_together({out / f"{name}.tar": pack(_members(archive))})
    write_together({out / checksums.TABLE: _table(Store(out), arms)})
    return len(results) - len(further), len(further)


def _has_more(one: Result, other: Result) -> bool:
    """Whether it was trained further, or has a metric that the other lacks."""
    if one.epochs != other.epochs:
        return one.epochs > other.epochs
    return not one.metrics.keys() <= other.metrics.keys()


def _check_agreement(store: Store, target: Store, trial_id: str) -> None:
    why = disagreement(target, store, trial_id)
    if why is not None:
        one, two = (each.file(trial_id, "result.json") for each in (store, target))
        raise ContradictionError(
            f"{one} contradicts {two} ({why}): nothing was exported",
            hint="`repro merge` keeps both; an export into another folder has this one alone",
        )


def _arms(claims: Iterable[Claim]) -> dict[str, list[_Arm]]:
    """Every arm of the claims: its first trials tell which others are of it."""
    arms: defaultdict[str, list[_Arm]] = defaultdict(list)
    for claim in claims:
        if not isinstance(claim, TrainedClaim):
            continue
        for scale in claim.scales:
            cells = next_cells(claim, scale, "", {})
            for cell in {(cell.recipe, cell.arm, cell.purpose): cell for cell in cells}.values():
                arm = _Arm(
                    claim=claim.id,
                    scale=scale,
                    recipe=cell.recipe,
                    arm=cell.arm,
                    rate=claim.arms[cell.arm].rate,
                )
                of_arm = arms[_arm_key(cell.trial)]
                if arm not in of_arm:
                    of_arm.append(arm)
    return arms


def _arm_key(trial: Trial) -> str:
    """Equal for trials that differ in rate and seed, or in the images or the code that they had."""
    return replace(trial, rate=0.0, seed=0, numerics=0, fingerprint="").id


def _arms_of(trial: Trial, arms: _Arms) -> list[_Arm]:
    return [arm for arm in arms.get(_arm_key(trial), ()) if arm.rate in (None, trial.rate)]


def _cut(
    store: Store, target: Store, holders: Mapping[str, Store], arms: _Arms
) -> dict[str, _Archive]:
    """What goes into which archive, by its name."""
    archives: defaultdict[str, _Archive] = defaultdict(_Archive)
    place = _places(target)
    for each in (store, target):  # a plan that is registered there already stands
        for file in each.plan_files():
            path, claim = f"plans/{file.name}", each.plan(file).claim_id
            archives[place.get(path, claim)].records[path] = file
    for each in (target, store):
        for file in each.fact_files():
            facts_in(file)
            path, claim = f"facts/{file.name}", file.name.lstrip(".").rpartition("-")[0] or _OTHERS
            archives[place.get(path, claim)].records[path] = file
    for trial_id, holder in holders.items():
        of = [arm.claim for arm in _arms_of(holder.trial(trial_id), arms)]
        archives[place.get(trial_id, [*of, _OTHERS][0])].trials[trial_id] = holder
    return archives


def _places(target: Store) -> dict[str, str]:
    """In which archive each plan, each file of facts and each trial lies already."""
    return {name: part.archive.stem for name, part in target.archived.records.items()} | {
        trial_id: next(iter(files.values())).archive.stem
        for trial_id, files in target.archived.trials.items()
    }


def _members(archive: _Archive) -> Iterator[tuple[str, bytes]]:
    for path, file in sorted(archive.records.items()):
        yield path, content_of(file)
    for trial_id, store in sorted(archive.trials.items()):
        files = _evidence(store, trial_id)
        sums = {name: checksums.sha256(content) for name, content in files.items()}
        files[checksums.SUMS] = checksums.as_text(sums).encode()
        for name in sorted(files):
            yield f"trials/{trial_id}/{name}", files[name]


def _evidence(store: Store, trial_id: str) -> dict[str, bytes]:
    """The files of a finished trial that are kept, by their names."""
    trial = store.trial(trial_id)
    files = {"trial.json": trial.to_json().encode()}
    for name in ("curve.csv", "arrays.npz", "result.json"):
        file = store.file(trial_id, name)
        if exists(file):
            files[name] = content_of(file)
    facts = DATASETS.get(trial.data)
    arrays = store.arrays(trial_id)
    kept = arrays if facts is not None and facts.shared else _imageless(arrays)
    if len(kept) < len(arrays):
        files["arrays.npz"] = pack_arrays(kept)
    return files


def _imageless(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """All but (..., H, W, 3) uint8; other bytes, such as bits by image, have one dimension."""
    return {
        name: array
        for name, array in arrays.items()
        if not (array.dtype == np.uint8 and array.ndim > 2)
    }


def _table(store: Store, arms: _Arms) -> Iterator[str]:
    """A row for each trial and each arm of the claims that it belongs to."""
    results = store.results()
    places = [
        (arm, "tune" if trial.seed >= TUNING_SEEDS_FROM else "confirm", trial)
        for trial in map(store.trial, results)
        for arm in _arms_of(trial, arms) or [_NOWHERE]
    ]
    places.sort(key=lambda place: (*astuple(place[0])[:4], place[1], *_order(place[2])))
    table = trial_table(
        (
            {
                **{key: getattr(arm, key) for key in ("claim", "scale", "recipe", "arm")},
                "purpose": purpose,
                **trial_cells(trial, results[trial.id]),
            }
            for arm, purpose, trial in places
        ),
        results.values(),
    )
    # A metric that this version knows and no trial has would change the file of an older one.
    empty = [n for n in METRICS if all(math.isnan(r.metric(n)) for r in results.values())]
    return replace(table, columns=[name for name in table.columns if name not in empty]).csv()


def _order(trial: Trial) -> tuple[float, int, str]:
    return trial.rate, trial.seed, trial.id
