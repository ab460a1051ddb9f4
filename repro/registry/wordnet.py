"""The words for ImageNet's classes, which folders and columns name by WordNet's numbers."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from repro.files import read_text


def words(name: str) -> str:
    """`goldfish` for `n01443537`; any other name as it is."""
    return _table().get(name, name)


@cache
def _table() -> dict[str, str]:
    """The first word that WordNet has for each, as timm keeps them.

    Read as a file, since whoever draws a figure shall not wait for timm and torch. Empty where
    timm has it no longer: the numbers then stay.
    """
    timm = find_spec("timm")
    for folder in (timm.submodule_search_locations or ()) if timm else ():
        file = Path(folder, "data", "_info", "imagenet_synset_to_lemma.txt")
        if file.is_file():
            rows = (line.partition("\t") for line in read_text(file).splitlines())
            return {number: lemmas.split(",")[0] for number, _, lemmas in rows if lemmas}
    return {}
