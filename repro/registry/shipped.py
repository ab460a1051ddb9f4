"""Claim files by name: those of a folder, and those that come with repro."""

import difflib
from pathlib import Path

import repro
from repro.errors import ClaimError

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


def find_claim(given: str | Path, folder: Path | None = None, *, template: bool = False) -> Path:
    """The file of a path or of a claim's name; ClaimError says what was meant.

    `folder`: as `claim_files` takes it. `template`: a name may also be of what it finds without.
    """
    path = Path(given)
    try:
        if path.is_file():
            return path
        is_folder = path.is_dir()
    except OSError as error:  # such as a name that is too long for the file system
        raise ClaimError(f"{str(given)!r} cannot be read: {error.strerror}") from None
    if is_folder and path.suffix:
        raise ClaimError(f"{str(given)!r} is a folder, no claim file")
    named = path.suffix == "" and len(path.parts) == 1
    folder = folder if named else path.parent
    folders = [folder, None] if template else [folder]
    files = [file for each in folders for file in claim_files(each)]
    known = {file.stem: file for file in reversed(files)}
    if named and path.stem in known:
        return known[path.stem]
    close = difflib.get_close_matches(path.stem, known, n=1)
    if close:
        meant = close[0] if named else str(known[close[0]])
        why = f" (did you mean {meant!r}?)"
    elif known:
        why = f": there are {', '.join(sorted(known))}"
    else:
        why = ": there is no claim file (*.yaml); --claims names another folder"
    where = f"{OWN}, and none that comes with repro" if folder is None else folder
    raise ClaimError(f"no claim {str(given)!r} in {where}{why}")


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
