"""The unit of work and its result, and which code its numbers come from.

May import `claim`; knows neither torch nor statistics.
"""

from repro.trial.trial import (
    CURVE_COLUMNS,
    LAG,
    PASSES,
    WINDOWS,
    Clocks,
    FactOutcome,
    Result,
    Row,
    Status,
    Trial,
    derive_seed,
    first_below,
)
