"""Pages for tests of the report: planted results where the trials of a real plan would lie."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from repro.claim import Claim, load
from repro.planning import Cell, next_cells, rate_search
from repro.report.page import Page
from repro.stats import Estimate
from repro.store import PlanRecord
from repro.store.curves import curve_text
from repro.trial import WINDOWS, Clocks, Result, Row
from repro.verdict import Verdict
from repro.verdict.analysis import Evidence, RecipeEvidence
from repro.verdict.effects import DECIDING, Contrast, Outcome

PRINT = "0123456789abcdef"

CLAIM = """\
id: planted
title: {title}
kind: time_to_threshold
paper:
  section: sec. 0, Fig. 0
  states: The fast arm is six times faster.
  value: 6.0
  unit: ratio of epochs
  figure: points.csv
question: Which arm is faster?
confounds: None that we know.
metric: train_error
threshold: 0.25
decided_by: full
near: 0.01
arms:
  fast: {{model: {{activation: relu}}}}
  slow: {{model: {{activation: tanh}}}}
contrast: {{slow: slow, fast: fast}}
region: {{low: 3.0, high: 9.0}}
recipes:
  period: {{inputs: centred, initialisation: cuda_convnet}}
  modern: {{inputs: standardised, initialisation: he}}
verdict_recipe: period
scales:
  smoke:
    data: digits
    model: {{name: cifar_19pct}}
    epochs: {epochs}
    seeds: 3
    search:
      period: {{rates: [0.0003, 0.001, 0.003], rungs: [4], seeds: 1, refine: null}}
      modern: {{rates: [0.003, 0.01, 0.03], rungs: [4], seeds: 1, refine: null}}
  paper:
    data: cifar10
    model: {{name: cifar_19pct}}
    epochs: {epochs}
    seeds: 3
    search:
      period: {{rates: [0.0003, 0.001, 0.003], rungs: [4], seeds: 1, refine: null}}
      modern: {{rates: [0.003, 0.01, 0.03], rungs: [4], seeds: 1, refine: null}}
deviations:
  - The net is a small one.
"""

POINTS = "arm,epoch,train_error\nfast,1,0.47\nfast,6,0.25\nslow,1,0.55\nslow,36,0.25\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Planted:
    """What one recipe's trials are made to give: epochs of crossing by seed, None for never."""

    fast: Sequence[float | None]
    slow: Sequence[float | None]
    estimate: Estimate | None
    word: str = "reproduced"
    reason: str = "the CI lies in the claim's range"


def written_claim(folder: Path, *, title: str = "One arm is faster", epochs: float = 20) -> Claim:
    """A claim of two recipes, at smoke and paper scale, with a figure of the paper's."""
    (folder / "points.csv").write_text(POINTS)
    path = folder / "planted.yaml"
    path.write_text(CLAIM.format(title=json.dumps(title), epochs=epochs))
    return load(path)


def empty_page(claim: Claim, scale: str = "paper") -> Page:
    """Nothing was registered or run."""
    return planted_page(claim, {}, scale=scale, registered=False)


def planted_page(
    claim: Claim,
    planted: Mapping[str, Planted],
    *,
    scale: str = "paper",
    registered: bool = True,
) -> Page:
    """A page on which the recipes in `planted` were run and the others were not."""
    cells = planted_cells(claim, scale, planted)
    results = {cell.trial.id: result for cell, result in cells}
    curves = {cell.trial.id: planted_rows(result) for cell, result in cells}
    recipes = {
        recipe: _evidence(claim, scale, recipe, planted.get(recipe), cells=cells, results=results)
        for recipe in claim.recipes
    }
    clocks = sum((result.seconds for _, result in cells), Clocks())
    return Page(
        claim=claim,
        evidence=Evidence(
            scale=scale,
            recipes=recipes,
            clocks=clocks,
            provenance={"device": ("a planted device",), "torch": ("2.0",)} if cells else {},
            trials=tuple(results),
        ),
        verdicts=tuple(_verdict(claim, scale, r, planted.get(r), clocks) for r in claim.recipes),
        trials={cell.trial.id: cell.trial for cell, _ in cells},
        results=results,
        curves=curves,
        curve_csv={name: curve_text(rows) for name, rows in curves.items()},
        arrays={},
        plan=_registered(claim, scale) if registered else None,
    )


def _registered(claim: Claim, scale: str) -> PlanRecord:
    return PlanRecord(
        claim_id=claim.id,
        scale=scale,
        digest=claim.digest(scale),
        fingerprint=PRINT,
        data_title="planted images",
        registered="2026-01-02T03:04:05+00:00",
    )


def planted_cells(
    claim: Claim, scale: str, planted: Mapping[str, Planted]
) -> list[tuple[Cell, Result]]:
    """Every cell that the plan asks for, with its planted result: the search, then the effect."""
    results: dict[str, Result] = {}
    found: list[tuple[Cell, Result]] = []
    while cells := [
        cell
        for cell in next_cells(claim, scale, PRINT, results)
        if cell.recipe in planted and not _left_out(cell, planted[cell.recipe])
    ]:
        for cell in cells:
            results[cell.trial.id] = _result(cell, claim, scale, planted[cell.recipe])
            found.append((cell, results[cell.trial.id]))
    return found


def _left_out(cell: Cell, planted: Planted) -> bool:
    """A half-finished run: fewer crossings are planted than the claim has seeds."""
    return cell.purpose == "confirm" and cell.trial.seed >= len(_crossings(cell, planted))


def _crossings(cell: Cell, planted: Planted) -> Sequence[float | None]:
    return planted.fast if cell.arm == "fast" else planted.slow


def _result(cell: Cell, claim: Claim, scale: str, planted: Planted) -> Result:
    rates = claim.scales[scale].search[cell.recipe].rates
    if cell.purpose == "tune":
        if cell.trial.rate == rates[2]:
            return _trained(cell, status="diverged", epochs=0.5, final=float("nan"))
        final = 0.3 if cell.trial.rate == rates[1] else 0.45
        return _trained(cell, status="censored", epochs=cell.until, final=final)
    crossed = _crossings(cell, planted)[cell.trial.seed]
    if crossed is None:
        return _trained(cell, status="censored", epochs=cell.until, final=0.31)
    return _trained(cell, status="crossed", epochs=crossed, final=0.25)


def _trained(cell: Cell, *, status: str, epochs: float, final: float) -> Result:
    errors = tuple(0.6 + (final - 0.6) * np.arange(1, int(epochs) + 1) / epochs)
    crossing = (round(epochs - 0.1, 4), epochs) if status == "crossed" else None
    return Result(
        trial_id=cell.trial.id,
        status=status,  # type: ignore[arg-type] # one of the three; the callers stand above
        epochs=epochs,
        crossing_full=crossing,
        crossing_online=None,
        train_error=final,
        epoch_errors=errors,
        loss=1.0,
        seconds=Clocks(train=epochs, evaluate=0.5, other=0.25),
        provenance={"device": "a planted device", "torch": "2.0"},
    )


def planted_rows(result: Result) -> list[Row]:
    """A straight line from 0.6 to the final error, a window each tenth of an epoch."""
    epochs = np.arange(1, round(result.epochs * WINDOWS) + 1) / WINDOWS
    errors = 0.6 + (result.train_error - 0.6) * epochs / result.epochs
    return [
        Row(epoch, "online", error, 1.0, 100, epoch)
        for epoch, error in zip(epochs.tolist(), errors.tolist(), strict=True)
    ]


def _evidence(
    claim: Claim,
    scale: str,
    recipe: str,
    planted: Planted | None,
    *,
    cells: Sequence[tuple[Cell, Result]],
    results: Mapping[str, Result],
) -> RecipeEvidence:
    outcomes = tuple(
        Outcome(
            arm=cell.arm,
            seed=cell.trial.seed,
            lower=result.crossing_full[0] if result.crossing_full else result.epochs,
            upper=result.crossing_full[1] if result.crossing_full else float("inf"),
            trial_id=cell.trial.id,
            status=result.status,
            epochs=result.epochs,
            metrics=result.metrics,
        )
        for cell, result in cells
        if cell.recipe == recipe and cell.purpose == "confirm"
    )
    planned = 2 * claim.scales[scale].seeds[0]
    return RecipeEvidence(
        recipe=recipe,
        rates={arm: rate_search(claim, scale, recipe, arm, PRINT, results) for arm in claim.arms},
        outcomes=outcomes,
        contrasts=(
            Contrast(
                name=DECIDING,
                arms=("slow", "fast"),
                metrics=(),
                unit="ratio of epochs",
                description="epochs of slow over epochs of fast",
                estimate=planted.estimate if planted else None,
            ),
        ),
        planned=planned,
        missing=planned - len(outcomes),
        diverged=0,
        caveats=(),
    )


def _verdict(
    claim: Claim, scale: str, recipe: str, planted: Planted | None, clocks: Clocks
) -> Verdict:
    ran = planted is not None
    return Verdict(
        claim_id=claim.id,
        scale=scale,
        recipe=recipe,
        word=planted.word if planted else "not run",  # type: ignore[arg-type] # tests plant words of the rule
        reason=planted.reason if planted else "no trial is finished",
        estimate=planted.estimate if planted else None,
        paper_value=claim.paper.value,
        seeds=3 if ran else 0,
        seconds=clocks.wall if ran else 0.0,
        data="planted images" if ran else "",
        device="a planted device" if ran else "",
        decides=recipe == claim.verdict_recipe and scale != "smoke",
    )
