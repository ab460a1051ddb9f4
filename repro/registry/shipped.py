"""Claim files by name: those of a folder, and those that come with repro."""

from pathlib import Path

import repro

OWN = Path("claims")  # in the working folder
SUFFIXES = (".yaml", ".yml")


def claim_files(folder: Path | None) -> list[Path]:
    """The claim files of a folder, by name.

    Without one: those of `claims/` here, then those that come with repro, but for names that are
    taken.
    """
    own = _files_in(OWN if folder is None else folder)
    if folder is not None:
        return own
    names = {path.stem for path in own}
    return [*own, *(path for path in _files_in(_shipped()) if path.stem not in names)]


def is_shipped(path: Path) -> bool:
    """Whether a claim file of `claim_files` is one of those that come with repro."""
    return path.parent.resolve() == _shipped().resolve()


def _files_in(folder: Path) -> list[Path]:
    return sorted(path for suffix in SUFFIXES for path in folder.glob(f"*{suffix}"))


def _shipped() -> Path:
    """In the package, or beside it in a checkout."""
    package = Path(repro.__file__).parent
    checkout = package.parent / "pyproject.toml"
    return package.parent / "claims" if checkout.is_file() else package / "claims"
