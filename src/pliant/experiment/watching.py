"""What people see of a trained agent's episodes."""

import itertools
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import numpy as np

from pliant.core.problem import HostArena

from .build import problem_of
from .errors import ConfigError
from .playing import Step, on_device, on_host, open_host, policies_of
from .trained import Trained

Form: TypeAlias = Literal["picture", "text"]


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


def watch(
    trained: Trained, form: Form, *, episodes: int = 1, steps: int = 300, greedy: bool = False, entropy: int = 0
) -> Iterator[Frame]:
    """Lets one member act without learning, and shows its first environment before each action.

    What follows the last action of an episode is not to be seen: the next episode has begun by then.

    Args:
        trained: who acts: one member.
        form: as what to show it. A text there is of environments on the device alone.
        episodes: after which it ends, at least 1.
        steps: after which it ends in any case, at least 1.
        greedy: whether the most probable actions are taken.
        entropy: what the environment and random actions come from. On the device its episodes are those of `evaluate`.

    Raises:
        ConfigError: if the problem cannot be shown in this form.
        ValueError: if there is nothing to draw with.
    """
    arena = problem_of(trained.config)
    name = trained.config.problem.name
    if isinstance(arena, HostArena):
        if form == "text":
            raise ConfigError(f"{name} cannot be shown in a terminal; write a film, such as with --gif {name}.gif")
        seen = _outside(trained, arena, greedy, entropy)
    elif arena.views is None:
        raise ConfigError(f"{name} cannot be shown: it draws nothing")
    else:
        show = arena.views.picture if form == "picture" else arena.views.text
        play = on_device(trained, greedy=greedy, entropy=entropy, scene=arena.views.scene)
        seen = ((show(_of_first_member(step.scene)), step) for step in play(policies_of(trained)))
    return _frames(seen, episodes, steps)


def _outside(trained: Trained, arena: HostArena, greedy: bool, entropy: int) -> Generator[tuple[np.ndarray, Step]]:
    """Pictures of a host, each with the step that was taken then."""
    with closing(open_host(trained, lambda entropy: arena.film(entropy[0]), entropy)) as host:
        observation = host.reset()
        picture = host.draw()
        for step in on_host(trained, greedy=greedy, entropy=entropy)(policies_of(trained), host, observation):
            yield picture, step
            picture = host.draw()


def _of_first_member(tree: Any) -> Any:
    return jax.tree.map(lambda x: x[0], tree)


def _frames(seen: Generator[tuple[Any, Step]], episodes: int, steps: int) -> Iterator[Frame]:
    """Frames until so many episodes of the first environment have ended, or so many steps were taken."""
    episode = 1
    with closing(seen):
        for shown, step in itertools.islice(seen, steps):
            ended = bool(step.ended[0, 0])
            yield Frame(shown, episode, {name: float(x[0, 0]) for name, x in step.episode.items()} if ended else None)
            episode += ended
            if episode > episodes:
                return
