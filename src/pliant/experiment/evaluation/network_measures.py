"""The numbers of an analysis of one network at a checkpoint, and the programs that compute them."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from pliant.core.agent import Learner
from pliant.core.base import Array
from pliant.core.judgement import Judgement
from pliant.core.problem import Batch, Split, Stream
from pliant.core.units import Wiring
from pliant.experiment.configuration.build import make_diagnostics
from pliant.experiment.configuration.components import Components, Metrics
from pliant.experiment.configuration.config import ComponentSpec
from pliant.experiment.errors import ConfigError
from pliant.experiment.loops.plan import Plan
from pliant.experiment.loops.saving import tree_of
from pliant.experiment.loops.stream import batch_size, begun, zeros_like
from pliant.tracing.trace import trace

from .restore import Trained

EXAMPLES = 1000  # of a split

_OF_EXAMPLES = ("features", "grads")  # signals


class _Member(NamedTuple):
    """What a program gets of a member, on the device."""

    agent: list[Array]  # leaves of the learner's state
    stream: list[Array]  # leaves of the stream's state
    values: dict[str, Array]  # () swept values


class _State(NamedTuple):
    """A member inside a program."""

    components: Components
    agent: Any  # the learner's state
    stream: Any  # the stream's state


class NetworkMeasures:
    """The programs that measure one network; each is compiled at its first call.

    Networks are measured one after another: the activations of one may fill the memory.
    """

    def __init__(self, plan: Plan, diagnostics: Sequence[ComponentSpec], examples: int, train_mode: bool):
        stream: Stream = plan.problem
        if train_mode and stream.network.train is None:
            raise ConfigError(
                f"--train-mode: the network of {plan.config.problem.name} has no running statistics, so both modes are "
                "the same; leave --train-mode out"
            )
        self._plan, self._diagnostics, self._examples, self._train_mode = plan, diagnostics, examples, train_mode
        self._needs_examples = self._whether_they_need_examples()
        self._data = jax.device_put(plan.loop.shared(stream))
        self._counts = jax.jit(self._counts_of)
        self._on_split = jax.jit(self._measured_on_split, static_argnums=0)
        self._ahead = jax.jit(self._measured_ahead)
        self._without = jax.jit(self._measured_without)
        self._accuracy = jax.jit(self._accuracy_of)

    def table(self, trained: Trained, i: int) -> pd.DataFrame:
        """The rows of member `i` of those at a checkpoint."""
        swept = {name: values[i] for name, values in trained.members.swept.items()}
        member = jax.device_put(
            _Member([leaf[i] for leaf in trained.agents], [leaf[i] for leaf in trained.stream], swept)
        )
        rows = [
            (examples, metric, group, float(value))
            for examples, metrics in self._metrics(member, trained.step)
            for (metric, group), value in sorted(jax.device_get(metrics).items(), key=self._place)
        ]
        table = pd.DataFrame(rows, columns=["examples", "metric", "group", "value"])
        tasks = sum(task.until <= trained.step for task in self._plan.tasks)
        who = {"seed": int(trained.members.seeds[i]), **swept, "step": trained.step, "task": tasks}
        return table.assign(**who)[[*who, *table.columns]]

    def _metrics(self, member: _Member, step: int) -> list[tuple[str, Metrics]]:
        """The metrics of a member after `step` steps, with the names of the examples on which they were measured."""
        plan, stream = self._plan, self._plan.problem
        now, counts = np.int32(step), jax.device_get(self._counts(self._data, np.int32(step)))
        found: list[tuple[str, Metrics]] = []
        if any(self._needs_examples.values()):
            if "next_task" not in stream.splits:
                found.append(("next_task" if plan.tasks else "next", self._ahead(member, self._data, now)))
            for name, count in counts.items():
                # The clock stays in the last task, so that after it these splits are as they were before it.
                if name != "test" and count and step < plan.steps:
                    at = _evenly(count * self._batch(name), self._examples or EXAMPLES)
                    found.append((name, self._on_split(name, member, self._data, now, at)))
        if not all(self._needs_examples.values()):
            found.append(("", self._without(member, self._data)))
        if step and self._has_accuracy:
            correct, count = jax.device_get(self._accuracy(member, self._data, now))
            found.append(("test", _accuracies(correct, count)))
        return found

    def _whether_they_need_examples(self) -> dict[str, bool]:
        """Whether each diagnostic needs examples, by name."""
        needs = {}
        for name, measure in make_diagnostics(self._diagnostics, self._wiring(self._plan.problem)).items():
            signals = inspect.signature(measure).parameters
            if "previous_params" in signals:
                raise ConfigError(f"diagnostics={name}: it compares two times of a run; leave it out")
            needs[name] = any(signal in signals for signal in _OF_EXAMPLES)
        return needs

    @functools.cached_property
    def _has_accuracy(self) -> bool:
        """Whether there are test examples, and their predictions are right or wrong."""
        stream: Stream = self._plan.problem
        if "test" not in stream.splits:
            return False

        def judge(key: Array, batch: Batch) -> Judgement:
            return stream.judge(stream.network.apply(stream.network.init(key), batch.x), batch.y)

        judged = jax.eval_shape(judge, jax.random.key(0), _first(stream, stream.splits["test"]))
        return "accuracy" in judged.metrics

    def _place(self, item: tuple[tuple[str, str], Any]) -> int:
        """The place of a metric among those of the same examples: diagnostics as they were asked for."""
        (metric, _), _ = item
        names = [*self._needs_examples]
        return names.index(metric) if metric in names else len(names)

    def _batch(self, split: str) -> int:
        """Examples of a batch of a split."""
        stream = self._plan.problem
        return _first(stream, stream.splits[split]).x.shape[0]

    def _wiring(self, stream: Stream) -> Wiring:
        """The units of the network, and its function in the mode that was asked for."""
        network = stream.network
        apply = network.train if self._train_mode and network.train is not None else network.apply
        x = stream.batches().x
        params = jax.eval_shape(network.init, jax.random.key(0))
        return trace(apply, params, jax.ShapeDtypeStruct(x.shape[1:], x.dtype))

    # The programs.

    def _counts_of(self, data: Any, step: Array) -> dict[str, Array]:
        """The number of batches of each split after `step` steps."""
        del data
        stream: Stream = self._plan.problem
        now, before = stream.calendar.clock(step), stream.calendar.clock(step - 1)
        return {
            name: jnp.asarray(split.batches(before if name == "test" else now))
            for name, split in stream.splits.items()
            if name in ("next_task", "previous_tasks", "test")
        }

    def _opened(self, member: _Member, data: Any) -> _State:
        components = self._plan.make(member.values)
        stream: Stream = components.problem
        learner: Learner = components.agent
        key = jax.random.key(0)
        # Made for their structures alone: their numbers are not read, and the compiler drops them.
        agent, state = tree_of(member.agent, learner.init(key)), tree_of(member.stream, stream.init(data, key))
        return _State(components, agent, state)

    def _measured_on_split(self, name: str, member: _Member, data: Any, step: Array, at: Array) -> Metrics:
        opened = self._opened(member, data)
        stream: Stream = opened.components.problem
        state, clock = begun(stream, data, opened.stream, step), stream.calendar.clock(step)
        split = stream.splits[name]
        return self._measured(opened, _chosen(lambda i: split.batch(data, state, clock, i), split.batches(clock), at))

    def _measured_ahead(self, member: _Member, data: Any, step: Array) -> Metrics:
        opened = self._opened(member, data)
        stream: Stream = opened.components.problem
        state = begun(stream, data, opened.stream, step)
        wanted = self._examples or stream.probe
        _, ahead = stream.draw(data, state, -(-wanted // batch_size(stream)))
        return self._measured(opened, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:wanted], ahead))

    def _measured(self, opened: _State, batch: Batch) -> Metrics:
        """The diagnostics that need examples."""
        learner: Learner = opened.components.agent
        signals = learner.signals(opened.agent, opened.agent, batch)
        wiring = self._wiring(opened.components.problem)
        _, signals["features"] = wiring.apply(signals["params"], batch.x)
        return self._values(wiring, signals, needs_examples=True)

    def _measured_without(self, member: _Member, data: Any) -> Metrics:
        """The diagnostics that need no examples."""
        opened = self._opened(member, data)
        stream: Stream = opened.components.problem
        some = jax.tree.map(lambda x: jnp.zeros(x.shape[1:], x.dtype), stream.batches())
        signals = opened.components.agent.signals(opened.agent, opened.agent, some)
        return self._values(self._wiring(stream), signals, needs_examples=False)

    def _values(self, wiring: Wiring, signals: Mapping[str, Any], *, needs_examples: bool) -> Metrics:
        wanted = [name for name, needs in self._needs_examples.items() if needs == needs_examples]
        measures = make_diagnostics(self._diagnostics, wiring)
        return {(name, group): value for name in wanted for group, value in measures[name](**signals).items()}

    def _accuracy_of(self, member: _Member, data: Any, step: Array) -> tuple[Array, Array]:
        """Of each class the number of test examples that are classified correctly, and of all, `(classes,)` each."""
        opened = self._opened(member, data)
        stream: Stream = opened.components.problem
        split, clock = stream.splits["test"], stream.calendar.clock(step - 1)  # of the task that ended
        wiring = self._wiring(stream)
        first = _first(stream, split)
        params = opened.components.agent.signals(opened.agent, opened.agent, zeros_like(first))["params"]

        def predict(x: Array) -> Array:
            output, _ = wiring.apply(params, x)
            return output[0] if self._train_mode else output

        def add(i: Array, sums: tuple[Array, Array]) -> tuple[Array, Array]:
            batch = split.batch(data, opened.stream, clock, i)
            return jax.tree.map(jnp.add, sums, by_class(stream, predict(batch.x), batch.y))

        none = jnp.zeros(jax.eval_shape(predict, first.x).shape[-1])
        return jax.lax.fori_loop(0, split.batches(clock), add, (none, none))


def by_class(stream: Stream, prediction: Array, y: Any) -> tuple[Array, Array]:
    """Of each class the number of examples that are classified correctly, and of all, `(classes,)` each.

    Args:
        stream: which judges.
        prediction: `(batch, classes)`.
        y: of the batch.
    """

    def accuracy(prediction: Array, y: Any) -> Array:
        alone = jax.tree.map(lambda x: x[None], (prediction, y))
        return stream.judge(*alone).metrics["accuracy"]

    label, none = getattr(y, "y", y), jnp.zeros(prediction.shape[-1])
    return none.at[label].add(jax.vmap(accuracy)(prediction, y)), none.at[label].add(1.0)


def _first(stream: Stream, split: Split) -> Batch:
    """Shapes and types of a batch of a split; nothing is computed."""

    def first(data: Any, key: Array) -> Batch:
        return split.batch(data, stream.init(data, key), stream.calendar.clock(0), 0)

    return jax.eval_shape(first, stream.data, jax.random.key(0))


def _evenly(total: int, wanted: int) -> np.ndarray:
    """The places of at most `wanted` of all examples, evenly spaced, `(examples,)`."""
    count = min(wanted, total)
    return (np.arange(count) * total // count).astype(np.int32)


def _chosen(batch: Callable[[Array], Batch], batches: Array | int, at: Array) -> Batch:
    """The examples at some places of all batches.

    Args:
        batch: `i -> Batch`, batch number `i` `()`.
        batches: `()`, number of batches.
        at: `(examples,)`, places, counted through all batches.
    """
    shapes = jax.eval_shape(batch, jnp.int32(0))
    size = shapes.x.shape[0]
    none = jax.tree.map(lambda x: jnp.zeros((len(at), *x.shape[1:]), x.dtype), shapes)

    def add(i: Array, found: Batch) -> Batch:
        def pick(new: Array, old: Array) -> Array:
            here = (at // size == i).reshape(-1, *(1,) * (new.ndim - 1))
            return jnp.where(here, new[at % size], old)

        return jax.tree.map(pick, batch(i), found)

    return jax.lax.fori_loop(0, batches, add, none)


def _accuracies(correct: np.ndarray, count: np.ndarray) -> Metrics:
    """The accuracy of all test examples, and of each class that has some."""
    classes = np.flatnonzero(count)
    whole = {("accuracy", ""): correct.sum() / count.sum()}
    return whole | {("accuracy", f"{k}"): correct[k] / count[k] for k in classes}
