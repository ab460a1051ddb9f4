"""The cache of decoded images on disk.

May import `sources`; knows no tensors.
"""
