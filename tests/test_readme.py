"""What the README shows works as it stands there."""

import re
from pathlib import Path

from repro.claim import load

README = Path(__file__).parents[1] / "README.md"


def test_the_example_claim_is_valid(tmp_path: Path) -> None:
    """A reader who saves the example gets no error."""
    (example,) = re.findall(r"```yaml\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    path = tmp_path / "gelu_speedup.yaml"
    path.write_text(example, encoding="utf-8")

    assert load(path).id == "gelu_speedup"
