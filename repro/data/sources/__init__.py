"""Where images come from: embedded, in a folder, in an archive's shards; fetched.

Imports nothing of `decoded` and `device`.
"""
