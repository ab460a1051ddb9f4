"""Claim files that may run commands: those that you have trusted once.

A changed or moved file must be trusted again: its relative names mean other programs.
"""

import hashlib
import shlex
from collections.abc import Iterable
from pathlib import Path

from repro.claim import Claim, TrainedClaim
from repro.errors import UntrustedError
from repro.files import read_bytes, write_atomic


def commands_of(claim: Claim) -> str:
    """The command in shell syntax; empty without one."""
    trainer = claim.trainer if isinstance(claim, TrainedClaim) else None
    return shlex.join(trainer.command) if trainer else ""


def trust(claim: Claim, folder: Path) -> None:
    """Allow the claim's command, as long as the file does not change."""
    write_atomic(_record(claim, folder), f"{claim.path.absolute()}\n")


def require_trust(claims: Iterable[Claim], folder: Path) -> None:
    """UntrustedError names the commands that are not trusted yet."""
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
    name = str(claim.path.resolve()).encode(errors="surrogateescape")
    digest = hashlib.sha256(name + b"\0" + read_bytes(claim.path)).hexdigest()
    return folder / "trusted" / digest
