"""Writes a page of the results book: Markdown, with its figure and its rows beside it."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from pliant.report import Table

from .index import FrontMatter
from .rows import write_rows

_REMARKS = "\n## Remarks\n"


class Picture(NamedTuple):
    """A figure of a page.

    Args:
        ending: of its file's name, behind the page's name.
        png: the file.
        alternative: the figure in words.
        how_to_read: a sentence below it.
    """

    ending: str
    png: bytes
    alternative: str
    how_to_read: str


class Page(NamedTuple):
    """The parts of a page.

    Args:
        name: of its files, without ending.
        front_matter: for the index.
        shows: the subject of the page, in a sentence or two.
        figures: none for a page with tables only.
        tables: with notes on how to read them.
        falls_short: how the results fall short of the paper's, sentence by sentence.
        made: how the numbers were made: name, value.
        rows: the numbers behind figure and tables.
    """

    name: str
    front_matter: FrontMatter
    shows: str
    figures: Sequence[Picture]
    tables: Sequence[Table]
    falls_short: Sequence[str]
    made: Sequence[tuple[str, str]]
    rows: pd.DataFrame


def write_page(page: Page, folder: Path) -> Path:
    """Writes `NAME.md`, `NAME.parquet` and, for a figure, `NAME.png`; a second figure has a longer name.

    The section Remarks at the end of a page is written by hand. It stays when the page is written again: read
    it then, since its numbers are those of the runs for which it was written.

    Args:
        page: to write.
        folder: of the book; made if it is missing.

    Returns:
        The path of `NAME.md`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{page.name}.md"
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    _, heading, remarks = before.partition(_REMARKS)
    path.write_text(_markdown(page) + heading + remarks, encoding="utf-8")
    write_rows(page.rows, folder / f"{page.name}.parquet")
    for figure in page.figures:
        (folder / f"{page.name}{figure.ending}.png").write_bytes(figure.png)
    return path


def _markdown(page: Page) -> str:
    figures = [
        text
        for figure in page.figures
        for text in (f"![{figure.alternative}]({page.name}{figure.ending}.png)", figure.how_to_read)
    ]
    falls_short = "\n".join(f"- {sentence}" for sentence in page.falls_short) or "Nothing that was measured."
    rows = f"[{page.name}.parquet]({page.name}.parquet): {', '.join(f'`{name}`' for name in page.rows)}"
    made = "\n".join(f"| {name} | {value} |" for name, value in [*page.made, ("rows", rows)])
    sections = [
        f"{page.front_matter.to_text()}\n# {page.front_matter.title}",
        page.shows,
        *figures,
        "## Results",
        *(table.to_markdown().rstrip() for table in page.tables),
        "## What falls short",
        falls_short,
        "## How it was made",
        f"| | |\n| --- | --- |\n{made}",
    ]
    return "\n\n".join(sections) + "\n"
