"""The replay and the loop of the programs in PyTorch that learn at each step: TD3 and soft actor-critic."""

import argparse
import os
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

BATCH, CAPACITY, EXPLORATION = 256, 1_000_000, 1_000


class Replay:
    def __init__(self, observations: int, actions: int):
        widths = (observations, actions, 1, 1, observations)  # observation, action, reward, goes on, next observation
        self.columns = [np.zeros((CAPACITY, width), np.float32) for width in widths]
        self.steps = 0

    def add(self, *step) -> None:
        for column, value in zip(self.columns, step, strict=True):
            column[self.steps % CAPACITY] = value
        self.steps += 1

    def sample(self) -> list[Tensor]:
        chosen = np.random.randint(0, min(self.steps, CAPACITY), BATCH)
        return [torch.from_numpy(column[chosen]) for column in self.columns]


def train(make: Callable[..., Any], seconds: float, published: bool) -> float:
    """Steps per second on gymnasium's HalfCheetah, after exploration and some updates.

    Args:
        make: `(observations, actions, published) -> program`, which has `act`, `update` and `updates`.
        seconds: of the measurement.
        published: whether the program has the additional work of the published one.
    """
    import gymnasium

    environment = gymnasium.make("HalfCheetah-v4")
    observation, _ = environment.reset(seed=0)
    program = make(observation.size, environment.action_space.shape[0], published)
    replay = Replay(observation.size, environment.action_space.shape[0])
    taken, steps, started = 0.0, 0, 0.0
    while taken < seconds:
        explores = replay.steps < EXPLORATION
        action = environment.action_space.sample() if explores else program.act(observation)
        next_observation, reward, terminated, truncated, _ = environment.step(action)
        replay.add(observation, action, reward, not terminated, next_observation)
        observation = environment.reset()[0] if terminated or truncated else next_observation
        if explores:
            continue
        program.update(replay)
        if program.updates <= 100:  # warms up
            started = time.perf_counter()
            continue
        steps += 1
        taken = time.perf_counter() - started
    return steps / taken


def arguments(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The arguments of a program, which from now on has one core and one thread."""
    parser.add_argument("seconds", type=float)
    parser.add_argument("--core", type=int, help="the core to run on")
    parser.add_argument("--published", action="store_true")
    given = parser.parse_args()
    if given.core is not None:
        os.sched_setaffinity(0, {given.core})
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    return given
