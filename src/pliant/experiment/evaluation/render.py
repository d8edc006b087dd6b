"""Shows the episodes of a trained agent."""

import itertools
from collections.abc import Iterator
from contextlib import closing
from typing import Any, NamedTuple

from pliant.experiment.loops.plan import Form, Mode, Play

from .restore import Trained


class Frame(NamedTuple):
    """The environment before an action.

    Attributes:
        shown: a picture `(height, width, 3)` uint8, or a text with rich's markup.
        episode: its number, from 1.
        step: actions of the episode before this one.
        total: rewards of the episode before this action.
        facts: of the episode, if the action is its last; else `None`.
    """

    shown: Any
    episode: int
    step: int
    total: float
    facts: dict[str, float] | None


def render(
    trained: Trained, form: Form, *, episodes: int = 1, steps: int = 300, mode: Mode = "sampled", seed: int = 0
) -> Iterator[Frame]:
    """Lets one member act without learning, and shows its first environment before each action.

    The state after the last action of an episode is not shown: the next episode has begun.

    Args:
        trained: one member.
        form: picture or text. Only environments on the device can be shown as a text.
        episodes: the most episodes to show, at least 1.
        steps: the most steps to show, at least 1.
        mode: `"greedy"` takes the most probable actions, `"sampled"` random ones as in training.
        seed: of the environment and random actions. On the device the episodes are those of `evaluate`.

    Raises:
        ConfigError: if the problem cannot be shown in this form.
        ValueError: if the machine cannot draw.
    """
    play = trained.plan.loop.play(trained.plan, mode=mode, seed=seed, host=trained.host, form=form)
    return _frames(play, trained.acting_params(), episodes, steps)


def _frames(play: Play, acting_params: Any, episodes: int, steps: int) -> Iterator[Frame]:
    """Frames of the first environment, until `episodes` have ended or `steps` were taken."""
    episode, number, total = 1, 0, 0.0
    with closing(play), closing(play(acting_params)) as played:
        for step in itertools.islice(played, steps):
            ended = bool(step.ended[0, 0])
            facts = {name: float(x[0, 0]) for name, x in step.episode.items()} if ended else None
            yield Frame(step.shown, episode, number, total, facts)
            number, total = (0, 0.0) if ended else (number + 1, float(step.episode["return"][0, 0]))
            episode += ended
            if episode > episodes:
                return
