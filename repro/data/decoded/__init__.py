"""Images decoded once into a cache on disk, and read from there.

May import `sources`; knows no tensors.
"""
