"""Nets trained as one program: one step of the paper's SGD for all of them.

Small nets leave a GPU idle: an epoch of CIFAR-10 is 391 steps of about 60 short kernels. So nets
of one shape are laid side by side. Their maps lie in one tensor as if they were one wide net, a
convolution has as many more groups, and a fully connected layer is a batch of matrix products.
Channels stay last, and pools, units and response normalisation run as they are. On a GPU a
whole step is recorded once as a CUDA graph and replayed as one launch. On a CPU neither pays
(docs/log.md), and every net is trained alone there unless it is asked otherwise.

A net's numbers do not depend on the others: it has its own batches, rate and generator of noise.
Sums come out in another order, within the bound that tests/test_population.py states.

P nets, B images in a batch, C maps of each, H by W places, F features.
"""

import copy
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from types import MappingProxyType
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel

from repro.models import AcrossMaps, CeilConv2d, Dropout, LocallyConnected2d
from repro.models.conv_local import neighbourhoods
from repro.train.optim import Optimizer, PaperSGD
from repro.train.out_of_memory import is_out_of_memory
from repro.train.precision import Autocast
from repro.train.ranks import SINGLE_RANK, Ranks, Share

Update = Callable[[Tensor, Tensor], None]
Record = Callable[[Callable[[], None]], Callable[[], None]]
Tensors = Mapping[str, Tensor]

_WARM_UPS = 3  # steps before one is recorded: PyTorch's notes on CUDA graphs


class Step(Protocol):
    """One update of every net, from (P B, 3, S, S) inputs and (P B,) labels.

    A single net takes shares of each label, (B, classes), as well.

    `share` says what part of the batch they are: all of it, where there is a single rank.

    Between `begin` and `write_back`, `totals` sums (P, 2) float64: the loss, and the number of
    images told wrong. `write_back` copies weights and velocities back to models and optimisers,
    which stay untouched until then.
    `recording`: seconds that were spent on the first steps and on recording, so far. `frozen`:
    places of nets that have ended, and stay as they are.
    """

    frozen: frozenset[int]

    @property
    def totals(self) -> Tensor: ...

    @property
    def recording(self) -> float: ...

    def begin(self, noise: Sequence[int]) -> None: ...

    def __call__(self, images: Tensor, labels: Tensor, share: Share) -> None: ...

    def write_back(self) -> None: ...


class SingleStep:
    """One net of any kind; it is updated in place, step by step, by all `ranks` alike.

    `recorded`: on a GPU, as a CUDA graph, which a net that asks the device for numbers has none of.
    `label_smoothing`, `clip_norm`: as in the recipe. `average`: of the weights, kept up to date.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        *,
        autocast: Autocast,
        batch: int,
        recorded: bool,
        label_smoothing: float = 0.0,
        clip_norm: float | None = None,
        average: AveragedModel | None = None,
        ranks: Ranks = SINGLE_RANK,
    ) -> None:
        self.model, self.optimizer, self.autocast = model, optimizer, autocast
        self.label_smoothing, self.clip_norm = label_smoothing, clip_norm
        self.average = average
        self.parallel = ranks.data_parallel(model)
        self.frozen: frozenset[int] = frozenset()
        self.weight = 1.0  # of the mean loss of the part that this rank has
        device = next(model.parameters()).device
        self.totals = torch.zeros(1, 2, dtype=torch.float64, device=device)
        self.noise = _Noise([model], device)
        where = device if recorded else torch.device("cpu")
        self.update = GraphedUpdate(self._update, where, batch=batch)
        self.rates: list[float] = []

    @property
    def recording(self) -> float:
        return self.update.seconds

    def begin(self, noise: Sequence[int]) -> None:
        self.model.train()
        self.totals.zero_()
        self.noise.seed(noise)
        rates = [group.rate for group in self.optimizer.groups]
        if rates != self.rates:  # they are numbers in what was recorded
            self.update.forget()
        self.rates = rates

    def __call__(self, images: Tensor, labels: Tensor, share: Share) -> None:
        ours = slice(share.first, share.first + len(images))
        for name, mask in self.noise.draw(share.of).items():
            self.noise.layers[name][0].mask = mask[0][ours]
        self.weight = share.weight
        self.update(images, labels)
        if self.average is not None:
            self.average.update_parameters(self.model)

    def _update(self, images: Tensor, labels: Tensor) -> None:
        self.model.zero_grad()
        with self.autocast():
            logits = self.parallel(images)
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=self.label_smoothing)
        weighted = loss if self.weight == 1 else loss * self.weight
        weighted.backward()  # type: ignore[no-untyped-call]
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_norm)
        self.optimizer.step()
        if self.weight:
            classes = labels.argmax(1) if labels.dim() == 2 else labels  # of blended images
            self.totals += _totals(logits[None], classes[None], loss[None])

    def write_back(self) -> None:
        """Nothing is left to do."""


class BatchedStep:
    """Nets of one shape, batched. Weights and velocities are (P, ...), rates and the like (P, 1).

    Those of `frozen` places have ended, and stay as they are: others' batches fill their places.
    """

    def __init__(
        self,
        models: Sequence[nn.Module],
        optimizers: Sequence[PaperSGD],
        *,
        autocast: Autocast,
        batch: int,
        recorded: bool = True,
        label_smoothing: float = 0.0,
    ) -> None:
        self.label_smoothing = label_smoothing
        self.frozen: frozenset[int] = frozenset()
        self.models, self.optimizers, self.autocast = models, optimizers, autocast
        device = next(models[0].parameters()).device
        self.totals = torch.zeros(len(models), 2, dtype=torch.float64, device=device)
        self.noise = _Noise(models, device)
        where = device if recorded else torch.device("cpu")
        self.update = GraphedUpdate(self._update, where, batch=len(models) * batch)
        self.members = {name: _parameters(models, name) for name in _names(models[0])}
        self.weights = {name: _stack(own).requires_grad_() for name, own in self.members.items()}
        self.velocity = {name: torch.zeros_like(w) for name, w in self.weights.items()}
        self.settings = {
            name: {
                key: torch.empty(len(models), *[1] * (weight.dim() - 1), device=device)
                for key in ("lr", "momentum", "weight_decay")
            }
            for name, weight in self.weights.items()
        }
        self.masks: Tensors = {}

    @property
    def recording(self) -> float:
        return self.update.seconds

    def begin(self, noise: Sequence[int]) -> None:
        self.totals.zero_()
        self.noise.seed(noise)
        rules = [_rules(optimizer) for optimizer in self.optimizers]
        for name, own in self.members.items():
            for key, setting in self.settings[name].items():
                values = [of[p][key] for of, p in zip(rules, own, strict=True)]
                setting.copy_(torch.tensor(values).view_as(setting))
        with torch.no_grad():
            for here, theirs in self._both():
                torch._foreach_copy_(here, theirs)

    def _both(
        self, excluded: frozenset[int] = frozenset()
    ) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
        """Weights, then velocities: as they stand here, and as each net has them."""
        places = [place for place in range(len(self.models)) if place not in excluded]
        weights, velocities = [], []
        for own in self.members.values():
            for place in places:
                weights.append(own[place].detach())
                velocities.append(self.optimizers[place].velocity[own[place]])
        for stacked_parts, own_tensors in ((self.weights, weights), (self.velocity, velocities)):
            stacks = [stack.detach().unbind() for stack in stacked_parts.values()]
            yield [unbound[place] for unbound in stacks for place in places], own_tensors

    def __call__(self, images: Tensor, labels: Tensor, share: Share) -> None:
        assert share.of == len(images), "batched nets are trained by a single rank"
        self.masks = self.noise.draw(len(images) // len(self.models))
        self.update(images, labels)

    def _update(self, images: Tensor, labels: Tensor) -> None:
        nets = len(self.models)
        with self.autocast():
            logits = batched_logits(
                self.models[0], _interleave(images, nets), self.weights, self.masks
            )
        targets = labels.view(nets, -1)
        losses_each = F.cross_entropy(
            logits.float().flatten(0, 1),
            labels,
            reduction="none",
            label_smoothing=self.label_smoothing,
        )
        losses = losses_each.view(nets, -1).mean(1)
        gradients = torch.autograd.grad(losses.sum(), list(self.weights.values()))
        with torch.no_grad():
            for name, gradient in zip(self.weights, gradients, strict=True):
                weight, velocity, own = self.weights[name], self.velocity[name], self.settings[name]
                velocity.mul_(own["momentum"]).add_(gradient)
                velocity.addcmul_(weight, own["weight_decay"])
                weight.addcmul_(velocity, own["lr"], value=-1)
        self.totals += _totals(logits, targets, losses)

    def write_back(self) -> None:
        with torch.no_grad():
            for here, theirs in self._both(self.frozen):
                torch._foreach_copy_(theirs, here)


class StreamedStep:
    """Nets of one shape, each as it is alone, on a stream of its own in one recorded step.

    On a GPU the streams run side by side; on a CPU one net comes after the other.
    """

    def __init__(
        self,
        models: Sequence[nn.Module],
        optimizers: Sequence[PaperSGD],
        *,
        autocast: Autocast,
        batch: int,
        recorded: bool = True,
        label_smoothing: float = 0.0,
    ) -> None:
        self.members = [
            SingleStep(
                model,
                optimizer,
                autocast=autocast,
                batch=batch,
                recorded=False,
                label_smoothing=label_smoothing,
            )
            for model, optimizer in zip(models, optimizers, strict=True)
        ]
        self.optimizers = optimizers
        device = next(models[0].parameters()).device
        self.streams: list[torch.cuda.Stream | None] = [None] * len(models)
        if device.type == "cuda":  # PyTorch has 32 of them, and hands them out in turn
            self.streams = [torch.cuda.Stream(device) for _ in models]  # type: ignore[no-untyped-call]
        where = device if recorded else torch.device("cpu")
        self.update = GraphedUpdate(self._update, where, batch=len(models) * batch)
        self.frozen: frozenset[int] = frozenset()
        self.snapshots: list[
            list[tuple[Tensor, Tensor]]
        ] = []  # of each net: what it has, and a copy

    @property
    def totals(self) -> Tensor:
        return torch.cat([member.totals for member in self.members])

    @property
    def recording(self) -> float:
        return self.update.seconds

    def begin(self, noise: Sequence[int]) -> None:
        before = [member.rates for member in self.members]
        for member, seed in zip(self.members, noise, strict=True):
            member.begin([seed])
        if before != [member.rates for member in self.members]:
            self.update.forget()
        self.snapshots = []
        for member, optimizer in zip(self.members, self.optimizers, strict=True):
            tensors = [*member.model.state_dict().values(), *optimizer.velocity.values()]
            self.snapshots.append([(tensor, tensor.clone()) for tensor in tensors])

    def __call__(self, images: Tensor, labels: Tensor, share: Share) -> None:
        batch = share.of // len(self.members)
        for member in self.members:
            for name, mask in member.noise.draw(batch).items():
                member.noise.layers[name][0].mask = mask[0]
        self.update(images, labels)

    def _update(self, images: Tensor, labels: Tensor) -> None:
        count = len(self.members)
        parts = zip(images.chunk(count), labels.chunk(count), strict=True)
        for member, stream, (x, y) in zip(self.members, self.streams, parts, strict=True):
            with _on_stream(stream, join=False):
                member._update(x, y)  # noqa: SLF001
        for stream in filter(None, self.streams):
            torch.cuda.current_stream(stream.device).wait_stream(stream)

    def write_back(self) -> None:
        for place in self.frozen:
            self._restore(place)

    def undo(self) -> None:
        """Every net as it was when the window began."""
        for place in range(len(self.snapshots)):
            self._restore(place)

    def _restore(self, place: int) -> None:
        for tensor, saved in self.snapshots[place]:
            tensor.copy_(saved)


class GraphedUpdate:
    """An update; on a GPU it is recorded as a CUDA graph and then replayed as one launch.

    The first updates run as they are, and so do batches of another size than `batch`, the last of
    an epoch. Where recording fails, all do. `seconds`: spent on the first updates, for which
    kernels are loaded and built, and on recording.
    """

    def __init__(
        self,
        update: Update,
        device: torch.device,
        *,
        batch: int,
        record: Record | None = None,
    ) -> None:
        self.update, self.batch, self.record = update, batch, record
        self.stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            stream = self.stream = _recording_stream(device)
            self.record = record or (lambda run: _cuda_graph(run, stream))
        self.seconds = 0.0
        self.warm_ups = 0
        self.forget()

    def forget(self) -> None:
        """Record anew: something has changed that is not read from memory."""
        self.replay: Callable[[], None] | None = None
        self.inputs: tuple[Tensor, ...] = ()

    def __call__(self, images: Tensor, labels: Tensor) -> None:
        if self.record is None or len(images) != self.batch:
            with _on_stream(self.stream):
                self.update(images, labels)
            return
        if self.replay is None:
            self._prepare(self.record, images, labels)
            return
        for place, value in zip(self.inputs, (images, labels), strict=True):
            place.copy_(value)
        self.replay()

    def _prepare(self, record: Record, images: Tensor, labels: Tensor) -> None:
        """An update that takes longer than others: on a clock of its own."""
        start = self._now()
        if self.warm_ups == _WARM_UPS:
            self._record(record, images.clone(), labels.clone())
        if self.replay is None:
            self.warm_ups += 1
            with _on_stream(self.stream):
                self.update(images, labels)
        else:
            self.replay()
        self.seconds += self._now() - start

    def _record(self, record: Record, images: Tensor, labels: Tensor) -> None:
        try:
            self.replay = record(lambda: self.update(images, labels))
        except Exception as error:
            if is_out_of_memory(error):
                raise
            warnings.warn(
                f"steps are not recorded as a CUDA graph, and take longer: {error}", stacklevel=2
            )
            self.record = None
        self.inputs = images, labels

    def _now(self) -> float:
        if self.stream is not None:
            torch.cuda.synchronize(self.stream.device)
        return time.perf_counter()


@cache
def _recording_stream(device: torch.device) -> torch.cuda.Stream:
    """One for all: libraries keep memory for each stream that they have seen."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


@contextmanager
def _on_stream(stream: torch.cuda.Stream | None, *, join: bool = True) -> Iterator[None]:
    """What is to be recorded later must not have run on the stream of everything else."""
    if stream is None:
        yield
        return
    outer = torch.cuda.current_stream(stream.device)
    stream.wait_stream(outer)
    with torch.cuda.stream(stream):
        yield
    if join:
        outer.wait_stream(stream)


def _cuda_graph(run: Callable[[], None], stream: torch.cuda.Stream) -> Callable[[], None]:
    graph = torch.cuda.CUDAGraph()
    # The threads that read images ahead may copy to the device meanwhile.
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
        run()
    return graph.replay


class _Noise:
    """The masks of all dropout layers, each net's drawn by its own generator.

    They are drawn into the same memory every time, since that is what a recorded step reads.
    """

    def __init__(self, models: Sequence[nn.Module], device: torch.device) -> None:
        places = {
            name: [cast("Dropout", net.get_submodule(name)) for net in models]
            for name, layer in models[0].named_modules()
            if isinstance(layer, Dropout)
        }
        self.layers = {name: own for name, own in places.items() if any(each.p for each in own)}
        self.generators = [torch.Generator(device) for _ in models]
        self.device = device
        self.masks: dict[int, dict[str, Tensor]] = {}  # by the size of the batch

    def seed(self, seeds: Sequence[int]) -> None:
        for generator, seed in zip(self.generators, seeds, strict=True):
            generator.manual_seed(seed)

    def draw(self, batch: int) -> dict[str, Tensor]:
        """(P, B, ...) of each layer, by its name."""
        if batch not in self.masks:
            self.masks[batch] = {
                name: torch.empty(len(own), batch, *own[0].shape, device=self.device)
                for name, own in self.layers.items()
            }
        masks = self.masks[batch]
        for name, own in self.layers.items():
            for layer, mask, generator in zip(own, masks[name], self.generators, strict=True):
                layer.draw(mask, generator)
        return masks


# Batched forward pass


def batched_logits(
    model: nn.Module, x: Tensor, weights: Tensors, masks: Tensors = MappingProxyType({})
) -> Tensor:
    """Logits (P, B, classes) of P nets like `model`, which is a chain of layers.

    x: (B, P C, H, W), each net's inputs beside the next one's; weights: (P, ...) by name; masks:
    (P, B, ...) by the name of a dropout layer that is to drop.
    """
    nets = len(next(iter(weights.values())))
    for name, layer in model.named_modules():
        if next(layer.children(), None) is not None:
            continue
        own = {key: weights[f"{name}.{key}"] for key, _ in layer.named_parameters(recurse=False)}
        match layer:
            case nn.Conv2d():
                x = _convolve(layer, x, nets, **own)
            case nn.Linear():  # (P, B, F) -> (P, B, F')
                x = torch.baddbmm(own["bias"][:, None], x, own["weight"].mT)
            case LocallyConnected2d():
                x = _connect_locally(layer, x, nets, **own)
            case AcrossMaps():
                x = _across_maps(layer, x, nets)
            case nn.Flatten():
                x = _flatten(x, nets)
            case Dropout():
                x = _drop(x, masks.get(name))
            case nn.PReLU():
                x = _rectify(x, nets, **own)
            case _:  # looks at one map, or one number, at a time
                assert not own, f"{name} has weights that cannot be batched"
                x = layer(x)
    return x


def _convolve(layer: nn.Conv2d, x: Tensor, nets: int, weight: Tensor, bias: Tensor) -> Tensor:
    if isinstance(layer, CeilConv2d):
        x = layer.hang_over(x)
    return F.conv2d(
        x,
        weight.flatten(0, 1),
        bias.flatten(),
        layer.stride,
        layer.padding,
        layer.dilation,
        layer.groups * nets,
    )


def _connect_locally(
    layer: LocallyConnected2d, x: Tensor, nets: int, weight: Tensor, bias: Tensor
) -> Tensor:
    patches = torch.unflatten(neighbourhoods(x), 1, (nets, -1))  # (B, P, 9 C, H W)
    places = patches.permute(1, 3, 0, 2) @ weight.to(patches.dtype)  # (P, H W, B, C')
    maps = places.permute(2, 0, 3, 1).flatten(1, 2)  # (B, P C', H W)
    return torch.unflatten(maps, 2, (layer.side, layer.side)) + bias.flatten(0, 1)


def _rectify(x: Tensor, nets: int, weight: Tensor) -> Tensor:
    """One slope a net: (P, 1)."""
    slope = weight[:, :, None]  # (P, 1, 1), for (P, B, F)
    if x.dim() == 4:
        slope = weight.expand(nets, x.shape[1] // nets).reshape(-1, 1, 1)  # (P C, 1, 1)
    return torch.where(x > 0, x, slope.to(x.dtype) * x)


def _flatten(x: Tensor, nets: int) -> Tensor:
    """(B, P C, H, W) -> (P, B, C H W); (P, B, F) stays."""
    if x.dim() == 3:
        return x
    return torch.unflatten(x, 1, (nets, -1)).flatten(2).transpose(0, 1)


def _drop(x: Tensor, mask: Tensor | None) -> Tensor:
    """mask: (P, B, ...), None in tests."""
    if mask is None:
        return x
    mask = mask.to(x.dtype)
    return x * (mask.transpose(0, 1).flatten(1, 2) if x.dim() == 4 else mask)


def _across_maps(layer: AcrossMaps, x: Tensor, nets: int) -> Tensor:
    """The other nets are other places.

    With channels last this is a view, and no copy is made.
    """
    maps = torch.unflatten(x, 1, (nets, -1)).permute(0, 2, 3, 4, 1)  # (B, C, H, W, P)
    result: Tensor = torch.unflatten(layer(maps.flatten(3)), 3, (-1, nets))
    return result.permute(0, 4, 1, 2, 3).flatten(1, 2)


def _interleave(images: Tensor, nets: int) -> Tensor:
    """(P B, 3, S, S) -> (B, P 3, S, S), channels last."""
    separate = torch.unflatten(images, 0, (nets, -1)).permute(1, 3, 4, 0, 2)  # (B, S, S, P, 3)
    return separate.flatten(3).permute(0, 3, 1, 2)


def _names(model: nn.Module) -> list[str]:
    return [name for name, _ in model.named_parameters()]


def _parameters(models: Sequence[nn.Module], name: str) -> list[nn.Parameter]:
    return [model.get_parameter(name) for model in models]


def _stack(tensors: Sequence[Tensor]) -> Tensor:
    """(P, ...); those of convolutions with channels last, as the maps are."""
    parts = [tensor.detach() for tensor in tensors]
    if parts[0].dim() == 4:
        return torch.stack([part.permute(0, 2, 3, 1) for part in parts]).permute(0, 1, 4, 2, 3)
    return torch.stack(parts)


def _rules(optimizer: PaperSGD) -> dict[nn.Parameter, dict[str, float]]:
    return {
        parameter: {
            "lr": group.rate,
            "momentum": optimizer.momentum,
            "weight_decay": group.weight_decay,
        }
        for group in optimizer.groups
        for parameter in group.parameters
    }


def _totals(logits: Tensor, labels: Tensor, losses: Tensor) -> Tensor:
    """Summed loss and number wrong, (P, 2) float64, of (P, B, classes). A NaN is never right."""
    logits = logits.detach()
    wrong = (logits.argmax(2) != labels) | logits.isnan().any(2)
    summed = losses.detach().double() * labels.shape[1]
    return torch.stack((summed, wrong.sum(1).double()), 1)


def stack_models(models: Sequence[nn.Module]) -> Callable[[Tensor], Tensor]:
    """Nets of one shape as one that maps images (B, 3, S, S), the same for all, to (P, B, C)."""
    weights = {name: _stack(_parameters(models, name)) for name in _names(models[0])}

    def logits(images: Tensor) -> Tensor:
        nets = len(models)
        wide = images.permute(0, 2, 3, 1).repeat(1, 1, 1, nets).permute(0, 3, 1, 2)
        return batched_logits(models[0], wide, weights)

    return logits


# Memory


def member_bytes(model: nn.Module, *, batch: int, size: int) -> int:
    """About what one more net takes in training, without a device: float32, its batch included.

    Twice what the backward pass reads again, and five times the weights: both copies of them and
    of the velocity, and the gradient.
    """
    meta_model = copy.deepcopy(model).to("meta")
    weights = {p.untyped_storage()._cdata: p.nbytes for p in meta_model.parameters()}  # noqa: SLF001
    saved: dict[int, int] = {}

    def save(tensor: Tensor) -> Tensor:
        saved[tensor.untyped_storage()._cdata] = tensor.untyped_storage().nbytes()  # noqa: SLF001
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        meta_model.train()(torch.empty(batch, 3, size, size, device="meta"))
    maps = sum(size_bytes for storage, size_bytes in saved.items() if storage not in weights)
    return 2 * maps + 5 * sum(weights.values())
