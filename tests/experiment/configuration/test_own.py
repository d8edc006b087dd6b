"""The user's own problems, and the networks that take the place of a problem's."""

import dataclasses
import re
import types

import numpy as np
import pytest

from pliant.core import sources
from pliant.core.problem import ActorCritic, Batch, Continuous, Environment, HostEnvironment, Network, Spec, Stream
from pliant.experiment.configuration.build import with_network
from pliant.experiment.configuration.config import ComponentSpec
from pliant.experiment.configuration.own import as_problem
from pliant.experiment.configuration.settings import settings_of
from pliant.experiment.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Config:
    size: int = 3


def stream(activation: int = 2) -> Stream:
    return ("stream", activation)


def environment() -> Environment: ...


def host() -> HostEnvironment: ...


def of_config(config: Config) -> Stream:
    return ("stream", config.size)


def silent(): ...


@pytest.mark.parametrize(("make", "agent"), [(stream, "sgd"), (environment, "ppo"), (host, "ppo")])
def test_a_function_is_a_problem_for_the_usual_agent(make, agent):
    assert list(as_problem(make, "mine").AGENTS) == [agent]


def test_the_arguments_of_a_function_are_the_settings():
    problem = as_problem(stream, "mine")
    assert list(settings_of(problem.Config, ())) == ["activation"]
    assert problem.make(problem.Config(activation=5)) == ("stream", 5)


def test_a_module_needs_no_more_than_make():
    short = as_problem(types.SimpleNamespace(make=stream, RUN={"seeds": "3"}), "mine")
    assert (short.make(short.Config()), short.RUN) == (("stream", 2), {"seeds": "3"})
    middle = as_problem(types.SimpleNamespace(make=of_config, Config=Config), "mine")
    assert (middle.make(middle.Config(size=4)), middle.AGENTS) == (("stream", 4), {"sgd": {}})
    whole = types.SimpleNamespace(make=of_config, Config=Config, AGENTS={"mine": {}})
    assert as_problem(whole, "mine") is whole


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (silent, "mine does not say what it returns; write def silent(...) -> Stream, -> Environment or -> HostEnv"),
        (types.SimpleNamespace(), "mine has no function make; write def make(...) -> Stream, or name a function: FILE"),
    ],
)
def test_what_is_no_problem_is_refused(found, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        as_problem(found, "mine")


def listed(inputs, many: list = None): ...  # noqa: RUF013


def without_default(rate: float): ...


@pytest.mark.parametrize(("factory", "argument"), [(listed, "many"), (without_default, "rate"), (lambda x=1: x, "x")])
def test_an_argument_that_is_no_setting_is_named(factory, argument):
    with pytest.raises(ConfigError, match=rf"has the argument {argument}, which is not a setting: write a type and"):
        settings_of(factory, ("inputs",))


def wide(inputs, outputs, units: int = 3) -> Network:
    def init(key):
        return {"w": np.ones((inputs.shape[-1], units)), "out": np.ones((units, outputs.shape[-1]))}

    return Network(init, lambda params, x: x @ params["w"] @ params["out"])


def narrow(inputs, outputs):
    return Network(lambda key: np.ones((inputs.shape[-1], outputs.shape[-1] - 1)), lambda params, x: x @ params)


def actor(spec, units: int = 3) -> ActorCritic:
    return ActorCritic(None, (spec, units), None)


def network(factory, **settings):
    return ComponentSpec("networks", factory.__name__, settings, sources.in_program(factory)["source"])


def test_the_network_of_a_stream_is_made_from_the_shapes_of_a_batch():
    def draw(data, key, steps):
        return key, Batch(np.ones((steps, 4, 7), np.float32), None)

    plain = Network(lambda key: np.ones((7, 2), np.float32), lambda params, x: x @ params)
    problem = Stream(lambda data, key: key, draw, None, plain, 10)
    params = with_network(problem, network(wide, units=5)).network.init(None)
    assert (params["w"].shape, params["out"].shape) == ((7, 5), (5, 2))
    with pytest.raises(ConfigError, match=r"^network=narrow has outputs of shape \(4, 1\), and \(4, 2\) is that of"):
        with_network(problem, network(narrow))
    with pytest.raises(ConfigError, match=r"^network=actor: it asks for spec, and can have inputs, outputs here$"):
        with_network(problem, network(actor))


def test_the_network_of_environments_is_made_from_their_spec():
    spec = Spec("observations", Continuous(2))
    environment = HostEnvironment(spec, 1, 10, None)
    assert with_network(environment, network(actor, units=5)).network.apply == (spec, 5)
    with pytest.raises(ConfigError, match="network=stream returns a tuple: this problem needs a ActorCritic"):
        with_network(environment, network(stream, activation=1))
