"""`pliant run` with the user's own files: those that the guide shows."""

import pathlib
import re

import jax
import numpy as np
import pytest
import trees
import yaml

from pliant.core import sources
from pliant.core.clock import Clock
from pliant.experiment.loops.planning import plan

GUIDES = pathlib.Path(__file__).parents[2] / "docs" / "guides"
P = "slowly_changing_regression"
SMALL = ("--examples", 20, "--record-every", 5, "--seeds", 2)

pytestmark = pytest.mark.usefixtures("counts")


@pytest.fixture(autouse=True)
def things(monkeypatch):
    """The guide's file in the working directory; no file was named yet."""
    monkeypatch.setattr(sources, "_files", {})
    return shown_in("your_own", "my_things.py")


def shown_in(guide, name):
    """The file of this name that a guide shows."""
    shows = rf"^[^\n]*whole file `{re.escape(name)}`[^\n]*\n\n```python\n(.*?)^```"
    [code] = re.findall(shows, (GUIDES / f"{guide}.md").read_text(), re.MULTILINE | re.DOTALL)
    file = pathlib.Path(name)
    file.write_text(code)
    return file


def test_all_that_the_guide_shows_is_one_run(pliant, things):
    words = ("run", "my_things.py:noisy_line", "--method", "my_things.py:weight_clipping", *SMALL)
    code, out, err = pliant(*words, "--network", "my_things.py:wide", "--network.units", 32, "--method.bound", 0.2)
    assert code == 0, err
    (path,) = pathlib.Path("runs").iterdir()
    config = yaml.safe_load((path / "config.yaml").read_text())
    assert path.name.startswith("noisy_line-weight_clipping-")
    assert (config["network"]["units"], config["methods"][0]["bound"], config["agent"]["name"]) == (32, 0.2, "sgd")

    [copy] = path.glob("sources/*/my_things.py")
    assert copy.read_bytes() == things.read_bytes()
    sources._files.clear()  # as in another process
    code, out, err = pliant("run", path)
    assert (code, out) == (2, "") and err.count("\n") == 1 and "--source PATH/my_things.py" in err
    code, out, err = pliant("run", path, "--seeds", 3, "--source", copy)
    assert code == 0 and "has seeds 0-1 already; computing seeds 2-2" in err


def test_a_file_is_part_of_the_runs_name_by_its_contents(asked, things):
    def name(file):
        return asked(P, "--method", f"{file}:weight_clipping")[0].name

    before, elsewhere = name(things), pathlib.Path("folder", things.name)
    elsewhere.parent.mkdir()
    elsewhere.write_text(things.read_text())
    assert name(elsewhere) == before
    things.write_text(things.read_text() + "\n# edited\n")
    assert name(things) != before


def test_settings_of_a_file_are_swept_and_explained(pliant, asked):
    config, _ = asked(P, "--method", "my_things.py:weight_clipping", "--sweep", "bound=0.1,0.2")
    assert config.sweep == {"method.bound": (0.1, 0.2)}
    code, out, _ = pliant("run", "my_things.py:noisy_line", "--help")
    assert code == 0 and re.search(r"--noise NOISE +Standard deviation|--noise NOISE +standard deviation", out)


def test_a_method_of_a_file_stands_beside_others(asked):
    words = (
        "--method",
        "my_things.py:weight_clipping@weak",
        "--method",
        "l2",
        "--method",
        "my_things.py:weight_clipping",
    )
    config, _ = asked(P, *words, "--method.weight_clipping@weak.bound", 9)
    assert [(m.name, m.settings.get("bound")) for m in config.methods] == [
        ("weight_clipping@weak", 9.0),
        ("l2", None),
        ("weight_clipping", 0.5),
    ]


def test_the_continual_method_of_its_guide_is_one_of_a_run(asked):
    shown_in("continual", "my_continual.py")
    digits = ("--data", "digits", "--tasks", 2, "--change-every", 60, "--batch-size", 5, "--hidden-units", 3)
    own = ("--continual", "my_continual.py:averaging", "--continual.weight", 0.75)
    config, _ = asked("permuted_mnist", *digits, *own)
    assert config.name.startswith("permuted_mnist-averaging-")
    learner = plan(config).components.agent

    def run(key):
        states = [learner.end_task(learner.init(key), Clock(12, 11, 0, 12))]
        moved = states[0]._replace(params=jax.tree.map(lambda w: w + 1, states[0].params))
        states.append(learner.end_task(moved, Clock(24, 23, 1, 12)))
        return [state.params for state in states]

    first, second = trees.numpy(jax.jit(run)(trees.key(0)))
    jax.tree.map(lambda before, after: np.testing.assert_allclose(after, before + 0.75, rtol=1e-5), first, second)


def test_the_guides_method_that_acts_in_each_update_holds_weights_from_the_second_task_on(asked):
    shown_in("continual", "within_reach.py")
    own = ("--continual", "within_reach.py", "--continual.reach", 0.25)
    config, _ = asked("permuted_mnist", "--data", "digits", "--tasks", 2, *own)
    method = config.continual.found(**config.continual.settings)
    start, end = np.float32([0, 0, 0]), np.float32([1, 2, 3])

    def run(moved):
        first = method.project(moved, method.init(start), start)
        _, state = method.end_task(end, method.init(start), inputs=None, clock=None, key=None)
        return first, method.project(moved, state, end)

    first, later = jax.jit(run)(moved := np.float32([1.2, 5, -5]))
    np.testing.assert_array_equal(first, moved)
    np.testing.assert_array_equal(later, np.float32([1.2, 2.25, 2.75]))


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("cannot read no.py: No such file or directory", (P, "--method", "no.py:half")),
        (
            "my_things.py has no 'half'; there are: weight_clipping, noisy_line, wide",
            (P, "--method", "my_things.py:half"),
        ),
        ("my_things has no function make; write", ("my_things.py",)),
        ("unknown network 'wide'; there are: none", (P, "--network", "wide")),
        ("--preset std: only a problem has presets, and my_things.py is a file", ("my_things.py", "--preset", "std")),
    ],
)
def test_what_a_file_lacks_is_said_in_one_line(refuses, message, words):
    refuses(message, "run", *words)


def test_a_configuration_file_cannot_have_a_file_executed(refuses):
    pathlib.Path("from_elsewhere.yaml").write_text(f"problem: {P}\nmethods: ['my_things.py:weight_clipping']\n")
    refuses("a file is executed only if you name it on the command line or in a call", "run", "from_elsewhere.yaml")
