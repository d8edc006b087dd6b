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

_SECONDS_IN_PYTHON = 1.0  # after which a signal was handled, unless the program is inside of a compiled one


class Request:
    """What a run is asked between two slices, and what signals answer.

    Attributes:
        begun: whether something would be lost if the run stopped at once; the run sets it.
        made: whether the run is asked to stop.
    """

    def __init__(self, at_once: Callable[[int, Any], Any]):
        self.begun = False
        self.made = False
        self._at_once = at_once

    def note(self, number: int, frame: Any = None) -> None:
        """Handles a signal: the first one asks; the second, or one that costs nothing, stops at once."""
        if self.made or not self.begun:
            self._at_once(number, frame)
        self._make()

    def note_inside(self, count: int) -> None:
        """Handles a signal in a thread of its own, while the main one is inside of a compiled program."""
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
    """Turns signals into a request, which is answered between two slices of a run.

    At once means what Ctrl-C did before: an exception in Python, the end of the process on the command line.
    """
    before = signal.getsignal(signal.SIGINT)
    request = Request(before if callable(before) else signal.default_int_handler)
    try:
        handled = [number for number in SIGNALS if not _outlives_its_terminal(number)]
        handlers = {number: signal.signal(number, request.note) for number in handled}
    except ValueError:  # not the main thread: the program that started it stops it
        yield request
        return
    try:
        # Whoever ends the process can do so from any thread.
        with watched(request.note_inside) if before is exit_at_once else contextlib.nullcontext():
            yield request
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _outlives_its_terminal(number: int) -> bool:
    """Whether the signal is that of a closed terminal, and `nohup` started the program."""
    return number == getattr(signal, "SIGHUP", None) and signal.getsignal(number) is signal.SIG_IGN


def exit_at_once(number: int = signal.SIGINT, frame: Any = None) -> NoReturn:
    """Ends the process with one line, whatever its threads are at; files are there whole or not at all."""
    del number, frame
    show_cursor = "\x1b[?25h\r\x1b[K" if sys.stderr.isatty() else ""  # a progress bar hides it
    with contextlib.suppress(OSError):
        os.write(2, f"{show_cursor}pliant: stopped\n".encode())
    os._exit(130)


@contextlib.contextmanager
def watched(on_signal: Callable[[int], None]) -> Iterator[None]:
    """Calls a function, in a thread of its own, a second after each of the signals; with how many there were.

    Python handles signals in the main thread, and not before a compiled program returns there. The thread has them at
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
