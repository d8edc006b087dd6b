"""Memorization: what clipping does to the features of a network that learns random labels."""

from pliant.report.recipe import Line, Measure, PanelSpec, Recipe, Scale


def make(full: bool = False, seeds: str | None = None, scale: float | None = None) -> Recipe:
    """Feature norms with and without weight clipping."""
    batches = round(1000 * (scale or 1.0))
    config = {
        "problem": {"name": "random_labels", "batches": batches},
        "agent": "sign_descent",
        "diagnostics": ["feature_norm"],
        "seeds": seeds or ("10" if full else "2"),
        "record_every": 10,
    }
    lines = (Line("plain", config), Line("clipped", {**config, "methods": [{"name": "weight_clipping", "bound": 0.1}]}))
    panel = PanelSpec("Features", Measure("feature_norm", "norm of the features", 10, ("Dense_0",)), lines)
    return Recipe(
        title="Memorization",
        shows="The norm of the features.",
        x_label="batches",
        panels={"memorization": (panel,)},
        scale=Scale(batches, 1000, int(config["seeds"]), 10),
        notes=("There are no published numbers.",),
    )
