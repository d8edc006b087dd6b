"""The published program's configurations for Hopper, by the names of their files; see the presets of Ant."""

from ._ppo import four

PRESETS = four({"name": "hopper", "version": "v3", "steps": 100_000_000}, seeds="30")
