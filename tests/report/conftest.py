"""A small run directory, written by hand as the format says."""

import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd
import pytest
import yaml

from pliant.report import load

SETTING = "agent.learning_rate"


def write_metrics(directory: Path, first: int, last: int, rows: pd.DataFrame) -> Path:
    buffer = io.BytesIO()
    rows.astype({"seed": "int32"}).to_parquet(buffer, index=False)
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()[:16]
    file = directory / f"{first:012d}-{last:012d}-{digest}.parquet"
    file.write_bytes(buffer.getvalue())
    return file


class RunWriter:
    """Writes run directories below a temporary one, shard by shard."""

    def __init__(self, root: Path):
        self.root = root

    def __call__(
        self,
        rows: Sequence[Mapping],
        ends: Sequence[int] = (100,),
        *,
        name: str = "toy-0123abcd",
        seeds: str | None = None,
        step: int | None = None,
        state: str = "finished",
        **facts: object,
    ) -> Path:
        directory = self.root / name
        frame = pd.DataFrame(list(rows))
        shard = directory / "shards" / (seeds or f"{frame['seed'].min()}-{frame['seed'].max()}")
        (shard / "metrics").mkdir(parents=True)
        (directory / "config.yaml").write_text(yaml.safe_dump({"problem": {"name": "toy"}}))
        (shard / "environment.json").write_text(json.dumps({"command": "pliant run toy", "jax": "0.10"}))
        status = {"state": state, "step": ends[-1] if step is None else step, "steps": ends[-1], **facts}
        (shard / "status.json").write_text(json.dumps(status))
        for first, last in zip([0, *ends], ends, strict=False):
            after = (first or -1) < frame["step"]  # the first file has step 0, too
            write_metrics(shard / "metrics", first, last, frame[after & (frame["step"] <= last)])
        return directory


def shard_of(run: Path) -> Path:
    """The folder of a run's only shard."""
    (shard,) = (run / "shards").iterdir()
    return shard


def rows_of(metric: str, values: Mapping, group: str = "", every: int = 1) -> Iterator[dict]:
    """Rows of `values`: {(seed, learning rate) or seed: [value at step `every`, 2 * `every`, ...]}."""
    for member, series in values.items():
        seed, settings = (member[0], {SETTING: member[1]}) if isinstance(member, tuple) else (member, {})
        for index, value in enumerate(series):
            yield {
                "seed": seed,
                **settings,
                "step": (index + 1) * every,
                "metric": metric,
                "group": group,
                "value": float(value),
            }


def episodes_of(ends: Mapping[int, Mapping[int, float]]) -> Iterator[dict]:
    """Rows of episodes: {seed: {step at which one ended: return}}; their lengths are the steps since the one before."""
    lengths = {seed: dict(zip(steps, map(int.__sub__, steps, [0, *steps]))) for seed, steps in ends.items()}
    for metric, values in {"return": ends, "length": lengths}.items():
        for seed, series in values.items():
            for step, value in series.items():
                yield {"seed": seed, "step": step, "metric": metric, "group": "", "value": float(value)}


@pytest.fixture
def write_run(tmp_path: Path) -> RunWriter:
    return RunWriter(tmp_path / "runs")


@pytest.fixture(name="write_metrics")
def write_metrics_fixture():
    return write_metrics


@pytest.fixture(name="shard_of")
def shard_of_fixture():
    return shard_of


@pytest.fixture(name="rows_of")
def rows_of_fixture():
    return rows_of


@pytest.fixture
def episodes(write_run: RunWriter) -> Path:
    """Twenty steps of three seeds, in two files; seed 2 diverges at step 15, and seed 1 is slow to end an episode."""
    nan = float("nan")
    ended = {0: {2: 1, 4: 3, 13: 5, 19: 7, 20: 9}, 1: {6: 10, 17: 30}, 2: {1: 4, 3: 6, 14: 8}}
    rows = [
        *episodes_of(ended),
        *rows_of("loss", {0: [1, 2], 1: [3, 4], 2: [5, nan]}, every=10),
        {"seed": 2, "step": 20, "metric": "diverged", "group": "", "value": 15.0},
    ]
    return write_run(rows, ends=(10, 20))


@pytest.fixture
def sweep(write_run: RunWriter) -> Path:
    """Two learning rates, four seeds, four steps in two files; seed 3 of the larger rate diverges at step 3."""
    nan = float("nan")
    error = {(seed, 0.01): [seed, seed + 1, seed + 2, seed + 3] for seed in range(4)}
    error |= {(seed, 0.1): [10 * seed] * 4 for seed in range(3)} | {(3, 0.1): [30, 30, nan, nan]}
    rows = [
        *rows_of("error", error),
        *rows_of("dormant", {member: [0.0, 0.5] for member in error}, "Dense_0", every=2),
        *rows_of("dormant", {member: [0.25, 0.75] for member in error}, "Dense_1", every=2),
        {"seed": 3, SETTING: 0.1, "step": 3, "metric": "diverged", "group": "", "value": 3.0},
    ]
    return write_run(rows, ends=(2, 4))


def sequence_rows(
    names: Sequence[str], returns: Mapping[int, Sequence], every: int, metric: str = "task_return"
) -> Iterator[dict]:
    """Rows of a sequence of tasks: {seed: a list for each task, its returns at step 0, `every`, 2 * `every`, ...}."""
    for seed, of_tasks in returns.items():
        for index, (name, values) in enumerate(zip(names, of_tasks, strict=True)):
            for stage, value in enumerate(values):
                where = {"seed": seed, "step": stage * every, "metric": metric, "group": f"{index}/{name}"}
                yield {**where, "value": float(value)}


@pytest.fixture(name="sequence_rows")
def sequence_rows_fixture():
    return sequence_rows


@pytest.fixture
def write_sequence(write_run: RunWriter, rows_of):
    """Writes a finished run on the tasks `moon` and `ice`, of 50 steps each, and reads it.

    `returns` are those of `sequence_rows`; `stored` are the parameters, without and with buffers, after each task;
    `episodes` {seed: {step: return}} are those of training; `diverged` {seed: step}; `trials` {seed: {step: steps}}.
    """

    def write(
        name,
        returns,
        *,
        random=(-2.0, 0.0),
        stored=((10, 10), (10, 30)),
        episodes=None,
        diverged=None,
        trials=None,
        config=None,
        **facts,
    ):
        rows = [*sequence_rows(("moon", "ice"), returns, 50)]
        actions = {seed: [[value] for value in random] for seed in returns}
        rows += sequence_rows(("moon", "ice"), actions, 50, "task_random_return")
        for metric, numbers in zip(("parameters", "parameters_and_buffers"), zip(*stored)):
            rows += rows_of(metric, dict.fromkeys(returns, numbers), every=50)
        rows += episodes_of(episodes or {seed: {step: 1 for step in range(10, 101, 10)} for seed in returns})
        for seed, step in (diverged or {}).items():
            rows.append({"seed": seed, "step": 100, "metric": "diverged", "group": "", "value": float(step)})
        for seed, steps in (trials or {}).items():
            of_seed = {"seed": seed, "metric": "trial_steps", "group": ""}
            rows += [{**of_seed, "step": step, "value": float(played)} for step, played in steps.items()]
        tasks = [{"name": "moon", "until": 50}, {"name": "ice", "until": 100}]
        path = write_run(rows, name=name, tasks=tasks, num_envs=1, **facts)
        settings = {"problem": {"name": "toy"}, "agent": {"name": "sac"}, **(config or {})}
        (path / "config.yaml").write_text(yaml.safe_dump(settings))
        return load(path)

    return write
