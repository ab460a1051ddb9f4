"""Where trials run: processes of this machine, Ray, Slurm, torchrun."""
