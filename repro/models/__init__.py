"""The nets of the paper and of its authors' code. Importing this registers them with timm."""

from repro.models.activation import ScaledTanh, activation
from repro.models.build import build
from repro.models.cifar import CifarNet, cifar_19pct, cifar_80sec

__all__ = ["CifarNet", "ScaledTanh", "activation", "build", "cifar_19pct", "cifar_80sec"]
