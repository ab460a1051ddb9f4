"""The report as tables for other programs: full precision, empty where nothing was measured."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from itertools import product

import pandas as pd

from repro.registry import OWN_METRICS
from repro.report.describe import estimate_fields, verdict_fields
from repro.report.figure_data import evaluation_outcomes, tuning_trials
from repro.report.page import FactPage, Page
from repro.report.verdict_table import command
from repro.store.curves import row_lines
from repro.trial import CURVE_COLUMNS, FactOutcome, Result, Row, Trial
from repro.verdict.effects import DECIDING

VERDICT_COLUMNS = (
    "claim", "scale", "recipe", "evidence", "decides", "verdict", "reason", "estimate", "low",
    "high", "level", "bound", "paper", "seeds", "seconds", "data", "device", "fingerprint",
    "registered", "digest", "command",
)  # fmt: skip
EFFECT_COLUMNS = (
    "claim", "scale", "recipe", "evidence", "effect", "decides", "says", "unit", "estimate", "low",
    "high", "level", "bound", "p", "correlation", "sd", "by_seed", "doubtful",
)  # fmt: skip
TRIAL_COLUMNS = (
    "claim", "scale", "recipe", "arm", "purpose", "trial", "rate", "seed", "status", "epochs",
    "full_lower", "full_upper", "online_lower", "online_upper", "online_error", "loss",
    *OWN_METRICS, "train_seconds", "evaluate_seconds", "other_seconds", "provenance",
)  # fmt: skip


def csv_files(pages: Sequence[Page | FactPage]) -> dict[str, Iterable[str]]:
    """verdicts, effects, facts, trials and curves as CSV, in parts, by the name of the file."""
    files: dict[str, Iterable[str]] = {
        f"{name}.csv": [frame.to_csv(index=False, lineterminator="\n")]
        for name, frame in _small_frames(pages).items()
    }
    return files | {"curves.csv": _curve_texts(pages)}


def data_frames(pages: Sequence[Page | FactPage]) -> dict[str, pd.DataFrame]:
    rows = [(trial_id, *row) for trial_id, curve in _curves(pages) for row in curve]
    curves = pd.DataFrame(rows, columns=list(_CURVE_COLUMNS))
    return _small_frames(pages) | {"curves": curves}


def _small_frames(pages: Sequence[Page | FactPage]) -> dict[str, pd.DataFrame]:
    """All but the curves."""
    trained_pages = [page for page in pages if isinstance(page, Page)]
    verdict_rows = [row for page in pages for row in _verdict_rows(page)]
    return {
        "verdicts": pd.DataFrame(verdict_rows, columns=list(VERDICT_COLUMNS)),
        "effects": _effect_frame(trained_pages),
        "facts": _fact_frame(pages),
        "trials": table_of_trials(row for page in trained_pages for row in _trial_rows(page)),
    }


def _verdict_rows(page: Page | FactPage) -> Iterator[dict[str, object]]:
    """A row for each claim, scale and recipe; `evidence` is false at smoke scale."""
    plan = page.plan if isinstance(page, Page) else None
    for verdict in page.verdicts if isinstance(page, Page) else [page.verdict]:
        yield {
            **verdict_fields(verdict),
            "evidence": not (isinstance(page, Page) and page.smoke),
            "fingerprint": plan.fingerprint if plan else None,
            "registered": plan.registered if plan else None,
            "digest": page.claim.digest(page.evidence.scale if isinstance(page, Page) else None),
            "command": command(page),
        }


def _effect_frame(pages: Sequence[Page]) -> pd.DataFrame:
    """A row for each effect of a claim and recipe; `by_seed`: its values, separated by `;`.

    `doubtful`: one of its arms failed a sanity check.
    """
    rows = [
        {
            "claim": page.claim.id,
            "scale": page.evidence.scale,
            "recipe": recipe,
            "evidence": not page.smoke,
            "effect": contrast.name,
            "decides": contrast.name == DECIDING,
            "says": contrast.description,
            "unit": contrast.unit,
            **estimate_fields(contrast.estimate),
            "p": contrast.estimate.p if contrast.estimate else math.nan,
            "correlation": contrast.correlation,
            "sd": contrast.sd,
            "by_seed": ";".join(f"{seed}={value!r}" for seed, value in contrast.by_seed.items()),
            "doubtful": evidence.doubts(contrast),
        }
        for page in pages
        for recipe, evidence in page.evidence.recipes.items()
        for contrast in evidence.contrasts
    ]
    return pd.DataFrame(rows, columns=list(EFFECT_COLUMNS))


def _fact_frame(pages: Sequence[Page | FactPage]) -> pd.DataFrame:
    rows = [
        {"claim": page.claim.id, **asdict(fact)}
        for page in pages
        if isinstance(page, FactPage)
        for fact in page.facts
    ]
    return pd.DataFrame(rows, columns=["claim", *(f.name for f in fields(FactOutcome))])


def _trial_rows(page: Page) -> Iterator[dict[str, object]]:
    """A row for each finished trial and role; crossings in epochs, errors as fractions."""
    claim, results = page.claim, page.results
    for recipe, arm in product(claim.recipes, claim.arms):
        place = {"claim": claim.id, "scale": page.evidence.scale, "recipe": recipe, "arm": arm}
        for outcome in evaluation_outcomes(page, recipe, arm):
            trial, result = page.trials[outcome.trial_id], results[outcome.trial_id]
            yield place | {"purpose": "confirm", **trial_cells(trial, result)}
        for trial, result in tuning_trials(page, recipe, arm):
            yield place | {"purpose": "tune", **trial_cells(trial, result)}


def table_of_trials(rows: Iterable[Mapping[str, object]]) -> pd.DataFrame:
    """The rows with a column for each metric, including those of a claim's own command.

    Column by column: all rows at once would take ten times the memory.
    """
    columns: dict[str, list[object]] = {name: [] for name in TRIAL_COLUMNS}
    for count, row in enumerate(rows):
        for name in row.keys() - columns.keys():
            columns[name] = [math.nan] * count
        for name, column in columns.items():
            column.append(row.get(name, math.nan))
    others = sorted(columns.keys() - set(TRIAL_COLUMNS))
    kind = None if columns["trial"] else object  # pandas takes lists without values for numbers
    return pd.DataFrame(columns, columns=[*TRIAL_COLUMNS, *others], dtype=kind)


def trial_cells(trial: Trial, result: Result) -> dict[str, object]:
    unseen = (math.nan, math.nan)
    full, online = result.crossing_full or unseen, result.crossing_online or unseen
    return {
        "trial": trial.id,
        "rate": trial.rate,
        "seed": trial.seed,
        "status": result.status,
        "epochs": result.epochs,
        "full_lower": full[0],
        "full_upper": full[1],
        "online_lower": online[0],
        "online_upper": online[1],
        "online_error": result.train_error,
        "loss": result.loss,
        **{name: result.metric(name) for name in OWN_METRICS},
        "train_seconds": result.seconds.train,
        "evaluate_seconds": result.seconds.evaluate,
        "other_seconds": result.seconds.other,
        "provenance": "; ".join(f"{k}={v}" for k, v in result.provenance.items()),
        **{name: v for name, v in result.metrics.items() if name not in OWN_METRICS},
    }


_CURVE_COLUMNS = ("trial", *CURVE_COLUMNS)


def _curve_texts(pages: Sequence[Page | FactPage]) -> Iterator[str]:
    """The same as CSV, a part for each curve."""
    yield f"{','.join(_CURVE_COLUMNS)}\n"
    for trial_id, curve in _curves(pages):
        yield row_lines(curve, f"{trial_id},")


def _curves(pages: Sequence[Page | FactPage]) -> Iterator[tuple[str, Sequence[Row]]]:
    """Each trial once, though claims may share it."""
    given: set[str] = set()
    for page in pages:
        if isinstance(page, Page):
            for trial_id in page.curves:
                if trial_id not in given:
                    given.add(trial_id)
                    yield trial_id, page.curves[trial_id]
