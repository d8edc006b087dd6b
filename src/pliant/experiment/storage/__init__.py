"""What is kept of a run: its directory, and in it a shard for each block of seeds."""
