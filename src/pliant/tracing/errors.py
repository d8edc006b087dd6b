"""The error of the tracer."""

from collections.abc import Iterable

BY_HAND = (
    "Leave these units out with pliant.trace(..., skip=True), write this part of the wiring by hand, as "
    "pliant.Wiring({name: Group(..., incoming=(Incoming(...),), outgoing=(Outgoing(...),))}), "
    "or trace a function without it."
)


class TracingError(ValueError):
    """The units of a network cannot be found; the message names the primitive and the parameters.

    Attributes:
        reason: the primitive, and why, without the parameters and what to do about it.
    """

    reason: str = ""


def refuse(primitive: str, paths: Iterable[str], why: str, instead: str = BY_HAND) -> TracingError:
    """The error for a primitive whose effect on units is unknown.

    Args:
        primitive: its name.
        paths: the parameters concerned.
        why: what is unknown.
        instead: what the user can write.
    """
    concerned = ", ".join(map(repr, sorted(set(paths))))
    error = TracingError(f"cannot trace `{primitive}` with {concerned}: {why}. {instead}")
    error.reason = f"`{primitive}`: {why}"
    return error
