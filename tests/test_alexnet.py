"""The net of the paper: its counts, its shapes, and what each argument changes."""

import math
from itertools import pairwise

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import alexnet as torchvision_alexnet

from repro.models import AlexNet, CeilConv2d


def parameters(net: nn.Module) -> int:
    """How many numbers are learned."""
    return sum(p.numel() for p in net.parameters())


def on_paper(**arguments: object) -> AlexNet:
    """The net without memory: shapes alone."""
    with torch.device("meta"):
        return AlexNet(**arguments)  # type: ignore[arg-type]


def shapes(net: AlexNet, size: int = 224) -> dict[str, tuple[int, ...]]:
    """Maps, height and width after each layer of the convolutional part."""
    x = torch.empty(1, 3, size, size, device="meta")
    found = {}
    for name, layer in net.features.named_children():
        x = layer(x)
        found[name] = tuple(x.shape[1:])
    return found


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, 60_965_224),
        ({"preset": "authors_2012"}, 60_965_224),
        ({"split": "ungrouped"}, 62_378_344),
        ({"split": "one_gpu"}, 59_798_312),
        ({"overlapping": False}, 60_965_224),
        ({"norm": "none", "drop_rate": 0.0}, 60_965_224),
    ],
)
def test_parameters_are_as_published(arguments: dict[str, object], expected: int) -> None:
    """60 million (abstract); the one-GPU net has nearly as many (sec. 3.2, footnote 2)."""
    assert parameters(on_paper(**arguments)) == expected


def test_torchvision_s_alexnet_is_another_net() -> None:
    """Its 61,100,840 parameters are those of a later paper's net."""
    with torch.device("meta"):
        assert parameters(torchvision_alexnet()) == 61_100_840


def test_maps_are_those_of_the_paper() -> None:
    """55, 27, 13, 13, 13 and 6 pixels a side; neurons as in the caption of Fig. 2.

    But for the first layer: the caption prints 253,440, which is 55 * 48 * 96.
    """
    found = shapes(on_paper())
    neurons = {name: math.prod(shape) for name, shape in found.items() if "conv" in name}

    assert [found[f"conv{i}"][1] for i in range(1, 6)] == [55, 27, 13, 13, 13]
    assert found["pool5"] == (256, 6, 6)
    assert neurons == {
        "conv1": 290_400, "conv2": 186_624, "conv3": 64_896, "conv4": 64_896, "conv5": 43_264,
    }  # fmt: skip


def test_the_first_convolution_rounds_up() -> None:
    """224, kernel 11, stride 4: 54 in PyTorch, 55 in the paper, by zeros right and below."""
    images = torch.rand(1, 3, 224, 224)
    conv = CeilConv2d(3, 2, 11, 4)
    plain = F.conv2d(images, conv.weight, conv.bias, stride=4)

    assert plain.shape[2:] == (54, 54)
    assert conv(images).shape[2:] == (55, 55)
    torch.testing.assert_close(conv(images)[:, :, :54, :54], plain)


@pytest.mark.parametrize("size", [224, 64, 56, 32, 28, 24])
def test_pools_of_both_kinds_give_maps_of_equal_size(size: int) -> None:
    """Sec. 3.4 compares them "with output of equivalent dimensions"; small inputs fit too."""
    overlapping, plain = (
        shapes(on_paper(img_size=size, overlapping=kind, width=0.25), size)
        for kind in (True, False)
    )

    assert overlapping == plain


def layers(**arguments: object) -> list[str]:
    return [name for name, _ in on_paper(**arguments).features.named_children()]


def test_the_presets_differ_in_their_order() -> None:
    """The authors' files pool before the first unit, and normalise layer 2 twice."""
    assert layers()[:8] == ["conv1", "act1", "norm1", "pool1", "conv2", "act2", "norm2", "pool2"]
    assert layers(preset="authors_2012")[:9] == (
        ["conv1", "norm1", "pool1", "act1", "conv2", "act2", "norm2", "spatial2", "pool2"]
    )
    assert layers(preset="authors_2012")[-3:] == ["conv5", "pool5", "act5"]


def test_weights_and_biases_start_as_the_preset_says() -> None:
    """0.01 everywhere in print, 0.03 in conv3 to 5 in the files; biases of one (sec. 5)."""
    for preset, deep in (("paper_text", 0.01), ("authors_2012", 0.03)):
        torch.manual_seed(0)
        net = AlexNet(preset=preset, num_classes=10)  # type: ignore[arg-type]
        stds = [getattr(net.features, f"conv{i}").weight.std().item() for i in range(1, 6)]
        biases = [getattr(net.features, f"conv{i}").bias.unique().tolist() for i in range(1, 6)]

        assert stds == pytest.approx([0.01, 0.01, deep, deep, deep], rel=0.02)
        assert biases == [[0], [1], [0], [1], [1]]
        assert net.classifier.fc7.bias.unique().tolist() == [1]
        assert net.classifier.fc8.bias.unique().tolist() == [0]


def test_two_gpus_meet_in_conv3_alone() -> None:
    """Maps of one half reach the other half's conv2 never, and its conv3 always."""
    torch.manual_seed(0)
    net = AlexNet(img_size=32, width=0.25, norm="none", num_classes=10)
    half = net.features.conv1.out_channels // 2
    seen = gradient_of(net, upto="conv2", maps=slice(half, None))
    beyond = gradient_of(net, upto="conv3", maps=slice(half, None))

    assert seen[: len(seen) // 2].abs().max() == 0
    assert seen[len(seen) // 2 :].abs().max() > 0
    assert beyond.abs().max() > 0


def gradient_of(net: AlexNet, *, upto: str, maps: slice) -> Tensor:
    """How much each map of layer `upto` changes when conv1's `maps` do, (maps,)."""
    names = [name for name, _ in net.features.named_children()]
    first = net.features.conv1(torch.rand(1, 3, 32, 32) * 100)
    changed = first.clone()
    changed[:, maps] += 1
    rest = net.features[1 : names.index(upto) + 1]
    return (rest(changed) - rest(first)).abs().amax((0, 2, 3)).detach()


def test_columns_never_meet_before_the_classifier() -> None:
    """Fully split: half of fc7 knows nothing of the other half's maps."""
    torch.manual_seed(0)
    net = AlexNet(img_size=32, width=0.25, split="columns", num_classes=10).eval()
    maps = net.features(torch.rand(2, 3, 32, 32) * 100)
    changed = maps.clone()
    changed[:, maps.shape[1] // 2 :] = 0
    before, after = (net.classifier[:-1](m)[:, : net.num_features // 2] for m in (maps, changed))

    torch.testing.assert_close(before, after)


@pytest.mark.parametrize("gone", ["conv2", "conv3", "conv4", "conv5"])
def test_a_convolution_can_be_taken_out(gone: str) -> None:
    """The rest keeps its maps and sides (sec. 7: removing any layer hurts)."""
    whole, less = shapes(on_paper()), shapes(on_paper(without=gone))

    assert gone not in less
    assert less["pool5"][1:] == whole["pool5"][1:]
    assert all(less[name] == shape for name, shape in whole.items() if name in less and
               name[:4] == "conv")  # fmt: skip


def test_norms_are_both_one_none_or_their_scale() -> None:
    """What lrn.yaml compares."""

    def norms(norm: str) -> list[str]:
        return [name for name in layers(norm=norm) if "norm" in name]

    assert [norms(n) for n in ("both", "first", "none", "constant")] == [
        ["norm1", "norm2"], ["norm1"], [], ["norm1", "norm2"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [({"split": "two"}, "split 'two' is unknown"), ({"without": "fc6"}, "without 'fc6' is unk")],
)
def test_a_choice_that_is_none_is_named(arguments: dict[str, object], sentence: str) -> None:
    """The sentence lists what there is."""
    with pytest.raises(ValueError, match=sentence):
        on_paper(**arguments)


def test_signals_keep_their_size_in_a_smaller_net() -> None:
    """Features of an untrained net vary alike at any width and input size."""
    spread = {}
    for size, width in ((224, 1.0), (64, 0.5), (28, 0.25)):
        torch.manual_seed(0)
        net = AlexNet(preset="authors_2012", img_size=size, width=width, num_classes=100).eval()
        grey = 60 * torch.randn(8, 3, 4, 4, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            spread[size] = net.forward_features(F.interpolate(grey, size)).std().item()

    assert max(a / b for a, b in pairwise(spread.values())) < 4
    assert max(b / a for a, b in pairwise(spread.values())) < 4


def test_the_last_layer_starts_as_printed_at_any_width() -> None:
    """So that an untrained net guesses; the layers before it start wider in a smaller net."""
    net = AlexNet(img_size=28, width=0.25, num_classes=100)
    layers = [net.get_submodule(f"classifier.{name}") for name in ("fc7", "fc8")]
    deviations = [layer.state_dict()["weight"].std().item() for layer in layers]

    assert deviations == pytest.approx([0.02, 0.01], rel=0.02)


def test_timm_creates_it() -> None:
    """By name, with the arguments that timm's own training script passes on."""
    import repro.models.with_timm  # noqa: F401 - registers it

    net = timm.create_model("alexnet_2012", num_classes=7, drop_rate=0.1, img_size=64, width=0.1)

    assert net.num_classes == 7
    assert net.get_submodule(net.default_cfg["classifier"]).out_features == 7
    assert net.get_submodule(net.default_cfg["first_conv"]).in_channels == 3
    assert net(torch.rand(2, 3, 64, 64)).shape == (2, 7)
