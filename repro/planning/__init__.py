"""From a claim and the results so far to the trials that come next: pure functions.

May import `claim`, `registry` and `trial`.
"""

from repro.planning.cells import TUNING_SEEDS_FROM, Cell, cells_of, code
from repro.planning.next_cells import merge_cells, most_epochs_left, next_cells, possible_cells
from repro.planning.rate_search import Finalist, RateOutcome, RateSearch, lag, rate_search
