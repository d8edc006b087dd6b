"""A trained agent for other programs: NumPy arrays in, NumPy arrays out."""

from typing import Any, get_args

import jax
import numpy as np

from pliant.core.seeding import evaluation_keys
from pliant.experiment.loops.plan import Mode

from .restore import Trained


class TrainedAgent:
    """One member of a run, which acts and does not learn.

    A recurrent agent keeps its carry between calls of `act`; `reset` starts episodes.

    Args:
        trained: one member.

    Attributes:
        problem: the environment of training; its `spec` has the shapes of observations and actions.
        seed: of the member. Sampled actions come from it, too.
        step: of the checkpoint.
    """

    def __init__(self, trained: Trained):
        swept = {name: values[0].item() for name, values in trained.members.swept.items()}
        components = trained.plan.make(swept)
        self.problem = components.problem
        self.seed = int(trained.members.seeds[0])
        self.step = trained.step
        self._agent = components.agent
        self._params = trained.acting_params()  # with an axis of one member
        self._jit = jax.jit(self._act, static_argnames="greedy")
        self._calls = 0
        self.reset()

    def act(self, observation: Any, *, mode: Mode = "greedy") -> np.ndarray:
        """The action for an observation, or the actions for a batch.

        Args:
            observation: of the problem's shape, or `(batch, *shape)` for several environments.
            mode: `"greedy"`: the most probable action; `"sampled"`: a random one as in training.

        Returns:
            The action, `(batch, ...)` for a batch.

        Raises:
            ValueError: if the observation has another shape, if the episodes of a batch of another size are in flight,
                or if the mode is unknown.
        """
        if mode not in get_args(Mode):
            raise ValueError(f"mode={mode!r}: write {' or '.join(map(repr, get_args(Mode)))}")
        spec = self.problem.spec.observation
        seen = np.asarray(observation, spec.dtype)
        is_single = seen.shape == spec.shape
        if not is_single and (seen.shape[1:] != spec.shape or not seen.size):
            raise ValueError(
                f"observation of shape {seen.shape}: the problem has {spec.shape}; write this shape, or a batch of it"
            )
        batch = seen[None] if is_single else seen
        self._expect(len(batch))
        self._carry, action = self._jit(
            self._params,
            self._carry,
            batch,
            self._is_first,
            np.uint32(self.seed),
            np.int32(self._calls),
            greedy=mode == "greedy",
        )
        self._is_first = np.zeros(len(batch), bool)
        self._calls += 1
        return np.asarray(action)[0] if is_single else np.asarray(action)

    def reset(self, ended: Any = True) -> None:
        """Starts episodes: the next observation is the first of its episode.

        Args:
            ended: bool, or `(batch,)` bool: true where the last episode ended. `True` stands for all environments; the
                next batch may then have another size.

        Raises:
            ValueError: if `ended` has another size than the batch.
        """
        if ended is True:
            self._carry, self._is_first = None, None
        elif self._is_first is not None:
            flags = np.atleast_1d(np.asarray(ended, bool))
            if flags.shape != self._is_first.shape:
                raise ValueError(f"ended of shape {flags.shape}: the last batch has size {len(self._is_first)}")
            self._is_first = self._is_first | flags

    def _expect(self, batch: int) -> None:
        """Starts the episodes of a batch, unless they are in flight."""
        if self._is_first is not None and len(self._is_first) != batch:
            if jax.tree.leaves(self._carry):
                raise ValueError(
                    f"{batch} observations: episodes of {len(self._is_first)} are in flight; call reset() first"
                )
            self.reset()
        if self._is_first is None:
            self._carry, self._is_first = self._agent.initial_carry(batch), np.ones(batch, bool)

    def _act(
        self, params: Any, carry: Any, observation: Any, is_first: Any, seed: Any, calls: Any, *, greedy: bool
    ) -> tuple[Any, Any]:
        """The compiled function: the carry and the actions of a batch."""
        key = jax.random.fold_in(evaluation_keys(seed, 0)[1], calls)
        acting_params = jax.tree.map(lambda x: x[0], params)
        carry, action, _ = self._agent.act(acting_params, carry, observation, is_first, key, greedy=greedy)
        return carry, action
