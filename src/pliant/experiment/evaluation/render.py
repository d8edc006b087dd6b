"""What people see of a trained agent's episodes."""

import itertools
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import numpy as np

from pliant.core.problem import HostEnvironment
from pliant.experiment.configuration.build import problem_of
from pliant.experiment.errors import ConfigError

from .restore import Trained
from .rollout import Step, on_device, on_host, open_host, policies_of

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


def render(
    trained: Trained, form: Form, *, episodes: int = 1, steps: int = 300, greedy: bool = False, seed: int = 0
) -> Iterator[Frame]:
    """Lets one member act without learning, and shows its first environment before each action.

    What follows the last action of an episode is not to be seen: the next episode has begun by then.

    Args:
        trained: who acts: one member.
        form: as what to show it. A text there is of environments on the device alone.
        episodes: after which it ends, at least 1.
        steps: after which it ends in any case, at least 1.
        greedy: whether the most probable actions are taken.
        seed: what the environment and random actions come from. On the device its episodes are those of `evaluate`.

    Raises:
        ConfigError: if the problem cannot be shown in this form.
        ValueError: if there is nothing to draw with.
    """
    environment = problem_of(trained.config)
    name = trained.config.problem.name
    if isinstance(environment, HostEnvironment):
        if form == "text":
            raise ConfigError(f"{name} cannot be shown in a terminal; write a film, such as with --gif {name}.gif")
        seen = _outside(trained, environment, greedy, seed)
    elif environment.views is None:
        raise ConfigError(f"{name} cannot be shown: it draws nothing")
    else:
        show = environment.views.picture if form == "picture" else environment.views.text
        play = on_device(trained, greedy=greedy, seed=seed, scene=environment.views.scene)
        seen = ((show(_of_first_member(step.scene)), step) for step in play(policies_of(trained)))
    return _frames(seen, episodes, steps)


def _outside(
    trained: Trained, environment: HostEnvironment, greedy: bool, seed: int
) -> Generator[tuple[np.ndarray, Step]]:
    """Pictures of a host, each with the step that was taken then."""
    with closing(open_host(trained, lambda seed: environment.film(seed[0]), seed)) as host:
        observation = host.reset()
        picture = host.draw()
        for step in on_host(trained, greedy=greedy, seed=seed)(policies_of(trained), host, observation):
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
