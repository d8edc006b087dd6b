"""A usual program for comparison: TD3 in PyTorch, one gymnasium HalfCheetah, one core. Prints its steps/s.

    python benchmarks/_torch_td3.py 15 --core 0 --published  # seconds

Needs `pip install torch` beside pliant's extra `envs`; it is not a part of pliant. Sizes and updates are those of
`pliant run mujoco/td3`: an update at each step, 256 steps a batch, two critics of three layers of 256 units.

With `--published` it also has the additional work of the published program of Neuroplastic Expansion at each step: it
draws another batch to count active units, masks gradients, weights and targets, and counts the weights that are zero.
The work of that program every hundred updates, and its logs, are left out.
"""

import argparse
import copy
import itertools

import numpy as np
import torch
from _torch_off_policy import Replay, arguments, train
from torch import Tensor, nn

HIDDEN = 256
DISCOUNT, TARGET_RATE, EXPLORATION_NOISE, TARGET_NOISE, TARGET_NOISE_CLIP = 0.99, 0.005, 0.1, 0.2, 0.5
SPARSITY = 0.8


class Actor(nn.Module):
    def __init__(self, observations: int, actions: int):
        super().__init__()
        sizes = (observations, HIDDEN, HIDDEN, actions)
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in itertools.pairwise(sizes))
        self.sparse = [self.layers[1].weight]

    def forward(self, x: Tensor) -> Tensor:
        self.hidden = []
        for layer in self.layers[:-1]:
            x = torch.relu(layer(x))
            self.hidden.append(x)
        return torch.tanh(self.layers[-1](x))


class Critic(nn.Module):
    def __init__(self, observations: int, actions: int):
        super().__init__()
        sizes = (observations + actions, HIDDEN, HIDDEN, HIDDEN, 1)
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in itertools.pairwise(sizes))
        self.norm = nn.LayerNorm(HIDDEN)
        self.sparse = [layer.weight for layer in self.layers[:-1]]

    def forward(self, observation: Tensor, action: Tensor) -> Tensor:
        first, second, third, last = self.layers
        x = torch.relu(first(torch.cat([observation, action], 1)))
        y = torch.relu(second(x))
        z = torch.relu(self.norm(third(y)))
        self.hidden = [x, y, z]
        return last(z)


class TD3:
    def __init__(self, observations: int, actions: int, published: bool):
        self.actor = Actor(observations, actions)
        self.critics = nn.ModuleList(Critic(observations, actions) for _ in range(2))
        self.target_actor, self.target_critics = copy.deepcopy(self.actor), copy.deepcopy(self.critics)
        self.actor_optimizer = torch.optim.Adam(self.actor.parameters(), lr=3e-4)
        self.critics_optimizer = torch.optim.Adam(self.critics.parameters(), lr=3e-4)
        self.published, self.updates = published, 0
        self.masks = {}
        if published:
            for network in (self.actor, *self.critics):
                for weight in network.sparse:
                    self.masks[weight] = mask = (torch.rand_like(weight) > SPARSITY).float()
                    weight.data *= mask
                    weight.register_hook(lambda gradient, mask=mask: gradient * mask)

    def act(self, observation: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            action = self.actor(torch.as_tensor(observation, dtype=torch.float32)[None])[0].numpy()
        return (action + np.random.normal(0, EXPLORATION_NOISE, action.shape)).clip(-1, 1)

    def update(self, replay: Replay) -> None:
        self.updates += 1
        if self.published:
            self.count_active(*replay.sample()[:2])
        observation, action, reward, goes_on, next_observation = replay.sample()
        with torch.no_grad():
            noise = (torch.randn_like(action) * TARGET_NOISE).clamp(-TARGET_NOISE_CLIP, TARGET_NOISE_CLIP)
            next_action = (self.target_actor(next_observation) + noise).clamp(-1, 1)
            value = torch.min(*(critic(next_observation, next_action) for critic in self.target_critics))
            y = reward + DISCOUNT * goes_on * value
        loss = sum(nn.functional.mse_loss(critic(observation, action), y) for critic in self.critics)
        self.descend(loss, self.critics_optimizer, list(self.critics))
        if self.updates % 2 == 0:
            loss = -self.critics[0](observation, self.actor(observation)).mean()
            self.descend(loss, self.actor_optimizer, [self.actor])
            self.follow(self.actor, self.target_actor)
            self.follow(self.critics, self.target_critics)

    def descend(self, loss: Tensor, optimizer: torch.optim.Optimizer, networks: list[nn.Module]) -> None:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if self.published:
            for weight in (weight for network in networks for weight in network.sparse):
                weight.data *= self.masks[weight]
            weights = [w for network in networks for name, w in network.named_parameters() if name.endswith("weight")]
            self.sparsity = sum((w == 0).sum().item() for w in weights) / sum(w.numel() for w in weights)

    @torch.no_grad()
    def follow(self, online: nn.Module, target: nn.Module) -> None:
        for w, slow in zip(online.parameters(), target.parameters(), strict=True):
            slow.copy_(TARGET_RATE * w + (1 - TARGET_RATE) * slow)
            if w in self.masks:
                slow *= self.masks[w]

    @torch.no_grad()
    def count_active(self, observation: Tensor, action: Tensor) -> None:
        self.actor(observation)
        for critic in self.critics:
            critic(observation, action)
        hidden = [x for network in (self.actor, *self.critics) for x in network.hidden]
        self.active = sum((x > 0).sum().item() for x in hidden) / sum(x.numel() for x in hidden)


def main() -> None:
    given = arguments(argparse.ArgumentParser(description=__doc__.split("\n")[0]))
    print(train(TD3, given.seconds, given.published))


if __name__ == "__main__":
    main()
