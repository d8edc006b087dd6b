"""What can go wrong with a run, in one line for the user; imports nothing, so that every command can catch it."""


class ConfigError(ValueError):
    """A configuration that cannot be run: says what came and what is allowed."""


class StoreError(RuntimeError):
    """A run directory that cannot be used as it is: says why, and what to do."""


class Interrupted(Exception):
    """The run was asked to stop; everything up to `step` is saved."""

    def __init__(self, step: int):
        super().__init__(f"stopped at step {step:,}; the same command goes on from there")
