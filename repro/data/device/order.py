"""In which order an epoch uses the images.

A disk reads neighbours faster than images here and there, as a whole permutation wants them. An
order may be shuffled within bounds instead: blocks of neighbours come in a random order, and an
image is put off by at most a buffer's length. It is a function of the seed
and of the numbers in the recipe alone, wherever images lie and however many ranks read them.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """`block`: neighbours that come together. `buffer`: images that are mixed at any moment.

    `lanes`: equal parts of each batch; their number divides the batch's.
    """

    block: int
    buffer: int
    lanes: int


def bounded_order(images: int, bounds: Bounds, *, batch: int, generator: torch.Generator) -> Tensor:
    """A permutation of the images, (images,) int64, on the CPU.

    The blocks, in random order, are cut into lanes of equal length. In each an image moves by at
    most buffer / lanes places. A batch has an equal part of each lane, one lane's after another's:
    ranks whose number divides that of the lanes read blocks that no other rank reads, but for
    those that lie across two lanes, and for the last batch.
    """
    starts = torch.randperm(math.ceil(images / bounds.block), generator=generator) * bounds.block
    line = (starts[:, None] + torch.arange(bounds.block)).flatten()
    line = line[line < images]
    reach = bounds.buffer / bounds.lanes
    mixed = []
    for lane in torch.tensor_split(line, bounds.lanes):
        put_off = torch.rand(len(lane), generator=generator, dtype=torch.float64) * reach
        mixed.append(lane[torch.argsort(torch.arange(len(lane)) + put_off)])
    each = batch // bounds.lanes
    whole = min(map(len, mixed)) // each  # batches that all lanes fill
    full = torch.stack([lane[: whole * each].view(whole, each) for lane in mixed], 1).flatten()
    return torch.cat([full, *(lane[whole * each :] for lane in mixed)])
