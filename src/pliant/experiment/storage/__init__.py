"""The directory of a run, with a shard for each block of seeds."""
