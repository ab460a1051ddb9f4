"""The same net, batch and data, trained by this project and as people would otherwise do it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data.loader import create_loader
from timm.optim import create_optimizer_v2  # type: ignore[attr-defined]
from timm.utils.metrics import AverageMeter
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision.transforms import functional as transforms
from torchvision.transforms import v2

from benchmarks.training import benchmark_trial, population, window
from repro.data import Dataset
from repro.models import build
from repro.trial import WINDOWS

__all__ = ["BareLoop", "OurTrainer", "PlainLoop", "TimmLoop", "TorchvisionLoop"]

BATCH = 128


@dataclass
class OurTrainer:
    """`repro.train.Population`, window by window: bfloat16, channels_last, uint8 on the device."""

    dataset: Dataset
    device: torch.device
    name: str = "this project"

    def __post_init__(self) -> None:
        ours = benchmark_trial(self.dataset, "cifar_80sec", batch=BATCH)
        self.population = population(self.dataset, ours, self.device)

    def train_some(self) -> int:
        return window(self.population)()


def _net(device: torch.device) -> nn.Module:
    return build(
        "cifar_80sec",
        {"activation": "relu"},
        classes=10,
        size=32,
        initialisation="cuda_convnet",
        seed=0,
    ).to(device)


class BareLoop:
    """The limit: float inputs already made and batched in memory, nothing measured.

    Same precision, memory layout, bias rate and optimiser as ours.
    """

    name = "bare loop over tensors in memory"

    def __init__(self, dataset: Dataset, device: torch.device) -> None:
        self.device = device
        ours = benchmark_trial(dataset, "cifar_80sec", batch=BATCH)
        run = population(dataset, ours, device).runs[0]
        order = torch.arange(run.images, device=device)
        steps = run.steps[1]
        self.batches = [run.data.train.batch(i) for i in torch.split(order, BATCH)[:steps]]
        self.model = _net(device).to(memory_format=torch.channels_last)
        weights = [p for n, p in self.model.named_parameters() if not n.endswith("bias")]
        biases = [p for n, p in self.model.named_parameters() if n.endswith("bias")]
        groups: list[dict[str, Any]] = [{"params": weights}, {"params": biases, "lr": 2e-3}]
        self.optimizer = torch.optim.SGD(groups, lr=1e-3, momentum=0.9)

    def train_some(self) -> int:
        self.model.train()
        for images, labels in self.batches:
            self.optimizer.zero_grad(set_to_none=True)
            with torch.autocast(self.device.type, dtype=torch.bfloat16):
                loss = F.cross_entropy(self.model(images), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        return sum(len(labels) for _, labels in self.batches)


class _AsPictures(TorchDataset[tuple[Any, int]]):
    """What an image folder gives: pictures, turned into tensors by the `transform` that is set."""

    def __init__(self, dataset: Dataset, transform: Callable[[Any], Any] | None = None) -> None:
        self.images, self.labels = np.asarray(dataset.train.images), dataset.train.labels
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        picture = Image.fromarray(self.images[index])
        return self.transform(picture) if self.transform else picture, int(self.labels[index])


class _Epochs:
    """A tenth of an epoch at a time from a loader that is gone through again and again."""

    def __init__(self, loader: Any, dataset: Dataset) -> None:
        self.loader = loader
        self.steps = len(dataset.train.labels) // BATCH // WINDOWS
        self.endless = self._batches()

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from self.loader

    def tenth(self) -> Iterator[tuple[Tensor, Tensor]]:
        return islice(self.endless, self.steps)


def _loading(device: torch.device) -> int:
    """Processes that load images, of timm by default 4; on a CPU the cores are trained on."""
    return 4 if device.type == "cuda" else 0


class PlainLoop:
    """The usual script: Dataset, DataLoader, float32, the running loss read every step."""

    name = "plain PyTorch loop with DataLoader, float32"

    def __init__(self, dataset: Dataset, device: torch.device) -> None:
        self.device = device
        pictures = _AsPictures(dataset, _prepared)
        loader: DataLoader[Any] = DataLoader(
            pictures, batch_size=BATCH, shuffle=True, drop_last=True
        )
        self.epochs = _Epochs(loader, dataset)
        self.model = _net(device)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-3, momentum=0.9)
        self.running = 0.0

    def train_some(self) -> int:
        self.model.train()
        for images, labels in self.epochs.tenth():
            images, labels = images.to(self.device), labels.to(self.device)  # noqa: PLW2901
            self.optimizer.zero_grad()
            loss = F.cross_entropy(self.model(images), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            self.running += loss.item()
        return self.epochs.steps * BATCH


def _prepared(picture: Any) -> Tensor:
    """What ToTensor and Normalize give."""
    tensor: Tensor = transforms.normalize(transforms.to_tensor(picture), [0.5] * 3, [0.25] * 3)
    return tensor


class TimmLoop:
    """Stands in for timm's train.py, which is not in its wheel, with --amp and --channels-last.

    Its loader with its transforms, its optimiser, and the loop over them.
    """

    name = "timm: create_loader, create_optimizer_v2, bfloat16, channels_last"

    def __init__(self, dataset: Dataset, device: torch.device) -> None:
        self.device = device
        loader = create_loader(
            _AsPictures(dataset),  # type: ignore[arg-type]
            input_size=(3, 32, 32),
            batch_size=BATCH,
            is_training=True,
            use_prefetcher=device.type == "cuda",
            no_aug=False,
            num_workers=_loading(device),
            persistent_workers=_loading(device) > 0,
            device=device,
        )
        self.epochs = _Epochs(loader, dataset)
        self.model = _net(device).to(memory_format=torch.channels_last)
        self.optimizer = create_optimizer_v2(
            self.model, opt="sgd", lr=1e-3, momentum=0.9, weight_decay=0.0
        )
        self.loss = nn.CrossEntropyLoss()
        self.losses = AverageMeter()  # type: ignore[no-untyped-call]

    def train_some(self) -> int:
        self.model.train()
        for images, labels in self.epochs.tenth():
            images = images.to(self.device).contiguous(memory_format=torch.channels_last)  # noqa: PLW2901
            with torch.autocast(self.device.type, dtype=torch.bfloat16):
                loss = self.loss(self.model(images), labels.to(self.device))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.losses.update(loss.item(), len(labels))  # type: ignore[no-untyped-call]
        return self.epochs.steps * BATCH


class TorchvisionLoop:
    """Stands in for torchvision's references/classification/train.py, which is not in its wheel."""

    name = "torchvision's reference recipe, float32"

    def __init__(self, dataset: Dataset, device: torch.device) -> None:
        self.device = device
        prepare = v2.Compose(
            [
                v2.RandomCrop(32, padding=4),
                v2.RandomHorizontalFlip(),
                v2.PILToTensor(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize([0.5] * 3, [0.25] * 3),
            ]
        )
        loader: DataLoader[Any] = DataLoader(
            _AsPictures(dataset, prepare),
            batch_size=BATCH,
            shuffle=True,
            drop_last=True,
            num_workers=_loading(device),
            persistent_workers=_loading(device) > 0,
        )
        self.epochs = _Epochs(loader, dataset)
        self.model = _net(device)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-3, momentum=0.9)
        self.loss = nn.CrossEntropyLoss()
        self.seen = {"loss": 0.0, "acc1": 0.0, "acc5": 0.0}

    def train_some(self) -> int:
        self.model.train()
        for images, labels in self.epochs.tenth():
            images, labels = images.to(self.device), labels.to(self.device)  # noqa: PLW2901
            logits = self.model(images)
            loss = self.loss(logits, labels)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            right = logits.topk(5, 1).indices == labels[:, None]
            self.seen["loss"] += loss.item()
            self.seen["acc1"] += right[:, 0].float().mean().item()
            self.seen["acc5"] += right.any(1).float().mean().item()
        return self.epochs.steps * BATCH
