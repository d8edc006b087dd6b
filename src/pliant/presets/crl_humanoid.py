"""The published scenarios of Humanoid."""

from ._crl import presets

PRESETS = presets("humanoid")
