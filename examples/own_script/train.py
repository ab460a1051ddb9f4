"""A training script as anybody has one; what it does for repro are the last lines of its loop."""
# mypy: disable-error-code="no-untyped-call"

import argparse
import json
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

arguments = argparse.ArgumentParser()
arguments.add_argument("--smoothing", type=float, default=0.0)
arguments.add_argument("--rate", type=float, default=0.003)
arguments.add_argument("--seed", type=int, default=0)
arguments.add_argument("--epochs", type=int, default=4)
arguments.add_argument("--folder", type=Path, default=Path("run"))
given = arguments.parse_args()

torch.manual_seed(given.seed)
images, labels = load_digits(return_X_y=True)
x, y = torch.tensor(images, dtype=torch.float32) / 16, torch.tensor(labels)
shuffled = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
train, test = shuffled[:1400], shuffled[1400:]
net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
optimizer = torch.optim.AdamW(net.parameters(), lr=given.rate)

checkpoint, done = given.folder / "checkpoint.pt", 0
if checkpoint.exists():  # of a run that was stopped, or of a shorter one
    state = torch.load(checkpoint)
    net.load_state_dict(state["net"])
    optimizer.load_state_dict(state["optimizer"])
    done = state["epoch"]

for epoch in range(done + 1, given.epochs + 1):
    order = torch.Generator().manual_seed(1000 * given.seed + epoch)
    for batch in train[torch.randperm(len(train), generator=order)].split(64):
        optimizer.zero_grad()
        F.cross_entropy(net(x[batch]), y[batch], label_smoothing=given.smoothing).backward()
        optimizer.step()
    with torch.no_grad():
        right = [(net(x[part]).argmax(1) == y[part]).double().mean() for part in (train, test)]
        confidence = net(x[test]).softmax(1).amax(1).mean()
    measured = {
        "train_error": 1 - right[0].item(),
        "test_error": 1 - right[1].item(),
        "confidence": confidence.item(),
    }
    with (given.folder / "metrics.jsonl").open("a") as file:
        for name, value in measured.items():
            print(json.dumps({"epoch": epoch, "name": name, "value": value}), file=file)
    state = {"net": net.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch}
    torch.save(state, checkpoint)
