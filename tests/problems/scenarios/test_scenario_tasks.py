import numpy as np
import pytest

from pliant.problems.scenarios._tasks import MOTORS, PARTS, SCENARIOS, TASKS, random_change


def test_sequences_have_eight_tasks_but_the_humanoids_four():
    lengths = {
        f"{domain}/{name}": len(scenario.tasks) * scenario.repeat
        for domain, scenarios in SCENARIOS.items()
        for name, scenario in scenarios.items()
    }
    assert lengths.pop("humanoid/hard") == 4
    assert len(lengths) == 8 and set(lengths.values()) == {8}


@pytest.mark.parametrize("domain", TASKS)
def test_sequences_and_changes_name_what_exists(domain):
    for scenario in SCENARIOS[domain].values():
        assert set(scenario.tasks) <= set(TASKS[domain])
    for change in TASKS[domain].values():
        assert set(change.parts) <= set(PARTS[domain])
        assert len(change.actions) in (0, len(MOTORS[domain]))


def test_disabled_legs_of_the_ant_by_motor():
    # Motors by leg: 1 has 0 and 1, 2 has 2 and 3, 3 has 4 and 5, 4 has 6 and 7.
    disabled = {name: np.flatnonzero(np.equal(change.actions, 0)).tolist() for name, change in TASKS["ant"].items()}
    assert {name: motors for name, motors in disabled.items() if motors} == {
        "disabled_hard1": [2, 3, 4, 5, 6, 7],
        "disabled_hard2": [0, 1, 4, 5, 6, 7],
        "disabled_forefeet": [0, 1, 2, 3],
        "disabled_backfeet": [4, 5, 6, 7],
        "disabled_first_diagonal": [0, 1, 4, 5],
        "disabled_second_diagonal": [2, 3, 6, 7],
    }


@pytest.mark.parametrize(
    ("domain", "gravity", "parts"),
    [
        ("halfcheetah", (0.15, 1.5), {"torso": (0.5, 4), "feet": (0.5, 1.5)}),
        ("ant", (0.5, 1.5), {"lower_legs": (0.5, 1.5)}),
        ("humanoid", (0.15, 1.5), {"torso": (0.5, 4), "lower_waist": (0.5, 4), "shins": (0.5, 1.5)}),
    ],
)
def test_randomised_physics_fills_its_ranges(domain, gravity, parts):
    changes = [random_change(domain, 3, index) for index in range(200)]
    ranges = {"gravity": gravity, "friction": (0.4, 1.25)} | parts
    values = {name: [change.parts[name] for change in changes] for name in parts}
    values |= {"gravity": [c.gravity for c in changes], "friction": [c.friction for c in changes]}
    for name, (low, high) in ranges.items():
        u = np.log(np.divide(values[name], low)) / np.log(high / low)
        # Log-uniform: u is uniform on [0, 1); of 200 draws the standard deviation of the mean is 0.02.
        assert u.min() >= 0 and u.max() < 1 and abs(u.mean() - 0.5) < 0.08 and np.ptp(u) > 0.9


def test_randomised_physics_depends_on_domain_seed_and_index_alone():
    first = random_change("halfcheetah", 0, 5)
    assert random_change("halfcheetah", 0, 5) == first
    assert random_change("halfcheetah", 1, 5) != first != random_change("halfcheetah", 0, 6)
