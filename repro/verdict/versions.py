"""The versions of a command's files: by which the results were measured, and what others gave.

A claim is judged by its files as they are now; before their first run, by its newest plan.
"""

from collections.abc import Iterator, Mapping

from repro.claim import TrainedClaim
from repro.claim.trainer import changed_names, files_now
from repro.store import PlanRecord, Store
from repro.text import counted, seeds_text
from repro.trial import Result
from repro.verdict.analysis import Evidence
from repro.verdict.judge import as_registered, evidence_by, registered_plan, registered_plans
from repro.verdict.rule import decide


def version_notes(
    claim: TrainedClaim, scale: str, store: Store, results: Mapping[str, Result]
) -> Iterator[str]:
    """Whether the files have changed since the results were measured, or gave others before."""
    shown, files = registered_plan(claim, scale, store), files_now(claim)
    if claim.trainer is None or shown is None:
        return
    present = files.facts if files else {}

    def evidence(record: PlanRecord) -> Evidence:
        return evidence_by(record, as_registered(claim, scale, store), scale, store, results)

    def changed(one: Evidence, other: Mapping[str, str]) -> str:
        names = changed_names(_facts(one), other) or changed_names({}, present)
        return ", ".join(names) or "its files"

    measured = evidence(shown)
    if files and files.fingerprint != shown.fingerprint and measured.trials:
        yield (
            f"measured with another version of {changed(measured, present)} than the command has "
            "now; `repro run` trains with the present one"
        )
    for record in registered_plans(claim, scale, store):
        other = evidence(record)
        if record != shown and other.trials:
            verdict = decide(claim, other, claim.verdict_recipe)
            result = f"{verdict.word}, " * verdict.decides + seeds_text(verdict.seeds)
            yield (
                f"{counted(len(other.trials), 'trial')} with another version of "
                f"{changed(other, _facts(measured) or present)} do not count ({result})"
            )


def _facts(evidence: Evidence) -> dict[str, str]:
    """What all results of the evidence say of their origin, the files among it."""
    return {name: "; ".join(values) for name, values in evidence.provenance.items()}
