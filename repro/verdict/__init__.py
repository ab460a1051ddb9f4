"""From results to an effect with its interval, and from that to a verdict.

May import `stats`, `plan`, `store` and what lies below them; never torch.
"""

from repro.verdict.rule import (
    EXACT,
    Effect,
    Member,
    Verdict,
    Word,
    decide,
    decide_exact,
    family,
    settles,
)

__all__ = [
    "EXACT",
    "Effect",
    "Member",
    "Verdict",
    "Word",
    "decide",
    "decide_exact",
    "family",
    "settles",
]
