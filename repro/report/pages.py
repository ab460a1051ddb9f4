"""The input of the report: a page for each claim and scale, read from a store.

A module of its own, so that `repro run` does not import the figures.
"""

from collections.abc import Mapping, Sequence

from repro.claim import SCALES, Claim, ExactClaim, TrainedClaim
from repro.report.page import FactPage, Page
from repro.store import Store
from repro.trial import Result
from repro.verdict.session import as_registered, judge, judge_exact, registered_plan


def pages(claims: Sequence[Claim], store: Store) -> list[Page | FactPage]:
    """A page for each claim and each of its scales, the best evidence first."""
    report_pages: list[Page | FactPage] = []
    results = store.results()
    for claim in claims:
        if isinstance(claim, ExactClaim):
            facts = tuple(store.facts(claim.id, claim.digest()))
            verdict = judge_exact(claim, store).deciding
            report_pages.append(FactPage(claim=claim, facts=facts, verdict=verdict))
        elif isinstance(claim, TrainedClaim):
            scales = [scale for scale in reversed(SCALES) if scale in claim.scales]
            report_pages += [_page(claim, scale, store, results) for scale in scales]
    return report_pages


def _page(claim: TrainedClaim, scale: str, store: Store, results: Mapping[str, Result]) -> Page:
    claim = as_registered(claim, scale, store)
    judged = judge(claim, scale, store, results)
    evidence = judged.evidence
    assert evidence is not None
    return Page(
        claim=claim,
        evidence=evidence,
        verdicts=judged.verdicts,
        trials={name: store.trial(name) for name in evidence.trials},
        results={name: results[name] for name in evidence.trials},
        curves={name: store.curve(name) for name in evidence.trials},
        arrays={name: store.arrays(name) for name in evidence.trials},
        plan=registered_plan(claim, scale, store),
    )
