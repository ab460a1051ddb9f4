"""What forks inherit warm, so that a point in the life of a run is one of training and writing.

The fork server alone imports it: it costs seconds.
"""

from pathlib import Path

import torch

from repro.data import open_dataset
from repro.trial.numerics import numerics

torch.set_num_threads(1)
numerics("cifar_80sec")
open_dataset("digits", (), Path())
torch.ones(1, device="meta").sub(1)  # the first on this device imports PyTorch's compiler
