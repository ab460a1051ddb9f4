"""Where trials run: processes of this machine, Ray, Slurm, torchrun.

May import `worker` and `monitor`; the driver knows none of them.
"""
