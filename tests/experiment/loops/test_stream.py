import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toys
import trees

from pliant.agents import sgd
from pliant.core.agent import Learner
from pliant.core.clock import Clock, Task
from pliant.core.judgement import Judgement, squared_error
from pliant.core.problem import Batch, Network, Split, Stream
from pliant.diagnostics import dormant_fraction, weight_change, weight_magnitude
from pliant.experiment.configuration.components import Components
from pliant.experiment.configuration.reading import from_mapping
from pliant.experiment.loops import stream as stream_loop
from pliant.experiment.loops.plan import Slice
from pliant.methods import continual_backprop
from pliant.problems import slowly_changing_regression
from pliant.problems.images import permuted_mnist


def counting(batch=1, drawn=0, bad=(), diagnostics=None):
    """A stream of 0, 1, 2, ... and a learner whose loss is the number that it sees; at the steps `bad` it is NaN.

    A state of the learner is the number of steps it was told of and the sum of what it saw.
    """

    def draw(data, state, steps):
        x = jnp.broadcast_to((state + jnp.arange(steps))[:, None, None], (steps, batch, 1)).astype(jnp.float32)
        return state + steps, Batch(x, jnp.zeros((steps, batch, 1)))

    def learn(state, batches, clock):
        x = batches.x[:, 0, 0]
        number = clock.update + jnp.arange(len(x))
        losses = jnp.where(jnp.isin(number, jnp.array([-5, *bad])), jnp.nan, x)
        return {"told": number[-1], "seen": state["seen"] + x.sum()}, Judgement(losses, {})

    def signals(previous, state, batch):
        seen = {"params": state["seen"], "previous_params": previous["seen"]}
        return {**seen, "features": batch.x, "grads": state["seen"], "method_state": ()}

    network = Network(lambda key: (), lambda params, x: x)
    stream = Stream(lambda data, key: jnp.zeros((), jnp.int32), draw, squared_error, network, 100)
    start = {"told": np.int32(0), "seen": np.float32(0)}
    learner = Learner(lambda key: jax.tree.map(jnp.asarray, start), learn, lambda state, x: x, signals, drawn)
    return Components(stream, learner, diagnostics or {})


def plain(x):
    """An array of NumPy, unless it is one of keys."""
    return x if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else np.asarray(x)


def after_each(components, *stretches, seed=0):
    """The member and the metrics after each of some stretches."""
    member, step, found = jax.jit(lambda s: stream_loop.begin(components, s, ()))(seed), 0, []
    advance = jax.jit(
        lambda member, step, steps: stream_loop.advance(components, member, step, steps, ()), static_argnums=2
    )
    for steps in stretches:
        member, metrics, _ = advance(member, np.int32(step), steps)
        step += steps
        found.append(jax.tree.map(plain, (member, metrics)))
    return found


def run(components, *stretches, seed=0):
    """The member after all stretches, and the metrics of each."""
    found = after_each(components, *stretches, seed=seed)
    return found[-1][0], [metrics for _, metrics in found]


@pytest.mark.parametrize("drawn", [0, 65536 - 8])
def test_the_loss_is_the_mean_over_the_stretch(drawn):
    # The losses are 0, ..., 9 and then 10, ..., 17: means 4.5 and 13.5. With 64 KiB of random numbers a step they come
    # in blocks of four, of which the third is cut short.
    components = counting(drawn=drawn)
    assert stream_loop.block_steps(components, 10) == (4 if drawn else 10)
    member, [first, second] = run(components, 10, 8)
    assert first == {("loss", ""): 4.5} and second == {("loss", ""): 13.5}
    assert member.problem == 18 and member.agent == {"told": 18, "seen": sum(range(18))}
    assert member.diverged == -1


@pytest.mark.parametrize(
    ("batch", "drawn", "steps", "expected"),
    [
        (1, 0, 10_000, 1000),  # 8 bytes a step: 32,768 would fit, but 1000 are enough
        (1, 0, 30, 30),  # no more than the stretch has
        (1, 1016, 10_000, 256),  # 1 KiB a step into 256 KiB
        (128, 0, 10_000, 256),
        (1, 10_000_000, 10_000, 1),  # one at least
    ],
)
def test_blocks_fit_into_the_cache(batch, drawn, steps, expected):
    assert stream_loop.block_steps(counting(batch, drawn), steps) == expected


@pytest.mark.parametrize(("bad", "expected"), [((), -1), ((1,), 1), ((7,), 7), ((14, 16), 14), ((9, 10, 11), 9)])
@pytest.mark.parametrize("stretches", [(20,), (8, 8, 4)])
@pytest.mark.parametrize("drawn", [0, 65536 - 8])
def test_divergence_is_marked_with_its_first_step(bad, expected, stretches, drawn):
    member, metrics = run(counting(drawn=drawn, bad=bad), *stretches)
    assert member.diverged == expected and member.diverged.dtype == np.int32
    assert np.isnan([m["loss", ""] for m in metrics]).any() == bool(bad)


def test_diagnostics_see_the_examples_to_come_and_the_params_before_and_after():
    # After 5 steps the learner has seen 0 + 1 + ... + 4 = 10, and after 5 more 45. Diagnostics get the next 1000
    # examples: 125 batches of 8, beginning with number 5, and do not use them up.
    def diagnostic(*, params, previous_params, features, **signals):
        assert set(signals) == {"grads", "method_state"} and features.shape == (1000, 1)
        return {"before": previous_params, "now": params, "first": features[0, 0], "last": features[-1, 0]}

    diagnostics = {"it": diagnostic, "none": lambda **signals: {}}
    member, [first, second] = run(counting(batch=8, diagnostics=diagnostics), 5, 5)
    expected = {("it", "before"): 0, ("it", "now"): 10, ("it", "first"): 5, ("it", "last"): 129}
    assert first == {("loss", ""): 2} | expected
    assert second["it", "before"] == 10 and second["it", "now"] == 45 and second["it", "first"] == 10
    assert member.problem == 10


def learners(config=None, rate=0.0, diagnostics=(), **settings):
    """Learners of slowly-changing regression with continual backpropagation if its rate is not zero."""
    wirings = []
    stream = slowly_changing_regression.make(slowly_changing_regression.Config(flip_every=100, **settings))

    def methods_for(wiring, network, updates):
        del network
        wirings.append(wiring)
        return (continual_backprop(wiring, replacement_rate=rate, maturity=10),) if rate else ()

    learner = sgd.make(config or sgd.Config(), stream, methods_for)
    return Components(stream, learner, {make.__name__: make(wirings[0]) for make in diagnostics})


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_members_of_one_seed_meet_the_same_data_whatever_their_learner():
    def begin(components, seed):
        return jax.jit(lambda seed: stream_loop.begin(components, seed, ()))(seed)

    plain, other = begin(learners(), 3), begin(learners(sgd.Config("adam"), 0.1, hidden_units=7), 3)
    for name in ("weights", "slow", "readout", "offset"):
        assert_same(getattr(plain.problem, name), getattr(other.problem, name))
    assert_same(jax.random.key_data(plain.problem.examples_key), jax.random.key_data(other.problem.examples_key))
    another_seed = begin(learners(), 4)
    assert (plain.problem.weights != another_seed.problem.weights).any()
    assert plain.diverged == -1


def test_what_a_member_does_is_the_learner_fed_by_the_stream():
    components = learners()
    member, [metrics] = run(components, 250, seed=5)
    start = jax.jit(lambda seed: stream_loop.begin(components, seed, ()))(5)
    _, batches = jax.jit(components.problem.draw, static_argnums=2)((), start.problem, 250)
    agent, losses = jax.jit(components.agent.learn)(start.agent, batches, Clock(np.int32(1), np.int32(0)))
    losses = losses.loss
    np.testing.assert_allclose(metrics["loss", ""], np.mean(losses), rtol=1e-5)
    assert_same(member.agent.params, agent.params)


def test_without_random_methods_stretches_may_be_cut_anywhere():
    whole, [metrics] = run(learners(), 300)
    cut, [first, second] = run(learners(), 70, 230)
    assert_same(whole.agent.params, cut.agent.params)
    mean = (70 * first["loss", ""] + 230 * second["loss", ""]) / 300
    np.testing.assert_allclose(metrics["loss", ""], mean, rtol=1e-5)


def test_with_random_methods_the_numbers_are_the_same_where_blocks_agree(monkeypatch):
    # Random numbers are drawn for a block at a time: stretches of whole blocks give the same, other blocks do not.
    monkeypatch.setattr(stream_loop, "_BLOCK_STEPS", 100)
    components = learners(rate=0.05)
    assert stream_loop.block_steps(components, 400) == 100
    whole, [metrics] = run(components, 400)
    cut, [first, second] = run(components, 200, 200)
    assert_same(whole.agent.params, cut.agent.params)
    np.testing.assert_allclose(metrics["loss", ""], (first["loss", ""] + second["loss", ""]) / 2, rtol=1e-5)
    monkeypatch.setattr(stream_loop, "_BLOCK_STEPS", 200)
    other, _ = run(components, 400)
    kernel, other_kernel = (member.agent.params["params"]["Dense_0"]["kernel"] for member in (whole, other))
    assert (kernel != other_kernel).any()


def test_a_member_that_diverges_is_marked_and_the_others_go_on():
    base, learning_rates, steps = sgd.Config(), [0.01, 1e6, 0.003], 150

    def one(learning_rate):
        components = learners(dataclasses.replace(base, learning_rate=learning_rate))
        return stream_loop.advance(components, stream_loop.begin(components, 0, ()), np.int32(0), steps, ())

    members, metrics, _ = trees.numpy(jax.jit(jax.vmap(one))(np.array(learning_rates, np.float32)))
    healthy = np.array([True, False, True])
    np.testing.assert_array_equal(members.diverged == -1, healthy)
    np.testing.assert_array_equal(np.isfinite(metrics["loss", ""]), healthy)
    # With the losses at hand: the step of the first that is not finite, counted from 1.
    components = learners(dataclasses.replace(base, learning_rate=1e6))
    start = jax.jit(lambda seed: stream_loop.begin(components, seed, ()))(0)
    _, batches = jax.jit(components.problem.draw, static_argnums=2)((), start.problem, steps)
    _, judged = jax.jit(components.agent.learn)(start.agent, batches, Clock(np.int32(1), np.int32(0)))
    losses = judged.loss
    assert 1 < members.diverged[1] == 1 + np.argmin(np.isfinite(losses))
    for k in (0, 2):
        alone, *_ = jax.jit(one)(learning_rates[k])
        np.testing.assert_allclose(
            members.agent.params["params"]["Dense_0"]["kernel"][k],
            alone.agent.params["params"]["Dense_0"]["kernel"],
            atol=1e-4,
        )


def test_diagnostics_are_measured_and_change_nothing():
    diagnostics = (dormant_fraction, weight_magnitude, weight_change)
    components, stretch = learners(rate=0.05, diagnostics=diagnostics), 200
    member, [_, metrics] = run(components, stretch, stretch)
    (before, _), (plain, _) = after_each(learners(rate=0.05), stretch, stretch)
    assert_same(member.agent.params, plain.agent.params)

    kernels = {f"params/{name}/kernel": leaves["kernel"] for name, leaves in member.agent.params["params"].items()}
    earlier = {f"params/{name}/kernel": leaves["kernel"] for name, leaves in before.agent.params["params"].items()}
    assert set(metrics) == {("loss", ""), ("dormant_fraction", "Dense_0"), ("dormant_fraction", "")} | {
        (name, row) for name in ("weight_magnitude", "weight_change") for row in (*kernels, "")
    }
    for path, kernel in kernels.items():
        np.testing.assert_allclose(metrics["weight_magnitude", path], np.abs(kernel).mean(), rtol=1e-5)
        np.testing.assert_allclose(metrics["weight_change", path], np.abs(kernel - earlier[path]).sum(), rtol=1e-5)
    # Dead units on the 1000 examples that come next.
    _, ahead = jax.jit(components.problem.draw, static_argnums=2)((), member.problem, 1000)
    hidden = member.agent.params["params"]["Dense_0"]
    h = np.asarray(ahead.x[:, 0]) @ np.asarray(hidden["kernel"]) + np.asarray(hidden["bias"])
    np.testing.assert_allclose(metrics["dormant_fraction", ""], (h <= 0).all(0).mean())


# --- Tasks, epochs and splits ---------------------------------------------------------------------------------------

# Two tasks: 4 steps in epochs of 2, and 6 steps in epochs of 3; blocks are of one step, which divides both.
TASKS, EPOCHS = (Task("a", 4), Task("b", 10)), (2, 3)
BEGIN, END_EPOCH, END = 1, 2, 3


def logged(log, *numbers):
    """The log `(n, 3)` with a row more at its end."""
    return jnp.concatenate([log[1:], jnp.array([numbers], jnp.int32)])


def with_tasks(watched=(), diagnostics=None):
    """A stream whose state logs `task, epoch, step` at each beginning of an epoch, and a learner that logs its events.

    Batches are the number of the step in its epoch. The loss and the prediction of the learner are the number of
    updates so far. A split has as many batches as its task has the number, counted from 1, and batch i adds i.
    """
    rows = np.full((12, 3), -1, np.int32)

    def begin_epoch(data, state, clock):
        return {"at": jnp.int32(0), "log": logged(state["log"], clock.task, clock.epoch, clock.step)}

    def draw(data, state, steps):
        x = data[0] * (state["at"] + jnp.arange(steps, dtype=jnp.float32))
        return {**state, "at": state["at"] + steps}, Batch(x[:, None], x[:, None])

    def judge(prediction, y):
        return Judgement((prediction + y).mean(), {"accuracy": prediction.mean()})

    split = Split(lambda clock: clock.task + 1, lambda data, state, clock, i: Batch(*[jnp.full(1, i, jnp.float32)] * 2))
    splits = {"test": split, "validation": split, "later": split._replace(tracked=False)}
    network = Network(lambda key: (), lambda params, x: x)
    start = {"at": np.int32(0), "log": rows}
    stream = Stream(
        lambda data, key: jax.tree.map(jnp.asarray, start), draw, judge, network, 10,
        (np.float32([1.0]),), TASKS, EPOCHS, begin_epoch, splits, probe=2,
    )  # fmt: skip

    def learn(state, batches, clock):
        updates = state["updates"] + 1 + jnp.arange(len(batches.x))
        judged = Judgement(batches.x[:, 0], {"accuracy": updates.astype(jnp.float32)})
        begins = clock.task_update == 1
        log = jnp.where(begins, logged(state["log"], BEGIN, clock.step, 0), state["log"])
        return {"updates": updates[-1], "log": log}, judged

    def event(number):
        def happens(state, *rest):
            heard = [heard.loss for judgements in rest[:-1] for heard in judgements.values()] or [0]
            return {**state, "log": logged(state["log"], number, rest[-1].step, jnp.int32(heard[0]))}

        return happens

    def signals(previous, state, batch):
        return {"params": state["updates"], "x": batch.x, "previous_params": previous["updates"]}

    begun = {"updates": np.int32(0), "log": rows}
    learner = Learner(
        lambda key: jax.tree.map(jnp.asarray, begun), learn, lambda state, x: jnp.full(len(x), 1.0 * state["updates"]),
        signals, 0, event(END_EPOCH), event(END), watched,
    )  # fmt: skip
    return Components(stream, learner, diagnostics or {})


def stretched(components, *stretches):
    """The member after some stretches, and the metrics of each, by one program."""
    data = components.problem.data
    member = jax.jit(lambda: stream_loop.begin(components, 0, data))()

    @jax.jit
    def advance(member, step, steps):
        slice = Slice(np.int32(0), steps, steps)
        return stream_loop.advance(components, member, step, 1, data, slice)[:2]

    step, found = 0, []
    for steps in stretches:
        member, metrics = advance(member, np.int32(step), np.int32(steps))
        step += steps
        found.append(stream_loop._at_the_end(components, step, trees.numpy(metrics)))
    assert advance._cache_size() == 1
    return trees.numpy(member), found


def rows_of(log):
    return [tuple(row) for row in log.tolist() if row[0] >= 0]


@pytest.mark.parametrize("stretches", [(10,), (1, 4, 5), (3, 3, 4)])
def test_tasks_and_epochs_begin_and_end_wherever_the_run_is_cut(stretches):
    member, _ = stretched(with_tasks(("validation",)), *stretches)
    # At the end of an epoch the learner hears the mean loss of the split: its prediction, the number of updates, plus
    # the mean of the batches' numbers: 0 in the first task; (0 + 1) / 2 in the second, which is cut off here.
    assert rows_of(member.agent["log"]) == [
        (BEGIN, 0, 0), (END_EPOCH, 1, 2), (END_EPOCH, 3, 4), (END, 3, 0),
        (BEGIN, 4, 0), (END_EPOCH, 6, 7), (END_EPOCH, 9, 10), (END, 9, 0),
    ]  # fmt: skip
    assert rows_of(member.problem["log"]) == [(0, 0, 0), (0, 1, 2), (1, 0, 4), (1, 1, 7)]


def test_splits_are_judged_at_the_ends_of_epochs_and_before_a_task_ends():
    # Stretches that end after 2 steps, at the end of an epoch; after 5, in the middle of one; and after 10.
    _, [first, second, third] = stretched(with_tasks(), 2, 3, 5)
    assert first["test_loss", ""] == 2 and first["test_accuracy", ""] == 2
    assert third["test_loss", ""] == 10.5 and third["validation_accuracy", ""] == 10
    assert set(second) == {("loss", ""), ("accuracy", "")}
    assert set(first) - set(second) == {
        (f"{split}_{metric}", "") for split in ("test", "validation") for metric in ("loss", "accuracy")
    }
    # Losses are the numbers of the steps in their epochs, 0 1 | 0 1, 0 | 1 2, 0 1 2; accuracies those of the updates.
    assert [metrics["loss", ""] for metrics in (first, second, third)] == pytest.approx([0.5, 1 / 3, 6 / 5])
    assert [metrics["accuracy", ""] for metrics in (first, second, third)] == pytest.approx([1.5, 4.0, 8.0])


def test_diagnostics_see_the_next_task_before_the_learner_begins_it():
    def diagnostic(*, x, **signals):
        return {"first": x[0], "second": x[1]}

    # After 3 steps the next examples are number 1 and 2 of their epoch; after 4, numbers 0 and 1 of the next task.
    member, [third, fourth] = stretched(with_tasks(diagnostics={"it": diagnostic}), 3, 1)
    assert (third["it", "first"], third["it", "second"]) == (1, 2)
    assert (fourth["it", "first"], fourth["it", "second"]) == (0, 1)
    assert rows_of(member.agent["log"])[-1] == (END, 3, 0)


def test_a_chunk_as_long_as_one_before_traces_nothing(monkeypatch):
    traced, batches = [], Stream.batches
    monkeypatch.setattr(Stream, "batches", lambda stream, steps=1: traced.append(steps) or batches(stream, steps))
    problem = {"name": "permuted_mnist", **permuted_mnist.SMALL}
    programs = toys.programs_of(from_mapping({"problem": problem, "diagnostics": []}))
    programs.begin()
    counts = []
    for step in (0, 4, 8):
        programs.advance(step, 4)
        counts.append(len(traced))
    assert counts[0] > 0 and counts == counts[:1] * 3


def test_diagnostics_are_measured_at_the_end_of_a_chunk_and_before_the_first_step():
    calls = []

    def diagnostic(*, params, **signals):
        jax.debug.callback(lambda updates: calls.append(int(updates)), params)
        return {"updates": params}

    components = with_tasks(diagnostics={"it": diagnostic})
    data = components.problem.data
    member = jax.jit(lambda: stream_loop.begin(components, 0, data))()
    advance = jax.jit(lambda member, step, slice: stream_loop.advance(components, member, step, 1, data, slice)[:2])
    found = []
    # No steps, and then a chunk of four steps in slices of one, two and one.
    for before, units in ((0, 0), (0, 1), (1, 2), (3, 1)):
        member, metrics = advance(member, np.int32(before), Slice(np.int32(before), np.int32(units), np.int32(4)))
        found.append(int(metrics["it", "updates"]))
    jax.effects_barrier()
    assert calls == [0, 4] and found == [0, 0, 0, 4]
    assert advance._cache_size() == 1
