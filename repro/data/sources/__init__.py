"""Where images come from: embedded, in a folder, in an archive's shards, in a pack; fetched.

Imports nothing of `decoded` and `device`.
"""
