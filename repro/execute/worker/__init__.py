"""What one worker does with the trials that it is given.

May import `train`, `store` and `monitor`; knows no driver and no back-end.
"""
