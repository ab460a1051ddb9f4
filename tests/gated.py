"""A net whose training waits at a gate: a fault meets a trial in its midst, on any machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from repro.registry import plugins
from tests.shell import ROOT, installed, paths
from tests.worlds import quick_claim_file

FREE_STEPS = 3  # of each process, which are as many tenths of an epoch of the claim
CODE = f"""\
import os
import time
from torch import nn
from repro.registry import ModelFacts

FACTS = ModelFacts(title="gated", module=__name__, parameters=30730, arguments=("activation",))
GATE = os.environ["GATE"]
steps = 0  # since the gate was closed

class Gated(nn.Linear):
    def forward(self, images):
        global steps
        steps += self.training
        while self.training and steps > {FREE_STEPS} and not os.path.exists(GATE):
            time.sleep(0.01)
        if os.path.exists(GATE):
            steps = 0
        return super().forward(images.flatten(1))

def gated(*, num_classes=10, initialisation="he", activation="relu"):
    return Gated(3 * 32 * 32, num_classes)
"""


@contextmanager
def gate(folder: Path) -> Iterator[Path]:
    """The net in this process and in those that it starts; the file is the gate, and is open."""
    packages, opened = folder / "packages", folder / "gate"
    installed(packages, "gated", {"repro.models": {"gated": "gated:FACTS"}}, CODE)
    opened.touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(packages)
        patch.setenv("PYTHONPATH", paths(ROOT, packages))
        patch.setenv("GATE", str(opened))
        plugins._entries.cache_clear()
        yield opened
    plugins._entries.cache_clear()


def gated_claim_file(folder: Path) -> Path:
    """Two trials of the net, of ten steps each, at a rate at which it neither ends nor diverges."""
    path = quick_claim_file(folder)
    text = path.read_text().replace("name: cifar_80sec", "name: gated")
    path.write_text(text.replace("period: 0.01", "period: 0.00001"))
    return path
