"""The problems: one file each, found by name and imported when used."""
