"""Claims, verdicts and data sets as text for a terminal, or as plain values for JSON."""

import math
from pathlib import Path
from typing import Any

from repro.claim import Claim
from repro.data import status, verify
from repro.text import duration, estimate_text
from repro.verdict import Verdict

__all__ = [
    "describe_claim",
    "describe_data",
    "describe_verdict",
    "describe_verification",
    "verdict_fields",
]


def describe_verdict(claim: Claim, verdict: Verdict) -> str:
    """The word, the number with its interval, and its company: paper, scale, data, seeds, time."""
    role = "" if verdict.recipe == claim.verdict_recipe else " (sensitivity)"
    evidence = "" if verdict.decides or role else " (not evidence)"
    return (
        f"{claim.id}, {verdict.recipe} recipe{role}, {verdict.scale} scale{evidence}: "
        f"{verdict.word}\n"
        f"  {verdict.reason}\n"
        f"  ours {estimate_text(verdict.estimate)}, the paper's {verdict.paper_value:g} "
        f"({claim.paper.unit}, {claim.paper.section})\n"
        f"  {verdict.seeds} seeds an arm, {verdict.data or 'no data yet'}, "
        f"{verdict.device or 'no device yet'}, {duration(verdict.seconds)} of trials"
    )


def verdict_fields(verdict: Verdict) -> dict[str, Any]:
    """A verdict as JSON takes it: no NaN, no infinity."""
    estimate = verdict.estimate
    return {
        "claim": verdict.claim_id,
        "scale": verdict.scale,
        "recipe": verdict.recipe,
        "verdict": verdict.word,
        "reason": verdict.reason,
        "decides": verdict.decides,
        "estimate": _finite(estimate.value) if estimate else None,
        "low": _finite(estimate.low) if estimate else None,
        "high": _finite(estimate.high) if estimate else None,
        "bound": estimate.bound if estimate else None,
        "paper": verdict.paper_value,
        "seeds": verdict.seeds,
        "seconds": verdict.seconds,
        "data": verdict.data,
        "device": verdict.device,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def describe_claim(claim: Claim) -> str:
    """What a person wants to know before running it."""
    high = "" if claim.region.high is None else f" to {claim.region.high:g}"
    lines = [
        f"{claim.id}: {claim.title}",
        "",
        f"The paper ({claim.paper.section}): {claim.paper.states.strip()}",
        f"Compared: {claim.question.strip()}",
        f"Confounds: {claim.confounds.strip()}",
        "",
        f"Decided by: {claim.contrast.slow} over {claim.contrast.fast}, epochs to "
        f"{100 * claim.threshold:g} % training error ({claim.decided_by}); "
        f"the paper's {claim.paper.value:g}, region {claim.region.low:g}{high}, "
        f"recipe {claim.verdict_recipe}",
        "",
        "Scales:",
    ]
    for name, scale in claim.scales.items():
        lines.append(
            f"  {name}: {scale.data}, {scale.model.name}, at most {scale.epochs:g} epochs, "
            f"{scale.seeds} confirming seeds"
        )
        lines.extend(
            f"    {recipe} rates {', '.join(f'{rate:g}' for rate in search.rates)}"
            for recipe, search in scale.search.items()
        )
    lines += ["", "Deviations from the paper:"]
    lines += [f"  - {deviation}" for deviation in claim.deviations]
    return "\n".join(lines)


def describe_data(data_dirs: tuple[Path, ...], cache_dir: Path) -> str:
    """One line a data set."""
    return "\n".join(str(line) for line in status(data_dirs, cache_dir))


def describe_verification(name: str, data_dirs: tuple[Path, ...], cache_dir: Path) -> str:
    """What was checked; raises DataError when something is not what it was."""
    return str(verify(name, data_dirs, cache_dir))
