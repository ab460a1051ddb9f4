"""What is aimed at, beside what was measured: read from the tables that lie beside it."""

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["goals"]

UNMEASURED = "not measured on a GPU yet"


@dataclass(frozen=True, kw_only=True)
class Goal:
    """`table` and `row`: where the figure stands; `cell`: which of the row's."""

    states: str
    on: str  # cpu or cuda
    table: str
    row: str
    cell: int
    unit: str = ""


GOALS = (
    Goal(
        states="2 cores: at least 2 times as fast as a plain float32 loop with DataLoader",
        on="cpu", table="loops", row="plain PyTorch loop", cell=2, unit=" times ours",
    ),
    Goal(
        states="2 cores: never slower than the bare loop over tensors in memory",
        on="cpu", table="loops", row="bare loop", cell=2, unit=" times ours",
    ),
    Goal(
        states="response normalisation: 2.5 times as fast as nn.LocalResponseNorm on a CPU",
        on="cpu", table="lrn", row="nn.LocalResponseNorm", cell=2, unit=" times ours",
    ),
    Goal(
        states="and within 1.5 times the time of reading and writing its tensor",
        on="cpu", table="lrn", row="reading and writing", cell=2, unit=" of ours",
    ),
    Goal(
        states="from the command to the first step: under 3 s, warm, on a CPU",
        on="cpu", table="startup", row="imports, a net", cell=1, unit=" s",
    ),
    Goal(
        states="the same beside `import torch` alone, which is the floor",
        on="cpu", table="startup", row="imports, a net", cell=2, unit=" times",
    ),
    Goal(
        states="30,000 trials: `repro status` in under 2 s",
        on="cpu", table="stores", row="30,000 trials: `repro status`", cell=1, unit=" s",
    ),
    Goal(
        states="30,000 trials: `repro report` in under 60 s on two cores",
        on="cpu", table="stores", row="30,000 trials: `repro report`", cell=1, unit=" s",
    ),
    Goal(
        states="and in under 500 MB",
        on="cpu", table="stores", row="30,000 trials: `repro report`", cell=3,
    ),
    Goal(
        states="30,000 trials: `repro verify` in under 60 s on two cores",
        on="cpu", table="stores", row="30,000 trials: `repro verify`", cell=1, unit=" s",
    ),
    Goal(
        states="and in under 500 MB",
        on="cpu", table="stores", row="30,000 trials: `repro verify`", cell=3,
    ),
    Goal(
        states="twice as many images", on="cpu", table="growth", row="images", cell=1, unit=" times"
    ),
    Goal(
        states="twice as many classes",
        on="cpu", table="growth", row="classes", cell=1, unit=" times",
    ),
    Goal(
        states="twice as many images", on="cpu", table="memory", row="images", cell=3, unit=" times"
    ),
    Goal(
        states="twice as many steps take no more memory",
        on="cpu", table="memory", row="steps", cell=3, unit=" times",
    ),
    Goal(
        states="AlexNet, bfloat16, crops of 224 (no goal on a CPU)",
        on="cpu", table="steps", row="AlexNet", cell=1, unit=" images/s",
    ),
    Goal(
        states="nets stacked on a CPU (no goal: they are trained one by one there)",
        on="cpu", table="populations", row="4 ", cell=2, unit=" of one alone",
    ),
    Goal(
        states="response normalisation: 5 times as fast as nn.LocalResponseNorm on a GPU",
        on="cuda", table="lrn", row="nn.LocalResponseNorm", cell=2, unit=" times ours",
    ),
    Goal(
        states="32 small nets together: 3 to 6 times the throughput of one after the other",
        on="cuda", table="populations", row="32 ", cell=2, unit=" of one alone",
    ),
    Goal(
        states="AlexNet, batch 128: 30,000 images/s from images on the card (one H200)",
        on="cuda", table="steps", row="AlexNet", cell=1, unit=" images/s",
    ),
    Goal(
        states="3 times as fast as timm's loop",
        on="cuda", table="loops", row="timm", cell=2, unit=" times ours",
    ),
    Goal(
        states="3 times as fast as torchvision's recipe",
        on="cuda", table="loops", row="torchvision", cell=2, unit=" times ours",
    ),
)  # fmt: skip

BY_HAND = (
    "| `relu_speedup` decided on CIFAR-10 in under 2 minutes on one H200, start-up included | "
    f"{UNMEASURED} | `time repro run relu_speedup --scale paper --device cuda` |",
    "| AlexNet: 30,000 images/s from packed files (one H200) | "
    f"{UNMEASURED} | `repro run lrn --scale paper` on ILSVRC |",
)


def goals(folder: Path) -> str:
    """The table, of what lies in the folder."""
    rows = [
        f"| {goal.states} | {_found(goal, folder)} | `python benchmarks/run.py {goal.table}"
        f"{' --device cuda' if goal.on == 'cuda' else ''}` |"
        for goal in GOALS
    ]
    return "\n".join(
        [
            "# Speed: what is aimed at, and what was measured",
            "",
            "Median, and range over the rounds; machine, versions and load stand in each table.",
            "",
            "| goal | measured | command |",
            "| --- | --- | --- |",
            *rows,
            *BY_HAND,
            "",
        ]
    )


def _found(goal: Goal, folder: Path) -> str:
    path = folder / f"{goal.table}_{goal.on}.md"
    lines = path.read_text().splitlines() if path.exists() else []
    for line in lines:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if re.match(rf"{re.escape(goal.row)}", f"{cells[0]} "):
            return f"{cells[goal.cell]}{goal.unit}"
    return UNMEASURED if goal.on == "cuda" else "not measured yet"
