"""Run `pykeen train`, and write what it measured as the metrics of a trial.

python run_pykeen.py FOLDER EPOCHS MODEL --dataset NAME ...
"""

import json
import subprocess
import sys
from pathlib import Path

folder, epochs, *arguments = sys.argv[1:]
output = Path(folder, "pykeen")
train = [sys.executable, "-m", "pykeen", "train", *arguments]
done = subprocess.run(  # noqa: S603 - the arguments are those of a claim file that was trusted
    [*train, "--number-epochs", epochs, "--output-directory", str(output)], check=False
)
if done.returncode:
    sys.exit(done.returncode)

results = json.loads((output / "results.json").read_text(encoding="utf-8"))
ranks = results["metrics"]["both"]["realistic"]  # of heads and tails; ties at their mean
lines = [
    {"epoch": epoch, "name": "train_loss", "value": loss}
    for epoch, loss in enumerate(results["losses"], start=1)
]
lines += [
    {"epoch": len(results["losses"]), "name": name, "value": ranks[key]}
    for name, key in (
        ("reciprocal_rank", "inverse_harmonic_mean_rank"),
        ("hits_at_10", "hits_at_10"),
    )
]
with Path(folder, "metrics.jsonl").open("a", encoding="utf-8") as file:
    file.writelines(json.dumps(line) + "\n" for line in lines)
