"""The configurations of the published program for Hopper under its file names; see those for Ant."""

from ._ppo import four

PRESETS = four({"name": "hopper", "version": "v3", "steps": 100_000_000}, seeds="30")
