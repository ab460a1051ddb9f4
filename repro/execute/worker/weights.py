"""A trained net as files that are kept, and that timm loads without this package.

weights.safetensors   the net's state
inputs.safetensors    `mean` (S, S, 3) and `scale` (3,): inputs are (grey levels - mean) * scale
weights.json          the model's name, all arguments that build it, and which pixels it sees
"""

import json
from collections.abc import Mapping
from dataclasses import asdict

from safetensors.torch import save

from repro.registry import MODELS
from repro.train import Run


def weight_files(run: Run) -> Mapping[str, bytes]:
    trial, view, split = run.trial, run.data.centre, run.data.test
    mean = split.mean
    if view is not None:
        mean = mean[view.top : view.top + view.size, view.left : view.left + view.size]
    arguments = {**trial.arguments, "num_classes": run.data.classes}
    if trial.model in MODELS and MODELS[trial.model].sized:
        arguments["img_size"] = run.data.size
    about = {
        "architecture": trial.model.removeprefix("timm:"),
        "arguments": arguments,
        "crop": None if view is None else asdict(view),
        "image_side": min(split.mean.shape[:2]),
        "epochs": run.progress.epoch,
    }
    state = {
        name: tensor.contiguous().cpu() for name, tensor in run.tested_model.state_dict().items()
    }
    inputs = {"mean": mean.contiguous().cpu(), "scale": split.scale[0, 0].contiguous().cpu()}
    return {
        "weights.safetensors": save(state, metadata={"format": "pt", "trial": trial.id}),
        "inputs.safetensors": save(inputs),
        "weights.json": json.dumps(about, indent=1).encode(),
    }
