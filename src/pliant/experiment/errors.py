"""Errors of a run, one line for the user each; imports nothing, so that every command can catch them."""

_ECHOED = 60  # characters


def echo(value: object) -> str:
    """A value in an error: what somebody wrote, but no more than 60 characters of it."""
    text = " ".join(str(value).split())
    return text if len(text) <= _ECHOED else f"{text[:_ECHOED]}…"


class ConfigError(ValueError):
    """A configuration that cannot be run; the message names the value and what is allowed."""


class StoreError(RuntimeError):
    """A run directory that cannot be used; the message gives the reason and the remedy."""


class Interrupted(Exception):
    """The run was asked to stop; everything up to `step` is saved."""

    def __init__(self, step: int):
        super().__init__(f"stopped at step {step:,}; the same command goes on from there")
