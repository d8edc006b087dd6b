"""The error of the tracer."""

from collections.abc import Iterable

BY_HAND = (
    "Leave these units out with pliant.trace(..., skip=True), write this part of the wiring by hand, as "
    "pliant.Wiring({name: Group(..., incoming=(Incoming(...),), outgoing=(Outgoing(...),))}), "
    "or trace a function without it."
)
_TWO_STEPS = (
    "Trace two steps, as pliant.trace(lambda params, carry, x: apply(params, apply(params, carry, x)[0], x), "
    "params, carry, x) where `apply` returns the carry first. If it is not a carry, return it with one axis more, "
    "as hidden[None]."
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
    return _refusal(f"`{primitive}`", paths, why, instead)


def refuse_one_step(paths: Iterable[str]) -> TracingError:
    """The error for a recurrent network that is traced along one step.

    Args:
        paths: weights that make the carry.
    """
    why = "an input comes back made of these units, as the carry of a recurrent network, so what reads it is unseen"
    return _refusal("one step", paths, why, _TWO_STEPS)


def _refusal(what: str, paths: Iterable[str], why: str, instead: str) -> TracingError:
    error = TracingError(f"cannot trace {what} with {', '.join(map(repr, sorted(set(paths))))}: {why}. {instead}")
    error.reason = f"{what}: {why}"
    return error
