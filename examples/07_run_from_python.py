"""The suite from Python: run an experiment, read its rows, let a trained agent act.

Usage:
    python examples/07_run_from_python.py [--steps 8192] [--seeds 2]
"""

import dataclasses
import tempfile

import numpy as np
import tyro

import pliant


@dataclasses.dataclass
class Args:
    steps: int = 8192
    """Frames of each seed."""
    seeds: int = 2
    """How many seeds learn, in one compiled program."""


def main(args: Args) -> None:
    run = pliant.run(
        problem={"name": "minigrid_doorkey", "tasks": f"5x5:{args.steps}", "num_envs": 4},
        agent={"name": "ppo", "horizon": 32, "minibatches": 2},
        methods=[{"name": "continual_backprop", "replacement_rate": 1e-4}],
        seeds=args.seeds,
        folder=tempfile.mkdtemp(),
    )
    print(run.path.name)
    rewards = run.metrics.query("metric == 'reward'")
    print(rewards.groupby("seed")["value"].mean())

    # The same run again is finished: nothing is computed, and its directory can be opened at any time.
    agent = pliant.load(run.path).agent(seed=0)
    observation = np.zeros(agent.spec.observation.shape, agent.spec.observation.dtype)
    print("action", agent.act(observation))
    agent.reset()  # where the next episode begins


if __name__ == "__main__":
    main(tyro.cli(Args))
