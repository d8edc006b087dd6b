"""The published program's configurations for Walker2d, by the names of their files; see the presets of Ant.

The runs have 100 million steps; the published figure shows the first 50 million.
"""

from ._ppo import four

PRESETS = four({"name": "walker", "version": "v3", "steps": 100_000_000}, seeds="30")
