"""Signals: what asks a run to stop, and what ends a process at once, whatever it is at."""

import logging
import os
import signal
import subprocess
import sys
import time

import pytest

from pliant.experiment.stopping import Request, asked_to_stop


class AtOnce(Exception):
    pass


def stop(number, frame):
    raise AtOnce


def test_the_first_signal_asks_and_the_second_stops_at_once(caplog):
    caplog.set_level(logging.INFO)
    request = Request(stop)
    request.begun = True
    request.note(signal.SIGTERM)
    assert request.made and caplog.messages == ["stopping after this round; once more to stop at once"]
    with pytest.raises(AtOnce):
        request.note(signal.SIGTERM)


def test_where_nothing_would_be_lost_the_first_signal_stops_at_once():
    with pytest.raises(AtOnce):
        Request(stop).note(signal.SIGINT)


def test_a_signal_inside_of_a_compiled_program_is_answered_by_another_thread(caplog):
    # The main thread has not handled the first signal, which asks; nor the second.
    caplog.set_level(logging.INFO)
    request = Request(stop)
    request.begun = True
    request.note_inside(1)
    assert request.made and len(caplog.messages) == 1
    with pytest.raises(AtOnce):
        request.note_inside(2)
    # The main thread has handled the first: nothing is to be done.
    other = Request(stop)
    other.begun = True
    other.note(signal.SIGINT)
    other.note_inside(1)
    # While the first program is compiled nothing would be lost.
    with pytest.raises(AtOnce):
        Request(stop).note_inside(1)


def test_handlers_are_put_back():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    with asked_to_stop() as request:
        request.begun = True
        os.kill(os.getpid(), signal.SIGHUP)
        assert request.made
    assert {number: signal.getsignal(number) for number in before} == before


PROGRAM = """
import hashlib, os, signal, sys, time
import pliant.__main__, pliant.cli
from pliant.experiment.stopping import asked_to_stop

def imports():
    print("ready", flush=True)
    time.sleep(60)

def compiles():  # a program that does not return to Python, nor lets it handle signals
    with asked_to_stop():
        print("ready", flush=True)
        hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)

def computes():
    with asked_to_stop() as request:
        request.begun = True
        print("ready", flush=True)
        hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)

pliant.cli.main = globals()[sys.argv[1]]
sys.exit(pliant.__main__.main())
"""


@pytest.mark.parametrize(("what", "signals"), [("imports", 1), ("compiles", 1), ("computes", 2)])
def test_ctrl_c_ends_the_process_with_one_line_whatever_it_is_at(what, signals):
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, what], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        for _ in range(signals):
            process.send_signal(signal.SIGINT)
            time.sleep(0.1)
        _, error = process.communicate(timeout=10)
    assert (process.returncode, error) == (130, "pliant: stopped\n")
