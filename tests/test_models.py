"""The nets of the authors' configuration files: sizes, shapes, initial weights, activations."""

import pytest
import timm
import torch
from timm.layers import create_act
from torch import nn

import repro.models.with_timm  # noqa: F401 - registers the nets with timm
from repro.models import ScaledTanh, activation, build
from repro.registry import ACTIVATIONS, MODELS


@pytest.mark.parametrize(("name", "facts"), MODELS.items())
def test_parameter_counts_are_those_of_the_authors_files(name: str, facts: object) -> None:
    """80sec has 145,578 parameters, 19pct 89,578; the registry states them without torch."""
    model = timm.create_model(name)

    assert sum(p.numel() for p in model.parameters()) == facts.parameters  # type: ignore[attr-defined]


def test_ceil_mode_pooling_gives_16_8_4() -> None:
    """cuda-convnet pools 32 -> 16 -> 8 -> 4; PyTorch's default would give 15, 7, 3."""
    model = timm.create_model("cifar_80sec")
    sizes: list[int] = []
    for module in model.modules():
        if isinstance(module, nn.MaxPool2d | nn.AvgPool2d):
            module.register_forward_hook(lambda _m, _i, out: sizes.append(out.shape[-1]))

    logits = model(torch.zeros(2, 3, 32, 32))

    assert sizes == [16, 8, 4]
    assert logits.shape == (2, 10)


def test_average_pool_divides_by_what_lies_inside_the_image() -> None:
    """A window that hangs over the edge averages the pixels that exist, as in cuda-convnet."""
    pool = timm.create_model("cifar_80sec").layers.pool2

    assert torch.equal(pool(torch.ones(1, 1, 16, 16)), torch.ones(1, 1, 8, 8))


def test_authors_weights_start_with_their_standard_deviations() -> None:
    """80sec: 0.0001, 0.01, 0.01, 0.1, 0.1 from the first layer on, biases zero."""
    layers = timm.create_model("cifar_80sec").layers
    stds = {"conv1": 1e-4, "conv2": 0.01, "conv3": 0.01, "fc64": 0.1, "fc10": 0.1}

    for name, std in stds.items():
        layer = getattr(layers, name)
        assert layer.weight.std().item() == pytest.approx(std, rel=0.15), name
        assert layer.bias.abs().max() == 0


def test_19pct_classifier_starts_at_0_01() -> None:
    """layers-19pct has no fc64, and initW 0.01 in its classifier."""
    layers = timm.create_model("cifar_19pct").layers

    assert not hasattr(layers, "fc64")
    assert layers.fc10.weight.std().item() == pytest.approx(0.01, rel=0.1)


@pytest.mark.parametrize("scheme", ["cuda_convnet", "he", "xavier", "framework"])
def test_same_seed_gives_the_same_weights_in_every_arm(scheme: str) -> None:
    """Arms that differ in their activation start from the same numbers; another seed does not."""

    def weights(seed: int, act: str) -> torch.Tensor:
        model = build(
            "cifar_80sec",
            {"activation": act},
            classes=10,
            size=32,
            initialisation=scheme,
            seed=seed,
        )
        return torch.cat([p.flatten() for p in model.parameters()])

    assert torch.equal(weights(1, "relu"), weights(1, "tanh"))
    assert not torch.equal(weights(1, "relu"), weights(2, "relu"))


def test_building_leaves_the_global_generator_alone() -> None:
    """What ran before a trial, or beside it, cannot change what is drawn after."""
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    build("cifar_80sec", {}, classes=10, size=32, initialisation="he", seed=1)

    assert torch.equal(torch.rand(3), expected)


def test_residual_and_plain_nets_differ_in_their_shortcuts_alone() -> None:
    """He et al. 2015, Table 6: 0.27 and 0.85 million parameters; the same weights to start with."""
    for depth, count in ((20, 269_722), (56, 853_018)):
        residual, plain = (
            build(
                "cifar_resnet",
                {"depth": depth, "residual": shortcuts},
                classes=10,
                size=32,
                initialisation="he",
                seed=3,
            )
            for shortcuts in (True, False)
        )
        states = [net.state_dict() for net in (residual, plain)]

        assert sum(p.numel() for p in plain.parameters()) == count
        assert states[0].keys() == states[1].keys()
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_shortcut_keeps_the_input_and_fills_new_channels_with_zeros() -> None:
    """With layers that put out nothing: every fourth pixel, 16 channels and 48 of zeros."""
    net = build("cifar_resnet", {}, classes=10, size=32, initialisation="he", seed=0).eval()
    plain = build(
        "cifar_resnet", {"residual": False}, classes=10, size=32, initialisation="he", seed=0
    ).eval()
    x = torch.rand(2, 16, 32, 32)
    for each in (net, plain):
        for name, parameter in each.named_parameters():
            if "norm2" in name:
                nn.init.zeros_(parameter)
    kept = net.get_submodule("blocks")(x)

    assert torch.equal(kept[:, :16], x[:, :, ::4, ::4])
    assert not kept[:, 16:].any()
    assert not plain.get_submodule("blocks")(x).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 21}, "`depth` is 6n . 2, such as 20 or 56, not 21"),
        ({"depth": 2}, "`depth` is 6n . 2, such as 20 or 56, not 2"),
        ({"width": 0.01}, "a `width` of 0.01 leaves no channels"),
    ],
)
def test_a_resnet_without_such_layers_is_refused(arguments: dict[str, float], message: str) -> None:
    """Depths are 6n + 2, and there is a channel at least."""
    with pytest.raises(ValueError, match=message):
        build("cifar_resnet", arguments, classes=10, size=32, initialisation="he", seed=0)


def test_any_timm_model_can_be_named() -> None:
    """`timm:NAME` builds timm's own model with the data set's classes."""
    model = build("timm:test_resnet", {}, classes=7, size=32, initialisation="he", seed=0).eval()

    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 7)


def test_activation_names_are_timms_and_the_scaled_tanh() -> None:
    """The torch-free list that claim files are checked against is timm's list."""
    aliases = {"hardsigmoid", "hardswish"}

    assert set(ACTIVATIONS) == set(create_act._ACT_LAYER_DEFAULT) - aliases | {"scaled_tanh"}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_can_be_trained(name: str) -> None:
    """Each name gives a layer that keeps the shape and lets a gradient through."""
    x = torch.linspace(-3, 3, 7, requires_grad=True).view(1, 7, 1, 1)
    y = activation(name)(x)
    y.sum().backward()

    assert y.shape == x.shape


def test_scaled_tanh_is_lecuns() -> None:
    """1.7159 tanh(2x/3): f(1) = 1 and f(-1) = -1."""
    assert ScaledTanh()(torch.tensor([-1.0, 0.0, 1.0])).tolist() == pytest.approx(
        [-1.0, 0.0, 1.0], abs=1e-4
    )


def test_unknown_activation_lists_the_known_ones() -> None:
    """The message helps whoever calls from Python."""
    with pytest.raises(ValueError, match=r"activation 'rlu' is unknown \(known: celu, "):
        activation("rlu")
