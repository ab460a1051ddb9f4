"""The one training loop, over a population of trials. Knows no claims and no files.

May import `data`, `models`, `registry` and `trial`.

A trial's numbers are a function of the trial alone, whatever ran before it: weights come from
its seed, each epoch's order from its seed and the epoch's number, and so no random state has to
be carried from one window to the next. On a CPU a trial uses one thread: sums then come out
the same on every machine of a kind, and several trials side by side use all the cores. Trials of
one shape may be trained in a batch (`repro.train.steps`); a single trial is a population of
one.
"""

from repro.train.epochs import epoch_order, window_steps
from repro.train.loop import device_context, train, train_all
from repro.train.out_of_memory import is_out_of_memory, may_be_out_of_memory
from repro.train.population import Population
from repro.train.stopwatch import Stopwatch
from repro.train.trial_run import CheckpointError, Run, device_data, untrained
