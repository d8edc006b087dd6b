"""Counts the programs that JAX compiles for each test, and fails a test whose number is above its budget.

Compiling is what tests cost: a single eager operation of a new shape is a program of 50 ms. The event that is counted
also comes when a program is read from the cache on the disk, so a warm cache hides nothing. Programs that a fixture of
a wider scope than a test compiles are counted for that fixture. The caches in memory are cleared between modules, for
programs fill the memory; so no count depends on the modules before.
"""

import collections
import contextlib
import gc
from typing import TypeAlias

import jax
import pytest

EVENT = "/jax/core/compile/backend_compile_duration"
BUDGET = 6
LISTED = 10

Programs: TypeAlias = collections.Counter[str]  # how often a program of each name was compiled


class Compilations:
    """A plugin of pytest; also in the workers of pytest-xdist, whose counts travel with the reports."""

    def __init__(self):
        self._accounts: list[Programs] = []  # the innermost last: it is the one that is charged
        jax.monitoring.register_event_duration_secs_listener(self._charge)

    def _charge(self, event: str, duration: float, fun_name: str = "?", **_) -> None:
        if event == EVENT and self._accounts:
            self._accounts[-1][fun_name] += 1

    @contextlib.contextmanager
    def _account(self):
        self._accounts.append(collections.Counter())
        try:
            yield self._accounts[-1]
        finally:
            self._accounts.pop()

    def pytest_collection_finish(self, session):
        # What was imported stays: the collector need not look at a million objects again whenever JAX traces.
        gc.collect()
        gc.freeze()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item, nextitem):
        with self._account():
            result = yield
        if nextitem is None or nextitem.path != item.path:
            jax.clear_caches()
            gc.collect()
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef, request):
        if fixturedef.scope == "function":
            return (yield)
        with self._account() as programs:
            result = yield
        name = f"{request.node.nodeid or 'session'}: fixture {fixturedef.argname}"
        request._pyfuncitem.user_properties.append(("fixture_compilations", (name, programs.total())))
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item):
        result = yield
        programs = self._accounts[-1]
        item.user_properties.append(("compilations", (item.nodeid, programs.total())))
        marker = item.get_closest_marker("compilations")
        budget = marker.args[0] if marker else BUDGET
        if programs.total() > budget:
            most = ", ".join(f"{number} x {name}" for name, number in programs.most_common())
            pytest.fail(f"{programs.total()} programs were compiled, and {budget} are allowed: {most}", pytrace=False)
        return result

    def pytest_terminal_summary(self, terminalreporter):
        reports = [r for rs in terminalreporter.stats.values() for r in rs if getattr(r, "when", None) == "teardown"]
        for kind, what in [("compilations", "tests"), ("fixture_compilations", "fixtures of modules")]:
            found = dict(value for report in reports for name, value in report.user_properties if name == kind)
            if not any(found.values()):
                continue
            terminalreporter.section(f"{sum(found.values())} compilations in {what}; the most:")
            most = sorted(((number, name) for name, number in found.items() if number), reverse=True)
            for number, name in most[:LISTED]:
                terminalreporter.write_line(f"{number:5d} {name}")
