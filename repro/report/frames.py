"""The report as tables for other programs: full precision, empty where nothing was measured."""

import csv
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import product
from types import SimpleNamespace
from typing import TYPE_CHECKING

from repro.claim import arms_of
from repro.registry import OWN_METRICS
from repro.report.describe import estimate_fields, verdict_fields
from repro.report.figure_data import evaluation_outcomes, tuning_trials
from repro.report.page import FactPage, Page
from repro.report.verdict_table import command
from repro.trial import CURVE_COLUMNS, FactOutcome, Result, Trial
from repro.verdict.effects import DECIDING

if TYPE_CHECKING:
    import pandas as pd

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
FACT_COLUMNS = ("claim", *(f.name for f in fields(FactOutcome)))

Cells = Mapping[str, object]  # of a row, by column


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """A table whose rows are made while they are written: there may be millions."""

    columns: Sequence[str]
    cells: Iterable[Cells]

    def csv(self) -> Iterator[str]:
        """The lines of a file; a cell without a value is empty."""
        write = csv.writer(SimpleNamespace(write=str), lineterminator="\n").writerow
        yield write(self.columns)
        for row in self.cells:
            yield write([_cell(row.get(name)) for name in self.columns])

    def frame(self) -> "pd.DataFrame":
        """The same for pandas."""
        import pandas as pd  # a second, which whoever writes files does not wait for

        rows = [tuple(row.get(name, math.nan) for name in self.columns) for row in self.cells]
        kind = None if rows else object  # pandas takes columns without values for numbers
        return pd.DataFrame(rows, columns=list(self.columns), dtype=kind)


def _cell(value: object) -> object:
    return None if isinstance(value, float) and math.isnan(value) else value


def csv_files(pages: Sequence[Page | FactPage]) -> dict[str, Iterator[str]]:
    """verdicts, effects, facts, trials and curves as CSV, in parts, by the name of the file."""
    files = {f"{name}.csv": rows.csv() for name, rows in _tables(pages).items()}
    return files | {"curves.csv": _curve_texts(pages)}


def data_frames(pages: Sequence[Page | FactPage]) -> "dict[str, pd.DataFrame]":
    """The tables, by name; verdicts and effects also have the arms that they compare."""
    tables = {**_tables(pages), "curves": _curve_rows(pages)}
    for name in ("verdicts", "effects"):
        claim, scale, recipe, *others = tables[name].columns
        tables[name] = replace(tables[name], columns=(claim, scale, recipe, "arms", *others))
    return {name: rows.frame() for name, rows in tables.items()}


def _tables(pages: Sequence[Page | FactPage]) -> dict[str, Rows]:
    """All but the curves."""
    trained_pages = [page for page in pages if isinstance(page, Page)]
    return {
        "verdicts": Rows(
            columns=VERDICT_COLUMNS, cells=(row for page in pages for row in _verdict_rows(page))
        ),
        "effects": Rows(
            columns=EFFECT_COLUMNS,
            cells=(row for page in trained_pages for row in _effect_rows(page)),
        ),
        "facts": Rows(columns=FACT_COLUMNS, cells=_fact_rows(pages)),
        "trials": trial_table(
            (row for page in trained_pages for row in _trial_rows(page)),
            (result for page in trained_pages for result in page.results.values()),
        ),
    }


def _verdict_rows(page: Page | FactPage) -> Iterator[Cells]:
    """A row for each recipe; `evidence` is false at smoke scale."""
    plan = page.plan if isinstance(page, Page) else None
    for verdict in page.verdicts if isinstance(page, Page) else [page.verdict]:
        yield {
            **verdict_fields(verdict),
            "arms": ", ".join(arms_of(page.claim)) if isinstance(page, Page) else "",
            "evidence": not (isinstance(page, Page) and page.smoke),
            "fingerprint": plan.fingerprint if plan else None,
            "registered": plan.registered if plan else None,
            "digest": page.claim.digest(page.evidence.scale if isinstance(page, Page) else None),
            "command": command(page),
        }


def _effect_rows(page: Page) -> Iterator[Cells]:
    """A row for each effect and recipe; `by_seed`: its values, separated by `;`.

    `doubtful`: one of its arms failed a sanity check.
    """
    for recipe, evidence in page.evidence.recipes.items():
        for contrast in evidence.contrasts:
            yield {
                "claim": page.claim.id,
                "scale": page.evidence.scale,
                "recipe": recipe,
                "arms": ", ".join(contrast.arms),
                "evidence": not page.smoke,
                "effect": contrast.name,
                "decides": contrast.name == DECIDING,
                "says": contrast.description,
                "unit": contrast.unit,
                **estimate_fields(contrast.estimate),
                "p": contrast.estimate.p if contrast.estimate else math.nan,
                "correlation": contrast.correlation,
                "sd": contrast.sd,
                "by_seed": ";".join(f"{seed}={v!r}" for seed, v in contrast.by_seed.items()),
                "doubtful": evidence.doubts(contrast),
            }


def _fact_rows(pages: Sequence[Page | FactPage]) -> Iterator[Cells]:
    """A row for each fact that needs no training."""
    for page in pages:
        for fact in page.facts if isinstance(page, FactPage) else ():
            printed = None if fact.printed is None else _decimal(fact.printed)
            cells = {**asdict(fact), "printed": printed, "ours": _decimal(fact.ours)}
            yield {"claim": page.claim.id, **cells}


def _decimal(value: float) -> float:
    """As a float, but for integers of which a float would lose digits."""
    return value if isinstance(value, int) and abs(value) > 2**53 else float(value)


def _trial_rows(page: Page) -> Iterator[Cells]:
    """A row for each finished trial and role; crossings in epochs, errors as fractions."""
    claim, results = page.claim, page.results
    for recipe, arm in product(claim.recipes, claim.arms):
        place = {"claim": claim.id, "scale": page.evidence.scale, "recipe": recipe, "arm": arm}
        for outcome in evaluation_outcomes(page, recipe, arm):
            trial, result = page.trials[outcome.trial_id], results[outcome.trial_id]
            yield place | {"purpose": "confirm", **trial_cells(trial, result)}
        for trial, result in tuning_trials(page, recipe, arm):
            yield place | {"purpose": "tune", **trial_cells(trial, result)}


def trial_table(rows: Iterable[Cells], results: Iterable[Result]) -> Rows:
    """The rows, with a column for each metric of these results that a claim's own command names."""
    names = {_column(name) for result in results for name in result.metrics}
    return Rows(columns=(*TRIAL_COLUMNS, *sorted(names - {*TRIAL_COLUMNS})), cells=rows)


def _column(metric: str) -> str:
    """Its name; `metric_` before one of a command's that is called like another column."""
    taken = metric in TRIAL_COLUMNS and metric not in OWN_METRICS
    return f"metric_{metric}" if taken else metric


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
        **{_column(name): v for name, v in result.metrics.items()},
    }


_CURVE_COLUMNS = ("trial", *CURVE_COLUMNS)


def _curve_rows(pages: Sequence[Page | FactPage]) -> Rows:
    """All curves; the columns of the store, and the trial."""
    return Rows(
        columns=_CURVE_COLUMNS,
        cells=(
            {"trial": trial_id, **row._asdict()}
            for trial_id, page in _pages_of_trials(pages)
            for row in page.curves[trial_id]
        ),
    )


def _curve_texts(pages: Sequence[Page | FactPage]) -> Iterator[str]:
    """The same as CSV, a part for each curve."""
    yield f"{','.join(_CURVE_COLUMNS)}\n"
    for trial_id, page in _pages_of_trials(pages):
        _, *lines = page.curve_csv[trial_id].splitlines() or [""]
        yield "".join([f"{trial_id},{line}\n" for line in lines])


def _pages_of_trials(pages: Sequence[Page | FactPage]) -> Iterator[tuple[str, Page]]:
    """Each trial once, though claims may share it."""
    given: set[str] = set()
    for page in pages:
        if isinstance(page, Page):
            yield from ((trial_id, page) for trial_id in page.curves if trial_id not in given)
            given |= page.curves.keys()
