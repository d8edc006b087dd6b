"""Notes: what a component reports about itself when it is made, in one line for the user.

A run makes its components more than once. It collects their notes, and its command prints each note once. Outside of
a run a note is a message of the package's log.
"""

import contextlib
import logging
from collections.abc import Generator, Iterable
from contextvars import ContextVar
from typing import NamedTuple

logger = logging.getLogger("pliant")


class Note(NamedTuple):
    """One line about a component."""

    text: str
    is_warning: bool = False

    def log(self) -> None:
        """Sends the note to the package's log."""
        logger.log(logging.WARNING if self.is_warning else logging.INFO, self.text)


def log_once(notes: Iterable[Note]) -> None:
    """Sends notes to the package's log, equal ones once."""
    for each in dict.fromkeys(notes):
        each.log()


_collected: ContextVar[list[Note] | None] = ContextVar("collected", default=None)


def note(text: str, *, is_warning: bool = False) -> None:
    """Adds a note to the collector; logs it where there is no collector."""
    notes = _collected.get()
    if notes is None:
        Note(text, is_warning).log()
    else:
        notes.append(Note(text, is_warning))


@contextlib.contextmanager
def collected() -> Generator[list[Note]]:
    """Collects the notes of the components that this thread makes inside the block."""
    notes: list[Note] = []
    token = _collected.set(notes)
    try:
        yield notes
    finally:
        _collected.reset(token)
