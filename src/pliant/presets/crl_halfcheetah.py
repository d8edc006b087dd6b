"""The published scenarios of HalfCheetah."""

from ._crl import presets

PRESETS = presets("halfcheetah")
