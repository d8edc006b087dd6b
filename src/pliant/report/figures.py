"""Panels drawn by matplotlib."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter, MaxNLocator, ScalarFormatter

from .curves import Panel

# Okabe and Ito's colours, which differ for all common kinds of colour vision, without the yellow, too pale on white.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_BLUE, _VERMILION, _GREEN, _PINK, _ORANGE, _SKY, _BLACK = _COLORS
# A method has one colour in all figures. The first name within a label decides.
_COLORS_OF_METHODS = {
    "continual backprop": _GREEN,
    "neuroplastic": _VERMILION,
    "redo": _ORANGE,
    "shrink": _PINK,
    "reset": _PINK,
    "l2": _BLUE,
    "static": _SKY,
    "backprop": _BLACK,
    "adam": _BLACK,
    "sgd": _BLACK,
    "ppo": _BLACK,
    "a2c": _BLACK,
    "td3": _BLACK,
    "fine tuning": _BLACK,
    "from scratch": _SKY,
    "ewc": _VERMILION,
    "replay": _ORANGE,
}
_FEW_POINTS = 12
_MOST_MARKS = 20  # of tasks: more would hide the curves
_MOST_LETTERS = 45  # of the names of tasks side by side in a panel; longer names stand upright
_TICKS = [1, 2, 2.5, 5, 10]
_COLUMN = 3.4  # inches, the width of a column of a paper with two
_HEIGHT = 2.2  # inches, of a panel with its labels
_LINE = 0.165  # inches, of a line of the legend
STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": "0.35",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelcolor": "0.15",
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "figure.facecolor": "white",
    "font.size": 8,
    "grid.color": "0.9",
    "grid.linewidth": 0.5,
    "legend.fontsize": 7.5,
    "legend.title_fontsize": 7.5,
    "lines.solid_capstyle": "round",
    "pdf.fonttype": 42,  # fonts that an editor can still edit
    "xtick.color": "0.35",
    "xtick.labelcolor": "0.15",
    "xtick.labelsize": 7.5,
    "ytick.color": "0.35",
    "ytick.labelcolor": "0.15",
    "ytick.labelsize": 7.5,
}


def plot(
    panels: Sequence[Panel], path: str | os.PathLike[str] | None = None, *, columns: int = 3, note: str = ""
) -> Figure:
    """Draws panels, each as wide as a column of a paper, with shaded intervals and one legend for all.

    Args:
        panels: the panels, row by row.
        path: where to save the figure, as PNG and as PDF; an ending is replaced. `None`: it is not saved.
        columns: the most panels side by side.
        note: a line or two above the legend, such as `"mean and 95 % interval of 30 seeds"`.

    Returns:
        The figure, without a window; matplotlib's backend and other figures are not changed.

    Raises:
        ValueError: if there are no panels.
    """
    if not panels:
        raise ValueError("plot got no panels; pass at least one, such as Panel(curves_of(run, metric), metric)")
    columns = min(columns, len(panels))
    rows = math.ceil(len(panels) / columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(_COLUMN * columns, _HEIGHT * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).flatten()
        colors = _colors_of(panels)
        for axis, panel in zip(axes, panels, strict=False):
            _draw(axis, panel, colors)
        for axis in axes[len(panels) :]:
            axis.remove()
        _add_legend(figure, panels, colors, note)
        if path is not None:
            save(figure, Path(path))
    return figure


def _colors_of(panels: Sequence[Panel]) -> dict[str, Any]:
    labels = list(dict.fromkeys(curve.label for panel in panels for curve in panel.curves))
    if len(labels) <= len(_COLORS):
        return _colors_of_methods(labels)
    # More labels than the palette has are most often the values of one setting: a scale shows their order.
    return dict(zip(labels, mpl.colormaps["viridis"](np.linspace(0.0, 0.9, len(labels))), strict=True))


def _colors_of_methods(labels: Sequence[str]) -> dict[str, str]:
    """The colours of the methods; other labels, and a second label of a method, get unused colours."""
    colors: dict[str, str] = {}
    for label in labels:
        words = label.lower().replace("_", " ")
        color = next((color for name, color in _COLORS_OF_METHODS.items() if name in words), None)
        if color is not None and color not in colors.values():
            colors[label] = color
    left = iter(color for color in _COLORS if color not in colors.values())
    return {label: colors.get(label) or next(left) for label in labels}


def _draw(axis: Axes, panel: Panel, colors: dict[str, Any]) -> None:
    for curve in panel.curves:
        seen = np.isfinite(curve.estimate)
        color = colors[curve.label]
        # A single point has no line and no band; few points are shown as markers.
        marker = "o" if seen.sum() <= _FEW_POINTS else ""
        axis.plot(curve.x[seen], curve.estimate[seen], color=color, linewidth=1.3, marker=marker, markersize=3.5)
        if curve.each is not None and len(curve.each) > 1 and not np.isfinite(curve.low).any():
            thin = curve.each.T
            axis.plot(curve.x, thin, color=color, linewidth=0.6, alpha=0.5, marker=".", markersize=2, zorder=1.5)
        if seen.sum() == 1:
            axis.vlines(curve.x[seen], curve.low[seen], curve.high[seen], color=color, linewidth=1.0)
        axis.fill_between(
            curve.x[seen], curve.low[seen], curve.high[seen], color=color, alpha=0.18, linewidth=0, zorder=1.5
        )
    for reference in panel.references:
        color = colors.get(reference.of, "0.4")
        if reference.x is None:
            axis.axhline(float(np.asarray(reference.y)), color=color, linewidth=1.0, linestyle=(0, (4, 2)))
        else:
            axis.plot(reference.x, reference.y, **_marker(color))
    _mark(axis, panel.marks)
    axis.set(title=panel.title, xlabel=panel.x_label, ylabel=panel.y_label, xscale=panel.x_scale, yscale=panel.y_scale)
    if panel.x_scale == "linear":
        axis.xaxis.set_major_locator(MaxNLocator(5, steps=_TICKS))
    axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    if panel.y_scale == "linear":
        axis.yaxis.set_major_locator(MaxNLocator(5, steps=_TICKS))
        axis.yaxis.set_major_formatter(ScalarFormatter(useOffset=False))
    axis.tick_params(length=2.5, width=0.6)
    axis.margins(x=0.02)
    axis.set_xlim(panel.x_limits)
    axis.set_ylim(panel.y_limits)


def _mark(axis: Axes, marks: Mapping[int, str]) -> None:
    """Thin lines with names, such as those of the tasks that begin there."""
    if len(marks) > _MOST_MARKS:
        return
    turned = 90 if sum(map(len, marks.values())) > _MOST_LETTERS else 0
    # At the bottom, where rising curves leave room.
    at_foot = axis.get_xaxis_transform()
    for step, name in marks.items():
        axis.axvline(step, color="0.6", linewidth=0.6, zorder=1)
        axis.annotate(name, (step, 0), (2, 2), at_foot, "offset points", color="0.4", fontsize=6, rotation=turned)


def _marker(color: Any) -> dict[str, Any]:
    return {
        "color": color,
        "linestyle": "none",
        "marker": "D",
        "markersize": 3.5,
        "markeredgewidth": 0.9,
        "markerfacecolor": "white",
        "zorder": 3,
    }


def _add_legend(figure: Figure, panels: Sequence[Panel], colors: dict[str, Any], note: str) -> None:
    """One legend below all panels, with the paper's numbers once, in grey."""
    handles: dict[str, Any] = {}
    lost: dict[str, str] = {}
    for curve in (curve for panel in panels for curve in panel.curves):
        band = Patch(facecolor=colors[curve.label], alpha=0.18, linewidth=0)
        handles[curve.label] = (band, Line2D([], [], color=colors[curve.label], linewidth=1.3))
        if curve.diverged:
            lost[curve.label] = f" ({curve.diverged} of {curve.total} diverged)"
    for reference in (reference for panel in panels for reference in panel.references):
        dashed = Line2D([], [], color="0.4", linewidth=1.0, linestyle=(0, (4, 2)))
        handles.setdefault(reference.label, dashed if reference.x is None else Line2D([], [], **_marker("0.4")))
    if len(handles) < 2 and not note and not lost:
        return
    labels = [label + lost.get(label, "") for label in handles]
    columns, lines = _layout(labels, figure.get_figwidth())
    # The figure grows by the legend, so that the panels keep their size.
    figure.set_figheight(figure.get_figheight() + _LINE * (lines + len(note.splitlines())) + 0.1)
    legend = figure.legend(
        list(handles.values()),
        labels,
        title=note or None,
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        handlelength=1.8,
        columnspacing=1.4,
    )
    legend.get_title().set(color="0.35", multialignment="center")


def _layout(labels: Sequence[str], width: float) -> tuple[int, int]:
    """The most columns, and then lines, in which the labels fit a width in inches."""
    widths = [0.5 + 0.053 * len(label) for label in labels]
    for columns in range(len(labels), 1, -1):
        if sum(max(column) for column in np.array_split(widths, columns)) <= width:
            return columns, math.ceil(len(labels) / columns)
    return 1, len(labels)


def save(figure: Figure, path: Path) -> None:
    """Saves a figure as PNG and as PDF; an ending of the path is replaced, and its folder is made if it is missing."""
    stem = path.with_suffix("") if path.suffix in (".png", ".pdf") else path
    stem.parent.mkdir(parents=True, exist_ok=True)
    # Without the date, the same numbers give the same file.
    figure.savefig(stem.with_name(stem.name + ".png"), dpi=250)
    figure.savefig(stem.with_name(stem.name + ".pdf"), metadata={"CreationDate": None})
