"""Computes the runs of a recipe; lines of the same run share it."""

import contextlib
import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from pliant import report
from pliant.core.notes import log_once
from pliant.experiment.configuration.reading import from_mapping
from pliant.experiment.loops.plan import Plan
from pliant.experiment.loops.planning import Problems, plans
from pliant.experiment.progress import OnProgress, Work
from pliant.experiment.run import run as run_one
from pliant.report import Run
from pliant.report.recipe import OF_NEXT_TASK, Line, PanelSpec, Recipe

from .analyses import with_networks
from .time_left import TimeLeft

Watch = Callable[[str, str], AbstractContextManager[OnProgress]]  # (title, unit) -> progress function while it is open


@contextlib.contextmanager
def _silently(title: str, unit: str) -> Iterator[OnProgress]:
    del title, unit
    yield lambda done, total: None


def run_of(line: Line) -> str:
    """The key of a line's run: equal for lines that share a run."""
    return json.dumps(line.config, sort_keys=True)


def lines_of(panel: PanelSpec) -> tuple[Line, ...]:
    """The lines whose runs a panel needs."""
    return (*panel.lines, *([panel.relative_to] if panel.relative_to else []))


def check(recipe: Recipe) -> None:
    """Makes the problems of a recipe, in less time than its plans take.

    Raises:
        ConfigError: if a problem is refused, or its package is not installed.
    """
    problem_of = Problems()
    for panel in itertools.chain.from_iterable(recipe.panels.values()):
        for line in lines_of(panel):
            problem_of(from_mapping(line.config))


def plans_of(recipe: Recipe) -> dict[str, Plan]:
    """The plans of all runs, by the key (`run_of`) of their lines; runs of one problem share it.

    Raises:
        ConfigError: if a setting is refused.
    """
    panels = itertools.chain.from_iterable(recipe.panels.values())
    lines = itertools.chain.from_iterable(map(lines_of, panels))
    planned: dict[str, Plan] = {}
    problem_of = Problems()
    for line in lines:
        if run_of(line) not in planned:
            (planned[run_of(line)],) = plans(from_mapping(line.config), problem_of)
    return planned


def run(
    recipe: Recipe,
    folder: Path,
    *,
    force: bool = False,
    watch: Watch = _silently,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Run]:
    """Computes the runs of a recipe; finished runs are only read, and stopped ones resume.

    Args:
        recipe: of the figures.
        folder: of all run directories.
        force: compute finished runs again.
        watch: `(title, unit)` opens a progress bar for one run, and returns its progress function.
        say: shows a line: the amount of work, and how long the remaining work takes.

    Returns:
        The runs, by the key (`run_of`) of their lines.

    Raises:
        ConfigError: if a setting is refused; before any run begins.
        StoreError: if a directory cannot be written, or another process works on the same seeds.
        Interrupted: after Ctrl-C or SIGTERM, when everything is saved.

    Example:
        >>> from pliant import reproduction
        >>> from pliant.recipes import regression
        >>> recipe = regression.make(scale=0.02, seeds="2")
        >>> len(reproduction.plans_of(recipe))  # runs; reproduction.run(recipe, Path("runs")) computes them
        5
    """
    planned = plans_of(recipe)
    needed = {_name_and_seeds(plan): plan for plan in planned.values()}
    log_once(note for plan in needed.values() for note in plan.notes)
    unit = next(iter(needed.values())).work.unit
    total = Work(sum(plan.work.amount for plan in needed.values()), unit)
    amount = f"{total.amount / 1e6:,.0f} million" if total.amount >= 1e6 else f"{total.amount:,}"
    say(f"{recipe.title}: {len(needed)} run{'s' if len(needed) > 1 else ''}, {amount} {unit} in all")
    time_left, runs = TimeLeft(total, say), {}
    analysed = {_name_and_seeds(planned[run_of(line)]) for line in _analysed_lines(recipe)}
    for number, (key, plan) in enumerate(needed.items(), 1):
        with watch(f"{number}/{len(needed)} {plan.config.name}", unit) as on_progress:
            on_progress = time_left.watch(plan.work.amount, on_progress)
            directory = run_one(plan, folder, force=force, on_progress=on_progress)
        runs[key] = report.load(directory, plan.config.seed_list)
        if key in analysed:
            with watch(f"{number}/{len(needed)} {plan.config.name}", "networks") as on_progress:
                runs[key] = with_networks(runs[key], directory, train_mode=recipe.train_mode, on_progress=on_progress)
    return {key: runs[_name_and_seeds(plan)] for key, plan in planned.items()}


def _analysed_lines(recipe: Recipe) -> Iterator[Line]:
    """The lines of panels that show the networks at the beginnings of tasks."""
    for panel in itertools.chain.from_iterable(recipe.panels.values()):
        if panel.measure.metric.startswith(OF_NEXT_TASK):
            yield from panel.lines


def _name_and_seeds(plan: Plan) -> tuple[str, str]:
    return plan.config.name, plan.config.seeds
