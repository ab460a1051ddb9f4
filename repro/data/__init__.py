"""Data sets by name: find the files, decode them once, fingerprint them, load them on the device.

Three folders: `sources` (where images come from), `decoded` (the cache of decoded images), `device`
(batches of tensors). May import `registry`; knows no claims and no trials.
"""

from repro.data.catalogue import fingerprint, open_dataset
from repro.data.dataset import Dataset, Split, content_fingerprint
from repro.data.sources.embedded import synthetic
from repro.data.sources.fetch import fetch
from repro.data.sources.find import find
from repro.data.status import Status, prepare, status, verify
