"""Runs: the only place that knows seeds, files and progress."""
