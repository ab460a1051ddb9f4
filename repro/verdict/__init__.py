"""From results to an effect with its interval, and from that to a verdict.

May import `stats`, `planning` and `store`; never torch, and nothing that trains or formats.
"""

from repro.verdict.rule import (
    EXACT,
    NOT_JUDGED,
    Effect,
    Member,
    Verdict,
    Word,
    decide,
    decide_exact,
    family,
    settles,
)
