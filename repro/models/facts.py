"""Facts that need no training: what a net's layers hold, and how images are cut.

Nets are built without memory (on torch's meta device), so that 61 million parameters are counted
in milliseconds.
"""

from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from math import nan, prod
from typing import Any

import torch
from torch import nn

from repro.claim import ExactClaim, Fact, Scalar
from repro.errors import ClaimError
from repro.models import build
from repro.models.conv_local import LocallyConnected2d
from repro.registry import DATASETS
from repro.trial import FactOutcome, Trial

_CLASSES, _SIZE, _STORED = 1000, 224, 256  # ILSVRC; crops of 224 from images of 256 (sec. 2, 4.1)


def compute(claim: ExactClaim) -> list[FactOutcome]:
    """Every fact of the claim. ClaimError for a layer that the net lacks, and for small nets."""
    return [_outcome(claim, name, fact) for name, fact in claim.facts.items()]


def _outcome(claim: ExactClaim, name: str, fact: Fact) -> FactOutcome:
    net = _net(fact.model.name, tuple(fact.model.arguments.items()))
    with torch.device("meta"):
        layers = _layers(net)
        if fact.of is not None and fact.of not in layers:
            raise ClaimError(
                f"{claim.path}: facts.{name}.of: {fact.model.name} has no layer {fact.of!r} "
                f"(it has: {', '.join(layers)})",
                hint=f"repro show {claim.path}",
            )
        try:
            ours = QUANTITY[fact.quantity](net, fact.of)
        except RuntimeError as error:  # of shapes that do not fit together
            raise ClaimError(
                f"{claim.path}: facts.{name}.model: {fact.model.name} takes no images of "
                f"{_SIZE} pixels, of which {fact.quantity!r} is counted: {error}",
                hint="name a net of the paper's images; `repro validate` checks all else",
            ) from error
    return FactOutcome(
        name=name,
        states=fact.states,
        printed=fact.printed,
        ours=ours,
        holds=fact.holds(ours),
        decides=fact.counts,
    )


@lru_cache(maxsize=8)  # of which many facts are counted
def _net(name: str, arguments: tuple[tuple[str, Scalar], ...]) -> nn.Module:
    with torch.device("meta"):
        return build(
            name,
            dict(arguments),
            classes=_CLASSES,
            size=_SIZE,
            initialisation="cuda_convnet",
            seed=0,
        ).eval()


def _layers(net: nn.Module) -> dict[str, nn.Module]:
    """Learned layers by the last part of their name, or all of it where another has that part."""
    layers: dict[str, nn.Module] = {}
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear | LocallyConnected2d):
            last = name.rpartition(".")[2]
            layers[name if last in layers else last] = module
    return layers


def _shapes(net: nn.Module, size: int = _SIZE) -> dict[str, tuple[int, ...]]:
    """What each learned layer puts out for one image of `size` pixels, without the batch."""
    shapes: dict[str, tuple[int, ...]] = {}

    def hook(name: str) -> Callable[[nn.Module, object, torch.Tensor], None]:
        def note(_module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
            shapes[name] = tuple(output.shape[1:])

        return note

    hooks = [layer.register_forward_hook(hook(name)) for name, layer in _layers(net).items()]
    net(torch.empty(1, 3, size, size))
    for handle in hooks:
        handle.remove()
    return shapes


def _parameters(net: nn.Module, of: str | None) -> float:
    module = net if of is None else _layers(net)[of]
    return sum(p.numel() for p in module.parameters())


def _share(net: nn.Module, of: str | None) -> float:
    return 100 * _parameters(net, of) / _parameters(net, None)


def _chosen(shapes: dict[str, tuple[int, ...]], of: str | None) -> Iterator[tuple[int, ...]]:
    return iter(shapes.values()) if of is None else iter([shapes[of]])


def _neurons(net: nn.Module, of: str | None) -> float:
    return sum(prod(shape) for shape in _chosen(_shapes(net), of))


def _multiply_adds(net: nn.Module, of: str | None, size: int = _SIZE) -> int:
    layers, shapes = _layers(net), _shapes(net, size)
    return sum(_times(layers[name], shapes[name]) for name in (layers if of is None else [of]))


def _times(layer: nn.Module, shape: tuple[int, ...]) -> int:
    """Products that a layer makes of one image."""
    weight = layer.get_parameter("weight")
    if isinstance(layer, LocallyConnected2d):  # each place has weights of its own
        return weight.numel()
    return prod(shape) * prod(weight.shape[1:])


def _maps(net: nn.Module, of: str | None) -> float:
    return next(_chosen(_shapes(net), of))[0]


def _side(net: nn.Module, of: str | None) -> float:
    return next(_chosen(_shapes(net), of))[-1]


# By the names of the registry. Parameters and shares (%) of a layer or of the whole net; neurons:
# numbers that learned layers put out; maps and side (pixels) of a layer; multiply-adds forward.
QUANTITY: dict[str, Callable[[nn.Module, str | None], float]] = {
    "crop_positions": lambda _net, _of: 2.0 * (_STORED - _SIZE + 1) ** 2,  # each mirrored or not
    "input_numbers": lambda _net, _of: 3.0 * _SIZE**2,
    "maps": _maps,
    "multiply_adds": _multiply_adds,
    "neurons": _neurons,
    "parameter_share": _share,
    "parameters": _parameters,
    "side": _side,
}


@cache
def multiply_adds(
    model: str, arguments: tuple[tuple[str, Any], ...], classes: int, size: int
) -> int:
    """Of one image, forward, in layers that have weights."""
    with torch.device("meta"):
        net = build(
            model, dict(arguments), classes=classes, size=size, initialisation="framework", seed=0
        ).eval()
        return _multiply_adds(net, None, size)


def epoch_work(trial: Trial) -> float:
    """Multiply-adds, forward, of the images of an epoch; NaN where nobody wrote down how many."""
    facts = DATASETS.get(trial.data)
    if facts is None:
        return nan
    images = trial.images or (nan if facts.images is None else facts.images[0])
    arguments = tuple(sorted(trial.arguments.items()))
    size = trial.recipe.crop or facts.size
    return images * multiply_adds(trial.model, arguments, facts.classes, size)
