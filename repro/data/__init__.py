"""Images by name: found, decoded once, fingerprinted. `repro.data.device` takes them on."""

from repro.data.catalogue import fingerprint, open_dataset
from repro.data.dataset import Dataset, Split
from repro.data.embedded import synthetic
from repro.data.fetch import fetch
from repro.data.sources import Source, find
from repro.data.state import Status, Verification, status, verify

__all__ = [
    "Dataset",
    "Source",
    "Split",
    "Status",
    "Verification",
    "fetch",
    "find",
    "fingerprint",
    "open_dataset",
    "status",
    "synthetic",
    "verify",
]
