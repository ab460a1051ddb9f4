"""Where images come from: embedded, in a folder, in Parquet files; fetched.

Imports nothing of `decoded` and `device`.
"""
