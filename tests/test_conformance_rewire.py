"""The conformance list of Sun and Mu's suite, in its order: numbers of their programs that ours must have."""

import functools
import importlib.util
import inspect
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trees

from pliant.agents import _off_policy as off_policy
from pliant.agents import sac
from pliant.agents._replay import Sample
from pliant.agents._soft_losses import Losses
from pliant.agents._squashed_normal import SquashedNormal
from pliant.core import registry
from pliant.core.clock import Clock, Task
from pliant.core.continual import ContinualContext, Replayed, without_context
from pliant.core.likelihood import gaussian
from pliant.experiment.configuration.reading import from_mapping
from pliant.experiment.loops.planning import plan
from pliant.networks import critic_ensemble, normal_actor, normal_actor_layers
from pliant.presets.continual_names import PUBLISHED_NAMES
from pliant.problems.scenarios import _v1
from pliant.problems.scenarios._robots import ROBOTS, edited
from pliant.problems.scenarios._tasks import TASKS
from pliant.surgery.soft_sort import soft_sorted

needs_brax = pytest.mark.skipif(not importlib.util.find_spec("brax"), reason="needs brax 0.12.3")

X = trees.normal(0, 5, 4)  # observations


def tasks(number):
    return tuple(Task(f"{k}", k + 1) for k in range(number))


# 1. The log probability of an action


@pytest.mark.parametrize(("correction", "correct"), [("half", -math.log(2)), ("full", 0.0)])
def test_log_probability_in_the_middle(correction, correct):
    zero = np.zeros((1, 1), np.float32)  # mean, log standard deviation, and noise
    _, log_p = jax.jit(lambda: SquashedNormal(zero, zero).sample(zero, correction))()
    np.testing.assert_allclose(log_p, -0.5 * math.log(2 * math.pi) + correct, rtol=1e-6)


# 2. The targets of values


def test_the_gradient_of_the_broadcast_loss_is_that_of_the_mean_entropy():
    B, alpha, noise = 6, 0.7, trees.normal(1, 6, 2)
    actor, critics = normal_actor(4, 2, (8,)), critic_ensemble(6, (8,), 2, False)
    params, target = (
        trees.random_like(jax.eval_shape(one.init, trees.key(0)), seed) for seed, one in enumerate((actor, critics))
    )
    random, s = np.random.default_rng(2), trees.normal(2, B, 4)
    reward, discount = random.normal(size=B), np.array([0.99, 0, 0.99, 0.99, 0, 0.99])
    sample = Sample(s, noise, np.float32(reward), np.float32(discount), s, np.ones(B, np.float32))

    @jax.jit
    def targets(params, target, sample):
        def of(entropy_target):
            losses = Losses(
                sac.Config(entropy_target=entropy_target),
                without_context(actor.init, actor.apply), critics, wiring=None, target_entropy=-2.0, bound=1.0,
            )  # fmt: skip
            return losses.targets(params, target, alpha, sample, noise)

        return of("sample"), of("batch_mean")

    (own, log_p), (mean, _) = trees.numpy(targets(params, target, sample))
    without_entropy = own + alpha * discount * log_p
    y = without_entropy[None] - alpha * discount[None] * log_p[:, None]  # (i, j): the entropy of i, all else of j
    q = random.normal(size=B)
    gradient = 2 * (q[None] - y).sum(0) / B**2  # of the mean over i and j of (q_j - y_ij)^2
    np.testing.assert_allclose(gradient, 2 * (q - mean) / B, rtol=1e-4, atol=1e-5)


# 3. SoftSort, and the orders of units in finished tasks


def test_soft_sort_is_indexing_by_argsort():
    x, scores = trees.normal(0, 3, 9), trees.normal(1, 9)
    np.testing.assert_array_equal(jax.jit(soft_sorted)(x, scores, 0.1), x[:, np.argsort(scores)])


def on_actor(name, number=8, hidden=(7, 7, 7), **settings):
    """A continual method for the actor of SAC, which has 4 observations, 2 actions, and these hidden layers."""
    of_actor = 4, 2, hidden, "leaky_relu", 0.2
    actor, layers = normal_actor(*of_actor), normal_actor_layers(*of_actor)
    inputs = jax.ShapeDtypeStruct((4,), np.float32)
    context = ContinualContext(actor.init, actor.apply, gaussian, inputs, tasks(number), layers)
    make = registry.find("continual", name)
    asked = inspect.signature(make).parameters
    method = make(**{field: value for field, value in context._asdict().items() if field in asked}, **settings)
    return method._replace(network=method.network or without_context(actor.init, actor.apply))


def forward(body, head, orders):
    """The outputs of Rewire's network by NumPy: units of a layer are reordered before leaky ReLU."""
    x = X
    for (_, layer), order in zip(sorted(body.items()), orders, strict=True):
        u = (x @ layer["kernel"] + layer["bias"])[:, order]
        x = np.where(u > 0, u, 0.2 * u)
    return x @ head["kernel"] + head["bias"]


def test_orders_follow_their_units_when_the_network_is_the_reordered_anchor():
    method = on_actor("rewire", 2)
    params = trees.random_like(jax.eval_shape(method.network.init, trees.key(0)), scale=0.3)
    ends = functools.partial(method.end_task, inputs=(), clock=Clock(1), key=trees.key(0))
    params, state = trees.numpy(jax.jit(lambda params: ends(params, method.init(params)))(params))
    head = jax.tree.map(lambda heads: heads[0], params["heads"])
    before = forward(params["body"], head, [wiring[0] for wiring in state.wirings])

    # In their notation W = Z^T anchor A, with kernels (outputs, inputs); here Z reorders columns, and A rows.
    random = np.random.default_rng(3)
    Z = {name: random.permutation(7) for name in params["body"]}
    A = {name: random.permutation(7) if name in params["input_scores"] else np.arange(4) for name in params["body"]}
    body = {
        name: {
            "kernel": layer["kernel"][A[name].argsort()][:, Z[name].argsort()],
            "bias": layer["bias"][Z[name].argsort()],
        }
        for name, layer in params["body"].items()
    }
    scores = [
        {name: np.float32(order[name].argsort()) for name in of} for order, of in ((Z, Z), (A, params["input_scores"]))
    ]
    params |= {"body": body, "output_scores": scores[0], "input_scores": scores[1]}
    _, state = trees.numpy(jax.jit(ends)(params, state))
    np.testing.assert_allclose(forward(body, head, [wiring[0] for wiring in state.wirings]), before, atol=1e-6)


# 4. Stored numbers

P = {"halfcheetah": 139_532, "ant": 142_864, "humanoid": 202_018}
SCENARIO = {"halfcheetah": "forgetting", "ant": "forgetting", "humanoid": "hard"}
ANCHORS = 3  # of the subspace, in this test
REWIRED = {"halfcheetah": 294_972, "ant": 304_720, "humanoid": 436_906}
COLUMNS = {"halfcheetah": 7.78, "ant": 7.69, "humanoid": 2.04}


@functools.cache
def planned(domain, published_name, scenario=None):
    """The plan of a published run."""
    config = registry.presets(f"crl_{domain}")[f"{scenario or SCENARIO[domain]}/published"]
    continual = PUBLISHED_NAMES.get(published_name, {"name": published_name})
    return plan(from_mapping({**config, "continual": continual, "diagnostics": []}))


def memory_of(domain, published_name, scenario=None):
    """The memory after the last task."""
    its_plan = planned(domain, published_name, scenario)
    agent = its_plan.components.agent
    state = jax.eval_shape(agent.init, trees.key(0))
    if published_name == "csp":
        kept = state.learned.continual._replace(anchors=np.int32(ANCHORS))
        state = state._replace(learned=state.learned._replace(continual=kept))
    found = jax.jit(lambda tasks: agent.memory(state, tasks))(len(its_plan.tasks))
    return tuple(int(numbers) for numbers in found)


@needs_brax
@pytest.mark.parametrize(
    "domain",
    ["halfcheetah", *[pytest.param(domain, marks=pytest.mark.exhaustive) for domain in ("ant", "humanoid")]],
)
@pytest.mark.parametrize(
    ("name", "networks", "all_numbers"),
    [
        ("ft_1", 1, 1),
        ("sac_n", "tasks", "tasks"),
        ("ft_n", "tasks", "tasks"),
        ("ft_l2", 1, 2),
        ("ewc", 1, 3),
        ("packnet", 1, 2),  # theirs has a copy of the network for each task, and the owners
        ("csp", ANCHORS, ANCHORS),  # and a mixture for each task; theirs counts one number in their place
    ],
)
def test_memory_in_policies(domain, name, networks, all_numbers):
    N = 4 if domain == "humanoid" else 8
    networks, all_numbers = (N if times == "tasks" else times for times in (networks, all_numbers))
    mixtures = ANCHORS * N if name == "csp" else 0
    assert memory_of(domain, name) == (networks * P[domain], all_numbers * P[domain] + mixtures)


@needs_brax
@pytest.mark.parametrize("domain", P)
def test_numbers_of_the_actor(domain):
    state = jax.eval_shape(planned(domain, "ft_1").components.agent.init, trees.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(state.learned.params.actor)) == P[domain]


@needs_brax
@pytest.mark.parametrize("domain", P)
def test_memory_of_columns_and_of_wirings(domain):
    assert round(memory_of(domain, "pnn")[1] / P[domain], 2) == COLUMNS[domain]
    assert memory_of(domain, "rewire")[1] == REWIRED[domain]


@needs_brax
def test_memory_of_two_wirings():
    assert memory_of("halfcheetah", "rewire", "robustness")[1] == 287_268


# 5. Updates


@needs_brax
@pytest.mark.parametrize(
    ("domain", "rounds", "updates"),
    [("halfcheetah", 7_712, 493_568), ("ant", 7_712, 493_568), ("humanoid", 15_525, 993_600)],
)
def test_updates_of_a_task(domain, rounds, updates):
    its_plan = planned(domain, "ft_1")
    schedule = off_policy.schedule_of(sac.Config(**its_plan.config.agent.settings), its_plan.problem, restarts=True)
    assert set(schedule.updates_in_segments) == {updates}
    assert rounds * schedule.updates == updates and schedule.updates == 64


# 6. Tasks


def test_hidden_quantities_of_the_defective_module():
    hidden = np.isin(ROBOTS["halfcheetah"].quantities, TASKS["halfcheetah"]["defective_module"].hidden)
    assert np.flatnonzero(hidden).tolist() == [0, 1, 2, 5, 6, 10, 13, 14, 15]


@pytest.mark.parametrize(
    ("task", "off"),
    [
        ("disabled_hard1", [2, 3, 4, 5, 6, 7]),
        ("disabled_hard2", [0, 1, 4, 5, 6, 7]),
        ("disabled_forefeet", [0, 1, 2, 3]),
        ("disabled_backfeet", [4, 5, 6, 7]),
        ("disabled_first_diagonal", [0, 1, 4, 5]),
        ("disabled_second_diagonal", [2, 3, 6, 7]),
    ],
)
def test_motors_of_the_ant_that_are_off(task, off):
    factors = np.ones(8)
    factors[off] = 0
    assert TASKS["ant"][task].actions == tuple(factors)


@needs_brax
@pytest.mark.parametrize(("domain", "friction"), [("halfcheetah", 0.096), ("ant", 0.1406)])
def test_friction_of_contacts_in_the_rain(domain, friction):
    coefficient = edited(domain, TASKS[domain]["rainfall"]).friction
    np.testing.assert_allclose(coefficient**2, friction, atol=5e-5)  # of two bodies


# 7. Returns of random actions

# Of 200 steps up to a fall: mean and standard deviation over 64 environments.
RANDOM = {
    "halfcheetah": {
        "normal": (-51, 61),
        "carry_stuff": (-95, 208),
        "carry_stuff_hugegravity": (-97, 261),
        "hugefoot": (-60, 108),
        "hugefoot_rainfall": (-35, 37),
        "inverted_actions": (-54, 54),
        "moon": (-28, 108),
        "tinyfoot": (-41, 76),
        "tinyfoot_moon": (-41, 90),
        "rainfall": (-30, 28),
    },
    "ant": {
        "normal": (-59, 27),
        "hugefoot": (-65, 22),
        "moon": (-62, 31),
        "rainfall": (-64, 29),
        "disabled_hard1": (133, 5),
        "disabled_hard2": (133, 5),
        "disabled_forefeet": (65, 14),
        "inverted_actions": (-65, 27),
    },
    "humanoid": {"normal": (265, 56), "moon": (545, 163), "carrystuff": (205, 47), "tinyfeet": (259, 65)},
}


@needs_brax
@pytest.mark.exhaustive
@pytest.mark.parametrize("domain", RANDOM)
def test_returns_of_random_actions(domain):
    E, names = 64, list(RANDOM[domain])
    environment = _v1.environment(domain, [TASKS[domain][name] for name in names], tasks(len(names)), E)
    size = environment.spec.action.size

    @jax.jit
    def play(task):
        def step(carry, key):
            alive, state = carry
            state, answer = environment.step(state, jax.random.uniform(key, (E, size), minval=-1, maxval=1))
            return (alive & ~answer.terminated, state), answer.reward * alive

        first, _ = environment.init_task(jax.random.key(task), task)
        keys = jax.random.split(jax.random.key(9), 200)
        return jax.lax.scan(step, (jnp.ones(E, bool), first), keys)[1].sum(0)

    for number, (name, (mean, deviation)) in enumerate(RANDOM[domain].items()):
        returns = np.asarray(play(np.int32(number)))
        assert abs(returns.mean() - mean) < 4 * deviation * math.sqrt(2 / E), name  # of two means
        assert 0.5 < returns.std() / deviation < 2, name  # with heavy tails: 180 to 345 in four draws of `carry_stuff`


# 8. Tasks that are not forgotten


REPLAYED = Replayed(
    sample=lambda key, count: (jax.random.normal(key, (count, 4)), jnp.zeros((count, 2))),
    value=lambda inputs, actions, seen: inputs.sum(1),
)


def through_tasks(method, number, frozen=()):
    """Outputs on each task at its end, and after all tasks; all weights move at random, but for the frozen ones."""
    network = method.network

    def outputs(params, state, task):
        is_first = jnp.ones(len(X), bool)
        _, found, _ = network.act(
            method.view(params, state, task), network.route(state, task), network.initial_carry(len(X)), X,
            is_first=is_first, key=jax.random.key(0), greedy=True,
        )  # fmt: skip
        return found

    def move(params, state, key):
        moved = {
            name: part if name in frozen else jax.tree.map(lambda w: w + 0.3 * jax.random.normal(key, w.shape), part)
            for name, part in params.items()
        }
        return method.kept(moved, state, params)

    def one_task(carry, task):
        params, state, key = carry
        key, begin_key, move_key, tune_key = jax.random.split(key, 4)
        clock = Clock(1, task=task)
        begun = method.begin_task(params, state, clock=clock, key=begin_key)
        params, state = jax.tree.map(lambda new, old: jnp.where(task > 0, new, old), begun, (params, state))
        params = move(params, state, move_key)
        if method.trial is not None:
            state = method.trial.propose(params, state, REPLAYED, tune_key)
            scores = -jnp.arange(method.trial.candidates, dtype=jnp.float32)
            if method.trial.standing is not None:
                state = method.trial.standing(state, jnp.float32(-1))
            chosen = method.trial.choose(params, state, scores, clock)
            params, state = jax.tree.map(lambda new, old: jnp.where(task > 0, new, old), chosen, (params, state))
        params, state = method.end_training(params, state, clock=clock, key=tune_key)
        params = move(params, state, tune_key) if method.finetune else params
        params, state = method.end_task(params, state, inputs=(), clock=clock, key=tune_key)
        return (params, state, key), outputs(params, state, task)

    @jax.jit
    def program(key):
        params = network.init(key)
        (params, state, _), own = jax.lax.scan(
            one_task, (params, method.init(params), key), jnp.arange(number, dtype=jnp.int32)
        )
        return own, jax.lax.map(functools.partial(outputs, params, state), jnp.arange(number)), state

    return trees.numpy(program(trees.key(0)))


@pytest.mark.parametrize(
    ("name", "number", "settings", "frozen"),
    [
        ("from_scratch", 3, {}, ()),
        ("fine_tuning", 3, {"copies": True}, ()),
        ("progressive", 2, {}, ()),
        ("packnet", 8, {}, ()),
        ("subspace", 3, {"candidates": 2, "samples": 4, "estimations": 1}, ()),
        # As by an alignment of infinite strength.
        ("rewire", 3, {}, ("body", "output_scores", "input_scores")),
    ],
)
def test_no_task_is_forgotten(name, number, settings, frozen):
    own, after, state = through_tasks(on_actor(name, number, (8, 8), **settings), number, frozen)
    trees.assert_equal(after, own)
    assert len({one.tobytes() for one in jax.tree.leaves(own)[0]}) == number  # each task has a network of its own
    if name == "packnet":  # of a share of 1/8 for each task no weight is left
        assert all((owners >= 0).all() for owners in jax.tree.leaves(state.owners))


# 9. A task that Rewire learned in vain


def test_a_rollback_restores_the_slot_of_a_task_that_returns():
    method, key = on_actor("rewire", 4, cycle=2), trees.key(0)
    shapes = jax.eval_shape(method.network.init, key)
    learned = [trees.random_like(shapes, seed) for seed in range(3)]

    def on_first(params, state):
        route = method.network.route(state, 0)
        return method.network.act(params, route, (), X, is_first=X[:, 0] > 0, key=key, greedy=True)[1]

    @jax.jit
    def program(first, second, third):
        given = {"clock": Clock(1), "key": key}
        params, state = method.end_task(first, method.init(first), inputs=(), **given)
        params, state = method.begin_task(params, state, **given)
        params, state = method.end_task(method.kept(second, state, params), state, inputs=(), **given)
        before = on_first(params, state)
        params, state = method.begin_task(params, state, **given)
        state = method.trial.standing(state, jnp.float32(1))
        worse = method.trial.choose(method.kept(third, state, params), state, jnp.full(3, 0.9), Clock(1))
        return before, on_first(*method.end_task(*worse, inputs=(), **given)), on_first(third, state)

    before, after, unlike = program(*learned)
    trees.assert_equal(after, before)
    assert trees.differs(unlike, before)
