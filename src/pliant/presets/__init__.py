"""Named configurations: one file a problem, `PRESETS`, found by the problem's name. They are data and import nothing."""
