"""The components of one member of a run."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from pliant.core.agent import Agent, Learner
from pliant.core.base import Array
from pliant.core.diagnostic import Diagnostic
from pliant.core.notes import Note
from pliant.core.problem import Problem

Metrics = dict[tuple[str, str], Array]  # (metric, group) -> ()


class Components(NamedTuple):
    """The problem, the agent and the diagnostics of one member; numbers in them may be traced."""

    problem: Problem
    agent: Learner | Agent
    diagnostics: Mapping[str, Diagnostic]
    notes: tuple[Note, ...] = ()  # from the components

    def measure(self, signals: Mapping[str, Any]) -> Metrics:
        """The values of all diagnostics, `{(diagnostic, group): ()}`."""
        return {
            (name, group): value
            for name, diagnostic in self.diagnostics.items()
            for group, value in diagnostic(**signals).items()
        }
