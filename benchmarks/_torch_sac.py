"""A usual program for comparison: soft actor-critic in PyTorch, on one core. Prints its updates/s, or its steps/s.

    python benchmarks/_torch_sac.py 15 --core 0              # seconds: updates alone, of a replay of random numbers
    python benchmarks/_torch_sac.py 15 --core 0 --trains     # with gymnasium's HalfCheetah, an update at each step

Needs `pip install torch`, and for `--trains` pliant's extra `envs`; it is not a part of pliant. Sizes and updates are
those of `benchmarks/sac.py`: 256 steps a batch, an actor and two critics of three layers of 256 units; with
`--published` leaky rectifiers, actor and targets every second update, and the actor learns from the next states, too.
"""

import argparse
import copy
import itertools
import math
import time

import numpy as np
import torch
from _torch_off_policy import Replay, arguments, train
from torch import Tensor, nn

HIDDEN, LAYERS = 256, 3
DISCOUNT, TAU, LEARNING_RATE = 0.99, 0.005, 3e-4
OBSERVATION, ACTION, STORED = 18, 6, 100_000  # of updates alone


def perceptron(inputs: int, outputs: int, activation: type[nn.Module]) -> nn.Sequential:
    sizes = (inputs, *[HIDDEN] * LAYERS, outputs)
    layers = [[nn.Linear(i, o), activation()] for i, o in itertools.pairwise(sizes)]
    return nn.Sequential(*itertools.chain(*layers)).append(nn.Identity())[:-2]


class SAC:
    def __init__(self, observations: int, actions: int, published: bool):
        activation = (lambda: nn.LeakyReLU(0.2)) if published else nn.ReLU
        self.actor = perceptron(observations, 2 * actions, activation)
        self.critics = nn.ModuleList(perceptron(observations + actions, 1, activation) for _ in range(2))
        self.targets = copy.deepcopy(self.critics).requires_grad_(False)
        self.log_alpha = torch.zeros((), requires_grad=True)
        self.target_entropy = -actions
        self.actor_optimizer = torch.optim.Adam(self.actor.parameters(), lr=LEARNING_RATE)
        self.critics_optimizer = torch.optim.Adam(self.critics.parameters(), lr=LEARNING_RATE)
        self.temperature_optimizer = torch.optim.Adam([self.log_alpha], lr=LEARNING_RATE)
        self.published, self.delay, self.updates = published, 2 if published else 1, 0

    def sample(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = self.actor(observation).chunk(2, dim=-1)
        log_std = log_std.clamp(-20, 2)
        noise = torch.randn_like(mean)
        u = mean + log_std.exp() * noise
        log_normal = -0.5 * noise**2 - log_std - 0.5 * math.log(2 * math.pi)
        log_slope = 2 * (math.log(2) - u - nn.functional.softplus(-2 * u))
        return torch.tanh(u), (log_normal - log_slope).sum(-1, keepdim=True)

    @torch.no_grad()
    def act(self, observation: np.ndarray) -> np.ndarray:
        return self.sample(torch.as_tensor(observation, dtype=torch.float32)[None])[0][0].numpy()

    def update(self, replay: Replay) -> None:
        observation, action, reward, goes_on, next_observation = replay.sample()
        alpha = self.log_alpha.exp().detach()
        with torch.no_grad():
            next_action, log_p = self.sample(next_observation)
            inputs = torch.cat([next_observation, next_action], 1)
            value = torch.min(*(critic(inputs) for critic in self.targets)) - alpha * log_p
            y = reward + DISCOUNT * goes_on * value
        inputs = torch.cat([observation, action], 1)
        self.descend(sum(nn.functional.mse_loss(critic(inputs), y) for critic in self.critics), self.critics_optimizer)
        if self.updates % self.delay == 0:
            states = torch.cat([observation, next_observation]) if self.published else observation
            action, log_p = self.sample(states)
            inputs = torch.cat([states, action], 1)
            self.critics.requires_grad_(False)
            value = torch.min(*(critic(inputs) for critic in self.critics))
            self.descend((alpha * log_p - value).mean(), self.actor_optimizer)
            self.critics.requires_grad_(True)
            loss = -(self.log_alpha.exp() * (log_p.detach() + self.target_entropy)).mean()
            self.descend(loss, self.temperature_optimizer)
            with torch.no_grad():
                targets, online = list(self.targets.parameters()), list(self.critics.parameters())
                torch._foreach_lerp_(targets, online, TAU)
        self.updates += 1

    def descend(self, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def update(seconds: float, published: bool) -> float:
    """Updates per second."""
    program, replay = SAC(OBSERVATION, ACTION, published), Replay(OBSERVATION, ACTION)
    for column in replay.columns:
        column[:STORED] = np.random.normal(size=(STORED, column.shape[1]))
    replay.steps = STORED
    while program.updates < 100:  # warms up
        program.update(replay)
    started = time.perf_counter()
    while (taken := time.perf_counter() - started) < seconds:
        program.update(replay)
    return (program.updates - 100) / taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trains", action="store_true")
    given = arguments(parser)
    if given.trains:
        print(train(SAC, given.seconds, given.published))
    else:
        print(update(given.seconds, given.published))


if __name__ == "__main__":
    main()
