import pytest

from pliant.problems.mujoco._control_suite import observation_keys

QUADRUPED = ["egocentric_state", "origin", "rangefinder", "ball_state", "target_position"]


@pytest.mark.parametrize(
    ("task", "names", "expected"),
    [
        ("DogRun-v1", ["joint_angles", "ball_state", "target_position"], ["joint_angles"]),
        ("DogFetch-v1", ["joint_angles", "ball_state"], ["joint_angles", "ball_state"]),
        ("HumanoidWalk-v1", ["velocity", "position"], ["velocity"]),
        ("HumanoidRunPureState-v1", ["head_height", "position", "velocity"], ["position", "velocity"]),
        ("QuadrupedRun-v1", QUADRUPED, ["egocentric_state"]),
        ("QuadrupedEscape-v1", QUADRUPED, ["egocentric_state", "origin", "rangefinder"]),
        ("QuadrupedFetch-v1", QUADRUPED, ["egocentric_state", "ball_state", "target_position"]),
        ("FishSwim-v1", ["upright", "target"], ["upright", "target"]),
        ("FishUpright-v1", ["upright", "target"], ["upright"]),
    ],
)
def test_a_task_shows_what_the_suite_shows(task, names, expected):
    assert observation_keys(task, names) == expected
