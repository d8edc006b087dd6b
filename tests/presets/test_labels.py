"""The published configurations with changing labels: what follows from other numbers."""

import pytest

from pliant.core import registry
from pliant.experiment.configuration.reading import from_mapping
from pliant.problems.images import label_permuted, random_label_memorization

MEMORIZATION = registry.presets("random_label_memorization")
PERMUTED = registry.presets("label_permuted")


def settings(preset):
    config = from_mapping(preset)
    return {method.name: method.settings for method in config.methods}, config.agent.settings


def test_each_task_has_a_record():
    problem = random_label_memorization.Config()
    assert {preset["record_every"] for preset in MEMORIZATION.values()} == {problem.images * problem.epochs}
    assert {preset["record_every"] for preset in PERMUTED.values()} == {label_permuted.Config().change_every}


@pytest.mark.parametrize(("method", "combinations"), [("base", 1), ("l2", 4), ("l2_init", 4), ("cbp", 6), ("redo", 3)])
def test_the_grids_of_memorization_have_two_learning_rates(method, combinations):
    for optimizer, rates in (("sgd", [1e-2, 1e-3]), ("adam", [1e-3, 1e-4])):
        sweep = dict(MEMORIZATION[f"{optimizer}/{method}"]["sweep"])
        assert sweep.pop("agent.learning_rate") == rates
        assert [len(values) for values in sweep.values()] == ([combinations] if combinations > 1 else [])


def test_replacement_of_a_tenth_of_the_units_at_once_is_allowed():
    methods, agent = settings(MEMORIZATION["adam/cbp"])
    rates = MEMORIZATION["adam/cbp"]["sweep"]["method.replacement_rate"]
    units = random_label_memorization.Config().hidden_units
    assert methods["continual_backprop"]["max_per_step"] == max(rates) * units
    assert agent["optimizer"] == "per_weight_adam"


@pytest.mark.parametrize(("name", "weight_decay", "noise"), [("pgd", 0, 5e-5), ("shrink_and_perturb", 1e-3, 5e-5)])
def test_noise_in_the_gradient_reaches_the_weights_times_the_learning_rate(name, weight_decay, noise):
    # w <- w - 0.01 (g + weight_decay w + 0.005 xi)
    methods, agent = settings(PERMUTED[name])
    method = methods["shrink_and_perturb"]
    assert (agent["learning_rate"], method["shrink"], method["weight_decay"]) == (0.01, 1, weight_decay)
    assert method["perturb_scale"] == pytest.approx(noise)


def test_adam_decays_by_the_learning_rate_times_a_tenth():
    methods, agent = settings(PERMUTED["adam"])
    assert (agent["learning_rate"], agent["b1"], agent["b2"]) == (1e-4, 0, 0.9999)
    assert methods["l2"]["weight_decay"] == pytest.approx(1e-5) and not methods["l2"]["coupled"]
