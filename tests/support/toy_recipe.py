"""A recipe of one figure whose run was written down by hand: two seeds of 12 steps."""

import pandas as pd

from pliant.report import Run, Shard
from pliant.report.recipe import Line, Measure, PanelSpec, Recipe, Scale
from pliant.reproduction import run_of

ENVIRONMENT = {
    "git": "0123456789abcdef",
    "started": "2026-11-27T23:59:00+0000",
    "python": "3.11.7",
    "versions": {"pliant": "0.1.0", "jax": "0.10.2", "mujoco": "3.17.0", "numpy": "2.0"},
    "cpu": "A processor",
    "cores": 2,
}
STATUS = {"step": 12, "steps": 12, "state": "finished", "seconds": 90.0}

# Episodes end at any step; two groups of units have a row every third step, the same for both seeds.
ROWS = [
    *((0, step, "return", "", value) for step, value in {1: 10, 3: 20, 9: 70, 12: 90}.items()),
    *((1, step, "return", "", value) for step, value in {4: 40, 11: 100}.items()),
    *((seed, 3 * i, "fraction", group, 0.1 * i) for seed in (0, 1) for group in ("a", "b") for i in (1, 2, 3, 4)),
]

RETURN = Measure("return", "return", 4, decimals=0)
FRACTION = Measure("fraction", "fraction (%)", 6, ("a", "b"), factor=100, decimals=1)
CONFIG = {"problem": "toy"}


def a_run(rows=ROWS, name="toy-sgd-0a1b2c3d", **environment):
    """A run of these rows: `(seed, step, metric, group, value)`."""
    metrics = pd.DataFrame(rows, columns=["seed", "step", "metric", "group", "value"]).astype({"value": float})
    return Run({}, (Shard("0-1", {**ENVIRONMENT, **environment}, STATUS),), metrics, name)


def panels(published=None):
    """Returns beside the paper's numbers, and fractions without any."""
    returns = Line("ours", CONFIG, published={4: 25, 6: 0, 12: 200} if published is None else published)
    return PanelSpec("Return", RETURN, (returns,), (0, 200)), PanelSpec("Fraction", FRACTION, (Line("ours", CONFIG),))


def recipe_of(*panels, **of_recipe):
    """A recipe of the figure `toy`, and its runs."""
    given = {
        "title": "Toy",
        "shows": "How a toy learns.",
        "x_label": "steps",
        "panels": {"toy": panels},
        "scale": Scale(12, 12, 2, 2),
        "notes": ("A note.",),
        "edge": "right",
    }
    recipe = Recipe(**{**given, **of_recipe})
    return recipe, {run_of(line): a_run() for panel in panels for line in panel.lines}
