"""Facts on disk: one folder a trial; and the provenance of a result.

May import `claim` and `trial`; knows no statistics and no torch.
"""

from repro.store.store import (
    MOST_BYTES,
    WEIGHTS,
    NetRecord,
    PlanRecord,
    Store,
    facts_in,
)

__all__ = [
    "MOST_BYTES",
    "WEIGHTS",
    "NetRecord",
    "PlanRecord",
    "Store",
    "facts_in",
]
