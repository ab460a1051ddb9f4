"""The table of `nox -s cluster` and `nox -s slurm`: what was provoked, and what it cost."""

_ROWS: list[tuple[str, int, int]] = []


def provoked(fault: str, *, workers: int, trials: int) -> None:
    """A row: so many workers and trials were lost by the fault."""
    _ROWS.append((fault, workers, trials))


def table() -> str:
    """In Markdown; empty where nothing was provoked."""
    if not _ROWS:
        return ""
    rows = (f"| {fault} | {workers} | {trials} |" for fault, workers, trials in _ROWS)
    return "\n".join(["| provoked | workers lost | trials lost |", "| --- | --- | --- |", *rows])
