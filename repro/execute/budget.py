"""What a budget of time can decide: from the time of an epoch and the spread of seeds so far.

Both come from the trials in the store; where nothing was measured, nothing is forecast.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from repro.claim import TrainedClaim, is_paired
from repro.plan import most_epochs_left
from repro.stats import half_width, smallest_effect
from repro.text import duration
from repro.trial import Result
from repro.verdict import decide, settles
from repro.verdict.analysis import RecipeEvidence, analyse, planned_looks

__all__ = ["Forecast", "describe_forecast", "forecast", "forecast_fields"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """What a claim's deciding recipe could come to with the whole budget for itself.

    `seconds_an_epoch`: wall clock of its own trials, None where there is none. `seeds`: an arm, at
    the last look that fits; None when not even the next one does, or that is not known; `seconds`:
    until that look, at most. `spread`: standard deviation over `measured` seeds, of differences or
    log times. `smallest`: the effect that so many seeds tell from none 80 times in 100, or half
    the width of a level's interval (`of_level`), beside the `claimed` one. `word`: the verdict as
    it stands.
    """

    claim_id: str
    scale: str
    word: str
    settled: bool
    device: str
    seconds_an_epoch: float | None
    measured: int
    spread: float | None
    next_look: int | None
    seconds_to_next: float | None
    seeds: int | None
    seconds: float | None
    level: float
    smallest: float | None
    claimed: float | None
    unit: str
    of_level: bool

    @property
    def decidable(self) -> bool | None:
        """Whether an effect as claimed would be seen; None where that is not known."""
        if self.settled:
            return self.word not in ("inconclusive", "invalid")
        if self.seconds_an_epoch is not None and self.seeds is None:
            return False
        if self.smallest is None or self.claimed is None:
            return None
        return self.smallest <= self.claimed


def forecast(
    claim: TrainedClaim,
    scale: str,
    fingerprint: str | None,
    results: Mapping[str, Result],
    *,
    workers: int,
    seconds: float,
) -> Forecast:
    """What `seconds` on this many workers can decide, going by what was measured."""
    evidence = analyse(claim, scale, fingerprint, results, settles=settles)
    found = evidence.recipes[claim.verdict_recipe]
    epochs = sum(results[name].epochs for name in evidence.trials)
    epoch = evidence.clocks.wall / epochs if epochs else None
    looks = claim.scales[scale].seeds
    settled = found.look is not None and settles(claim, found)
    ahead = [n for n in looks if n > found.seeds]

    def until(n: int) -> float | None:
        if epoch is None or fingerprint is None:
            return None
        epochs = most_epochs_left(claim, scale, fingerprint, results, max_seeds=n)
        return epochs * epoch / workers

    costs = {n: until(n) for n in ahead}
    fitting = [n for n, cost in costs.items() if cost is not None and cost <= seconds]
    reached = max(fitting, default=None)
    levels = {look.seeds: look.level for look in planned_looks(claim, scale)}
    level = levels[looks[-1] if reached is None else reached]
    return Forecast(
        claim_id=claim.id,
        scale=scale,
        word=decide(claim, evidence, claim.verdict_recipe).word,
        settled=settled,
        device=", ".join(evidence.provenance.get("device", ())),
        seconds_an_epoch=epoch,
        measured=found.look.seeds if found.look else found.seeds,
        spread=found.deciding.sd,
        next_look=ahead[0] if ahead else None,
        seconds_to_next=costs[ahead[0]] if ahead else None,
        seeds=reached,
        seconds=costs[reached] if reached is not None else None,
        level=level,
        smallest=_smallest(claim, found, reached, level),
        claimed=_claimed(claim),
        unit=found.deciding.unit,
        of_level=claim.no_effect is None,
    )


def _smallest(
    claim: TrainedClaim, found: RecipeEvidence, seeds: int | None, level: float
) -> float | None:
    sd = found.deciding.sd
    if seeds is None or not sd:
        return None
    if claim.no_effect is None:
        return half_width(sd=sd, seeds=seeds, level=level)
    effect = smallest_effect(sd=sd, seeds=seeds, level=level, paired=is_paired(claim))
    return math.exp(effect) if claim.no_effect == 1 else effect


def _claimed(claim: TrainedClaim) -> float | None:
    """The paper's effect, else the least that counts; of a level, half the width of its region."""
    region = claim.region
    if claim.no_effect is not None:
        return region.low if claim.paper.value is None else claim.paper.value
    return None if region.high is None else (region.high - region.low) / 2


def forecast_fields(found: Forecast) -> dict[str, Any]:
    """As JSON takes it: what is not known is null."""
    fields = {**asdict(found), "decidable": found.decidable}
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in fields.items()
    }


def describe_forecast(found: Forecast, seconds: float) -> str:
    """One claim in two or three lines."""
    head = f"{found.claim_id} at {found.scale} scale"
    if found.settled:
        end = "decided already" if found.decidable else "no more seeds can change it"
        return f"{head}: {end} ({found.word}, {found.measured} seeds an arm)"
    if found.seconds_an_epoch is None:
        return f"{head}: nothing of it was measured in this store, so nothing can be said"
    if found.next_look is None:
        return f"{head}: all looks are done ({found.word}); more seeds are not in its plan"
    time = f"{duration(found.seconds_an_epoch)} an epoch on {found.device}"
    if found.seeds is None or found.seconds is None:
        needed = duration(found.seconds_to_next or 0.0)
        return (
            f"{head}: not within {duration(seconds)}; the look at {found.next_look} seeds an arm "
            f"takes at most {needed} ({time})"
        )
    lines = [
        f"{head}: {found.seeds} seeds an arm, after at most {duration(found.seconds)} ({time})"
    ]
    if found.smallest is None or found.claimed is None:
        lines.append("  its spread over seeds was not measured (two seeds at least), so no power")
        return "\n".join(lines)
    decided = "enough" if found.decidable else "not enough"
    by = (
        f"({found.unit}; {100 * found.level:.3g} % intervals, spread {found.spread:.3g} over "
        f"{found.measured} seeds)"
    )
    lines.append(
        f"  their interval is {found.smallest:.3g} wide to each side {by}: {decided} for the "
        f"region's {found.claimed:g}"
        if found.of_level
        else f"  these tell an effect of {found.smallest:.3g} from none 80 times in 100 {by}: "
        f"{decided} for the claimed {found.claimed:g}"
    )
    return "\n".join(lines)
