"""The input of the report: a page for each claim and scale, read from a store.

A module of its own, so that `repro run` does not import the figures.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from repro.claim import SCALES, Claim, ExactClaim, TrainedClaim
from repro.planning.cells import cells_of
from repro.report.page import FactPage, Page
from repro.store import Store
from repro.trial import Result, Trial
from repro.verdict.judge import judge, registered_plan
from repro.verdict.versions import version_notes

T = TypeVar("T")


def pages(claims: Sequence[Claim], store: Store) -> list[Page | FactPage]:
    """A page for each claim and each of its scales, the best evidence first."""
    report_pages: list[Page | FactPage] = []
    results = store.results()
    for claim in claims:
        if isinstance(claim, ExactClaim):
            facts = tuple(store.facts(claim.id, claim.digest()))
            verdict = judge(claim, "", store).deciding
            report_pages.append(FactPage(claim=claim, facts=facts, verdict=verdict))
        elif isinstance(claim, TrainedClaim):
            scales = [scale for scale in reversed(SCALES) if scale in claim.scales]
            report_pages += [_page(claim, scale, store, results) for scale in scales]
    return report_pages


def _page(claim: TrainedClaim, scale: str, store: Store, results: Mapping[str, Result]) -> Page:
    judged = judge(claim, scale, store, results)
    judged_claim, evidence = judged.claim, judged.evidence  # with the rule of its plan
    assert isinstance(judged_claim, TrainedClaim)
    assert evidence is not None
    plan = registered_plan(claim, scale, store)
    planned = _planned(judged_claim, scale, plan.fingerprint) if plan else {}
    return Page(
        claim=judged_claim,
        evidence=evidence,
        verdicts=judged.verdicts,
        trials={name: planned.get(name) or store.trial(name) for name in evidence.trials},
        results={name: results[name] for name in evidence.trials},
        curves=_Lazy(evidence.trials, store.rows),
        curve_csv=_Lazy(evidence.trials, store.curve_csv),
        arrays=_Lazy(evidence.trials, store.arrays),
        plan=plan,
        notes=tuple(version_notes(claim, scale, store, results)),
    )


def _planned(claim: TrainedClaim, scale: str, fingerprint: str) -> dict[str, Trial]:
    """The trials that the claim was judged by, as the plan has them.

    Read from the store they would be the same, and each would have a recipe of its own in memory.
    """
    cells = (
        cells_of(claim, scale, recipe, arm, fingerprint)
        for recipe in claim.recipes
        for arm in claim.arms
    )
    return {trial.id: trial for of_arm in cells for trial in of_arm.trials}


class _Lazy(Mapping[str, T]):
    """What is read of each trial when it is asked for, since all of it may not fit into memory."""

    def __init__(self, trial_ids: Sequence[str], read: Callable[[str], T]) -> None:
        self._trial_ids, self._read = dict.fromkeys(trial_ids), read

    def __getitem__(self, trial_id: str) -> T:
        if trial_id not in self._trial_ids:
            raise KeyError(trial_id)
        return self._read(trial_id)

    def __iter__(self) -> Iterator[str]:
        return iter(self._trial_ids)

    def __len__(self) -> int:
        return len(self._trial_ids)
