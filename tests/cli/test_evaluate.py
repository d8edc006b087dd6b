"""`pliant evaluate`: what it prints and writes; and whatever is typed wrongly."""

import re
import shutil
import sys
import types

import numpy as np
import pandas as pd
import pytest
import uneven
from PIL import Image

from pliant.cli import _evaluate
from pliant.core import registry
from pliant.experiment.config import from_mapping
from pliant.experiment.run import run

FIELDS = {"agent": "riser", "seeds": "2", "diagnostics": []}
CONFIGS = {
    "device": {"problem": "uneven", **FIELDS},
    "host": {"problem": "uneven_host", **FIELDS, "sweep": {"step_size": [0.0, 0.5]}},
    "diverging": {"problem": "uneven", **FIELDS, "sweep": {"step_size": [0.5, 3e38]}},
    "diverged": {"problem": "uneven", **FIELDS, "agent": {"name": "riser", "step_size": 3e38}},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        uneven.add(patch)
        yield {name: run(from_mapping(fields), folder) for name, fields in CONFIGS.items()}


def single_blanks(text):
    return "".join(" ".join(line.split()) + "\n" for line in text.splitlines())


@pytest.fixture
def evaluate(pliant, runs):
    """`evaluate(name, *words)` evaluates a run; the output, its lines with single blanks."""

    def command(name, *words):
        code, out, err = pliant("evaluate", runs[name], *words)
        assert code == 0, err
        return single_blanks(out)

    return command


def greedy(seed, step_size):
    """Mean of the returns of two episodes, of 5 steps and of 1: 15 + 5 mean, and 1 + mean; see `uneven`."""
    return 8 + 3 * (uneven.initial_mean(seed) + 4 * step_size)


def test_the_tables(evaluate, runs):
    out = evaluate("device", "--episodes", 4)
    assert f"{runs['device'].name} at step 64: each seed\n" in out
    assert "policy seed episodes return length draw number short\n" in out
    for seed in (0, 1):
        assert f"\ngreedy {seed} 4 {greedy(seed, 0.5):.4g} 3 0." in out
        assert re.search(rf"^sampled {seed} 4 \S+ 3 0.\d+ 0.5 2$", out, re.MULTILINE)
    assert "Cut short: how many of them were truncated" in " ".join(out.split())
    assert f"{runs['device'].name} at step 64: all 2 seeds\n" in out
    assert "policy return IQM length draw number\n" in out
    # Of two members resampled the mean is one of them in a quarter of the cases each: that is the interval.
    low, high = sorted(greedy(seed, 0.5) for seed in (0, 1))
    (row,) = re.findall(r"^greedy (\S+) \[(\S+), (\S+)\] ", out.partition("all 2 seeds")[2], re.MULTILINE)
    np.testing.assert_allclose(np.array(row, float), [(low + high) / 2, low, high], atol=0.06)
    assert "Left out" not in out


def test_one_seed_has_one_table(evaluate):
    out = evaluate("device", "--episodes", 2, "--seeds", "1-1")
    assert f"\ngreedy 1 2 {greedy(1, 0.5):.4g} 3 " in out
    assert "all 1 seeds" not in out
    assert "\ngreedy 0 " not in out


@pytest.mark.parametrize(
    ("flags", "policies"),
    [
        ((), {"greedy", "sampled"}),
        (("--greedy",), {"greedy"}),
        (("--sample",), {"sampled"}),
        (("--greedy", "--sample"), {"greedy", "sampled"}),
    ],
)
def test_how_they_act(evaluate, flags, policies):
    out = evaluate("device", "--episodes", 1, *flags)
    assert set(re.findall(r"^(greedy|sampled) ", out, re.MULTILINE)) == policies


def test_values_that_were_swept(evaluate):
    out = evaluate("host", "--episodes", 2, "--greedy")
    for seed in (0, 1):
        for step_size in (0, 0.5):
            assert f"\n{step_size} greedy {seed} 2 {greedy(seed, step_size):.4g} 3 " in out
    out = evaluate("host", "--episodes", 2, "--greedy", "--where", "step-size=5e-1")
    assert f"\n0.5 greedy 1 2 {greedy(1, 0.5):.4g} 3 " in out
    assert "\n0 greedy" not in out


def test_episodes_in_a_file(evaluate, tmp_path):
    assert evaluate("host", "--episodes", 3, "--out", "e.csv", "--entropy", 7).endswith("episodes: e.csv\n")
    episodes = pd.read_csv(tmp_path / "e.csv")
    columns = ["seed", "agent.step_size", "policy", "episode", "return", "length", "terminated", "truncated"]
    assert sorted(episodes.columns[8:]) == ["draw", "level", "number"]
    assert list(episodes.columns[:8]) == columns
    assert len(episodes) == 2 * 2 * 2 * 3
    mine = episodes[(episodes["seed"] == 1) & (episodes["agent.step_size"] == 0.5) & (episodes["policy"] == "greedy")]
    mean = uneven.initial_mean(1) + 4 * 0.5
    np.testing.assert_allclose(mine["return"], [15 + 5 * mean, 1 + mean, 15 + 5 * mean], rtol=1e-5)
    evaluate("host", "--episodes", 3, "--out", "f.csv", "--entropy", 8)
    assert not set(episodes["draw"]) & set(pd.read_csv(tmp_path / "f.csv")["draw"])


def test_a_film(evaluate, tmp_path):
    out = evaluate("host", "--episodes", 1, "--film", "f.gif", "--where", "step_size=0.5", "--seeds", "1-1")
    assert "film: f.gif (seed 1, agent.step_size 0.5, greedy, 5 frames)\n" in out
    # The episode of 5 steps shows 0, 0.1, ..., 0.4, drawn as 128 + 127 times that.
    with Image.open(tmp_path / "f.gif") as film:
        assert (film.n_frames, film.size, film.info["duration"]) == (5, (16, 16), 40)
        levels = []
        for number in range(5):
            film.seek(number)
            levels.append(np.asarray(film.convert("L"))[0, 0])
    np.testing.assert_allclose(levels, [128, 140.7, 153.4, 166.1, 178.8], atol=1.5)
    assert "sampled, 2 frames" in evaluate(
        "host", "--episodes", 1, "--film", "s.gif", "--film-steps", 2, "--sample", "--seeds", "0-0"
    )


def test_a_film_in_mp4(evaluate, monkeypatch):
    written = []

    def write_frames(file, size, fps):
        written.append((file, size, fps))
        while True:
            written.append((yield))

    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", types.SimpleNamespace(write_frames=write_frames))
    evaluate("host", "--episodes", 1, "--film", "f.mp4")
    (opening, *frames) = written
    assert opening == ("f.mp4", (16, 16), 25)
    assert [frame.shape for frame in frames] == [(16, 16, 3)] * 5
    assert [frame[0, 0, 0] for frame in frames] == [128, 140, 153, 166, 178]


def test_who_diverged_is_left_out(evaluate):
    out = evaluate("diverging", "--episodes", 1)
    assert "Left out: 2 that diverged, the first at step 32." in out
    assert "\n0.5 greedy 0 1 " in out
    assert "\n3e+38" not in out


def test_a_checkpoint_is_chosen(pliant, runs, tmp_path):
    run(from_mapping({**CONFIGS["device"], "record_every": 16}), tmp_path, checkpoint_every=0.0)
    (path,) = tmp_path.iterdir()
    code, out, _ = pliant("evaluate", path, "--episodes", 2, "--step", 48)
    assert code == 0
    assert f"{path.name} at step 48: each seed" in out
    mean = uneven.initial_mean(0) + 3 * 0.5
    assert f"\ngreedy 0 2 {8 + 3 * mean:.4g} " in single_blanks(out)
    code, out, err = pliant("evaluate", path, "--step", 32)
    assert (code, out) == (2, "")
    assert err == f"pliant: step=32: {path} has no such checkpoint; there are: 48, 64\n"


def test_stopped(pliant, runs, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(_evaluate, "evaluate", interrupted)
    assert pliant("evaluate", runs["device"]) == (130, "", "pliant: stopped\n")


@pytest.mark.parametrize("columns", [80, 200])
def test_help(pliant, columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    code, out, err = pliant("evaluate", "--help")
    assert (code, err) == (0, "")
    assert out.startswith("usage: pliant evaluate RUN [flags]")
    assert max(map(len, out.splitlines())) <= min(columns, 120)
    words = " ".join(out.split())
    for said in ("friction in force at the checkpoint", "both flags are the same as none", "default: the newest good"):
        assert said in words
    assert "\n  evaluate RUN  " in pliant()[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "the following arguments are required: RUN (see pliant evaluate --help)"),
        ("nothing", "nothing is not a run: it has no config.yaml; give the path of a run, such as runs/<name>-<hash>"),
        ("stream", "stream is a run of slowly_changing_regression, a stream of examples, in which there are no"),
        ("new", "new has no checkpoint yet; wait for its first, or go on with pliant run new"),
        ("device --step 10", "step=10: device has no such checkpoint; there are: 64"),
        ("device --step last", "--step=last: write a whole number, at least 0"),
        ("device --episodes 0", "--episodes=0: write a whole number, at least 1"),
        ("device --episodes many", "--episodes=many: write a whole number, at least 1"),
        ("device --entropy -1", "--entropy=-1: write a whole number, at least 0"),
        ("device --seed 1", "unknown argument --seed; did you mean --seeds"),
        ("device --seeds 0-2", "--seeds 0-2: there is no seed 2; the run has seeds=2"),
        ("device --seeds all", "seeds=all: write a number of seeds (100), or ranges from low to high (0-9,20)"),
        ("device --where step_size=0.5", "--where step_size=0.5: the run did not sweep agent.step_size, but nothing"),
        ("host --where horizon=8", "--where horizon=8: the run did not sweep agent.horizon, but agent.step_size"),
        ("host --where stepsize=1", "unknown setting 'stepsize'; did you mean step_size or"),
        (
            "host --where step_size=1",
            "--where step_size=1: there is nobody left; the run swept agent.step_size over 0.0",
        ),
        ("host --where step_size=0 --where step_size=0.5", "--where step_size=0.5: there is nobody left"),
        ("host --where step_size", "--where step_size=: write a number"),
        ("diverged", "all of them diverged, the first at step 32: there is nobody to evaluate"),
        ("device --out no/e.csv", "--out no/e.csv: there is no folder no; make it first"),
        ("host --film no/f.gif", "--film no/f.gif: there is no folder no; make it first"),
        ("host --film f.png", "film f.png: write a name that ends in .gif or .mp4"),
        ("host --film f.mp4", "film f.mp4: an MP4 needs pip install imageio-ffmpeg; or write a name in .gif"),
        ("host --film f.gif --film-steps 0", "--film-steps=0: write a whole number, at least 1"),
        ("device --film f.gif", "film f.gif: uneven draws nothing yet"),
    ],
)
def test_one_line(pliant, runs, tmp_path, monkeypatch, words, message):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)  # as if it was not installed
    for name, path in runs.items():
        shutil.copytree(path, tmp_path / name)
    shutil.copytree(runs["device"], tmp_path / "new", ignore=shutil.ignore_patterns("checkpoints"))
    (tmp_path / "stream").mkdir()
    (tmp_path / "stream" / "config.yaml").write_text("problem: slowly_changing_regression\n")
    before = sorted(tmp_path.rglob("*"))
    code, out, err = pliant("evaluate", *words.split())
    assert (code, out) == (2, "")
    assert err.startswith("pliant: ")
    assert message in err
    assert err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_nothing_to_draw_with(pliant, runs, monkeypatch):
    problem = registry.find("problems", "uneven_host")

    def film(entropy):
        raise ValueError("no OpenGL to draw with")

    make = problem.make
    monkeypatch.setattr(problem, "make", lambda config: make(config)._replace(film=film))
    assert pliant("evaluate", runs["host"], "--film", "f.gif") == (2, "", "pliant: no OpenGL to draw with\n")


def test_a_real_run(pliant, tmp_path):
    """Two hoppers that have hardly learned anything: they fall soon."""
    words = ("--steps", 256, "--horizon", 64, "--minibatches", 4, "--epochs", 1, "--hidden-units", 8)
    code, _, err = pliant("run", "hopper", *words, "--seeds", 2, "--record-every", 64, "--diagnostics", "none")
    assert code == 0, err
    (path,) = (tmp_path / "runs").iterdir()
    before = {file: file.is_file() and file.read_bytes() for file in path.rglob("*")}
    outs = [pliant("evaluate", path, "--episodes", 3, "--out", name) for name in ("a.csv", "b.csv")]
    assert outs[0][0] == outs[1][0] == 0
    assert {file: file.is_file() and file.read_bytes() for file in path.rglob("*")} == before
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    episodes = pd.read_csv("a.csv")
    assert len(episodes) == 2 * 2 * 3
    assert episodes["terminated"].all() and not episodes["truncated"].any()
    assert ((episodes["length"] > 2) & (episodes["length"] < 300)).all()
    assert (episodes["return"].abs() < 4 * episodes["length"]).all()
    assert episodes.groupby(["policy", "seed"])["return"].nunique().eq(3).all()
