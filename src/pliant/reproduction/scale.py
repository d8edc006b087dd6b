"""The scale of a recipe in words: its runs and the published runs."""

from pliant.report.recipe import Recipe


def steps_text(recipe: Recipe) -> str:
    """`300,000 steps; published 100,000,000`."""
    return f"{recipe.scale.steps:,} {recipe.x_label}; published {recipe.scale.published_steps:,}"


def seeds_text(recipe: Recipe) -> str:
    """`4; published 30`, or `4; published: not stated`."""
    return f"{recipe.scale.seeds}; {_published_seeds(recipe)}"


def scale_note(recipe: Recipe) -> list[str]:
    """A note on a smaller scale; none at the published scale."""
    scale = recipe.scale
    if scale.steps < scale.published_steps:
        return [
            f"Scaled down: {scale.steps:,} of the published {scale.published_steps:,} {recipe.x_label}; "
            f"{_counted(scale.seeds)}, {_published_seeds(recipe)}. This is a check, not a reproduction."
        ]
    if scale.published_seeds is not None and scale.seeds < scale.published_seeds:
        return [f"{_counted(scale.seeds)}, published {scale.published_seeds}."]
    return []


def _counted(seeds: int) -> str:
    return "1 seed" if seeds == 1 else f"{seeds} seeds"


def _published_seeds(recipe: Recipe) -> str:
    number = recipe.scale.published_seeds
    return "published: not stated" if number is None else f"published {number}"
