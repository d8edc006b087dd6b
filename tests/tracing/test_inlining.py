"""Jaxprs with their nested calls written out."""

import jax
import jax.numpy as jnp
import numpy as np

from pliant.tracing.inlining import contracts, inline, subjaxprs

X = np.ones((2, 3), np.float32)
W = np.ones((3, 4), np.float32)


def inlined(function, *arguments):
    return inline(jax.make_jaxpr(function)(*arguments))


def names(program):
    return [equation.primitive.name for equation in program.equations]


def test_calls_inside_calls_are_written_out():
    inner = jax.jit(lambda x: jnp.sin(x) * 2)
    program = inlined(jax.jit(lambda x: inner(x) + inner(jnp.cos(x))), X)
    assert names(program) == ["sin", "mul", "cos", "sin", "mul", "add"]


def test_what_no_output_needs_is_left_out():
    def function(x):
        del_me = jnp.cos(x) * 3
        del del_me
        return jnp.sin(x)

    assert names(inlined(function, X)) == ["sin"]


def test_a_function_with_a_derivative_of_its_own_stays_a_call():
    assert names(inlined(jax.nn.relu, X)) == ["custom_jvp_call"]


def test_a_function_with_a_derivative_of_its_own_that_contracts_is_written_out():
    @jax.custom_jvp
    def layer(x, w):
        return x @ w

    layer.defjvp(lambda primals, tangents: (layer(*primals), tangents[0] @ primals[1]))
    assert names(inlined(layer, X, W)) == ["dot_general"]
    assert names(inlined(jax.checkpoint(lambda x, w: jnp.sin(x) @ w), X, W)) == ["sin", "dot_general"]


def test_constants_are_inputs_ahead_of_the_others():
    program = inlined(lambda x: x + W.T[:1], np.ones((1, 3), np.float32))
    [constant] = program.consts
    assert len(program.inputs) == 2
    assert program.inputs[0].aval.shape == np.shape(constant)


def test_a_program_with_more_outputs_returns_them_behind_its_own():
    program = inlined(lambda x: jnp.cos(jnp.sin(x)), X)
    [inside] = program.equations[0].outvars
    wider = program.with_outputs([inside])
    outputs = jax.jit(lambda x: jax.extend.core.jaxpr_as_fun(wider)(x))(X)
    np.testing.assert_allclose(outputs, [np.cos(np.sin(X)), np.sin(X)], rtol=1e-6)


def test_contractions_are_found_in_loops_and_branches():
    def loop(x, w):
        return jax.lax.scan(lambda carry, _: (carry, x @ w), 0.0, length=3)

    def branch(x, w):
        return jax.lax.cond(x.sum() > 0, lambda: x @ w, lambda: x @ -w)

    for function in (loop, branch):
        assert contracts(jax.make_jaxpr(function)(X, W).jaxpr)
    assert not contracts(jax.make_jaxpr(jnp.add)(X, X).jaxpr)


def test_the_bodies_of_a_branch_are_its_jaxprs():
    program = inlined(lambda x: jax.lax.cond(x.sum() > 0, jnp.sin, jnp.cos, x), X)
    [branch] = [equation for equation in program.equations if equation.primitive.name == "cond"]
    bodies = [[equation.primitive.name for equation in jaxpr.eqns] for jaxpr in subjaxprs(branch)]
    assert sorted(bodies) == [["cos"], ["sin"]]
