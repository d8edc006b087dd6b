import hand_wired
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pliant.core.units import Group, Incoming, Outgoing, Wiring
from pliant.surgery.resets import head, last_layers, layer, set_back


def test_layers_of_an_mlp():
    wiring = hand_wired.mlp(3, 4, 4, 2)
    assert layer(wiring["w1"]) == {"w1", "b1"}
    assert head(wiring) == {"w2", "b2"}
    assert last_layers(wiring, 1) == {"w2", "b2"}
    assert last_layers(wiring, 2) == {"w1", "b1", "w2", "b2"}
    assert last_layers(wiring, 3) == last_layers(wiring, 9) == {"w0", "b0", "w1", "b1", "w2", "b2"}


def test_head_without_bias():
    assert head(hand_wired.mlp(3, 4, 2, bias=False)) == {"w1"}


def test_layers_are_counted_from_every_output():
    # An actor of two hidden layers and a critic of one: the last two layers are a2, a1 and c1, c0.
    def chain(name, widths):
        return {
            f"{name}{i}": Group(
                f"{name}{i}",
                n,
                (Incoming(f"{name}{i}", 1),),
                (),
                (Outgoing(f"{name}{i + 1}", 0, feature=f"{name}{i}"),),
            )
            for i, n in enumerate(widths)
        }

    wiring = Wiring(chain("a", [4, 4]) | chain("c", [4]))
    assert head(wiring) == {"a2", "c1"}
    assert last_layers(wiring, 2) == {"a2", "a1", "c1", "c0"}


def test_no_head():
    tied = Wiring({"h": Group("h", 3, (Incoming("w", 1),), (), (Outgoing("w", 0, feature="h"),))})
    for wiring in (tied, Wiring({})):
        with pytest.raises(
            ValueError, match=r"^this wiring has no head: .* by name \(layer_reset\) or .*\(full_reset\)$"
        ):
            head(wiring)
    with pytest.raises(ValueError, match=r"^last:0: the number of layers is at least 1"):
        last_layers(hand_wired.mlp(3, 4, 2), 0)


def test_set_back_takes_the_chosen_leaves_and_marks_them():
    params = {"a": np.zeros((2, 3), jnp.bfloat16), "b": {"c": np.zeros(2)}}
    source = jax.tree.map(lambda w: np.ones(w.shape), params)

    @jax.jit
    def both(params, source):
        return set_back(params, source, {"a"}), set_back(params, source)

    (new, fresh, _), whole = both(params, source)
    np.testing.assert_array_equal(np.asarray(new["a"], float), np.ones((2, 3)))
    np.testing.assert_array_equal(new["b"]["c"], [0, 0])
    assert new["a"].dtype == jnp.bfloat16
    assert fresh["a"].tolist() == [[True]] and fresh["b"]["c"].tolist() == [False]
    assert all(np.asarray(leaf).all() for leaf in (*jax.tree.leaves(whole.params), *jax.tree.leaves(whole.fresh)))


def test_set_back_leaves_running_statistics():
    params = {"params": {"scale": np.zeros(2)}, "statistics": {"mean": np.zeros(2)}}
    both = jax.jit(
        lambda params, source: [
            set_back(params, source, paths) for paths in (None, {"statistics/mean", "params/scale"})
        ]
    )
    for new, fresh, _ in both(params, jax.tree.map(np.ones_like, params)):
        assert np.asarray(new["params"]["scale"]).all() and not np.asarray(new["statistics"]["mean"]).any()
        assert fresh["params"]["scale"].tolist() == [True] and fresh["statistics"]["mean"].tolist() == [False]


@pytest.mark.parametrize("source", [{"a": np.zeros((3, 2))}, {"b": np.zeros((2, 3))}, {}])
def test_set_back_refuses_another_network(source):
    with pytest.raises(
        ValueError, match=r"^initialize returned other leaves .* for a \(2, 3\)\); pass the initializer"
    ):
        set_back({"a": np.zeros((2, 3))}, source)
