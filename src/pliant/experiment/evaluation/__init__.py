"""Trained agents: read from a run, evaluated, shown, and used in other programs."""
