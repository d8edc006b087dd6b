"""A usual program for comparison: supervised learning from images in PyTorch, one seed. Prints its updates/s.

    python benchmarks/_torch_images.py permuted_2000 5 --threads 2      # row of images.py, seconds

Needs `pip install torch`; it is not a part of pliant. Networks, batches and optimizers are those of the rows of
`images.py`. The images are made up, and lie in memory as bytes. Parts that take time without an effect on the network
are left out: accuracies, logs, the augmentation.
"""

import argparse
import itertools
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy


def mlp(units: int) -> nn.Module:
    sizes = [784, units, units, units]
    hidden = [layer for ins, outs in itertools.pairwise(sizes) for layer in (nn.Linear(ins, outs), nn.ReLU())]
    return nn.Sequential(*hidden, nn.Linear(units, 10))


def conv_net() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 32, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(64, 128, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(512, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 20)),
    )


class Block(nn.Module):
    def __init__(self, ins: int, outs: int, stride: int):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(ins, outs, 3, stride, 1), nn.BatchNorm2d(outs), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(outs, outs, 3, 1, 1), nn.BatchNorm2d(outs))
        changed = nn.Sequential(nn.Conv2d(ins, outs, 1, stride), nn.BatchNorm2d(outs))
        self.around = nn.Identity() if ins == outs else changed

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.second(self.first(x)) + self.around(x))


def resnet18() -> nn.Module:
    stages = [
        block
        for ins, outs, stride in ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2))
        for block in (Block(ins, outs, stride), Block(outs, outs, 1))
    ]
    start = nn.Conv2d(3, 64, 3, 1, 1), nn.BatchNorm2d(64), nn.ReLU()
    return nn.Sequential(*start, *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 100))


def permuted(units: int) -> Callable[[int], None]:
    x, y = torch.randint(256, (2000, 784), dtype=torch.uint8), torch.randint(10, (2000,))
    pixels, network = torch.randperm(784), mlp(units)
    optimizer = torch.optim.SGD(network.parameters(), 0.003)

    def update(step: int) -> None:
        which = torch.tensor([step % len(x)])
        loss = cross_entropy(network(x[which][:, pixels].float() / 255), y[which])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return update


def pictures(
    network: nn.Module, batch_size: int, classes: int, decay: float = 0.0, dtype: torch.dtype | None = None
) -> Callable[[int], None]:
    x, y = torch.randint(256, (1200, 3, 32, 32), dtype=torch.uint8), torch.randint(classes, (1200,))
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9, weight_decay=decay)

    def update(step: int) -> None:
        del step
        which = torch.randint(len(x), (batch_size,))
        with torch.autocast("cpu", dtype, enabled=dtype is not None):
            prediction = network(x[which].float() / 255)
        loss = cross_entropy(prediction.float(), y[which])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return update


PROGRAMS: dict[str, Callable[[], Callable[[int], None]]] = {
    "permuted_2000": lambda: permuted(2000),
    "permuted_100": lambda: permuted(100),
    "conv_net": lambda: pictures(conv_net(), 100, 20),
    "resnet18": lambda: pictures(resnet18(), 90, 100, decay=5e-4),
    "resnet18_bfloat16": lambda: pictures(resnet18(), 90, 100, decay=5e-4, dtype=torch.bfloat16),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program", choices=PROGRAMS)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    update = PROGRAMS[given.program]()
    update(0)  # warms up
    step, started = 0, time.perf_counter()
    while (taken := time.perf_counter() - started) < given.seconds:
        update(step)
        step += 1
    print(step / taken)


if __name__ == "__main__":
    main()
