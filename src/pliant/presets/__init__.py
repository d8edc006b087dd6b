"""Named configurations: one file a problem, found by the problem's name. They are data and import nothing else."""
