"""One trial over several processes, each with its own device: who does what part of the work."""

from repro.parallel.ranks import ALONE, Ranks, Share, check_splits

__all__ = ["ALONE", "Ranks", "Share", "check_splits"]
