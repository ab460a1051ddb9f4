"""The same net, batch and data, trained by this project and as people would otherwise do it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision.transforms import functional as transforms

from repro.claim import Recipe
from repro.data import Dataset
from repro.models import build
from repro.train import Population, Run, device_data
from repro.trial import WINDOWS, Trial

__all__ = ["BareLoop", "Contestant", "OurTrainer", "PlainLoop"]

BATCH = 128


class Contestant(Protocol):
    """`train_some` trains a tenth of an epoch and returns how many images that were."""

    name: str

    def train_some(self) -> int: ...


def trial(dataset: Dataset, precision: str) -> Trial:
    """The net of the first claim, in the recipe that decides it, but for its precision."""
    return Trial(
        model="cifar_80sec",
        arguments={"activation": "relu"},
        recipe=Recipe.model_validate(
            {
                "inputs": "centred",
                "initialisation": "cuda_convnet",
                "bias_rate": 2.0,
                "batch_size": BATCH,
                "precision": precision,
            }
        ),
        data=dataset.name,
        fingerprint=dataset.fingerprint,
        images=None,
        rate=1e-3,
        seed=0,
        numerics=1,
        threshold=1e-6,
        near=0.0,
        decided_by="full",
    )


@dataclass
class OurTrainer:
    """`repro.train.Population`, window by window: bfloat16, channels_last, uint8 on the device."""

    dataset: Dataset
    device: torch.device
    name: str = "this project"

    def __post_init__(self) -> None:
        self.population = Population([_run(self.dataset, self.device)])

    def train_some(self) -> int:
        self.population.train_window()
        return self.population.runs[0].images // WINDOWS


def _run(dataset: Dataset, device: torch.device) -> Run:
    ours = trial(dataset, "bfloat16")
    return Run(ours, device_data(ours, dataset, device), until=math.inf)


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
        run = _run(dataset, device)
        order = torch.arange(run.images, device=device)
        steps = run.steps[1]
        self.batches = [run.data.train.batch(i) for i in order.split(BATCH)[:steps]]
        self.model = _net(device).to(memory_format=torch.channels_last)
        weights = [p for n, p in self.model.named_parameters() if not n.endswith("bias")]
        biases = [p for n, p in self.model.named_parameters() if n.endswith("bias")]
        self.optimizer = torch.optim.SGD(
            [{"params": weights}, {"params": biases, "lr": 2e-3}], lr=1e-3, momentum=0.9
        )

    def train_some(self) -> int:
        self.model.train()
        for images, labels in self.batches:
            self.optimizer.zero_grad(set_to_none=True)
            with torch.autocast(self.device.type, dtype=torch.bfloat16):
                loss = F.cross_entropy(self.model(images), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        return sum(len(labels) for _, labels in self.batches)


class _Pictures(TorchDataset[tuple[Tensor, int]]):
    """What torchvision.datasets.CIFAR10 with ToTensor and Normalize gives."""

    def __init__(self, dataset: Dataset) -> None:
        self.images, self.labels = dataset.train.images, dataset.train.labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = transforms.to_tensor(self.images[index].copy())
        return transforms.normalize(image, [0.5] * 3, [0.25] * 3), int(self.labels[index])


class PlainLoop:
    """The usual script: Dataset, DataLoader, float32, the running loss read every step."""

    name = "plain PyTorch loop with DataLoader, float32"

    def __init__(self, dataset: Dataset, device: torch.device) -> None:
        self.device = device
        self.loader: DataLoader[Any] = DataLoader(
            _Pictures(dataset), batch_size=BATCH, shuffle=True, drop_last=True
        )
        self.steps = len(dataset.train.labels) // BATCH // WINDOWS
        self.model = _net(device)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-3, momentum=0.9)
        self.endless = self._batches()
        self.running = 0.0

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from self.loader

    def train_some(self) -> int:
        self.model.train()
        for images, labels in islice(self.endless, self.steps):
            images, labels = images.to(self.device), labels.to(self.device)  # noqa: PLW2901
            self.optimizer.zero_grad()
            loss = F.cross_entropy(self.model(images), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            self.running += loss.item()
        return self.steps * BATCH
