"""Matrices drawn as heat maps, with the numbers in their cells."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .figures import STYLE, save

_CELL = (0.36, 0.24)  # inches
_LETTER = 0.062  # inches, of the names of rows
_MOST_NUMBERS = 20  # rows or columns whose cells have room for numbers
_MOST_TICKS = 25
_SIDE_BY_SIDE = 2
_COLORS = "viridis"
_FRAME = "#CC0000"
_DARK = 0.6  # part of the scale of colours on which white letters are readable


@dataclasses.dataclass(frozen=True, eq=False)
class HeatMap:
    """A matrix to draw.

    Args:
        values: `(rows, columns)`; NaN is an empty cell.
        rows, columns: their names.
        title: above it.
        quantity: of the numbers; heat maps of the same quantity have one scale of colours.
        x_label: of the columns.
        framed: the cells with a frame, as `(row, column)`.
    """

    values: np.ndarray
    rows: Sequence[str]
    columns: Sequence[str]
    title: str
    quantity: str
    x_label: str = ""
    framed: Sequence[tuple[int, int]] = ()


def plot_heat_maps(maps: Sequence[HeatMap], path: str | os.PathLike[str] | None = None, *, note: str = "") -> Figure:
    """Draws matrices, two side by side.

    Args:
        maps: at least one, row by row.
        path: where to save the figure, as PNG and as PDF; an ending is replaced. `None`: it is not saved.
        note: a line below them.

    Returns:
        The figure, without a window; matplotlib's backend and other figures are not changed.
    """
    columns = min(_SIDE_BY_SIDE, len(maps))
    lines = -(-len(maps) // columns)
    width = max(_CELL[0] * min(len(one.columns), _MOST_NUMBERS) + _LETTER * max(map(len, one.rows)) for one in maps)
    height = max(_CELL[1] * min(len(one.rows), _MOST_NUMBERS) for one in maps)
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=((width + 0.8) * columns, (height + 0.75) * lines), layout="constrained")
        axes = figure.subplots(lines, columns, squeeze=False).flatten()
        for axis, one in zip(axes, maps, strict=False):
            _draw(axis, one, _scales(maps)[one.quantity])
        for axis in axes[len(maps) :]:
            axis.remove()
        if note:
            figure.supxlabel(note, fontsize=STYLE["legend.fontsize"], color="0.35")
        if path is not None:
            save(figure, Path(path))
    return figure


def _scales(maps: Sequence[HeatMap]) -> Mapping[str, Normalize]:
    """The scale of colours of each quantity."""
    scales = {}
    for quantity in {one.quantity for one in maps}:
        values = np.concatenate([np.ravel(one.values) for one in maps if one.quantity == quantity])
        seen = values[np.isfinite(values)]
        scales[quantity] = Normalize(seen.min(), seen.max()) if seen.size else Normalize(0, 1)
    return scales


def _draw(axis: Axes, one: HeatMap, scale: Normalize) -> None:
    image = axis.imshow(np.ma.masked_invalid(one.values), cmap=_COLORS, norm=scale, aspect="auto")
    rows, columns = one.values.shape
    for index in range(1, columns):
        axis.axvline(index - 0.5, color="white", linewidth=0.6)
    for index in range(1, rows):
        axis.axhline(index - 0.5, color="white", linewidth=0.6)
    for row, column in one.framed:
        axis.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=_FRAME, linewidth=1.5))
    if max(rows, columns) <= _MOST_NUMBERS:
        digits = _digits(scale)
        for row, column in np.argwhere(np.isfinite(one.values)):
            value = one.values[row, column]
            color = "white" if scale(value) < _DARK else "black"
            axis.text(column, row, f"{value:z.{digits}f}", color=color, fontsize=6, ha="center", va="center")
    axis.set(title=one.title, xlabel=one.x_label)
    axis.set_xticks(*_ticks(one.columns))
    axis.set_yticks(*_ticks(one.rows))
    for spine in axis.spines.values():
        spine.set_visible(False)
    axis.tick_params(length=0)
    bar = axis.figure.colorbar(image, ax=axis, aspect=30, pad=0.02)
    bar.set_label(one.quantity)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=2, width=0.5)


def _ticks(names: Sequence[str]) -> tuple[Sequence[int], Sequence[str]]:
    """Places and names, every k-th of many."""
    every = -(-len(names) // _MOST_TICKS)
    return range(0, len(names), every), names[::every]


def _digits(scale: Normalize) -> int:
    """Digits after the decimal point of the numbers in cells, which have room for about four in all."""
    largest = max(abs(float(scale.vmin or 0)), abs(float(scale.vmax or 0)))
    return 0 if largest >= 100 else 1 if largest >= 10 else 2
