"""What is read of a net once it is trained: errors, and properties of its weights and features.

N images, B in a batch, C classes, F features.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from repro.data.device import DeviceData, DeviceSplit, View
from repro.registry import METRICS, OWN_METRICS
from repro.train.out_of_memory import is_out_of_memory
from repro.train.precision import Autocast
from repro.train.ranks import SINGLE_RANK, Ranks
from repro.train.steps import stack_models

Arrays = dict[str, npt.NDArray[np.generic]]
Features = Callable[[Tensor], Tensor]  # (B, 3, S, S) images -> (B, F)

_BATCH = 1000
_AT_ONCE = 250  # images that a CPU puts through nets: maps of more leave its cache
_BINS = 15  # of confidence, as is usual
_NEIGHBOURS = 6  # Fig. 4 shows six training images for each test image
_QUERIES, _GALLERY = 1000, 5000  # images; more would change the shares by less than a point
_GALLERY_BYTES = 2**29  # bytes of the gallery at once: of 224 pixels all of it would be 3 GB


@runtime_checkable
class ShownNet(Protocol):
    """A net whose first kernels and last hidden layer are looked at, as in sec. 6.1: AlexNet."""

    def first_kernels(self) -> Tensor:
        """(maps, 3, K, K)."""

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) images -> (B, F)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """Errors as fractions, loss in nats, averaged over `images`.

    `guesses`: (images,) int64, the likeliest class of each; -1 where an output is not a number.
    `confidences`: (images,) float32, the probability that it is given.
    """

    error: float
    top5_error: float
    loss: float
    images: int
    guesses: Tensor = field(compare=False, repr=False)
    confidences: Tensor = field(compare=False, repr=False)


def evaluate(
    model: nn.Module,
    split: DeviceSplit,
    view: View | None,
    *,
    autocast: Autocast,
    first: int | None = None,
    ranks: Ranks = SINGLE_RANK,
) -> Evaluation:
    """The net as it stands on one view of the split's (first) images. A NaN is never right."""
    model.eval()
    ((evaluation,),) = _evaluate(
        _in_parts(model), split, [view], [_mean_logits], autocast, first, ranks
    )
    return evaluation


def evaluate_untrained(
    model: nn.Module, data: DeviceData, *, autocast: Autocast, ranks: Ranks = SINGLE_RANK
) -> Evaluation:
    """The net before its first step, on the first test images.

    Batch normalisation takes the batch's own statistics, as in its first step: those of training,
    which a net keeps for its tests, are of nothing yet. One image has none of its own.
    """
    model.eval()
    for layer in model.modules():
        if isinstance(layer, _BatchNorm):
            layer.train(len(data.test.labels) > 1)
    ((evaluation,),) = _evaluate(
        model, data.test, [data.centre], [_mean_logits], autocast, _BATCH, ranks
    )
    return evaluation


def evaluate_batched(
    models: Sequence[nn.Module],
    split: DeviceSplit,
    view: View | None,
    *,
    autocast: Autocast,
    ranks: Ranks = SINGLE_RANK,
) -> list[Evaluation]:
    """As `evaluate`, of each net, all at once; they are of one shape."""
    if len(models) == 1:
        return [evaluate(models[0], split, view, autocast=autocast, ranks=ranks)]
    net = stack_models(models)
    evaluations = _evaluate(
        _in_parts(net, nets=len(models)),
        split,
        [view],
        [_mean_logits],
        autocast,
        None,
        ranks,
        nets=len(models),
    )
    return [evaluation for (evaluation,) in evaluations]


def evaluate_views(
    model: nn.Module,
    split: DeviceSplit,
    views: Sequence[View],
    *,
    autocast: Autocast,
    ranks: Ranks = SINGLE_RANK,
) -> tuple[Evaluation, Evaluation]:
    """Over several views: softmax outputs averaged, as the authors did (sec. 4.1); logits."""
    model.eval()
    ((probabilities, logits),) = _evaluate(
        _in_parts(model), split, views, [_mean_probabilities, _mean_logits], autocast, None, ranks
    )
    return probabilities, logits


def _in_parts(model: Callable[[Tensor], Tensor], *, nets: int = 1) -> Callable[[Tensor], Tensor]:
    """The same logits; on a CPU, of a batch in equal parts. `nets`: that the model stacks."""

    def logits(images: Tensor) -> Tensor:
        parts = 1 if images.is_cuda else math.ceil(len(images) * nets / _AT_ONCE)
        if parts <= 1:
            return model(images)
        return torch.cat([model(part) for part in images.chunk(parts)], -2)

    return logits


def _evaluate(
    model: Callable[[Tensor], Tensor],
    split: DeviceSplit,
    views: Sequence[View | None],
    averages: Sequence[Callable[[list[Tensor]], Tensor]],
    autocast: Autocast,
    first: int | None,
    ranks: Ranks,
    *,
    nets: int = 1,
) -> list[list[Evaluation]]:
    """For each net, one evaluation for each way to average the views' logits, (B, C) each.

    With several `nets`, the model gives the logits of all, (P, B, C).
    """
    labels = split.labels[:first]
    totals = torch.zeros(nets, len(averages), 3, dtype=torch.float64, device=labels.device)
    guesses = torch.zeros(nets, len(averages), len(labels), dtype=torch.int64, device=labels.device)
    confidences = torch.zeros(guesses.shape, device=labels.device)
    indices = torch.arange(len(labels), device=labels.device)
    batched_totals = torch.func.vmap(_totals, in_dims=(0, None))
    with torch.inference_mode():
        # A GPU has the memory, and would starve on few images at a time.
        evaluations_each = len(views) * (1 if labels.is_cuda else nets)
        batches = ranks.own_batches(torch.split(indices, max(1, _BATCH // evaluations_each)))
        for places, (rows, targets) in zip(batches, split.stream(batches), strict=True):
            outputs = []
            for view in views:
                with autocast():
                    outputs.append(model(split.inputs(rows, view)).float())
            means = [average(outputs) for average in averages]
            if nets == 1:
                totals += torch.stack([_totals(mean, targets) for mean in means])
            else:
                totals += torch.stack([batched_totals(mean, targets) for mean in means], 1)
            for average, mean in enumerate(means):
                guesses[:, average, places] = _guesses(mean)
                confidences[:, average, places] = mean.softmax(-1).amax(-1)
    totals, guesses, confidences = map(ranks.total, (totals, guesses, confidences))
    return [
        [
            Evaluation(
                error=wrong,
                top5_error=wrong5,
                loss=loss,
                images=len(labels),
                guesses=guess,
                confidences=confidence,
            )
            for (wrong, wrong5, loss), guess, confidence in zip(net, *its, strict=True)
        ]
        for net, *its in zip(
            (totals / max(1, len(labels))).tolist(), guesses, confidences, strict=True
        )
    ]


def _mean_logits(outputs: list[Tensor]) -> Tensor:
    return torch.stack(outputs).mean(0)


def _mean_probabilities(outputs: list[Tensor]) -> Tensor:
    """Logarithms of the averaged probabilities, up to a constant."""
    return torch.stack([F.log_softmax(each, 1) for each in outputs]).logsumexp(0)


def _totals(logits: Tensor, labels: Tensor) -> Tensor:
    """Number wrong at first guess, in five, and summed loss, (3,) float64."""
    nan = logits.isnan().any(1)
    five = logits.topk(min(5, logits.shape[1]), 1).indices == labels[:, None]
    wrong, wrong5 = (logits.argmax(1) != labels) | nan, ~five.any(1) | nan
    loss = F.cross_entropy(logits, labels, reduction="sum")
    return torch.stack((wrong.sum().double(), wrong5.sum().double(), loss.double()))


def _guesses(logits: Tensor) -> Tensor:
    """(..., B, C) -> (..., B) int64; -1, which is never right, where one is not a number."""
    return logits.argmax(-1).masked_fill(logits.isnan().any(-1), -1)


def calibration_error(evaluation: Evaluation, labels: Tensor) -> float:
    """Expected calibration error (Guo et al. 2017): the gap of confidence and accuracy by bin.

    Mean over images of the absolute difference of the two in each of 15 equal bins of confidence.
    """
    confidence = evaluation.confidences.double()
    bins = (confidence * _BINS).ceil().clamp(1, _BINS).nan_to_num(1).long() - 1
    gap = confidence - (evaluation.guesses == labels).double()
    sums = torch.zeros(_BINS, dtype=torch.float64, device=labels.device)
    return float(sums.index_add_(0, bins, gap).abs().sum() / max(1, len(labels)))


def final_metrics(
    model: nn.Module,
    untrained: nn.Module,
    data: DeviceData,
    *,
    autocast: Autocast,
    ranks: Ranks = SINGLE_RANK,
) -> tuple[dict[str, float], Arrays]:
    """All our own metrics that the net and its data allow, and what pictures need.

    `untrained`: the same net before its first step. What was guessed of each test image is
    `guesses_centre`, and `guesses_ten_crop` where there are crops.
    """
    train = evaluate(model, data.train, data.centre, autocast=autocast, ranks=ranks)
    test = evaluate(model, data.test, data.centre, autocast=autocast, ranks=ranks)
    start = evaluate_untrained(untrained, data, autocast=autocast, ranks=ranks)
    metrics = {
        "train_error": train.error,
        "test_error": test.error,
        "test_top5_error": test.top5_error,
        "test_loss": test.loss,
        "calibration_error": calibration_error(test, data.test.labels),
        "gap": test.error - train.error,
        "initial_loss": start.loss,
    }
    arrays: Arrays = {"guesses_centre": test.guesses.cpu().numpy()}
    if data.ten:
        ten, logits = evaluate_views(model, data.test, data.ten, autocast=autocast, ranks=ranks)
        metrics |= {
            "test_error_ten_crop": ten.error,
            "test_top5_error_ten_crop": ten.top5_error,
            "test_error_ten_crop_logits": logits.error,
        }
        arrays["guesses_ten_crop"] = ten.guesses.cpu().numpy()
    if isinstance(model, ShownNet):
        kernels = model.first_kernels().detach().float().cpu().numpy()
        metrics["colour_split"] = colour_split(kernels)
        spaces = {"features": model.forward_features, "pixels": None}
        by_space = {
            kind: neighbours(features, data, autocast=autocast) for kind, features in spaces.items()
        }
        metrics |= {f"neighbours_{kind}": share for kind, (share, _) in by_space.items()}
        arrays |= {
            "conv1": kernels,
            "near_images": _neighbour_images(data, by_space["features"][1]),
        }
    return metrics, arrays


def package_metrics(
    model: nn.Module, data: DeviceData, *, alone: bool
) -> tuple[dict[str, float], dict[str, str]]:
    """The metrics of other packages, and why one could not be measured: that costs no result.

    `alone`: whether no other net has memory; else what runs short of it is raised, to be measured
    once more.
    """
    metrics: dict[str, float] = {}
    faults: dict[str, str] = {}
    for name in sorted(METRICS.keys() - OWN_METRICS.keys()):
        try:
            measure = METRICS[name].measure
            if measure is not None:
                with torch.inference_mode():
                    metrics[name] = float(measure(model.eval(), data))
        except Exception as error:  # whatever the package does
            if is_out_of_memory(error) and not alone:
                raise
            faults[name] = f"{type(error).__name__}: {_one_line(error)}"
    return metrics, faults


def _one_line(error: Exception) -> str:
    """One line of its message, of letters that any file can hold."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - of a package's own class, which may fail at that, too
        return "no message"
    return " ".join(text.split()).encode("ascii", "backslashreplace").decode()[:500]


def colour_split(kernels: npt.NDArray[np.floating]) -> float:
    """How differently coloured the two halves of the first layer's kernels are, in 0 to 1.

    kernels: (maps, 3, k, k). Colour of a kernel: the share of its energy off the grey axis. The
    absolute difference of the halves' means; NaN when there is no energy at all (sec. 6.1).
    """
    energy = (kernels.astype(np.float64) ** 2).sum((1, 2, 3))
    off_grey = ((kernels - kernels.mean(1, keepdims=True)).astype(np.float64) ** 2).sum((1, 2, 3))
    if not (energy > 0).any():
        return math.nan
    share = np.divide(off_grey, energy, out=np.zeros_like(energy), where=energy > 0)
    half = len(share) // 2
    return float(abs(share[:half].mean() - share[half:].mean()))


def neighbours(
    features: Features | None, data: DeviceData, *, autocast: Autocast
) -> tuple[float, npt.NDArray[np.int64]]:
    """Share of a test image's nearest training images that are of its class, and which they are.

    By Euclidean distance of `features`, or of pixels when they are None (sec. 6.1), among the first
    training images; (queries, 6) indices, the nearest first.
    """
    queries = _features(features, data.test, _first(data.test, _QUERIES), data, autocast)
    gallery = _first(data.train, _GALLERY)
    batch = max(_NEIGHBOURS, _GALLERY_BYTES // queries[0].nbytes)
    near = _nearest(
        queries,
        (
            _features(features, data.train, part, data, autocast)
            for part in torch.split(gallery, batch)
        ),
    )
    same = data.train.labels[near] == data.test.labels[: len(near), None]
    return float(same.double().mean()), near.cpu().numpy()


def _nearest(queries: Tensor, gallery: Iterable[Tensor]) -> Tensor:
    """(queries, 6) places in the gallery, parts of which come one after the other."""
    distances = torch.empty(len(queries), 0, device=queries.device)
    places = distances.long()
    offset = 0
    for part in gallery:
        nearest = [
            torch.cdist(chunk, part).topk(min(_NEIGHBOURS, len(part)), largest=False)
            for chunk in torch.split(queries, 200)
        ]
        distances = torch.cat((distances, torch.cat([each.values for each in nearest])), 1)
        places = torch.cat((places, torch.cat([each.indices for each in nearest]) + offset), 1)
        if offset:
            distances, order = distances.topk(min(_NEIGHBOURS, distances.shape[1]), largest=False)
            places = places.gather(1, order)
        offset += len(part)
    return places


_EXAMPLE_QUERIES = 5  # queries, as in Fig. 4


def _neighbour_images(data: DeviceData, near: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """The first queries and their neighbours as they are stored, (5, 1 + 6, H, W, 3)."""
    device = data.train.labels.device
    indices = torch.as_tensor(near[:_EXAMPLE_QUERIES], device=device)  # (5, 6)
    queries = data.test.rows(torch.arange(len(indices), device=device))[:, None]
    images = data.train.rows(indices.flatten()).reshape(*indices.shape, *queries.shape[2:])
    return torch.cat((queries, images), 1).cpu().numpy()


def _first(split: DeviceSplit, images: int) -> Tensor:
    return torch.arange(min(images, len(split.labels)), device=split.labels.device)


def _features(
    features: Features | None,
    split: DeviceSplit,
    indices: Tensor,
    data: DeviceData,
    autocast: Autocast,
) -> Tensor:
    """(N, F) float32 of the split's images of these indices."""
    parts = []
    with torch.inference_mode():
        for batch in torch.split(indices, _BATCH):
            images, _ = split.batch(batch, data.centre)
            if features is None:
                parts.append(images.flatten(1))
                continue
            with autocast():
                parts.append(features(images).float())
    return torch.cat(parts)
