"""Published figures: one file each, `make(full, seeds, scale) -> Recipe`, found by name."""
