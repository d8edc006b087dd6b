"""What people see of a trained agent's episodes."""

import itertools
from collections.abc import Iterator
from contextlib import closing
from typing import Any, NamedTuple

from pliant.experiment.loops.plan import Form, Mode, Play

from .restore import Trained


class Frame(NamedTuple):
    """What was there before an action.

    Attributes:
        shown: a picture `(height, width, 3)` uint8, or a text with rich's markup.
        episode: which one, from 1.
        facts: what the episode came to, if this was its last action; else `None`.
    """

    shown: Any
    episode: int
    facts: dict[str, float] | None


def render(
    trained: Trained, form: Form, *, episodes: int = 1, steps: int = 300, mode: Mode = "sampled", seed: int = 0
) -> Iterator[Frame]:
    """Lets one member act without learning, and shows its first environment before each action.

    What follows the last action of an episode is not to be seen: the next episode has begun by then.

    Args:
        trained: who acts: one member.
        form: as what to show it. Only environments on the device can be shown as a text.
        episodes: after which it ends, at least 1.
        steps: after which it ends in any case, at least 1.
        mode: whether the most probable actions are taken, or random ones as in training.
        seed: what the environment and random actions come from. On the device its episodes are those of `evaluate`.

    Raises:
        ConfigError: if the problem cannot be shown in this form.
        ValueError: if there is nothing to draw with.
    """
    play = trained.plan.loop.play(trained.plan, mode=mode, seed=seed, host=trained.host, form=form)
    return _frames(play, trained.acting_params(), episodes, steps)


def _frames(play: Play, acting_params: Any, episodes: int, steps: int) -> Iterator[Frame]:
    """Frames until so many episodes of the first environment have ended, or so many steps were taken."""
    episode = 1
    with closing(play), closing(play(acting_params)) as played:
        for step in itertools.islice(played, steps):
            ended = bool(step.ended[0, 0])
            facts = {name: float(x[0, 0]) for name, x in step.episode.items()} if ended else None
            yield Frame(step.shown, episode, facts)
            episode += ended
            if episode > episodes:
                return
