"""Every preset can be read, and each combination of a problem, an agent and methods in one of them can be built."""

import jax
import pytest
import trees

from pliant.core import registry
from pliant.experiment.configuration.reading import from_mapping
from pliant.experiment.loops.planning import unchecked_plan

PROBLEMS = [problem for problem in registry.names("problems") if registry.presets(problem)]
METHODS = [method for method in registry.names("methods") if registry.presets(method)]


def combinations():
    """One preset for each: those that differ in numbers alone are built alike, and reading them checks the numbers.

    Where each part of a combination is in another one, beside the same agent, only `make test-all` builds it.
    """
    found = {}
    for problem in PROBLEMS:
        for name, preset in registry.presets(problem).items():
            config = from_mapping(preset)
            parts = (config.problem, config.agent, *config.methods, *config.diagnostics)
            found.setdefault(tuple(part.name for part in parts), (problem, name))
    built = set()
    for (problem, agent, *others), values in sorted(found.items(), key=lambda item: -len(item[0])):
        pairs = {(agent, other) for other in (problem, *others)}
        yield pytest.param(*values, marks=() if pairs - built else pytest.mark.exhaustive)
        built |= pairs


@pytest.mark.parametrize("problem", PROBLEMS)
def test_every_preset_is_a_configuration_of_its_problem(problem):
    for name, preset in registry.presets(problem).items():
        config = from_mapping(preset)
        assert config.problem.name == problem, name
        assert from_mapping(config.to_mapping()) == config, name  # with all defaults written out


@pytest.mark.parametrize("method", METHODS)
def test_every_preset_of_a_method_has_settings_of_the_method(method):
    for name, preset in registry.presets(method).items():
        (found,) = from_mapping({"problem": PROBLEMS[0], "methods": [f"{method}/{name}"]}).methods
        assert found.settings.items() >= preset.items(), name


@pytest.mark.parametrize(("problem", "name"), list(combinations()))
def test_every_combination_can_be_built(problem, name):
    config = from_mapping(registry.presets(problem)[name])
    built = unchecked_plan(config).components
    jax.eval_shape(built.agent.init, trees.key(0))
    assert set(built.diagnostics) == {diagnostic.name for diagnostic in config.diagnostics}
