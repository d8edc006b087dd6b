import jax
import numpy as np
import pytest
import trees

from pliant.core.units import Incoming


def test_keys_are_those_of_jax():
    for seed in (0, 1, 2**32 - 1):
        assert trees.same(trees.key(seed), jax.random.key(seed))
    assert trees.same(trees.keys([3, 5])[1], jax.random.key(5))


def test_edits_leave_the_original_alone():
    params = {"a": {"b": np.arange(6.0).reshape(2, 3)}, "c": np.zeros(2)}
    edited = trees.edited(params, [Incoming("a/b", 1)], lambda entries: 10 * entries, units=1)
    np.testing.assert_array_equal(edited["a"]["b"], [[0, 10, 2], [3, 40, 5]])
    np.testing.assert_array_equal(params["a"]["b"], [[0, 1, 2], [3, 4, 5]])
    # Unit 0 owns the rows 0 and 2, unit 1 the rows 1 and 3.
    slot = Incoming("w", 0, np.array([[0, 1], [2, 3]]))
    doubled = trees.edited({"w": np.arange(4.0)}, [slot], lambda entries: 2 * entries, units=1)
    np.testing.assert_array_equal(doubled["w"], [0, 2, 2, 6])
    swapped = trees.reordered({"w": np.arange(4.0)}, [slot], np.array([1, 0]))
    np.testing.assert_array_equal(swapped["w"], [1, 0, 3, 2])


def test_comparisons_see_one_number():
    a = {"x": np.ones(3, np.float32)}
    b = {"x": np.array([1, 1, 1.1], np.float32)}
    assert trees.differs(a, b) and not trees.differs(a, a)
    assert trees.same(a, a) and not trees.same(a, b)
    assert trees.finite(a) and not trees.finite({"x": np.array([np.inf])})
    trees.assert_close(a, a)
    with pytest.raises(AssertionError):
        trees.assert_close(a, b)


def test_drawn_trees_have_the_types_of_others():
    drawn = trees.random_like({"x": jax.ShapeDtypeStruct((2, 3), np.float16)})
    assert drawn["x"].shape == (2, 3) and drawn["x"].dtype == np.float16
    assert trees.stacked([drawn, drawn])["x"].shape == (2, 2, 3)
