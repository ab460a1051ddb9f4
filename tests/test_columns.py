"""The paper's two columns on two devices: the grouped net's numbers, forward and backward."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.columns import TwoColumns
from repro.models import AlexNet, build
from repro.train.optim import PaperSGD

CPU = torch.device("cpu")


def grouped(**changes: Any) -> AlexNet:
    arguments = {"width": 0.125, "drop_rate": 0.0} | changes
    net = build("alexnet_2012", arguments, classes=7, size=64, initialisation="he", seed=0)
    assert isinstance(net, AlexNet)
    return net.double()


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(5, 3, 64, 64, generator=generator, dtype=torch.float64)
    return images, torch.tensor([0, 1, 2, 6, 3])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"preset": "authors_2012"},
        {"norm": "none", "overlapping": False},
        {"norm": "constant"},
        {"without": "conv4"},
    ],
    ids=str,
)
def test_two_columns_compute_what_the_grouped_net_does(changes: dict[str, Any]) -> None:
    """Logits, every gradient, and the weights after three of the paper's steps."""
    net = grouped(**changes)
    columns = TwoColumns(net, (CPU, CPU))
    images, labels = batch()
    torch.testing.assert_close(columns(images), net(images))

    rule = {"rate": 0.01, "momentum": 0.9, "weight_decay": 5e-4, "bias_rate": 2.0}
    optimizers = [PaperSGD(model, **rule) for model in (net, columns)]
    for _ in range(3):
        for model in (net, columns):
            model.zero_grad()
            F.cross_entropy(model(images), labels).backward()
        gradients = columns.whole(lambda parameter: parameter.grad)
        for name, parameter in net.named_parameters():
            torch.testing.assert_close(gradients[name], parameter.grad, msg=name)
        for optimizer in optimizers:
            optimizer.step()

    again = grouped(**changes)
    again.load_state_dict(columns.whole(Tensor.detach))
    torch.testing.assert_close(again(images), net(images))


def test_maps_cross_in_conv3_and_the_fully_connected_layers_alone() -> None:
    """Fig. 2: what a column computes up to conv3 depends on nothing of the other one."""
    columns = TwoColumns(grouped(), (CPU, CPU))

    assert columns._crossing == {"conv3", "fc6", "fc7", "fc8"}
    left, right = (sum(p.numel() for p in column.parameters()) for column in columns.columns)
    assert left - right == 7 * (512 + 1)  # the first device also has the classes


def test_a_net_that_is_not_grouped_has_no_columns() -> None:
    """The one-GPU net and the ungrouped one stay on one device."""
    with pytest.raises(ValueError, match="only a net with split='two_gpus'"):
        TwoColumns(grouped(split="one_gpu"), (CPU, CPU))


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_columns_on_two_gpus() -> None:
    """The same on the devices that it is for."""
    net = grouped()
    columns = TwoColumns(net, (torch.device("cuda:0"), torch.device("cuda:1")))
    images, labels = batch()
    F.cross_entropy(columns(images), labels.cuda()).backward()
    F.cross_entropy(net(images), labels).backward()

    gradients = columns.whole(lambda parameter: parameter.grad)
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad)
