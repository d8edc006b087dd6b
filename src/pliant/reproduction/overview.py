"""Several sequences of tasks in one table: methods x sequences, and the paper's order of methods beside ours."""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from pliant.report import Cell, Run, Table
from pliant.report.recipe import Recipe, SequenceSpec
from pliant.report.references import mean_of_seen

from .comparison import Figure
from .sequences import MethodNumbers, SequenceFigure

_OF_TRIALS = "steps in trials"
_MEASURES: Mapping[str, Callable[[MethodNumbers], np.ndarray | None]] = {
    "normalized performance": lambda method: method.scores.performance,
    "forgetting": lambda method: method.scores.forgetting,
    "forward transfer": lambda method: method.scores.transfer,
    "memory": lambda method: method.policies,
    _OF_TRIALS: lambda method: method.trial_steps,
}
_NOTES = {
    "normalized performance": "Means over seeds. 0 is the return of random actions, 1 that of the reference.",
    "forgetting": "On the scale of the normalized performance; below 0 tasks were forgotten.",
    "forward transfer": "On the scale of the normalized performance; above 0 earlier tasks helped.",
    "memory": "All stored numbers, with anchors, masks and examples, in units of one policy.",
    _OF_TRIALS: "Of candidates that played at the borders of tasks, beside the steps of training.",
}
_ORDER = "The methods for which the paper has a number, each with its normalized performance, the best first."


class Part(NamedTuple):
    """One of several recipes, with what was computed.

    Args:
        recipe: with one figure, of a sequence of tasks.
        runs: as `run` returns them.
        figures: as `compare` returns them.
    """

    recipe: Recipe
    runs: Mapping[str, Run]
    figures: Mapping[str, Figure]

    @property
    def sequence(self) -> SequenceFigure:
        """What the runs learned and forgot."""
        (figure,) = self.figures.values()
        if figure.sequence is None:
            raise ValueError(f"{self.recipe.title} has no sequence of tasks; leave it out")
        return figure.sequence

    @property
    def spec(self) -> SequenceSpec:
        """The lines and the paper's numbers."""
        (spec,) = self.recipe.sequences.values()
        return spec


def overview(parts: Mapping[str, Part]) -> list[Table]:
    """Tables of methods x sequences, and one of the order of methods.

    Args:
        parts: by the name of their sequence.

    Returns:
        Normalized performance with the paper's numbers, forgetting, forward transfer, memory and, if there were trials,
        their steps; and, if the paper has numbers, the order of methods.

    Raises:
        ValueError: if a recipe has no sequence of tasks.
    """
    tables = [_table(parts, measure) for measure in _MEASURES if measure != _OF_TRIALS or _methods(parts, measure)]
    ordered = [[name, *_orders(part)] for name, part in parts.items() if part.spec.published]
    if ordered:
        tables.append(Table("order of methods", ["sequence", "ours", "paper"], ordered, (_ORDER,)))
    return tables


def rows_of(parts: Mapping[str, Part]) -> pd.DataFrame:
    """The numbers behind the tables: `panel` (the sequence), `method`, `measure`, `seed`, `value`."""
    return pd.concat([*_rows(parts)], ignore_index=True)


def shortfalls_of_all(parts: Mapping[str, Part]) -> list[str]:
    """How the recipes fall short: first what all have in common, then the rest with the name of its sequence."""
    of_parts = {name: figure.falls_short for name, part in parts.items() for figure in part.figures.values()}
    common = [sentence for sentence in next(iter(of_parts.values())) if all(sentence in of for of in of_parts.values())]
    own = [f"{name}: {sentence}" for name, of in of_parts.items() for sentence in of if sentence not in common]
    return [*common, *own]


def _methods(parts: Mapping[str, Part], measure: str) -> list[str]:
    """The methods of a table; only some have trials."""
    everyone = [item for part in parts.values() for item in part.sequence.methods.items()]
    return list(dict.fromkeys(label for label, method in everyone if measure != _OF_TRIALS or method.trial_steps.any()))


def _table(parts: Mapping[str, Part], measure: str) -> Table:
    methods = _methods(parts, measure)
    columns: dict[tuple[str, str], list[Cell]] = {("", "method"): [*methods]}  # a head may return: the paper's
    for name, part in parts.items():
        columns[name, name] = [_mean(part.sequence.methods.get(label), measure) for label in methods]
        if measure == "normalized performance" and part.spec.published:
            columns[name, "paper"] = [part.spec.published.get(label) for label in methods]
    return Table(measure, [head for _, head in columns], list(zip(*columns.values())), (_NOTES[measure],))


def _mean(method: MethodNumbers | None, measure: str) -> Cell:
    values = None if method is None else _MEASURES[measure](method)
    if values is None:
        return None
    mean = float(mean_of_seen(values))
    return round(mean) if measure == _OF_TRIALS else round(mean, 2) + 0.0  # -0.0 becomes 0.0


def _orders(part: Part) -> Iterator[str]:
    """Our order of methods and the paper's, in words."""
    paper = part.spec.published
    both = [label for label in part.sequence.methods if label in paper]
    ours = {label: float(mean_of_seen(part.sequence.methods[label].scores.performance)) for label in both}
    for numbers in (ours, {label: paper[label] for label in both}):
        best_first = sorted(both, key=lambda label: -np.nan_to_num(numbers[label], nan=-np.inf))
        yield ", ".join(f"{label} {numbers[label]:.2f}" for label in best_first)


def _rows(parts: Mapping[str, Part]) -> Iterator[pd.DataFrame]:
    for name, part in parts.items():
        for label, method in part.sequence.methods.items():
            for measure, of in _MEASURES.items():
                values = of(method)
                if values is not None:
                    yield pd.DataFrame(
                        {"panel": name, "method": label, "measure": measure, "seed": method.seeds, "value": values}
                    )
