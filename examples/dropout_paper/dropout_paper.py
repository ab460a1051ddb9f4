"""A multilayer perceptron with dropout, as another package adds it to repro.

Hinton, Srivastava, Krizhevsky, Sutskever and Salakhutdinov 2012, "Improving neural networks by
preventing co-adaptation of feature detectors" (arXiv 1207.0580): half of the hidden units are
omitted, at random, on each training case.
"""

from collections import OrderedDict

from torch import nn

from repro.models import activation as act
from repro.models.initialise import initialise
from repro.registry import ModelFacts

__all__ = ["FACTS", "dropout_mlp"]

FACTS = ModelFacts(
    title="two hidden layers with dropout",
    module=__name__,
    parameters=3_107_210,  # of 800 units a layer on images of 32x32
    arguments=("activation", "drop_rate", "hidden"),
    sized=True,
)


def dropout_mlp(
    *,
    num_classes: int = 10,
    img_size: int = 32,
    activation: str = "relu",
    initialisation: str = "he",
    drop_rate: float = 0.5,
    hidden: int = 800,
) -> nn.Module:
    """(N, 3, S, S) images -> (N, classes) logits. `drop_rate`: of hidden units, in training."""
    layers = OrderedDict[str, nn.Module](
        flatten=nn.Flatten(),
        fc1=nn.Linear(3 * img_size**2, hidden),
        act1=act(activation),
        drop1=nn.Dropout(drop_rate),
        fc2=nn.Linear(hidden, hidden),
        act2=act(activation),
        drop2=nn.Dropout(drop_rate),
        fc3=nn.Linear(hidden, num_classes),
    )
    linear = {name: layer for name, layer in layers.items() if isinstance(layer, nn.Linear)}
    initialise(linear, initialisation, dict.fromkeys(linear, 0.01))
    return nn.Sequential(layers)
