"""Decides, with statistics and on real hardware, which claims of the AlexNet paper hold."""

__version__ = "0.1.0"
