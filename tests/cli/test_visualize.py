"""`pliant visualize`: what it shows and writes; and whatever is typed wrongly."""

import re
import shutil
import sys

import numpy as np
import pytest
import staged
import uneven
from PIL import Image

from pliant.cli import _visualize
from pliant.core import registry
from pliant.experiment.configuration.reading import from_mapping
from pliant.experiment.loops.planning import plan
from pliant.experiment.run import run

# Each command is planned, and compiles what acts and what is acted in.
pytestmark = pytest.mark.compilations(18)

FIELDS = {"agent": "riser", "seeds": "2", "diagnostics": []}
CONFIGS = {
    "device": {"problem": "uneven", **FIELDS},
    "host": {"problem": "uneven_host", **FIELDS, "sweep": {"learning_rate": [0.0, 0.5]}},
    "staged": {"problem": "staged", **FIELDS},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        staged.add(patch)
        yield {name: run(plan(from_mapping(fields)), folder) for name, fields in CONFIGS.items()}


@pytest.fixture
def visualize(pliant, runs):
    """`visualize(name, *words)` shows a run; the output."""

    def command(name, *words):
        code, out, err = pliant("visualize", runs[name], *words)
        assert (code, err) == (0, ""), err
        return out

    return command


def greedy(seed, steps):
    """Return of an episode: actions of mean + 0, 1, ..., rewarded by 1 more; of four rounds each added 0.5."""
    return steps * (1 + uneven.initial_mean(seed) + 2) + steps * (steps - 1) / 2


def levels(file):
    """The greys of a film's frames."""
    found = []
    with Image.open(file) as film:
        for number in range(film.n_frames):
            film.seek(number)
            found.append(int(np.asarray(film.convert("L"))[0, 0]))
    return found


def test_where_there_is_no_terminal(visualize, runs):
    out = visualize("staged", "--greedy", "--episodes", 2)
    title, *lines = out.splitlines()
    assert title == f"{runs['staged'].name} at step 64 (seed 0, env long, greedy)"
    first, second = ([line for time in range(4) for line in (f"episode {n}", f"time {time}")] for n in (0, 1))
    assert lines == [
        *first,
        f"episode 1: return {greedy(0, 4):.4g}, length 4, success 1, cut short",
        *second,
        f"episode 2: return {greedy(0, 4):.4g}, length 4, success 0, cut short",
    ]


def test_in_a_terminal(visualize, monkeypatch):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    pauses = []
    monkeypatch.setattr(_visualize.time, "sleep", pauses.append)
    out = visualize("staged", "--env", "short", "--seeds", "1-1", "--argmax", "--pause", "0.5")
    assert pauses == [0.5, 0.5]
    out = out.replace("\r", "")
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out)
    # One frame is drawn over the other, and stays there when it is over.
    assert "episode 0\ntime 0episode 0\ntime 1" in plain
    assert f"episode 1: return {greedy(1, 2):.4g}, length 2, success 1, cut short\n" in plain
    assert "\x1b[1mepisode\x1b[0m" in out
    visualize("staged", "--env", "short")
    assert pauses[2:] == [0.1, 0.1]


def test_steps_end_it(visualize):
    out = visualize("staged", "--steps", 6, "--episodes", 3)
    assert re.findall(r"^time (\d)$", out, re.MULTILINE) == list("012301")
    assert out.endswith("\ntime 1\nepisode 2: continues after the steps that were shown; write a larger --steps\n")


def test_a_film_of_a_host(visualize, tmp_path):
    out = visualize("host", "--gif", "f.gif", "--where", "learning_rate=0.5", "--seeds", "1-1")
    extras, film = out.splitlines()
    assert extras.startswith(f"episode 1: return {greedy(1, 5):.4g}, length 5, ")
    assert extras.endswith(", cut short")
    assert film == "film: f.gif (seed 1, agent.learning_rate 0.5, greedy, 5 frames)"
    with Image.open(tmp_path / "f.gif") as film:
        assert (film.n_frames, film.size, film.info["duration"]) == (5, (48, 48 + 22), 40)  # enlarged, with a caption
    # The episode of 5 steps shows 0, 0.1, ..., 0.4, drawn as 128 + 127 times that.
    np.testing.assert_allclose(levels(tmp_path / "f.gif"), [128, 140.7, 153.4, 166.1, 178.8], atol=1.5)
    assert "sampled, 2 frames" in visualize("host", "--gif", "s.gif", "--steps", 2, "--sample")


def test_a_film_of_what_is_on_the_device(visualize, tmp_path):
    out = visualize("staged", "--gif", "f.GIF", "--env", "short", "--episodes", 2)
    assert "film: f.GIF (seed 0, env short, sampled, 4 frames)\n" in out
    assert out.count("length 2") == 2
    with Image.open(tmp_path / "f.GIF") as film:
        assert (film.size, film.info["duration"]) == ((48, 24 + 22), 100)
    assert levels(tmp_path / "f.GIF") == [0, 40, 0, 40]
    visualize("staged", "--gif", "g.gif", "--pause", "0.25", "--backend", "host")
    with Image.open(tmp_path / "g.gif") as film:
        assert (film.size, film.info["duration"], film.n_frames) == ((48, 48 + 22), 250, 4)


def test_a_film_in_mp4(visualize, mp4_written):
    visualize("host", "--mp4", "f.mp4")
    opening, *frames = mp4_written
    assert opening == ("f.mp4", (48, 48 + 22), 25)
    assert [frame[0, 0, 0] for frame in frames] == [128, 140, 153, 166, 178]


@pytest.mark.parametrize("columns", [80, 200])
def test_help(pliant, columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    code, out, err = pliant("visualize", "--help")
    assert (code, err) == (0, "")
    assert out.startswith("usage: pliant visualize RUN [flags]")
    assert max(map(len, out.splitlines())) <= min(columns, 120)
    assert "[default 0.1; outside of the device 0.04]" in " ".join(out.split())
    assert "\n  visualize RUN  " in pliant()[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "the following arguments are required: RUN (see pliant visualize --help)"),
        ("nothing", "nothing is not a run: it has no config.yaml; give the path of a run, such as runs/<name>-<hash>"),
        ("stream", "stream is a run of slowly_changing_regression, a stream of examples, without episodes"),
        ("host", "uneven_host cannot be shown in a terminal; write a film, such as with --gif uneven_host.gif"),
        ("device --gif f.gif", "uneven cannot be shown: it draws nothing"),
        ("staged --env short,long", "env='short,long': write one of short, long, wide"),
        ("staged --env wide", "env=wide: the agents were built for observations float32[1] and"),
        ("staged --backend hots", "backend=hots: write device or host"),
        ("device --env short", "env=short: uneven has no setting env; leave it out"),
        ("staged --seeds 0-2", "seeds=0-2: there is no seed 2; the run has seeds=0-1"),
        ("staged --step 10", "step=10: staged/shards/0-1 has no such checkpoint; there are: 32, 64"),
        ("staged --episodes 0", "--episodes=0: write a whole number, at least 1"),
        ("staged --steps 0", "--steps=0: write a whole number, at least 1"),
        ("staged --pause 0", "--pause=0: write a number, at least 0.01"),
        ("staged --greedy --sample", "--greedy and --sample: an agent is shown in one mode; write one of the two"),
        ("host --gif no/f.gif", "--gif no/f.gif: there is no folder no; make it first"),
        ("host --gif f.png", "--gif f.png: write a name that ends in .gif"),
        ("host --mp4 f.gif", "--mp4 f.gif: write a name that ends in .mp4"),
        ("host --mp4 f.mp4", "f.mp4: an MP4 needs pip install imageio-ffmpeg; or write a GIF"),
        ("host --gif f.gif --mp4 f.mp4", "argument --mp4: not allowed with argument --gif"),
    ],
)
def test_one_line(refuses, runs, tmp_path, monkeypatch, words, message):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)  # as if it was not installed
    for name, path in runs.items():
        shutil.copytree(path, tmp_path / name)
    (tmp_path / "stream").mkdir()
    (tmp_path / "stream" / "config.yaml").write_text("problem: slowly_changing_regression\n")
    refuses(message, "visualize", *words.split())


def test_nothing_to_draw_with(pliant, runs, monkeypatch):
    problem = registry.find("problems", "uneven_host")

    def render(seed):
        raise ValueError("no OpenGL to draw with")

    make = problem.make
    monkeypatch.setattr(problem, "make", lambda config: make(config)._replace(render=render))
    assert pliant("visualize", runs["host"], "--gif", "f.gif") == (2, "", "pliant: no OpenGL to draw with\n")
