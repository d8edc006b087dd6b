"""Runs. Only this package deals with seeds, files and progress."""
