"""Contracts of methods, problems, agents and diagnostics, and the units that they share: read this first."""
