"""The suite from Python: run an experiment, read its metrics, and let a trained agent act in your own loop.

Usage:
    python examples/07_run_from_python.py [--steps 65536] [--seeds 2]
"""

import jax
import numpy as np
import tyro

import pliant


def main(steps: int = 65_536, seeds: int = 2, folder: str = "runs"):
    run = pliant.run(
        "minigrid_doorkey",
        problem={"tasks": f"5x5:{steps}", "num_envs": 8},
        agent={"name": "ppo", "horizon": 32},
        diagnostics=["dormant_fraction"],
        methods=[{"name": "continual_backprop", "replacement_rate": 1e-4}],
        seeds=seeds,
        folder=folder,
    )
    print(f"{run.path}: {len(run.metrics)} rows")
    run.summary().to_terminal()

    # Another program needs only the directory: pliant.load("runs/...") gives the same agent.
    agent = pliant.load(run.path).agent(seed=0)
    init, step = jax.jit(agent.problem.init), jax.jit(agent.problem.step)
    state, observation = init(jax.random.key(0))  # of 8 environments side by side
    rewards = np.zeros(8)
    for _ in range(100):
        state, answer = step(state, agent.act(observation, mode="sampled"))
        agent.reset(np.logical_or(answer.terminated, answer.truncated))  # the next episode starts where one ended
        observation, rewards = answer.observation, rewards + np.asarray(answer.reward)
    print(f"seed {agent.seed} after {agent.step} steps: reward {rewards.mean():.2f} in 100 steps")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
