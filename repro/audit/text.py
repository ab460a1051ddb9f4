"""What was found, as text for a terminal or as plain values for JSON."""

from typing import Any

from repro.audit.diff import Difference, Side
from repro.audit.merge import Merged
from repro.audit.verify import Verification
from repro.report.describe import verdict_fields
from repro.text import estimate_text, seeds_text


def verification_text(verification: Verification) -> str:
    """What was checked, every contradiction, and what is worth knowing."""
    lines = [f"checked: {each}" for each in verification.checked]
    lines += [
        f"  {v.claim_id}, {v.recipe} recipe, {v.scale} scale: {v.word}, {estimate_text(v.estimate)}"
        for v in verification.verdicts
    ]
    lines += [f"note: {each}" for each in verification.notes]
    lines += [f"contradiction: {each}" for each in verification.contradictions]
    count = len(verification.contradictions)
    lines.append("nothing contradicts anything" if count == 0 else f"{count} contradictions")
    return "\n".join(lines)


def verification_fields(verification: Verification) -> dict[str, Any]:
    return {
        "checked": verification.checked,
        "contradictions": verification.contradictions,
        "notes": verification.notes,
        "verdicts": [verdict_fields(verdict) for verdict in verification.verdicts],
    }


def difference_text(difference: Difference) -> str:
    """The two verdicts, their estimates, and what lies behind them where that differs."""
    word = "the same" if difference.agrees else "DIFFERENT"
    lines = [
        f"{difference.claim}, {difference.recipe} recipe, {difference.scale} scale: {word}",
        *(
            f"  {name}: {_side(side)}"
            for name, side in (("A", difference.one), ("B", difference.two))
        ),
    ]
    equal, other, first, second = difference.trials
    lines.append(
        f"  trials: {equal} in both with equal numbers, {other} with others, "
        f"{first} in A alone, {second} in B alone"
    )
    if difference.one.spec != difference.two.spec:
        lines.append(f"  spec: {difference.one.spec or 'none'} and {difference.two.spec or 'none'}")
    for name in sorted(difference.one.origin.keys() | difference.two.origin.keys()):
        a, b = (side.origin.get(name, "none") for side in (difference.one, difference.two))
        if a != b:
            lines.append(f"  {name}: {a} and {b}")
    return "\n".join(lines)


def _side(side: Side) -> str:
    verdict = side.verdict
    return f"{verdict.word}, {estimate_text(verdict.estimate)}, {seeds_text(verdict.seeds)}"


def difference_fields(difference: Difference) -> dict[str, Any]:
    equal, other, first, second = difference.trials
    return {
        "claim": difference.claim,
        "scale": difference.scale,
        "recipe": difference.recipe,
        "agrees": difference.agrees,
        "trials": {"equal": equal, "other": other, "only_a": first, "only_b": second},
        **{
            name: verdict_fields(side.verdict) | {"spec": side.spec, "provenance": side.origin}
            for name, side in (("a", difference.one), ("b", difference.two))
        },
    }


def merge_text(merged: Merged) -> str:
    """Counts, then what was kept apart and why."""
    return "\n".join(
        [
            f"{merged.added} trials added, {merged.further} trained further than here or with more "
            f"metrics, {merged.same} known already; {merged.plans} plans",
            *(f"note: {each}" for each in merged.notes),
            *(f"contradiction: {each}" for each in merged.apart),
        ]
    )
