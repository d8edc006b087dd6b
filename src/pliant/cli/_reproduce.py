"""`pliant reproduce`: a published figure, its table, and the paper's numbers beside ours."""

import itertools
from pathlib import Path

from rich.console import Console

from pliant import report
from pliant.core import registry
from pliant.experiment.configuration import config as configs
from pliant.experiment.configuration.config import RunConfig
from pliant.experiment.errors import ConfigError
from pliant.experiment.run import Work, run, split, work_of
from pliant.report import Run
from pliant.report.recipe import Recipe
from pliant.reproduction.comparison import Comparison, run_of
from pliant.reproduction.estimate import Estimate
from pliant.reproduction.evaluations import episodes_of, table_of

from ._arguments import Parser
from ._progress import progress

_DESCRIPTION = """\
Runs everything that a published figure needs, and writes the figure (PNG, PDF)
and its table (Markdown, CSV) with the paper's numbers beside ours; some recipes
let the trained agents act in other environments at the end. Finished
runs are not run again; a stopped one goes on where it was. How long it will
take is said as soon as a minute of it has been measured."""


def command(arguments: list[str]) -> None:
    """Runs a recipe and prints its tables."""
    parser = Parser("pliant reproduce", _DESCRIPTION)
    parser.add_argument("recipe", metavar="RECIPE", help=f"which figure [{' | '.join(registry.names('recipes'))}]")
    parser.add_argument("--full", action="store_true", help="the paper's whole set of figures, all its seeds and steps")
    parser.add_argument(
        "--seeds", metavar="SEEDS", help=configs.RUN_SETTINGS["seeds"].help + " [default: the recipe's]"
    )
    parser.add_argument(
        "--scale",
        metavar="FRACTION",
        type=float,
        help="of the published length of runs [default: the recipe's; with --full 1]",
    )
    parser.add_argument(
        "--out", metavar="FOLDER", type=Path, default=Path("runs"), help="where runs lie [default runs]"
    )
    parser.add_argument("--force", action="store_true", help="run anew what is finished")
    given = parser.parse_args(arguments)
    if given.scale is not None and not 0 < given.scale <= 1:
        raise ConfigError(f"--scale={given.scale}: a fraction of the published length, above 0 and at most 1")
    if given.seeds is not None:
        configs.read_seeds(given.seeds)
    recipe = registry.find("recipes", given.recipe).make(full=given.full, seeds=given.seeds, scale=given.scale)

    console = Console(highlight=False)
    runs = _run_all(recipe, given.out, given.force, console)
    folder = given.out / "figures" / f"{given.recipe}{'-full' if given.full else ''}"
    for name, panels in recipe.panels.items():
        comparison = Comparison(recipe, panels, runs)
        report.plot(comparison.drawn(), folder / name, columns=2, note=comparison.note)
        for file, table in {name: comparison.table(), f"{name}-step-by-step": comparison.step_by_step()}.items():
            if table is not None:
                (folder / f"{file}.md").write_text(table.to_markdown(), encoding="utf-8")
                (folder / f"{file}.csv").write_text(table.to_csv(), encoding="utf-8")
                table.to_terminal(console)
        console.print(f"figure: {folder / name}.png and .pdf; table: .md and .csv\n", soft_wrap=True, markup=False)
    for name, evaluation in recipe.evaluations.items():
        with progress(name, "episodes") as on_progress:
            episodes = episodes_of(evaluation, {key: given.out / run.name for key, run in runs.items()}, on_progress)
        table = table_of(evaluation, episodes)
        episodes.to_csv(folder / f"{name}-episodes.csv", index=False)
        (folder / f"{name}.md").write_text(table.to_markdown(), encoding="utf-8")
        (folder / f"{name}.csv").write_text(table.to_csv(), encoding="utf-8")
        table.to_terminal(console)
        console.print(
            f"table: {folder / name}.md and .csv; single episodes: {name}-episodes.csv\n", soft_wrap=True, markup=False
        )


def _run_all(recipe: Recipe, out: Path, force: bool, console: Console) -> dict[str, Run]:
    """Runs what the lines of a recipe need, each run once; by `run_of` the lines."""
    which: dict[str, tuple[str, str]] = {}
    needed: dict[tuple[str, str], RunConfig] = {}  # by name and seeds
    for panel in itertools.chain.from_iterable(recipe.panels.values()):
        for line in panel.lines:
            if run_of(line) not in which:
                (one,) = split(configs.from_mapping(line.config))
                which[run_of(line)] = (one.name, one.seeds)
                needed.setdefault(which[run_of(line)], one)
    works = {key: work_of(config) for key, config in needed.items()}
    unit = next(iter(works.values())).unit
    total = Work(sum(work.amount for work in works.values()), unit)
    amount = f"{total.amount / 1e6:,.0f} million" if total.amount >= 1e6 else f"{total.amount:,}"
    console.print(f"{recipe.title}: {len(needed)} run{'s' if len(needed) > 1 else ''}, {amount} {unit} in all")
    estimate = Estimate(total, lambda text: console.print(text, markup=False))
    runs = {}
    for number, (key, config) in enumerate(needed.items(), 1):
        with progress(f"{number}/{len(needed)} {config.name}", unit) as on_progress:
            directory = run(config, out, force=force, on_progress=estimate.render(works[key].amount, on_progress))
        runs[key] = report.load(directory, config.seed_list)
    return {line: runs[key] for line, key in which.items()}
