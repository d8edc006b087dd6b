"""One process at a time works in a folder, also where several machines share a file system.

    lock         locked by the system (`flock`), which releases it whenever the process ends
    owner.json   host and process of the owner; the file's modification time is a heartbeat

`flock` works between the processes of one machine. Some network file systems do not pass it on to other machines. For
these there is the owner file: a process makes it if there is none, touches it every 15 seconds, and deletes it at the
end. A killed owner leaves it behind. On the same machine the lock shows that the owner is dead; an owner on another
machine counts as dead after three minutes without a heartbeat.
"""

import contextlib
import errno
import importlib.util
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from pliant.experiment.errors import StoreError

from .files import read_json

# Not there on Windows, where the library and reports work.
fcntl: Any = importlib.import_module("fcntl") if importlib.util.find_spec("fcntl") else None

_HEARTBEAT = 15.0  # seconds between two heartbeats
_SILENT = 180.0  # seconds without a heartbeat after which an owner is dead; clients of NFS see times up to 60 s old
_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)  # a file system that has no `flock`


class _InUseError(StoreError):
    """Another process works in the folder."""


@contextlib.contextmanager
def locked(folder: Path, wait: float = 0.0) -> Iterator[None]:
    """Holds an existing folder; the system releases it whenever the process ends.

    Args:
        folder: in which only this process is to write.
        wait: seconds to wait while another process holds the folder.

    Raises:
        StoreError: if another process holds the folder.
        OSError: if the folder cannot be written.
    """
    if fcntl is None:
        raise StoreError(f"{folder} cannot be locked: runs need Linux, macOS or the Windows Subsystem for Linux")
    owner, deadline = folder / "owner.json", time.monotonic() + wait
    with open(folder / "lock", "a") as lock:
        while True:
            try:
                _take(lock, owner)
                break
            except _InUseError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(0.05)
        over = threading.Event()
        heart = threading.Thread(target=_beat, args=(owner, over), daemon=True, name="heartbeat")
        heart.start()
        try:
            yield
        finally:
            over.set()
            heart.join()
            if _is_mine(owner):
                owner.unlink(missing_ok=True)


def check_owner(folder: Path) -> None:
    """Raises an error if this process no longer holds a folder.

    After three minutes without a heartbeat, as when a machine sleeps, another process may take the folder over.

    Raises:
        StoreError: if this process is not the owner.
    """
    owner = folder / "owner.json"
    if not _is_mine(owner):
        now = _in_words(read_json(owner))
        lost = (
            f"another process ({now}) has taken over {folder}"
            if now
            else f"{owner} is gone, which marked {folder} as in use"
        )
        raise StoreError(f"{lost}; what was saved stays as it is: write the same command again")


def _take(lock: IO[str], owner: Path) -> None:
    """Makes this process the owner, in place of a dead owner if there is one."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        has_lock = True
    except BlockingIOError:
        raise _in_use(owner) from None
    except OSError as error:
        if error.errno not in _WITHOUT_LOCKS:
            raise
        has_lock = False
    os.utime(lock.fileno())
    now = os.fstat(lock.fileno()).st_mtime  # by the clock of the file server, like heartbeats
    while True:
        with contextlib.suppress(FileExistsError):
            _write_owner(owner)
            return
        if _is_alive(owner, now, has_lock):
            raise _in_use(owner, now)
        dead = owner.with_name(f"owner.{socket.gethostname()}.{os.getpid()}.dead")
        with contextlib.suppress(FileNotFoundError):  # of several processes that find it dead, one moves it away
            owner.rename(dead)
            dead.unlink()


def _write_owner(owner: Path) -> None:
    """Makes the file of this owner, which must not exist; on a full disk none stays behind."""
    with open(owner, "x", encoding="utf-8") as made:
        try:
            json.dump({**_me(), "since": time.strftime("%Y-%m-%dT%H:%M:%S%z")}, made)
            made.flush()
        except OSError:
            owner.unlink()
            raise


def _is_alive(owner: Path, now: float, has_lock: bool) -> bool:
    there, silent = read_json(owner), _silent_for(owner, now)
    if silent is None or silent > _SILENT:
        return False
    if there.get("host") != socket.gethostname():
        return True
    return not has_lock and _runs(there.get("pid"))  # with the lock there is no other process on this machine


def _silent_for(owner: Path, now: float) -> float | None:
    """Seconds since the last heartbeat; `None` without an owner. Opening a file fetches its times from the server."""
    try:
        with open(owner, "rb") as opened:
            return max(0.0, now - os.fstat(opened.fileno()).st_mtime)
    except FileNotFoundError:
        return None


def _runs(pid: Any) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError, TypeError, ValueError):
        return False
    except PermissionError:
        return True
    return True


def _beat(owner: Path, over: threading.Event) -> None:
    while not over.wait(_HEARTBEAT):
        with contextlib.suppress(OSError):  # a moment without the network; the next heartbeat follows
            if _is_mine(owner):
                os.utime(owner)


def _me() -> dict[str, Any]:
    return {"host": socket.gethostname(), "pid": os.getpid()}


def _is_mine(owner: Path) -> bool:
    there = read_json(owner)
    return {name: there.get(name) for name in ("host", "pid")} == _me()


def _in_words(owner: dict[str, Any]) -> str:
    if not owner:
        return ""
    where = "" if owner.get("host") == socket.gethostname() else f" on {owner.get('host')}"
    return f"pid {owner.get('pid')}{where}"


def _in_use(owner: Path, now: float | None = None) -> _InUseError:
    who = _in_words(read_json(owner))
    message = f"another process ({who or 'which has just begun'}) is working on {owner.parent}"
    silent = None if now is None else _silent_for(owner, now)
    if silent is not None:
        message += (
            f"; its last heartbeat is {silent:.0f} s old: if it was killed, write the same command again when that "
            f"is {_SILENT:.0f} s"
        )
    return _InUseError(message)
