"""Tables for the terminal, for Markdown and for spreadsheets."""

import csv
import dataclasses
import io
import math
from collections.abc import Sequence
from typing import TypeAlias

from pliant._neighbours import unchanged

from .statistics import Estimate

with unchanged():  # rich draws numbers for its styles
    from rich import box
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table as RichTable
    from rich.text import Text

Cell: TypeAlias = str | int | float | Estimate | None

_UNKNOWN = "-"
_READABLE = 16  # characters that a text keeps; the last eight are the digest in the name of a run


@dataclasses.dataclass(frozen=True)
class Table:
    """A table as data, to be shown in a terminal, as Markdown or as CSV.

    Args:
        title: above it.
        columns: the heads.
        rows: one cell per column: a text, a number, an `Estimate`, or `None` for an empty cell. An estimate is shown as
            `0.58 [0.55, 0.61]` or, with fewer than five members, `0.58 (0.5, 0.66)`. A paper's numbers have a separate
            column beside ours.
        notes: lines below it.

    Raises:
        ValueError: if the number of cells in a row differs from the number of columns.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Checks that the rows fit the columns."""
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f"table {self.title!r} has {len(self.columns)} columns, but a row of {len(row)} cells: {tuple(row)}"
                )

    @property
    def width(self) -> int:
        """The width in characters without a limit of the terminal."""
        return sum(width + 2 for width in self._widths())

    def without(self, column: str) -> "Table":
        """The table without a column."""
        at = list(self.columns).index(column)
        kept = [[*row[:at], *row[at + 1 :]] for row in (self.columns, *self.rows)]
        return dataclasses.replace(self, columns=kept[0], rows=kept[1:])

    def shortened(self, width: int, columns: Sequence[str]) -> "Table":
        """The table with the longest texts of some columns cut in the middle, until the table has this width.

        Args:
            width: in characters; a table may stay wider, since a text keeps 16 characters.
            columns: whose texts may be cut; a table may lack them.
        """
        widths = zip(self.columns, self._widths(), strict=True)
        limits = {column: width for column, width in widths if column in columns and width > _READABLE}
        for _ in range(self.width - width):
            longest = max(limits, key=lambda column: limits[column], default=None)
            if longest is None or limits[longest] == _READABLE:
                break
            limits[longest] -= 1
        cut = [limits.get(column) for column in self.columns]
        rows = [
            [cell if limit is None else _cut(str(cell), limit) for cell, limit in zip(row, cut, strict=True)]
            for row in self.rows
        ]
        return dataclasses.replace(self, rows=rows)

    def to_terminal(self, console: Console | None = None) -> None:
        """Prints the table, fitted to the width of the terminal without breaking numbers and words."""
        console = console or Console()
        table = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
        for index, column in enumerate(self.columns):
            numeric = self._is_numeric(index)
            # A number is never broken; the head of its column may take two lines, to leave room for other columns.
            narrow = numeric and max(len(format_cell(row[index])) for row in self.rows) < len(column)
            head = Text(column.replace(" ", "\n") if narrow else column)
            table.add_column(head, justify="right" if numeric else "left", no_wrap=numeric)
        for row in self.rows:
            table.add_row(*(Text(format_cell(cell)) for cell in row))  # a Text, so that rich takes no [..] for a style
        if self._width(console, table) > console.width:
            for index, column in enumerate(table.columns):
                if not column.no_wrap:
                    texts = [self.columns[index], *(format_cell(row[index]) for row in self.rows)]
                    column.width = max(len(word) for text in texts for word in text.split())
            table.width = self._width(console, table)
        console.print(Text(self.title, style="bold"))
        console.print()
        console.print(table, crop=False)
        console.print()
        for note in self.notes:
            console.print(Text(note))

    @staticmethod
    def _width(console: Console, table: RichTable) -> int:
        """The width of the table without a limit."""
        return Measurement.get(console, console.options.update(max_width=10_000), table).maximum

    def to_markdown(self) -> str:
        """The table in Markdown, with aligned columns."""
        texts = [[_escape(format_cell(cell)) for cell in row] for row in [self.columns, *self.rows]]
        widths = [max(3, *(len(row[index]) for row in texts)) for index in range(len(self.columns))]
        numeric = [self._is_numeric(index) for index in range(len(self.columns))]

        def line(row: Sequence[str]) -> str:
            cells = (text.rjust(w) if n else text.ljust(w) for text, w, n in zip(row, widths, numeric, strict=True))
            return f"| {' | '.join(cells)} |"

        rule = ["-" * (width - 1) + (":" if n else "-") for width, n in zip(widths, numeric, strict=True)]
        lines = [f"### {self.title}", "", line(texts[0]), line(rule), *(line(row) for row in texts[1:])]
        for note in self.notes:
            lines += ["", note]
        return "\n".join(lines) + "\n"

    def to_csv(self) -> str:
        """The table with all digits, without title and notes; an interval has columns `... low` and `... high`."""
        spread = [any(isinstance(row[index], Estimate) for row in self.rows) for index in range(len(self.columns))]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        heads = (
            [column, f"{column} low", f"{column} high"] if wide else [column]
            for column, wide in zip(self.columns, spread, strict=True)
        )
        writer.writerow(head for group in heads for head in group)
        for row in self.rows:
            cells = (_csv_cells(cell, wide) for cell, wide in zip(row, spread, strict=True))
            writer.writerow(cell for group in cells for cell in group)
        return text.getvalue()

    def _widths(self) -> list[int]:
        """The width of the widest cell of each column, its head included."""
        texts = [[format_cell(cell) for cell in row] for row in (self.columns, *self.rows)]
        return [max(map(len, column)) for column in zip(*texts, strict=True)]

    def _is_numeric(self, index: int) -> bool:
        cells = [row[index] for row in self.rows if row[index] is not None]
        return bool(cells) and not any(isinstance(cell, str) for cell in cells)


def format_cell(cell: Cell) -> str:
    """A cell as text; the number of digits depends on the width of the interval.

    Args:
        cell: a text, a number, an `Estimate` of one number, or `None`.

    Returns:
        `0.58 [0.55, 0.61]` for an estimate with an interval; `0.58 (0.5, 0.66)` for one of several members without: the
        value of each stands in parentheses; four significant digits for a number without an interval; a hyphen for NaN.
    """
    if cell is None:
        return ""
    if isinstance(cell, Estimate):
        return _format_estimate(cell)
    if isinstance(cell, float):
        return _UNKNOWN if math.isnan(cell) else f"{cell:.4g}"
    return str(cell)


def _format_estimate(estimate: Estimate) -> str:
    value, low, high = map(float, estimate[:3])
    if math.isfinite(low) and math.isfinite(high):
        shown, form = [low, high], "{} [{}]"
    else:
        points = () if estimate.points is None else estimate.points
        shown, form = [float(x) for x in points if math.isfinite(x)], "{} ({})"
    half = (max(shown) - min(shown)) / 2 if len(shown) > 1 else 0
    if half == 0 or not math.isfinite(value):
        return format_cell(value)
    largest = max(abs(x) for x in (value, *shown))
    # The half-width has at least two units of the last digit.
    digits = max(1, math.floor(math.log10(largest)) - math.floor(math.log10(half / 2)) + 1)
    if 1e-4 <= largest < 1e6:
        decimals = max(0, digits - 1 - math.floor(math.log10(largest)))
        texts = [f"{x:z.{decimals}f}" for x in (value, *shown)]
    else:
        texts = [f"{x:.{digits}g}" for x in (value, *shown)]
    return form.format(texts[0], ", ".join(texts[1:]))


def _cut(text: str, width: int) -> str:
    """A text of at most this width, without characters of its middle."""
    if len(text) <= width:
        return text
    end = width // 2
    return f"{text[: width - 1 - end]}…{text[-end:]}"


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _csv_cells(cell: Cell, wide: bool) -> list[str | int | float]:
    if isinstance(cell, Estimate):
        return [_csv_number(float(number)) for number in (cell.value, cell.low, cell.high)]
    first = "" if cell is None else _csv_number(cell) if isinstance(cell, float) else cell
    return [first, "", ""] if wide else [first]


def _csv_number(number: float) -> float | str:
    return "" if math.isnan(number) else float(number)
