"""`pliant reproduce`: a published figure, its table, and the paper's numbers beside ours."""

import dataclasses
import itertools
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from rich.console import Console

from pliant import report
from pliant.core import registry
from pliant.core.recipe import Line, Recipe
from pliant.core.recipe import Panel as FigurePanel
from pliant.experiment import config as configs
from pliant.experiment.config import RunConfig
from pliant.experiment.errors import ConfigError
from pliant.experiment.run import run, split, work_of
from pliant.report import Cell, Curve, Estimate, Panel, Reference, Run, Table, curves_of, plot

from ._arguments import Parser
from ._progress import progress, speed

_DESCRIPTION = """\
Runs everything that a published figure needs, and writes the figure (PNG, PDF)
and its table (Markdown, CSV) with the paper's numbers beside ours. Finished
runs are not run again; a stopped one goes on where it was."""


_HOW_TO_READ = (
    "First and last bin: interquartile mean over seeds with its 95 % bootstrap interval, and the mean, which is what "
    "papers give. Paper: its mean; with ~ that of an independent simulation."
)


def command(arguments: list[str]) -> None:
    """Runs a recipe and prints its tables."""
    parser = Parser("pliant reproduce", _DESCRIPTION)
    parser.add_argument("recipe", metavar="RECIPE", help=f"which figure [{' | '.join(registry.names('recipes'))}]")
    parser.add_argument("--full", action="store_true", help="the paper's whole set of figures, all its seeds")
    parser.add_argument(
        "--seeds", metavar="SEEDS", help=configs.RUN_SETTINGS["seeds"].help + " [default: the recipe's]"
    )
    parser.add_argument(
        "--scale", metavar="FRACTION", type=float, default=1.0, help="of the length of runs [default 1]"
    )
    parser.add_argument(
        "--out", metavar="FOLDER", type=Path, default=Path("runs"), help="where runs lie [default runs]"
    )
    parser.add_argument("--force", action="store_true", help="run anew what is finished")
    given = parser.parse_args(arguments)
    if not 0 < given.scale <= 1:
        raise ConfigError(f"--scale={given.scale}: a fraction of the published length, above 0 and at most 1")
    if given.seeds is not None:
        configs.read_seeds(given.seeds)
    recipe = registry.find("recipes", given.recipe).make(full=given.full, seeds=given.seeds, scale=given.scale)

    console = Console(highlight=False)
    runs = _run_all(recipe, given.out, given.force, console)
    folder = given.out / "figures" / f"{given.recipe}{'-full' if given.full else ''}"
    for name, panels in recipe.panels.items():
        drawn = [_panel(recipe, panel, runs) for panel in panels]
        note = "Mean over seeds with its 95 % bootstrap interval; markers: published."
        plot(drawn, folder / name, columns=2, note=note)
        table = _table(recipe, panels, runs)
        (folder / f"{name}.md").write_text(table.to_markdown(), encoding="utf-8")
        (folder / f"{name}.csv").write_text(table.to_csv(), encoding="utf-8")
        table.to_terminal(console)
        console.print(f"figure: {folder / name}.png and .pdf; table: .md and .csv\n", soft_wrap=True, markup=False)


def _run_all(recipe: Recipe, out: Path, force: bool, console: Console) -> dict[str, Run]:
    """Runs what the lines of a recipe need, each run once; by `_key` of the lines."""
    names: dict[str, str] = {}
    needed: dict[str, RunConfig] = {}
    for panel in itertools.chain.from_iterable(recipe.panels.values()):
        for line in panel.lines:
            if _key(line) not in names:
                (one,) = split(configs.from_mapping(line.config))
                needed.setdefault(one.name, one)
                names[_key(line)] = one.name
    sizes = {name: work_of(config).amount for name, config in needed.items()}
    console.print(f"{recipe.title}: {len(needed)} runs, {sum(sizes.values()) / 1e6:,.0f} million examples in all")
    runs, done, started = {}, 0, time.monotonic()
    for number, (name, config) in enumerate(needed.items(), 1):
        with progress(f"{number}/{len(needed)} {name}") as tell:
            runs[name] = report.load(run(config, out, force=force, tell=tell))
        done += sizes[name]
        rate = done / (time.monotonic() - started)
        if len(needed) > 10:
            minutes = (sum(sizes.values()) - done) / rate / 60
            console.print(f"so far {speed(rate)}; about {minutes:.0f} minutes left")
    return {key: runs[name] for key, name in names.items()}


def _key(line: Line) -> str:
    return json.dumps(line.config, sort_keys=True)


def _curve(recipe: Recipe, line: Line, runs: dict[str, Run], statistic: Literal["mean", "iqm"]) -> Curve:
    """The curve of a line: of those members of its run that have the line's settings."""
    run = runs[_key(line)]
    rows = run.metrics
    for setting, value in line.where.items():
        rows = rows[np.isclose(rows[setting], value, rtol=1e-9, atol=0)]
    chosen = dataclasses.replace(run, metrics=rows)
    (curve,) = curves_of(chosen, recipe.metric, by=(), bin=recipe.bin, statistic=statistic, label=line.label)
    return curve


def _panel(recipe: Recipe, panel: FigurePanel, runs: dict[str, Run]) -> Panel:
    return Panel(
        curves=[_curve(recipe, line, runs, "mean") for line in panel.lines],
        y_label=recipe.y_label,
        x_label=recipe.x_label,
        title=panel.title,
        references=[
            Reference("published", list(line.published.values()), list(line.published), of=line.label)
            for line in panel.lines
            if line.published
        ],
        y_limits=panel.y_limits,
    )


def _table(recipe: Recipe, panels: Sequence[FigurePanel], runs: dict[str, Run]) -> Table:
    """First and last bin of each line: interquartile mean, and the mean beside the published one."""
    several = _labels_repeat(panels)
    rows = []
    for title, line in _distinct(panels):
        iqm, mean = (_curve(recipe, line, runs, statistic) for statistic in ("iqm", "mean"))
        cells: list[Cell] = [*([title] if several else []), line.label]
        for at in (0, -1):
            cells.append(Estimate(iqm.estimate[at], iqm.low[at], iqm.high[at], int(iqm.members[at])))
            cells.append(round(float(mean.estimate[at]), 2))
            cells.append(_reference(line, int(mean.x[at])))
        rows.append(cells)
    columns = [*(["panel"] if several else []), "method"]
    for bin in ("first", "last"):
        columns += [f"{bin} bin [95 %]", "mean", "paper"]
    return Table(recipe.title, columns, rows, (_HOW_TO_READ, *_distances(recipe, panels, runs), *recipe.notes))


def _distances(recipe: Recipe, panels: Sequence[FigurePanel], runs: dict[str, Run]) -> list[str]:
    """How far ours are from the paper's numbers, over all points that it has."""
    texts = []
    several = _labels_repeat(panels)
    for title, line in _distinct(panels):
        curve = _curve(recipe, line, runs, "mean")
        ours = dict(zip(curve.x.tolist(), curve.estimate.tolist(), strict=True))
        both = [ours[x] - paper for x, paper in line.published.items() if x in ours]
        if both:
            label = f"{title}: {line.label}" if several else line.label
            texts.append(f"{label} {np.mean(both):+.2f} ({len(both)} points)")
    return [f"Ours minus the paper's, averaged over its points: {', '.join(texts)}."] if texts else []


def _reference(line: Line, x: int) -> str | None:
    if x in line.published:
        return f"{line.published[x]:.2f}"
    return f"~{line.simulated[x]:.2f}" if x in line.simulated else None


def _labels_repeat(panels: Sequence[FigurePanel]) -> bool:
    """Whether it takes a panel's title to know a line."""
    lines = _distinct(panels)
    return len({line.label for _, line in lines}) < len(lines)


def _distinct(panels: Sequence[FigurePanel]) -> list[tuple[str, Line]]:
    """The lines of a figure with their panels' titles; a line that stands in several panels once."""
    distinct: dict[int, tuple[str, Line]] = {}
    for panel in panels:
        for line in panel.lines:
            distinct.setdefault(id(line), (panel.title, line))
    return list(distinct.values())
