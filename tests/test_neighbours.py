"""The package among others in a process: it works without what a system lacks, and changes nothing of theirs."""

import subprocess
import sys

import pytest

from pliant.experiment.errors import StoreError
from pliant.experiment.storage import lock

PROGRAM = """
import random, sys, warnings
sys.modules["fcntl"] = None  # as on Windows

import matplotlib
matplotlib.rcParams["backend"] = "svg"
warnings.simplefilter("ignore", ResourceWarning)
random.seed(3)

def neighbours():
    return matplotlib.get_backend(), list(warnings.filters), random.getstate()

before = neighbours()
import pliant
pliant.trace, pliant.plastic, pliant.redo, pliant.adam
assert neighbours() == before
assert "pandas" not in sys.modules and "matplotlib.pyplot" not in sys.modules

import pliant.experiment.storage.lock
assert matplotlib.get_backend() == "svg"
assert pliant.experiment.storage.lock.fcntl is None
print("imported")
"""


def test_the_library_and_reports_need_no_posix_and_change_nothing_of_others():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "imported\n", "")


SUITE = """
import logging, random, sys, warnings
import jax, pandas
random.seed(3)
warnings.simplefilter("ignore", ResourceWarning)

def neighbours():
    return random.getstate(), list(warnings.filters), logging.root.handlers[:]

before = neighbours()
import pliant, pliant.suite, pliant.report
pliant.run, pliant.load
assert neighbours() == before
assert "rich.console" in sys.modules and "orbax.checkpoint" in sys.modules and "scipy.stats" not in sys.modules
print("imported")
"""


def test_the_suite_changes_neither_random_numbers_nor_warnings_nor_logging():
    done = subprocess.run([sys.executable, "-c", SUITE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "imported\n", "")


def test_a_run_without_locks_of_the_system_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "fcntl", None)
    message = f"^{tmp_path} cannot be locked: runs need Linux, macOS or the Windows Subsystem for Linux$"
    with pytest.raises(StoreError, match=message), lock.locked(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []
