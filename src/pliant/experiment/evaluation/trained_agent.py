"""A trained agent for other programs: NumPy arrays in, NumPy arrays out."""

import os
from pathlib import Path
from typing import Any, get_args

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from pliant.core.seeding import evaluation_keys
from pliant.experiment.loops.plan import Mode

from .restore import Trained

_PLATFORMS = ("cpu", "cuda", "tpu")  # of an exported agent


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

    def export(self, file: str | os.PathLike[str]) -> None:
        """Writes the agent with its parameters as a file that JAX reads without pliant; actions are the most probable.

            policy = jax.export.deserialize(pathlib.Path("agent.jax").read_bytes())
            action = policy.call(observations)                            # (batch, *observation) -> (batch, ...)
            carry, action = policy.call(carry, observations, is_first)    # of a recurrent agent

        The batch may have any size. Observations have the type of the problem's `spec`. The carry of a recurrent agent
        is a list of arrays, `(batch, ...)` each, whose values do not count where `is_first`, `(batch,)` bool, is true.

        Args:
            file: to write. It holds a program for CPU, CUDA and TPU, which JAX reads for at least six months after the
                version that wrote it.

        Raises:
            OSError: if the file cannot be written.
        """
        spec, params = self.problem.spec.observation, jax.tree.map(lambda x: x[0], self._params)
        (batch,) = jax.export.symbolic_shape("batch")
        leaves, structure = jax.tree.flatten(jax.eval_shape(lambda: self._agent.initial_carry(1)))
        carry = [jax.ShapeDtypeStruct((batch, *leaf.shape[1:]), leaf.dtype) for leaf in leaves]
        observation = jax.ShapeDtypeStruct((batch, *spec.shape), spec.dtype)
        is_first = jax.ShapeDtypeStruct((batch,), bool)

        def act(carry: list[Any], observation: Any, is_first: Any) -> tuple[list[Any], Any]:
            tree, key = structure.unflatten(carry), jax.random.key(0)  # greedy actions draw nothing
            after, action, _ = self._agent.act(params, tree, observation, is_first, key, greedy=True)
            return jax.tree.leaves(after), action

        def act_without_carry(observation: Any) -> Any:
            return act([], observation, jnp.zeros(observation.shape[0], bool))[1]

        write = jax.export.export(jax.jit(act if carry else act_without_carry), platforms=_PLATFORMS)
        program = write(carry, observation, is_first) if carry else write(observation)
        Path(file).write_bytes(program.serialize())

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
