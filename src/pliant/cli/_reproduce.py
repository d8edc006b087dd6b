"""`pliant reproduce`: a published figure, its table, and the paper's numbers beside ours."""

import argparse
import dataclasses
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from pliant import reproduction
from pliant.core import registry
from pliant.experiment.configuration import config as configs
from pliant.experiment.configuration.seeds import read_seeds
from pliant.experiment.errors import ConfigError
from pliant.report.recipe import Recipe
from pliant.reproduction import Part

from ._arguments import Parser
from ._progress import progress
from ._recipe_options import given_options, in_turn, options

_DESCRIPTION = """\
Computes all runs of a published figure, and writes the figure (PNG, PDF) and
its table (Markdown, CSV) with the paper's numbers beside ours; in some recipes
the trained agents then act in other environments. Finished runs are not
computed again; a stopped run resumes. After 20 seconds of work a line gives
the time that remains. Several scenarios are computed in turn; then tables of
all of them follow."""

_BOOK = Path("docs/results")


def command(arguments: list[str]) -> None:
    """Runs a recipe, or several in turn, and prints the tables."""
    given = parser().parse_args(arguments)
    if given.scale is not None and not 0 < given.scale <= 1:
        raise ConfigError(f"--scale={given.scale}: write a fraction of the published length, above 0 and at most 1")
    if given.seeds is not None:
        read_seeds(given.seeds)
    if given.book is not None and given.book.exists() and not given.book.is_dir():
        raise ConfigError(f"--book {given.book}: this is a file; write the folder of the book, such as {_BOOK}")
    own = given_options(given.recipe, vars(given))
    several = in_turn(own)
    recipes = {value: _recipe(given, of_one) for value, of_one in several.items()}
    if len(recipes) > 1:  # all are checked before one runs; a single one is planned at once
        for recipe in recipes.values():
            reproduction.check(recipe)
    console = Console(highlight=False)
    parts = {
        value: _reproduce(recipe, _words(given, several[value]), given, console) for value, recipe in recipes.items()
    }
    if len(parts) > 1:
        _sum_up(parts, own, given, console)


def _reproduce(recipe: Recipe, words: str, given: argparse.Namespace, console: Console) -> Part:
    """Computes the runs of a recipe, and writes and prints its figures and tables."""
    folder = _folder(given)

    def say(text: str) -> None:
        console.print(text, soft_wrap=True, markup=False)

    runs = reproduction.run(recipe, given.out, force=given.force, watch=progress, say=say)
    figures, episodes = reproduction.compare(recipe, runs), {}
    for name, figure in figures.items():
        reproduction.write_figure(figure, folder, name)
        figure.table.to_terminal(console)
        if figure.step_by_step is not None:
            figure.step_by_step.to_terminal(console)
        if figure.sequence is not None:
            for table in figure.sequence.tables:
                table.to_terminal(console)
        say(f"figure: {folder / name}.png and .pdf; table: .md and .csv\n")
    directories = {key: given.out / run.name for key, run in runs.items()}
    for name, evaluation in recipe.evaluations.items():
        with progress(name, "episodes") as on_progress:
            episodes[name] = reproduction.episodes_of(evaluation, directories, on_progress)
        table = reproduction.table_of(evaluation, episodes[name])
        reproduction.write_table(table, folder, name)
        episodes[name].to_csv(folder / f"{name}-episodes.csv", index=False)
        table.to_terminal(console)
        say(f"table: {folder / name}.md and .csv; single episodes: {name}-episodes.csv\n")
    if given.book is not None:
        for page in reproduction.write_book(recipe, words, runs, figures, episodes, given.book):
            say(f"page: {page}")
    return Part(recipe, runs, figures)


def _sum_up(parts: Mapping[str, Part], own: Mapping[str, str], given: argparse.Namespace, console: Console) -> None:
    """Writes and prints what several recipes have together."""
    name = "_".join([given.recipe, *(re.sub(r"\W+", "_", value) for value in own.values())])
    tables = reproduction.overview(parts)
    reproduction.write_tables(tables, _folder(given), name)
    for table in tables:
        table.to_terminal(console)
    console.print(f"tables: {_folder(given) / name}-*.md and .csv", soft_wrap=True, markup=False)
    if given.book is not None:
        page = reproduction.write_overview(name, _words(given, own), parts, given.book)
        console.print(f"page: {page}", soft_wrap=True, markup=False)


def _folder(given: argparse.Namespace) -> Path:
    """The folder of figures and tables."""
    return given.out / "figures" / f"{given.recipe}{'-full' if given.full else ''}"


def _recipe(given: argparse.Namespace, own: Mapping[str, str]) -> Recipe:
    """The recipe of the arguments; figures of other data have names of their own, so that both stay."""
    recipe = registry.find("recipes", given.recipe).make(full=given.full, seeds=given.seeds, scale=given.scale, **own)
    for value in own.values():
        word = "_" + re.sub(r"\W+", "_", Path(value).resolve().name)
        panels, sequences = (
            {name if name.endswith(word) else name + word: of for name, of in figures.items()}
            for figures in (recipe.panels, recipe.sequences)
        )
        recipe = dataclasses.replace(recipe, panels=panels, sequences=sequences)
    return recipe


def parser() -> Parser:
    """The arguments of the command."""
    made = Parser("pliant reproduce", _DESCRIPTION)
    made.add_argument("recipe", metavar="RECIPE", help=f"the figure [{' | '.join(registry.names('recipes'))}]")
    made.add_argument("--full", action="store_true", help="the paper's whole set of figures, all its seeds and steps")
    made.add_argument("--seeds", metavar="SEEDS", help=configs.RUN_SETTINGS["seeds"].help + " [default: the recipe's]")
    made.add_argument(
        "--scale",
        metavar="FRACTION",
        type=float,
        help="of the published length of runs [default: the recipe's; with --full 1]",
    )
    for option in options().values():
        made.add_argument(
            f"--{option.name}",
            metavar="NAME",
            help=f"{option.help} [of {', '.join(option.recipes)}; default: the recipe's]",
        )
    made.add_argument(
        "--out", metavar="FOLDER", type=Path, default=Path("runs"), help="folder of all runs [default runs]"
    )
    made.add_argument("--force", action="store_true", help="compute finished runs again")
    made.add_argument(
        "--book",
        metavar="FOLDER",
        type=Path,
        nargs="?",
        const=_BOOK,
        help=f"write a page of the results book for each figure, too [default of FOLDER: {_BOOK}]",
    )
    return made


def _words(given: argparse.Namespace, own: Mapping[str, str]) -> str:
    """The command that computes the same numbers."""
    words = ["pliant reproduce", given.recipe]
    words += ["--full"] if given.full else []
    words += [f"--scale {given.scale:g}"] if given.scale is not None else []
    words += [f"--seeds {given.seeds}"] if given.seeds is not None else []
    words += [f"--{name} {shlex.quote(value)}" for name, value in own.items()]
    return " ".join(words)
