"""Looking after stores: verify, compare, merge, export, explain. Trains nothing.

May import all but `cli`. `crate`, which draws pages, is imported where it is wanted.
"""

from repro.audit.diff import compare
from repro.audit.export import copy_evidence, export
from repro.audit.merge import merge
from repro.audit.text import (
    difference_fields,
    difference_text,
    merge_text,
    verification_fields,
    verification_text,
)
from repro.audit.verify import claims_beside, verify
from repro.audit.why import why
