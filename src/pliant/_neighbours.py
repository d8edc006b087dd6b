"""What a package changes, when it is imported, of what the whole process shares."""

import contextlib
import logging
import random
from collections.abc import Iterator


@contextlib.contextmanager
def unchanged() -> Iterator[None]:
    """Restores the state of `random` and the handlers of the root logger after imports."""
    state, handlers = random.getstate(), logging.root.handlers[:]
    try:
        yield
    finally:
        random.setstate(state)
        logging.root.handlers[:] = handlers
