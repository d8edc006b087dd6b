"""Refuses wrappers of optax around `plastic` that change its updates afterwards, which would undo edits."""

import sys
from types import FrameType

# Functions of optax that wrap an optimizer and return other updates than the optimizer's.
_CHANGING = ("lookahead", "mechanize", "sam", "scale_by_galore", "schedule_free")


def require_last_word() -> None:
    """Raises an error if a transformation of optax will change the updates of the caller.

    A transformation has no reference to its wrappers, so optax's functions are looked up on the stack.

    Raises:
        ValueError: naming the transformation.
    """
    frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    while frame is not None:
        if str(frame.f_globals.get("__name__")).startswith("optax."):
            wrapper = frame.f_code.co_qualname.partition(".")[0]
            if wrapper in _CHANGING or (wrapper in ("chain", "named_chain") and _is_followed(frame)):
                raise ValueError(
                    f"{wrapper} of optax changes the updates after plastic, and so the units that it reinitialized; "
                    f"put plastic outside: pliant.plastic({wrapper}(...), *methods)"
                )
        frame = frame.f_back


def _is_followed(frame: FrameType) -> bool:
    """Whether the chain that runs in this frame has another transformation after the current one."""
    here, outside = frame.f_locals, frame.f_back.f_locals if frame.f_back is not None else {}
    if "transforms" in here:  # named_chain
        return "name" in here and here["name"] != here["transforms"][-1][0]
    functions = here.get("update_fns") or outside.get("init_fns")
    return functions is not None and "fn" in here and here["fn"] is not functions[-1]
