"""Signals that ask a program to stop: Ctrl-C, SIGTERM, and SIGHUP, which a closed terminal sends."""

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

logger = logging.getLogger(__name__)

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))

_SECONDS_IN_PYTHON = 1.0  # in which Python handles a signal, unless a compiled program is running


class Request:
    """The request to stop, which signals make and a run reads between two slices.

    Attributes:
        begun: whether work would be lost if the run stopped at once; the run sets it.
        made: whether a signal has asked the run to stop.
    """

    def __init__(self, at_once: Callable[[int, Any], Any]):
        self.begun = False
        self.made = False
        self._at_once = at_once

    def note(self, number: int, frame: Any = None) -> None:
        """Handles a signal: the first makes the request; a second, or one that loses no work, stops at once."""
        if self.made or not self.begun:
            self._at_once(number, frame)
        self._make()

    def note_inside(self, count: int) -> None:
        """Handles a signal in another thread, while the main thread runs a compiled program."""
        if self.made and count == 1:
            return
        if count > 1 or not self.begun:
            self._at_once(signal.SIGINT, None)
        self._make()

    def _make(self) -> None:
        if not self.made:
            self.made = True
            logger.info("stopping after this round; once more to stop at once")


@contextlib.contextmanager
def asked_to_stop() -> Iterator[Request]:
    """Turns signals into a request, which a run reads between two slices.

    To stop at once is what Ctrl-C did before: an exception in Python, the end of the process on the command line.
    """
    before = signal.getsignal(signal.SIGINT)
    request = Request(before if callable(before) else signal.default_int_handler)
    try:
        handled = [number for number in SIGNALS if not _outlives_its_terminal(number)]
        handlers = {number: signal.signal(number, request.note) for number in handled}
    except ValueError:  # not the main thread: the caller's program handles signals
        yield request
        return
    try:
        # Any thread can end the process.
        with watched(request.note_inside) if before is exit_at_once else contextlib.nullcontext():
            yield request
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _outlives_its_terminal(number: int) -> bool:
    """Whether a closed terminal sends the signal, and `nohup` started the program."""
    return number == getattr(signal, "SIGHUP", None) and signal.getsignal(number) is signal.SIG_IGN


def exit_at_once(number: int = signal.SIGINT, frame: Any = None) -> NoReturn:
    """Ends the process with one line, whatever its threads do; files are written atomically."""
    del number, frame
    show_cursor = "\x1b[?25h\r\x1b[K" if sys.stderr.isatty() else ""  # a progress bar hides it
    with contextlib.suppress(OSError):
        os.write(2, f"{show_cursor}pliant: stopped\n".encode())
    os._exit(130)


@contextlib.contextmanager
def watched(on_signal: Callable[[int], None]) -> Iterator[None]:
    """Calls a function with the number of signals so far, in another thread, a second after each signal.

    Python handles signals in the main thread, and only after a compiled program returns. The other thread gets them at
    once.
    """
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    before = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)

    def watch() -> None:
        count = 0
        while received := receiver.recv(1):
            if received[0] in SIGNALS:
                count += 1
                time.sleep(_SECONDS_IN_PYTHON)
                on_signal(count)

    thread = threading.Thread(target=watch, daemon=True, name="signals")
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        sender.close()
