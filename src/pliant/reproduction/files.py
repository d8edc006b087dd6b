"""The files of a comparison: figures and tables, for papers and spreadsheets."""

import re
from collections.abc import Iterable
from pathlib import Path

from pliant import report
from pliant.report import Table

from .comparison import Figure


def write_figure(figure: Figure, folder: Path, name: str) -> None:
    """Writes `NAME.png`, `NAME.pdf`, `NAME.md`, `NAME.csv` and, of the table step by step, `NAME-step-by-step.*`.

    Of runs on a sequence of tasks also the heat maps, `NAME-returns.*`, and their tables, such as `NAME-wall-time.*`.
    """
    report.plot(figure.panels, folder / name, columns=2, note=figure.note)
    write_table(figure.table, folder, name)
    if figure.step_by_step is not None:
        write_table(figure.step_by_step, folder, f"{name}-step-by-step")
    if figure.sequence is not None:
        report.plot_heat_maps(figure.sequence.heat_maps, folder / f"{name}-returns", note=figure.sequence.note)
        write_tables(figure.sequence.tables, folder, name)


def write_tables(tables: Iterable[Table], folder: Path, name: str) -> None:
    """Writes `NAME-TITLE.md` and `NAME-TITLE.csv` of each table."""
    for table in tables:
        write_table(table, folder, f"{name}-{re.sub(r'[^a-z]+', '-', table.title.partition(',')[0])}")


def write_table(table: Table, folder: Path, name: str) -> None:
    """Writes `NAME.md` and `NAME.csv`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(table.to_markdown(), encoding="utf-8")
    (folder / f"{name}.csv").write_text(table.to_csv(), encoding="utf-8")
