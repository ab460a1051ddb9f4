"""`python -m repro`, for machines where the package is not installed."""

from repro.cli import main

main(prog_name="repro")
