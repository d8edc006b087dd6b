"""A usual program for comparison: PPO in PyTorch, one gymnasium environment, one core. Prints its steps/s.

    python benchmarks/_torch_ppo.py Ant-v4 84 15      # environment, zeros to append to observations, seconds

Needs `pip install torch` beside pliant's extra `envs`; it is not a part of pliant. Sizes and updates are those of
`pliant run ant/std`: 2048 steps, ten epochs of 16 minibatches, two networks of two layers of 256 units.
"""

import sys
import time
import warnings

import gymnasium
import numpy as np
import torch
from torch import nn
from torch.distributions import Normal

STEPS, EPOCHS, MINIBATCH = 2048, 10, 128


def network(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, outputs))


class PPO:
    def __init__(self, name: str, zeros: int):
        self.environment = gymnasium.make(name)
        self.zeros = np.zeros(zeros)
        size = self.environment.observation_space.shape[0] + zeros
        actions = self.environment.action_space.shape[0]
        self.policy, self.value = network(size, actions), network(size, 1)
        self.log_std = nn.Parameter(torch.zeros(actions))
        parameters = [*self.policy.parameters(), self.log_std, *self.value.parameters()]
        self.optimizer = torch.optim.Adam(parameters, lr=1e-4)
        self.observation = self.seen(self.environment.reset(seed=0)[0])

    def seen(self, observation: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(np.concatenate([observation, self.zeros]), dtype=torch.float32)

    def pi(self, observation: torch.Tensor) -> Normal:
        return Normal(self.policy(observation), self.log_std.exp())

    def round(self) -> None:
        observations, actions, log_probs, rewards, ends = [], [], [], [], []
        for _ in range(STEPS):
            with torch.no_grad():
                pi = self.pi(self.observation)
                action = pi.sample()
                log_probs.append(pi.log_prob(action).sum())
            observation, reward, terminated, truncated, _ = self.environment.step(action.numpy())
            observations.append(self.observation)
            actions.append(action)
            rewards.append(reward)
            ends.append(terminated or truncated)
            if ends[-1]:
                observation, _ = self.environment.reset()
            self.observation = self.seen(observation)
        self.learn(torch.stack(observations), torch.stack(actions), torch.stack(log_probs), rewards, ends)

    def learn(self, observations, actions, log_probs, rewards, ends) -> None:
        with torch.no_grad():
            values = self.value(torch.cat([observations, self.observation[None]]))[:, 0].numpy()
        advantages = np.zeros(STEPS + 1, np.float32)
        for t in reversed(range(STEPS)):
            goes_on = 1 - ends[t]
            delta = rewards[t] + goes_on * 0.99 * values[t + 1] - values[t]
            advantages[t] = delta + goes_on * 0.99 * 0.95 * advantages[t + 1]
        A = torch.as_tensor(advantages[:-1])
        returns = A + torch.as_tensor(values[:-1])
        A = (A - A.mean()) / A.std()
        for _ in range(EPOCHS):
            for chosen in torch.randperm(STEPS).split(MINIBATCH):
                o = observations[chosen]
                rho = (self.pi(o).log_prob(actions[chosen]).sum(-1) - log_probs[chosen]).exp()
                policy_loss = torch.max(-rho * A[chosen], -rho.clamp(0.8, 1.2) * A[chosen]).mean()
                loss = policy_loss + ((returns[chosen] - self.value(o)[:, 0]) ** 2).mean()
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()


def main() -> None:
    name, zeros, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    program = PPO(name, zeros)
    program.round()  # warms up
    rounds, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        program.round()
        rounds += 1
    print(rounds * STEPS / (time.perf_counter() - started))


if __name__ == "__main__":
    main()
