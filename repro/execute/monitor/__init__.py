"""What is shown of a run while it goes on: console, progress files, loggers.

May import `planning` and `store`; knows no worker and no back-end.
"""
