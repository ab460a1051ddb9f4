"""Claims, verdicts and data sets as text for a terminal, or as plain values for JSON."""

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

from repro.claim import Claim, ExactClaim, TrainedClaim
from repro.claim.trainer import OWN_DATA
from repro.data import status
from repro.stats import Estimate
from repro.text import (
    NOT_RUN,
    duration,
    estimate_text,
    looks_text,
    p_text,
    paper_text,
    rule_text,
    seeds_text,
)
from repro.verdict import Member, Verdict
from repro.verdict.prior import prior


def describe_verdict(claim: Claim, verdict: Verdict) -> str:
    """The verdict, then the estimate, the paper's value, the reason and the source; 80 columns."""
    if isinstance(claim, ExactClaim):
        rows = {"paper": claim.paper.section, "why": verdict.reason}
        return _sheet(f"{claim.id}: {verdict.word}", rows)
    assert isinstance(claim, TrainedClaim)
    role = "" if verdict.recipe == claim.verdict_recipe else " (sensitivity)"
    evidence = "" if verdict.decides or role else " (not evidence)"
    head = f"{claim.id}, {verdict.recipe} recipe{role}, {verdict.scale} scale{evidence}"
    if verdict.word == NOT_RUN:
        return _sheet(f"{head}: {verdict.word}", {"why": verdict.reason})
    unit = f" {claim.paper.unit}"
    rows = {
        "ours": f"{estimate_text(verdict.estimate)}{unit * (verdict.estimate is not None)}",
        "paper": f"{paper_text(claim)}{unit * (claim.paper.value is not None)} "
        f"({claim.paper.section})",
        "why": verdict.reason,
        "from": f"{_seeds(verdict)}, {duration(verdict.seconds)} of trials; "
        f"{verdict.data or 'no data yet'}; {verdict.device or 'no device yet'}",
    }
    paper_evidence = prior(claim) if verdict.decides else None
    if paper_evidence is not None:
        rows["note"] = f"the paper's own evidence: {paper_evidence.sentence}"
    return _sheet(f"{head}: {verdict.word}", rows)


def _sheet(head: str, rows: Mapping[str, str]) -> str:
    filled = (
        fill(
            text, 80, initial_indent=f"  {name:7}", subsequent_indent=" " * 9,
            break_long_words=False, break_on_hyphens=False,
        )
        for name, text in rows.items()
    )  # fmt: skip
    return "\n".join([head, *filled])


def describe_family(members: Sequence[Member]) -> str:
    """The family-wise test of all claims; empty for fewer than two."""
    if len(members) < 2:
        return ""
    head = (
        f"Family-wise test (Holm) of {len(members)} claims: is there any effect?\n"
        "The probability of one or more false positives is at most 5 %."
    )
    lines = [
        f"  {m.verdict.claim_id} ({m.verdict.scale}): {m.conclusion}, p {p_text(m.p)}, "
        f"among the others {p_text(m.adjusted)}"
        f"{f', shares trials with {m.sharing} of them' * (m.sharing > 0)}"
        for m in members
    ]
    return "\n".join([head, *(fill(line, 80, subsequent_indent=" " * 6) for line in lines)])


def _seeds(verdict: Verdict) -> str:
    """`5 seeds an arm (interim analysis 2 of 4)`."""
    look = verdict.look
    which = f" (interim analysis {look.number} of {look.of})" if look and look.of > 1 else ""
    return f"{seeds_text(verdict.seeds)}{which}"


def verdict_fields(verdict: Verdict) -> dict[str, Any]:
    """A verdict as plain values; NaN for a number that is not known."""
    return {
        "claim": verdict.claim_id,
        "scale": verdict.scale,
        "recipe": verdict.recipe,
        "verdict": verdict.word,
        "reason": verdict.reason,
        "decides": verdict.decides,
        **estimate_fields(verdict.estimate),
        "paper": math.nan if verdict.paper_value is None else verdict.paper_value,
        "seeds": verdict.seeds,
        "look": verdict.look.number if verdict.look else None,
        "looks": verdict.look.of if verdict.look else None,
        "seconds": verdict.seconds,
        "data": verdict.data,
        "device": verdict.device,
        "p": verdict.effect.p if verdict.effect else None,
    }


def estimate_fields(estimate: Estimate | None) -> dict[str, Any]:
    if estimate is None:
        return dict.fromkeys(("estimate", "low", "high", "level"), math.nan) | {"bound": None}
    return {
        "estimate": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "bound": estimate.bound,
        "level": estimate.level,
    }


def describe_claim(claim: Claim) -> str:
    lines = [
        f"{claim.id}: {claim.title}",
        "",
        f"The paper ({claim.paper.section}): {claim.paper.states.strip()}",
        f"Compared: {claim.question.strip()}",
        f"Confounds: {claim.confounds.strip()}",
        *([f"Reconsidered if: {claim.reconsidered_if}"] if claim.reconsidered_if else []),
        *(
            [f"The paper's own evidence: {paper_evidence.sentence}"]
            if (paper_evidence := prior(claim))
            else []
        ),
        "",
        f"Decided by: {rule_text(claim)}",
        "",
    ]
    if isinstance(claim, TrainedClaim):
        lines += _scale_lines(claim)
    if claim.deviations:
        lines += ["Deviations from the paper:"]
        lines += [f"  - {deviation}" for deviation in claim.deviations]
    return "\n".join(lines)


def _scale_lines(claim: TrainedClaim) -> Iterator[str]:
    if claim.trainer is not None:
        yield f"Trained by: {shlex.join(claim.trainer.command)}"
        yield ""
    yield "Scales:"
    for name, scale in claim.scales.items():
        inputs = f"{scale.data}, {scale.model.name}" if claim.trainer is None else scale.data
        yield (
            f"  {name}: {inputs or OWN_DATA}, at most "
            f"{scale.epochs:g} epoch{'s' * (scale.epochs != 1)}, "
            f"{looks_text(scale.seeds)}"
        )
        for recipe, search in scale.search.items():
            yield f"    {recipe} rates {', '.join(f'{rate:g}' for rate in search.rates)}"
        for recipe, rate in scale.rate.items():
            yield f"    {recipe} rate {rate:g}"
    for name, arm in claim.arms.items():
        own = {"net": arm.net, "rate": arm.rate, "share of the images": arm.share}
        given = [f"{what} {value}" for what, value in own.items() if value is not None]
        if given:
            yield f"  arm {name}: {', '.join(given)}"
    yield ""


def describe_data(data_dirs: tuple[Path, ...], cache_dir: Path) -> str:
    """One line per data set, and one with the folders that were searched."""
    places = ", ".join(str(place) for place in data_dirs)
    lines = [str(line) for line in status(data_dirs, cache_dir)]
    return "\n".join(
        [*lines, f"looked in: {places} (in each, the folder of the data set's name first)"]
    )
