"""The results book: a page for each figure and evaluation of a recipe, one that sums up recipes, and the index."""

import dataclasses
import io
import time
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure as MatplotlibFigure
from PIL import Image

from pliant import report
from pliant.experiment.environment import revision
from pliant.report import Run, Table
from pliant.report.recipe import Recipe

from .comparison import Figure
from .evaluations import shortfalls_of, table_of
from .index import FrontMatter, index_of
from .overview import Part, overview, rows_of, shortfalls_of_all
from .page import Page, Picture, write_page
from .provenance import Provenance, provenance_of
from .rows import thinned
from .scale import scale_note, seeds_text, steps_text
from .time_left import duration

_RESOLUTIONS = (180, 150, 120, 100)  # dots per inch: the first whose file is small enough for a repository, or the last
_MOST_BYTES = 140_000
_COLORS = 64  # of the palette of a PNG: a fifth of the size, without a visible difference


def write_book(
    recipe: Recipe,
    command: str,
    runs: Mapping[str, Run],
    figures: Mapping[str, Figure],
    episodes: Mapping[str, pd.DataFrame],
    folder: Path,
) -> list[Path]:
    """Writes the pages of a recipe, and the index of the folder.

    A page that is written again from the same runs differs only in the date and the commit of writing.

    Args:
        recipe: of the figures and evaluations.
        command: that computes the numbers again.
        runs: as `run` returns them.
        figures: as `compare` returns them.
        episodes: of each evaluation, as `episodes_of` returns them.
        folder: of the book; made if it is missing.

    Returns:
        The paths of the pages.
    """
    provenance = provenance_of(runs.values())
    pages = [_page_of_figure(recipe, name, figure, command, provenance) for name, figure in figures.items()]
    pages += [_page_of_episodes(recipe, name, played, command, provenance) for name, played in episodes.items()]
    paths = [write_page(page, folder) for page in pages]
    (folder / "index.md").write_text(index_of(folder), encoding="utf-8")
    return paths


def write_overview(name: str, command: str, parts: Mapping[str, Part], folder: Path) -> Path:
    """Writes the page that sums up recipes with a sequence of tasks each, and the index of the folder.

    Args:
        name: of the page.
        command: that computes the numbers again.
        parts: as in `overview`; their pages lie in the folder.
        folder: of the book.

    Returns:
        The path of the page.
    """
    provenance = provenance_of(run for part in parts.values() for run in part.runs.values())
    recipes = [part.recipe for part in parts.values()]
    title = f"{recipes[0].title.partition(':')[0]}: {len(parts)} sequences of tasks"
    scale, seeds = (" / ".join(dict.fromkeys(map(text, recipes))) for text in (steps_text, seeds_text))
    pages = ", ".join(f"[{label}]({page}.md)" for label, part in parts.items() for page in part.figures)
    page = Page(
        name=name,
        front_matter=_front_matter(title, scale, seeds, command, provenance),
        shows=f"Each sequence has a page with intervals, matrices of returns and curves: {pages}.",
        figures=(),
        tables=[_titled(table) for table in overview(parts)],
        falls_short=shortfalls_of_all(parts),
        made=_made(scale, seeds, command, provenance),
        rows=rows_of(parts),
    )
    path = write_page(page, folder)
    (folder / "index.md").write_text(index_of(folder), encoding="utf-8")
    return path


def _page_of_figure(recipe: Recipe, name: str, figure: Figure, command: str, provenance: Provenance) -> Page:
    several = len(recipe.panels) > 1
    title = f"{recipe.title}: {name}" if several else recipe.title
    tables = [] if figure.sequence is None else [_titled(table) for table in figure.sequence.tables]
    tables.append(dataclasses.replace(figure.table, title="First and last bin", notes=figure.notes))
    if figure.step_by_step is not None:
        tables.append(dataclasses.replace(figure.step_by_step, title="Step by step"))
    lines = [line for panel in recipe.panels[name] for line in panel.lines]
    rows = thinned(figure.rows, {x for line in lines for x in (*line.published, *line.simulated)})
    made = _made(steps_text(recipe), seeds_text(recipe), command, provenance)
    if len(rows) < len(figure.rows):
        made.append(("bins", "the rows have some of them, evenly spaced, and all bins of the tables"))
    return Page(
        name=name,
        front_matter=_front_matter(title, steps_text(recipe), seeds_text(recipe), command, provenance),
        shows=recipe.shows,
        figures=_pictures(figure),
        tables=tables,
        falls_short=figure.falls_short,
        made=made,
        rows=rows,
    )


def _page_of_episodes(recipe: Recipe, name: str, episodes: pd.DataFrame, command: str, provenance: Provenance) -> Page:
    evaluation = recipe.evaluations[name]
    table = table_of(evaluation, episodes)
    return Page(
        name=name,
        front_matter=_front_matter(evaluation.title, steps_text(recipe), seeds_text(recipe), command, provenance),
        shows=evaluation.shows,
        figures=(),
        tables=[dataclasses.replace(table, title="Episodes of the trained agents")],
        falls_short=(*scale_note(recipe), *shortfalls_of(evaluation, episodes)),
        made=_made(steps_text(recipe), seeds_text(recipe), command, provenance),
        rows=episodes,
    )


def _front_matter(title: str, scale: str, seeds: str, command: str, provenance: Provenance) -> FrontMatter:
    return FrontMatter(
        title=title,
        command=command,
        scale=scale,
        seeds=seeds,
        date=provenance.date,
        commit=provenance.commit,
        source="reproduce",
    )


def _made(scale: str, seeds: str, command: str, provenance: Provenance) -> list[tuple[str, str]]:
    number = f"{len(provenance.runs)} runs one after the other" if len(provenance.runs) > 1 else "one run"
    return [
        ("command", f"`{command}`"),
        ("commit", provenance.commit),
        ("date", provenance.date),
        ("wall time", f"{duration(provenance.seconds)} for {number}"),
        ("scale", scale),
        ("seeds", seeds),
        ("versions", provenance.versions),
        ("machine", provenance.machine),
        ("runs", ", ".join(f"`{name}`" for name in provenance.runs)),
        ("page", f"written on {time.strftime('%Y-%m-%d')} by {revision() or 'an unknown commit'}"),
    ]


def _titled(table: Table) -> Table:
    return dataclasses.replace(table, title=table.title[:1].upper() + table.title[1:])


def _pictures(figure: Figure) -> list[Picture]:
    panels = report.plot(figure.panels, columns=2, note=figure.note)
    alternative = ", ".join(panel.title for panel in figure.panels)
    pictures = [Picture("", _png(panels), alternative, f"{figure.note.rstrip('.')}.")]
    if figure.sequence is not None:
        maps, note = figure.sequence.heat_maps, figure.sequence.note
        drawn = report.plot_heat_maps(maps, note=note)
        alternative = ", ".join(one.title for one in maps)
        pictures.insert(0, Picture("_returns", _png(drawn), alternative, f"{note[:1].upper()}{note[1:]}."))
    return pictures


def _png(figure: MatplotlibFigure) -> bytes:
    """The figure as a small file."""
    small = b""
    for resolution in _RESOLUTIONS:
        small = _with_palette(figure, resolution)
        if len(small) <= _MOST_BYTES:
            break
    return small


def _with_palette(figure: MatplotlibFigure, resolution: int) -> bytes:
    """The figure with a palette, which keeps it small."""
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=resolution)
    image = Image.open(drawn).convert("RGB").quantize(_COLORS, dither=Image.Dither.NONE)
    image.save(small, format="png", optimize=True)
    return small.getvalue()
