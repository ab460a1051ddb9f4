"""The report as tables for other programs: full precision, empty where nothing was measured."""

import math
from collections.abc import Sequence

import pandas as pd

from repro.report.page import Page
from repro.report.tables import trial_rows
from repro.trial import CURVE_COLUMNS

__all__ = ["curve_frame", "trial_frame", "verdict_frame"]

VERDICT_COLUMNS = (
    "claim", "scale", "recipe", "evidence", "decides", "verdict", "reason", "estimate", "low",
    "high", "level", "bound", "paper", "seeds", "seconds", "data", "device", "fingerprint",
    "registered", "digest",
)  # fmt: skip
TRIAL_COLUMNS = (
    "claim", "scale", "recipe", "arm", "purpose", "trial", "rate", "seed", "status", "epochs",
    "full_lower", "full_upper", "online_lower", "online_upper", "train_error", "test_error",
    "loss", "train_seconds", "evaluate_seconds", "other_seconds", "provenance",
)  # fmt: skip


def verdict_frame(pages: Sequence[Page]) -> pd.DataFrame:
    """A row a claim, scale and recipe; `evidence` is false at smoke scale."""
    rows = [
        {
            "claim": verdict.claim_id,
            "scale": verdict.scale,
            "recipe": verdict.recipe,
            "evidence": not page.smoke,
            "decides": verdict.decides,
            "verdict": verdict.word,
            "reason": verdict.reason,
            "estimate": verdict.estimate.value if verdict.estimate else math.nan,
            "low": verdict.estimate.low if verdict.estimate else math.nan,
            "high": verdict.estimate.high if verdict.estimate else math.nan,
            "level": verdict.estimate.level if verdict.estimate else math.nan,
            "bound": verdict.estimate.bound if verdict.estimate else None,
            "paper": verdict.paper_value,
            "seeds": verdict.seeds,
            "seconds": verdict.seconds,
            "data": verdict.data,
            "device": verdict.device,
            "fingerprint": page.plan.fingerprint if page.plan else None,
            "registered": page.plan.registered if page.plan else None,
            "digest": page.claim.digest,
        }
        for page in pages
        for verdict in page.verdicts
    ]
    return pd.DataFrame(rows, columns=list(VERDICT_COLUMNS))


def trial_frame(pages: Sequence[Page]) -> pd.DataFrame:
    """A row a finished trial and place in a plan; crossings in epochs, errors as fractions."""
    unseen = (math.nan, math.nan)
    rows = []
    for page in pages:
        for place in trial_rows(page):
            trial, result = place.trial, place.result
            full, online = result.crossing_full or unseen, result.crossing_online or unseen
            rows.append(
                {
                    "claim": page.claim.id,
                    "scale": page.evidence.scale,
                    "recipe": place.recipe,
                    "arm": place.arm,
                    "purpose": place.purpose,
                    "trial": trial.id,
                    "rate": trial.rate,
                    "seed": trial.seed,
                    "status": result.status,
                    "epochs": result.epochs,
                    "full_lower": full[0],
                    "full_upper": full[1],
                    "online_lower": online[0],
                    "online_upper": online[1],
                    "train_error": result.train_error,
                    "test_error": result.test_error,
                    "loss": result.loss,
                    "train_seconds": result.seconds.train,
                    "evaluate_seconds": result.seconds.evaluate,
                    "other_seconds": result.seconds.other,
                    "provenance": "; ".join(f"{k}={v}" for k, v in result.provenance.items()),
                }
            )
    return pd.DataFrame(rows, columns=list(TRIAL_COLUMNS))


def curve_frame(pages: Sequence[Page]) -> pd.DataFrame:
    """Every measurement of every finished trial, once; columns as in the store, and the trial."""
    curves = {trial_id: curve for page in pages for trial_id, curve in page.curves.items()}
    columns = ["trial", *CURVE_COLUMNS]
    parts = [curve.assign(trial=trial_id)[columns] for trial_id, curve in curves.items()]
    parts = [part for part in parts if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
