"""The nets of the papers and of their authors' code, and facts of a net that need no training.

`repro.models.with_timm` registers the nets with timm. May import `claim`, `registry` and `trial`.
"""

from repro.models.activation import ScaledTanh, activation
from repro.models.alexnet import AlexNet, CeilConv2d, alexnet_2012
from repro.models.build import build
from repro.models.conv_local import LocallyConnected2d
from repro.models.dropout import Dropout
from repro.models.lrn import AcrossMaps
