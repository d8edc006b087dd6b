"""A usual program for comparison: PPO in PyTorch on Farama's DoorKey, 16 environment processes. Prints its frames/s.

    python -P benchmarks/_torch_minigrid.py 8x8 15 --threads 2 --continual-backprop  # size, seconds

Needs `pip install torch` beside pliant's extra `envs`; it is not a part of pliant. (`-P`: the `minigrid.py` of this
folder is not the package of that name.) Network, updates and processes are those of the program whose results
`pliant reproduce minigrid` compares with ours, a small PPO with torch-ac. Parts that take time without an effect are
left out: the memory and the text, which its network does not read, and the logs. The first environment is in the main
process, as in that program. PyTorch uses all cores unless `--threads` is given. Fewer threads can be faster, because
threads wait for each other at each small operation.
"""

import argparse
import multiprocessing
import time
import warnings
from multiprocessing.connection import Connection
from typing import NamedTuple

import gymnasium
import minigrid  # noqa: F401  registers the environments
import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Categorical

PROCESSES, STEPS, EPOCHS, MINIBATCH = 16, 128, 4, 256
FRAMES = PROCESSES * STEPS
DISCOUNT, TRACE_DECAY, CLIP = 0.99, 0.95, 0.2


class Environment:
    def __init__(self, size: str, number: int):
        self.environment = gymnasium.make(f"MiniGrid-DoorKey-{size}-v0")
        self.first = self.environment.reset(seed=1 + 10_000 * number)[0]

    def step(self, action: int):
        observation, reward, terminated, truncated, _ = self.environment.step(action)
        if terminated or truncated:
            observation, _ = self.environment.reset()
        return observation, reward, terminated or truncated


def serve(connection: Connection, size: str, number: int) -> None:
    environment = Environment(size, number)
    connection.send(environment.first)
    while (action := connection.recv()) is not None:
        connection.send(environment.step(action))


class Environments:
    def __init__(self, size: str):
        self.connections, self.processes = [], []
        for number in range(1, PROCESSES):
            ours, theirs = multiprocessing.Pipe()
            self.processes.append(multiprocessing.Process(target=serve, args=(theirs, size, number), daemon=True))
            self.processes[-1].start()
            self.connections.append(ours)
        self.here = Environment(size, 0)
        self.first = [self.here.first, *(connection.recv() for connection in self.connections)]

    def step(self, actions: list[int]):
        for connection, action in zip(self.connections, actions[1:], strict=True):
            connection.send(action)
        return zip(self.here.step(actions[0]), *(connection.recv() for connection in self.connections), strict=True)

    def close(self) -> None:
        for connection, process in zip(self.connections, self.processes, strict=True):
            connection.send(None)
            process.join()


class Head(nn.Module):
    def __init__(self, outputs: int):
        super().__init__()
        self.incoming, self.outgoing = nn.Linear(64, 64), nn.Linear(64, outputs)
        for layer in (self.incoming, self.outgoing):
            nn.init.normal_(layer.weight)
            layer.weight.data /= layer.weight.data.norm(dim=1, keepdim=True)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        self.hidden = torch.tanh(self.incoming(x))
        return self.outgoing(self.hidden)


class ActorCritic(nn.Module):
    def __init__(self):
        super().__init__()
        self.image = nn.Sequential(
            *(nn.Conv2d(3, 16, 2), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 32, 2), nn.ReLU()),
            *(nn.Conv2d(32, 64, 2), nn.ReLU(), nn.Flatten()),
        )
        self.actor, self.critic = Head(7), Head(1)

    def forward(self, image: Tensor) -> tuple[Categorical, Tensor]:
        x = self.image(image.permute(0, 3, 1, 2))
        return Categorical(logits=self.actor(x)), self.critic(x)[:, 0]


class ContinualBackprop:
    """Continual backprop for one head; called once per update, with the activations of the last minibatch."""

    def __init__(self, head: Head, rate: float = 1e-4, decay: float = 0.99, maturity: int = 100):
        self.head, self.rate, self.decay, self.maturity = head, rate, decay, maturity
        self.utility, self.age = torch.zeros(64), torch.zeros(64)

    @torch.no_grad()
    def step(self) -> None:
        incoming, outgoing = self.head.incoming, self.head.outgoing
        contribution = outgoing.weight.abs().mean(0) * self.head.hidden.abs().mean(0)
        self.utility = self.decay * self.utility + (1 - self.decay) * contribution
        utility = self.utility / (1 - self.decay**self.age).clamp(min=1e-8)
        self.age += 1
        eligible = torch.where(self.age > self.maturity)[0]
        owed = self.rate * len(eligible)
        count = int(owed) if owed >= 1 else int(np.random.random() < owed)
        chosen = eligible[utility[eligible].argsort()[:count]]
        bound = 5 / 3 * (3 / 64) ** 0.5
        incoming.weight[chosen] = torch.empty(count, 64).uniform_(-bound, bound)
        incoming.bias[chosen], outgoing.weight[:, chosen] = 0, 0
        self.utility[chosen], self.age[chosen] = 0, 0


class Batch(NamedTuple):
    image: Tensor  # (frames, 7, 7, 3)
    action: Tensor  # (frames,), as all fields below
    log_prob: Tensor
    value: Tensor
    advantage: Tensor
    returns: Tensor


class PPO:
    def __init__(self, num_envs: Environments, continual_backprop: bool):
        self.num_envs, self.network = num_envs, ActorCritic()
        heads = (self.network.actor, self.network.critic) if continual_backprop else ()
        self.methods = [ContinualBackprop(head) for head in heads]
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=1e-3)
        self.image = self.seen(num_envs.first)
        self.goes_on = torch.ones(PROCESSES)
        self.epochs = 0

    def seen(self, observations) -> Tensor:
        return torch.tensor(np.array([observation["image"] for observation in observations]), dtype=torch.float)

    def update(self) -> None:
        self.learn(self.collect())
        for method in self.methods:
            method.step()

    @torch.no_grad()
    def collect(self) -> Batch:
        images, actions, log_probs, values, rewards = [], [], [], [], []
        goes_on = []  # whether a step was followed by another of its episode
        for _ in range(STEPS):
            pi, value = self.network(self.image)
            action = pi.sample()
            observations, reward, ended = self.num_envs.step(action.tolist())
            images.append(self.image)
            actions.append(action)
            log_probs.append(pi.log_prob(action))
            values.append(value)
            rewards.append(torch.tensor(reward, dtype=torch.float))
            goes_on.append(1 - torch.tensor(ended, dtype=torch.float))
            self.image = self.seen(observations)
        next_value, next_advantage, advantages = self.network(self.image)[1], 0, []
        for t in reversed(range(STEPS)):
            delta = rewards[t] + DISCOUNT * next_value * goes_on[t] - values[t]
            next_advantage = delta + DISCOUNT * TRACE_DECAY * next_advantage * goes_on[t]
            next_value = values[t]
            advantages.insert(0, next_advantage)
        returns = [value + advantage for value, advantage in zip(values, advantages, strict=True)]
        # All frames of an environment, then all frames of the next.
        columns = (images, actions, log_probs, values, advantages, returns)
        return Batch(*(torch.stack(column, 1).flatten(0, 1) for column in columns))

    def learn(self, batch: Batch) -> None:
        for _ in range(EPOCHS):
            order = np.random.permutation(FRAMES)
            if self.epochs % 2:  # every other epoch leaves out the last frame of each environment
                order = order[(order + 1) % STEPS != 0]
            self.epochs += 1
            for start in range(0, len(order), MINIBATCH):
                chosen = torch.from_numpy(order[start : start + MINIBATCH])
                self.descend(Batch(*(column[chosen] for column in batch)))

    def descend(self, batch: Batch) -> None:
        pi, value = self.network(batch.image)
        rho = (pi.log_prob(batch.action) - batch.log_prob).exp()
        policy_loss = -torch.min(rho * batch.advantage, rho.clamp(1 - CLIP, 1 + CLIP) * batch.advantage).mean()
        near = batch.value + (value - batch.value).clamp(-CLIP, CLIP)
        value_loss = torch.max((value - batch.returns) ** 2, (near - batch.returns) ** 2).mean()
        loss = policy_loss - 0.01 * pi.entropy().mean() + 0.5 * value_loss
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 0.5)
        self.optimizer.step()


def train(size: str, seconds: float, continual_backprop: bool) -> float:
    """Frames per second of training on DoorKey of a size, after a first update."""
    num_envs = Environments(size)
    program = PPO(num_envs, continual_backprop)
    program.update()  # warms up
    updates, started = 0, time.perf_counter()
    while (taken := time.perf_counter() - started) < seconds:
        program.update()
        updates += 1
    num_envs.close()
    return updates * FRAMES / taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("size")
    parser.add_argument("seconds", type=float)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--continual-backprop", action="store_true")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(given.threads)
    print(train(given.size, given.seconds, given.continual_backprop))


if __name__ == "__main__":
    main()
