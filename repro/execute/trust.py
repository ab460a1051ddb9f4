"""Which claim files may run their commands: those whose content a person has trusted once.

A file that was changed, or lies elsewhere, is another one: its relative names mean other programs.
"""

import hashlib
import shlex
from collections.abc import Iterable
from pathlib import Path

from repro.claim import Claim, TrainedClaim
from repro.errors import UntrustedError
from repro.files import read_bytes, write_atomic

__all__ = ["commands_of", "require_trust", "trust"]


def commands_of(claim: Claim) -> str:
    """The command as a shell would take it; empty where there is none."""
    trainer = claim.trainer if isinstance(claim, TrainedClaim) else None
    return shlex.join(trainer.command) if trainer else ""


def trust(claim: Claim, folder: Path) -> None:
    """Its command may run from now on, as long as the file stays what it is."""
    write_atomic(_record(claim, folder), f"{claim.path.absolute()}\n")


def require_trust(claims: Iterable[Claim], folder: Path) -> None:
    """UntrustedError shows the commands that nobody has trusted yet."""
    unknown = [
        claim for claim in claims if commands_of(claim) and not _record(claim, folder).exists()
    ]
    if unknown:
        lines = (f"{claim.path} runs a command: {commands_of(claim)}" for claim in unknown)
        files = shlex.join(str(claim.path) for claim in unknown)
        raise UntrustedError(
            "\n".join(lines),
            hint=f"read what it runs, then `repro trust {files}`; or --trust, for this run",
        )


def _record(claim: Claim, folder: Path) -> Path:
    named = str(claim.path.resolve()).encode(errors="surrogateescape")
    digest = hashlib.sha256(named + b"\0" + read_bytes(claim.path)).hexdigest()
    return folder / "trusted" / digest
