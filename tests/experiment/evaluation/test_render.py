"""What people see of episodes: each step once, as it was before the action."""

import numpy as np
import pytest
import staged
import uneven

from pliant.experiment.configuration.reading import from_mapping
from pliant.experiment.errors import ConfigError
from pliant.experiment.evaluation.evaluate import evaluate
from pliant.experiment.evaluation.render import render
from pliant.experiment.evaluation.restore import load
from pliant.experiment.evaluation.transfer import transfer
from pliant.experiment.loops.planning import plan, unchecked_plan
from pliant.experiment.run import run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """One member, after 64 steps, to act in episodes of 4."""
    with pytest.MonkeyPatch.context() as patch:
        staged.add(patch)
        path = run(plan(from_mapping({"problem": "staged", "diagnostics": []})), tmp_path_factory.mktemp("runs"))
        yield transfer(load(path))


def test_frames_of_episodes(trained):
    frames = list(render(trained, "text", episodes=2, mode="greedy"))
    texts = [f"[bold]episode[/bold] {number}\ntime {time}" for number in (0, 1) for time in (0, 1, 2, 3)]
    assert [frame.shown for frame in frames] == texts
    assert [frame.episode for frame in frames] == [1] * 4 + [2] * 4
    assert [frame.facts is None for frame in frames] == [True, True, True, False] * 2
    assert [frame.step for frame in frames] == [0, 1, 2, 3] * 2
    # Rewards of 1 + mean + 0, 1, 2, ...
    each = 1 + uneven.initial_mean(0) + 2
    np.testing.assert_allclose([frame.total for frame in frames], [0, each, 2 * each + 1, 3 * each + 3] * 2, rtol=1e-5)
    # The mean after four rounds, and 1 more in each step: 4 (1 + mean) + 0 + 1 + 2 + 3.
    returns = 10 + 4 * (uneven.initial_mean(0) + 2)
    for frame, success in ((frames[3], 1), (frames[7], 0)):
        assert frame.facts == {
            "return": pytest.approx(returns, rel=1e-5),
            "length": 4,
            "terminated": 0,
            "truncated": 1,
            "success": success,
        }


@pytest.mark.parametrize("backend", ["device", "host"])
def test_pictures(trained, backend):
    frames = list(render(transfer(trained, backend=backend), "picture", steps=3, mode="greedy"))
    # On the device grey as 40 times the steps so far; outside as the observation, a tenth of them, is drawn there.
    levels = {"device": [0, 40, 80], "host": [128, 140, 153]}[backend]
    assert [frame.shown[0, 0, 0] for frame in frames] == levels
    assert all(frame.shown.dtype == np.uint8 and frame.facts is None for frame in frames)


@pytest.mark.compilations(9)  # episodes are played three times, by three programs each
def test_sampled_episodes_are_those_of_the_evaluation(trained):
    returns, other = (
        [frame.facts["return"] for frame in render(trained, "text", episodes=2, seed=seed) if frame.facts]
        for seed in (1, 0)
    )
    # The first and the third: the second is of the second environment.
    played = evaluate(trained, episodes=4, modes=["sampled"], seed=1)["return"]
    np.testing.assert_allclose(returns, played[::2], rtol=1e-6)
    assert len(other) == 2 and not set(returns) & set(other)


def test_more_steps_than_one_call_of_the_program(trained):
    frames = list(render(trained, "text", episodes=100, steps=300, mode="greedy"))
    assert len(frames) == 300
    assert frames[-1].shown == "[bold]episode[/bold] 74\ntime 3"  # the 75th episode of 4 steps


def test_what_cannot_be_shown(trained):
    with pytest.raises(ConfigError, match=r"^staged cannot be shown in a terminal; write a film, such as with --gif"):
        render(transfer(trained, backend="host"), "text")
    with pytest.raises(ConfigError, match=r"^uneven cannot be shown: it draws nothing$"):
        render(trained._replace(plan=unchecked_plan(from_mapping({"problem": "uneven"}))), "picture")
