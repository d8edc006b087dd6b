"""Shared by the recipes of PPO: the published runs at any scale, and the panels that show them."""

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

from pliant.experiment.configuration.seeds import read_seeds
from pliant.report.recipe import Line, Measure, PanelSpec, Recipe, Scale

ROUND = 2048  # steps of a member between two rounds of learning
LAYER = 256  # units

LABELS = {
    "std": "Adam",
    "ns": "proper Adam",
    "l2": "L2",
    "cbp": "continual backprop",
    "cbpi": "continual backprop, instantaneous",
    "redo": "ReDo",
}
FOUR = ("std", "ns", "l2", "cbp")

METHODS_NOTE = (
    "Proper Adam: Adam with decays of 0.99 and 0.99 instead of 0.9 and 0.999. All but Adam use it. L2: weight decay of "
    "0.001. Continual backprop and ReDo: weight decay of 0.0001 beside the method."
)
MEASURES_NOTE = (
    "Return: mean over the episodes that ended in a bin; the agent explores. Dormant units: units of the policy's two "
    "hidden layers that were active on at most 1 % of the last 1,000 steps. Stable rank: of the policy's last hidden "
    "layer on the same steps."
)
NO_NUMBERS = "The authors publish a figure without numbers, so no number of theirs stands beside ours."

_SEEDS = "4"
_FEWEST_BINS = 20
_INTERNAL_BIN = 100_000  # published

Numbers = Mapping[str, Mapping[float, float]]  # preset -> millions of steps -> the paper's mean


@dataclasses.dataclass(frozen=True)
class Study:
    """The published runs of one problem, or shorter ones.

    Args:
        configs: the runs, by preset.
        scale: length and number of the runs.
    """

    configs: Mapping[str, Mapping[str, Any]]
    scale: Scale

    def bin(self, published: int) -> int:
        """Width of the bins of these runs, in steps; `published` is the published width."""
        return bin_width(self.scale.steps, published)

    def panel(
        self,
        title: str,
        measure: Measure,
        presets: tuple[str, ...],
        numbers: Numbers | None = None,
        y_limits: tuple[float, float] | None = None,
    ) -> PanelSpec:
        """A panel with a line for each preset, and the paper's numbers where the runs reach them.

        Args:
            title: above it.
            measure: the quantity of its y axis.
            presets: of the runs.
            numbers: the paper's.
            y_limits: those of the paper; a figure of shorter runs has the limits of its data.
        """
        lines = []
        for preset in presets:
            points = {round(millions * 1e6): y for millions, y in (numbers or {}).get(preset, {}).items()}
            here = {x: y for x, y in points.items() if x <= self.scale.steps and x % measure.bin == 0}
            lines.append(Line(LABELS[preset], self.configs[preset], published=here))
        return PanelSpec(
            title, measure, tuple(lines), y_limits if self.scale.steps == self.scale.published_steps else None
        )

    def recipe(self, name: str, title: str, shows: str, returns: PanelSpec, *notes: str) -> Recipe:
        """The figure of a problem without published numbers: returns, and the policy's units and weights.

        Args:
            name: of the figure.
            title: of the figure.
            shows: what it shows.
            returns: its first panel.
            notes: for readers, on this problem.
        """
        return Recipe(
            title=title,
            shows=shows,
            x_label="steps",
            panels={name: (returns, *self.internals())},
            scale=self.scale,
            notes=(METHODS_NOTE, MEASURES_NOTE, *notes),
            falls_short=(NO_NUMBERS,),
            edge="right",
            step_by_step=True,
        )

    def returns(self, published_bin: int) -> Measure:
        """Returns of episodes."""
        # The authors count an episode where it ended.
        return Measure("return", "return of an episode", self.bin(published_bin), decimals=0, episodes="ended")

    def internals(
        self, dormant: Numbers | None = None, rank: Numbers | None = None, weights: Numbers | None = None
    ) -> tuple[PanelSpec, ...]:
        """The policy's units and weights: three panels, the same for all problems.

        Args:
            dormant, rank, weights: the paper's numbers.
        """
        bin = self.bin(_INTERNAL_BIN)
        layers = ("policy/Dense_0", "policy/Dense_1")
        units = Measure("inactive_fraction", "dormant units (%)", bin, layers, factor=100, decimals=1)
        ranks = Measure("stable_rank", "stable rank (% of 256)", bin, layers[1:], factor=100 / LAYER, decimals=1)
        matrix = Measure("weight_magnitude", "mean |w| of the second matrix", bin, (f"{layers[1]}/kernel",), decimals=4)
        return (
            self.panel("Dormant units", units, FOUR, dormant, (0, 60)),
            self.panel("Stable rank", ranks, FOUR, rank, (25, 100)),
            self.panel("Weight magnitude", matrix, FOUR, weights, (0, 0.15)),
        )


def bin_width(steps: int, published: int) -> int:
    """Width of bins: the published width, or less in a shorter run, so that it has at least twenty bins.

    The width is 1, 2.5 or 5 times a power of ten, so that bins end at the steps of the paper's numbers; it is at least
    a round of learning.

    Args:
        steps: length of a run.
        published: the published width, in steps.
    """
    widest = min(steps // _FEWEST_BINS, published)
    nice = (round(factor * 10**power) for power in range(9, 1, -1) for factor in (5, 2.5, 1))
    return max(ROUND, next((width for width in nice if width <= widest), ROUND))


def study(
    presets: Mapping[str, Mapping[str, Any]],
    steps: int,
    published_seeds: int,
    usual_scale: float,
    full: bool,
    seeds: str | None,
    scale: float | None,
) -> Study:
    """Makes the runs.

    Args:
        presets: the published configurations.
        steps: length of a published run, as far as its figure shows it.
        published_seeds: number of published seeds.
        usual_scale: fraction of the published steps by default.
        full, seeds, scale: arguments of the recipe's `make`.
    """
    seeds = seeds or (str(published_seeds) if full else _SEEDS)
    scale = scale or (1.0 if full else usual_scale)
    shorter = max(ROUND, round(steps * scale))
    # Every bin needs a row of metrics: rows come after whole rounds.
    most = bin_width(shorter, _INTERNAL_BIN) // ROUND * ROUND
    configs = {}
    for name, preset in presets.items():
        config = copy.deepcopy(dict(preset))
        config["seeds"] = seeds
        config["problem"]["steps"] = shorter
        config["record_every"] = min(config["record_every"], most)
        if "change_time" in config["problem"]:
            config["problem"]["change_time"] = round(config["problem"]["change_time"] * scale)
        configs[name] = config
    return Study(configs, Scale(shorter, steps, len(read_seeds(seeds)), published_seeds))
