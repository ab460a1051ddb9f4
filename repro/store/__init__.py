"""Facts on disk: a folder a trial, or an archive a claim; and the provenance of a result.

May import `claim` and `trial`; knows no statistics and no torch.
"""

from repro.store.store import (
    ARCHIVED,
    MOST_BYTES,
    WEIGHTS,
    PlanRecord,
    Store,
    facts_in,
)
