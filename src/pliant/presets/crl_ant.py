"""The published scenarios of Ant."""

from ._crl import presets

PRESETS = presets("ant")
