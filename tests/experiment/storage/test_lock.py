"""One process at a time, on one machine or on several."""

import contextlib
import errno
import fcntl
import json
import os
import re
import socket
import subprocess
import sys
import time

import pytest

from pliant.experiment.errors import StoreError
from pliant.experiment.storage import lock
from pliant.experiment.storage.lock import check_owner, locked

HERE = socket.gethostname()


def owned(folder, silent, **owner):
    """Leaves an owner file whose last heartbeat was so many seconds ago."""
    file = folder / "owner.json"
    file.write_text(json.dumps(owner))
    os.utime(file, (time.time() - silent,) * 2)
    return file


def is_refused(folder):
    with pytest.raises(StoreError, match=f"is working on {re.escape(str(folder))}") as error, locked(folder):
        pass
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_owner_says_who_works_there(tmp_path):
    with locked(tmp_path):
        owner = json.loads((tmp_path / "owner.json").read_text())
        assert (owner["host"], owner["pid"]) == (HERE, os.getpid())
        check_owner(tmp_path)
        assert is_refused(tmp_path) == f"another process (pid {os.getpid()}) is working on {tmp_path}"
    assert not (tmp_path / "owner.json").exists()
    with pytest.raises(
        StoreError, match=r"owner\.json is gone, which marked \S+ as in use; what was saved stays as it is"
    ):
        check_owner(tmp_path)
    with locked(tmp_path):
        pass


def test_an_error_lets_go(tmp_path):
    with contextlib.suppress(KeyboardInterrupt), locked(tmp_path):
        raise KeyboardInterrupt
    with locked(tmp_path):
        pass


def test_a_killed_process_of_this_machine_holds_nothing(tmp_path):
    code = f"""
import pathlib
from pliant.experiment.storage.lock import locked
with locked(pathlib.Path({str(tmp_path)!r})):
    print("locked", flush=True)
    input()
"""
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "locked\n"
        assert is_refused(tmp_path) == f"another process (pid {other.pid}) is working on {tmp_path}"
    finally:
        other.kill()
        other.communicate()
    assert (tmp_path / "owner.json").exists()
    with locked(tmp_path):
        check_owner(tmp_path)


def test_waits_while_another_holds_it_for_a_moment(tmp_path):
    owned(tmp_path, 179.5, host="elsewhere", pid=7)
    with locked(tmp_path, wait=30):  # half a second later the owner counts as dead
        check_owner(tmp_path)


# An owner on another machine, which `flock` may not know of.


def test_an_owner_on_another_machine_is_alive_while_its_heart_beats(tmp_path):
    owner = owned(tmp_path, 12, host="elsewhere", pid=os.getpid())
    content = owner.read_text()
    assert is_refused(tmp_path) == (
        f"another process (pid {os.getpid()} on elsewhere) is working on {tmp_path}; its last heartbeat is 12 s old: "
        "if it was killed, write the same command again when that is 180 s"
    )
    assert owner.read_text() == content


def test_an_owner_on_another_machine_is_dead_after_three_minutes(tmp_path):
    owned(tmp_path, 181, host="elsewhere", pid=1)
    with locked(tmp_path):
        check_owner(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["lock"]  # what the dead one left is gone


def test_an_owner_file_that_was_cut_short_counts_until_it_is_old(tmp_path):
    owned(tmp_path, 1).write_text("{")
    assert "another process (which has just begun)" in is_refused(tmp_path)
    os.utime(tmp_path / "owner.json", (0, 0))
    with locked(tmp_path):
        pass


def test_a_heart_beats(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "_HEARTBEAT", 0.01)
    with locked(tmp_path):
        owner = tmp_path / "owner.json"
        os.utime(owner, (0, 0))
        for _ in range(1000):
            if owner.stat().st_mtime > 0:
                break
            time.sleep(0.01)
        assert time.time() - owner.stat().st_mtime < 60
        # Another machine has taken over: its file is left alone.
        owned(tmp_path, 0, host="elsewhere", pid=1)
        os.utime(owner, (0, 0))
        time.sleep(0.1)
        assert owner.stat().st_mtime == 0
    assert owner.exists()


# A file system without `flock`: the owner file alone decides.


@pytest.fixture
def without_flock(monkeypatch):
    def flock(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)


def test_without_flock_two_processes_exclude_each_other(tmp_path, without_flock):
    with locked(tmp_path):
        assert f"another process (pid {os.getpid()})" in is_refused(tmp_path)
        check_owner(tmp_path)


def test_without_flock_a_dead_process_is_known_by_its_number(tmp_path, without_flock):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    owned(tmp_path, 1, host=HERE, pid=ended.pid)
    with locked(tmp_path):
        check_owner(tmp_path)


def test_a_full_disk_leaves_no_owner(tmp_path, monkeypatch):
    def dump(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(json, "dump", dump)
        with pytest.raises(OSError, match="No space left"), locked(tmp_path):
            pass
    with locked(tmp_path):
        check_owner(tmp_path)


def test_other_errors_of_the_disk_are_not_hidden(tmp_path, monkeypatch):
    def flock(*arguments):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match="Input/output error"), locked(tmp_path):
        pass
