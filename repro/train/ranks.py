"""The ranks of one trial: each takes its part of every batch, and sums are taken over all.

The batch is the recipe's, whatever the number of ranks, and each draws what is random for all of
it, so a trial is the same trial on one device and on eight. Only the order in which floats are
added differs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from repro.registry import OWN_AUGMENTATIONS
from repro.trial import Trial


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Share:
    """One rank's part of a batch of `of` images: `indices` (B,), from its image `first` on.

    `weight` is what the mean loss of the part counts for, so that its mean over the ranks is the
    mean over the batch. It is 0 where a batch has no image for the rank, which then borrows the
    first one: every rank takes part in each reduction.
    """

    indices: Tensor
    first: int
    of: int
    weight: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranks:
    """This process among `size` of them; torch.distributed is set up when there are several."""

    rank: int = 0
    size: int = 1

    def share(self, batch: Tensor) -> Share:
        """This rank's part of a batch of indices: the parts are disjoint and make up the batch."""
        of = len(batch)
        first, last = of * self.rank // self.size, of * (self.rank + 1) // self.size
        weight = (last - first) * self.size / of
        if first == last:
            first, last = 0, 1
        return Share(indices=batch[first:last], first=first, of=of, weight=weight)

    def own_batches(self, batches: Sequence[Tensor]) -> Sequence[Tensor]:
        """This rank's batches of an evaluation: each goes to one rank, neighbours together."""
        count = len(batches)
        return batches[count * self.rank // self.size : count * (self.rank + 1) // self.size]

    def total(self, sums: Tensor) -> Tensor:
        """`sums` of all ranks, added in the ranks' order: the same bits on each of them."""
        if self.size == 1:
            return sums
        every = [torch.empty_like(sums) for _ in range(self.size)]
        dist.all_gather(every, sums)
        return torch.stack(every).sum(0)

    def data_parallel(self, model: nn.Module) -> nn.Module:
        """The net whose gradients are the mean over the ranks; the net itself when alone."""
        if self.size == 1:
            return model
        # All ranks start from the trial's own weights, and masks of dropout are each one's own.
        return DistributedDataParallel(model, broadcast_buffers=False, init_sync=False)


SINGLE_RANK = Ranks()


def check_splits(model: nn.Module, trial: Trial) -> None:
    """ValueError for what is made of a whole batch: batch normalisation, and images together."""
    further = {*trial.recipe.augment} - {*OWN_AUGMENTATIONS}
    if further:
        raise ValueError(
            f"the augmentation {min(further)!r} of a package cannot be trained over several ranks: "
            "it draws for a whole batch"
        )
    if trial.recipe.mixup is not None or trial.recipe.cutmix is not None:
        raise ValueError(
            "`mixup` and `cutmix` cannot be trained over several ranks: an image and the one that "
            "it is blended with may be of two of them"
        )
    if any(isinstance(module, _BatchNorm) for module in model.modules()):
        raise ValueError(
            "a net with batch normalisation cannot be trained over several ranks: each would "
            "normalise by its own part of the batch"
        )
