"""The unit of work and its result, and which code its numbers come from.

May import `claim`; knows neither torch nor statistics.
"""

from repro.trial.curve import CURVE_COLUMNS, LAG, PASSES, WINDOWS, Row, first_below
from repro.trial.trial import Clocks, FactOutcome, Result, Status, Trial, derive_seed
