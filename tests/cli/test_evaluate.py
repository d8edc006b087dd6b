"""`pliant evaluate`: what it prints and writes; and whatever is typed wrongly."""

import re
import shutil

import numpy as np
import pandas as pd
import pytest
import staged
import uneven

from pliant.cli import _evaluate
from pliant.experiment.configuration.reading import from_mapping
from pliant.experiment.loops.planning import plan
from pliant.experiment.run import run

# Each command is planned, and compiles what acts and what is acted in.
pytestmark = pytest.mark.compilations(16)

FIELDS = {"agent": "riser", "seeds": "2", "diagnostics": []}
CONFIGS = {
    "device": {"problem": "uneven", **FIELDS},
    "host": {"problem": "uneven_host", **FIELDS, "sweep": {"learning_rate": [0.0, 0.5]}},
    "staged": {"problem": "staged", **FIELDS},
    "diverging": {"problem": "uneven", **FIELDS, "sweep": {"learning_rate": [0.5, 3e38]}},
    "diverged": {"problem": "uneven", **FIELDS, "agent": {"name": "riser", "learning_rate": 3e38}},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        staged.add(patch)
        yield {name: run(plan(from_mapping(fields)), folder) for name, fields in CONFIGS.items()}


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


def greedy(seed, learning_rate):
    """Mean of the returns of two episodes, of 5 steps and of 1: 15 + 5 mean, and 1 + mean; see `uneven`."""
    return 8 + 3 * (uneven.initial_mean(seed) + 4 * learning_rate)


def test_the_tables(evaluate, runs):
    out = evaluate("device", "--episodes", 4)
    assert f"{runs['device'].name} at step 64: each seed\n" in out
    assert "mode seed episodes return length draw number short\n" in out
    for seed in (0, 1):
        assert f"\ngreedy {seed} 4 {greedy(seed, 0.5):.4g} 3 0." in out
        assert re.search(rf"^sampled {seed} 4 \S+ 3 0.\d+ 0.5 2$", out, re.MULTILINE)
    assert "Cut short: the number of truncated episodes" in " ".join(out.split())
    assert f"{runs['device'].name} at step 64: all 2 seeds\n" in out
    assert "mode return IQM length draw number\n" in out
    # Two members have no interval: each is shown.
    first, second = (greedy(seed, 0.5) for seed in (0, 1))
    (row,) = re.findall(r"^greedy (\S+) \((\S+), (\S+)\) ", out.partition("all 2 seeds")[2], re.MULTILINE)
    np.testing.assert_allclose(np.array(row, float), [(first + second) / 2, first, second], atol=0.06)
    assert "Left out" not in out


def test_one_seed_has_one_table(evaluate):
    out = evaluate("device", "--episodes", 2, "--seeds", "1-1")
    assert f"\ngreedy 1 2 {greedy(1, 0.5):.4g} 3 " in out
    assert "all 1 seeds" not in out
    assert "\ngreedy 0 " not in out


@pytest.mark.parametrize(
    ("flags", "modes"),
    [
        ((), {"greedy", "sampled"}),
        (("--greedy",), {"greedy"}),
        (("--argmax",), {"greedy"}),
        (("--sample",), {"sampled"}),
        (("--greedy", "--sample"), {"greedy", "sampled"}),
    ],
)
def test_how_they_act(evaluate, flags, modes):
    out = evaluate("device", "--episodes", 1, *flags)
    assert set(re.findall(r"^(greedy|sampled) ", out, re.MULTILINE)) == modes


def test_success(evaluate):
    # Every other episode of an environment is one, from the first on: with two environments the first two of four.
    out = evaluate("staged", "--episodes", 4, "--greedy")
    assert "\nenv mode seed episodes return length success failures short\n" in out
    for seed in (0, 1):
        # 4 steps, after 4 rounds that each add 0.5 to the mean: 4 (1 + mean) + 0 + 1 + 2 + 3.
        assert f"\nlong greedy {seed} 4 {10 + 4 * (uneven.initial_mean(seed) + 2):.4g} 4 0.5 2 4\n" in out
    assert "Failures: the number of episodes without success." in out
    both = out.partition("all 2 seeds")[2]
    assert "\nenv mode return IQM length success failures\n" in both
    assert re.search(r"^long greedy \S+ \(.*\) \S+ \(.*\) 4 0.5 4$", both, re.MULTILINE)
    assert "Failures: the number over all seeds.\n\n" in both
    assert out.endswith(f"\n\n{staged.NOTE}\n")


def test_the_problem_says_how_they_act(evaluate):
    for flags, modes in (
        ((), {"sampled"}),
        (("--argmax",), {"greedy"}),
        (("--greedy", "--sample"), {"greedy", "sampled"}),
    ):
        out = evaluate("staged", "--episodes", 1, *flags)
        assert set(re.findall(r"^long (greedy|sampled) ", out, re.MULTILINE)) == modes


def test_several_envs_in_the_order_in_which_they_are_named(evaluate, tmp_path):
    out = evaluate("staged", "--env", "short, long,short", "--episodes", 2, "--greedy", "--out", "e.csv")
    rows = re.findall(r"^(short|long) greedy (\d) 2 \S+ (\d) ", out, re.MULTILINE)
    assert rows == [("short", "0", "2"), ("short", "1", "2"), ("long", "0", "4"), ("long", "1", "4")]
    assert re.findall(r"^(short|long) greedy", out.partition("all 2 seeds")[2], re.MULTILINE) == ["short", "long"]
    episodes = pd.read_csv(tmp_path / "e.csv")
    assert list(episodes.columns[:5]) == ["seed", "env", "mode", "episode", "return"]
    assert list(episodes["env"]) == ["short"] * 4 + ["long"] * 4


def test_the_task_of_an_earlier_checkpoint(evaluate):
    out = evaluate("staged", "--step", 32, "--episodes", 1)  # the last step of the first task
    assert len(re.findall(r"^short sampled \d 1 \S+ 2 ", out, re.MULTILINE)) == 2


def test_another_backend(evaluate, tmp_path):
    for backend in ("device", "host"):
        evaluate("staged", "--backend", backend, "--episodes", 3, "--greedy", "--out", f"{backend}.csv")
    on_device, outside = (pd.read_csv(tmp_path / f"{backend}.csv") for backend in ("device", "host"))
    pd.testing.assert_frame_equal(on_device, outside)


def test_values_that_were_swept(evaluate):
    out = evaluate("host", "--episodes", 2, "--greedy")
    for seed in (0, 1):
        for learning_rate in (0, 0.5):
            assert f"\n{learning_rate} greedy {seed} 2 {greedy(seed, learning_rate):.4g} 3 " in out
    out = evaluate("host", "--episodes", 2, "--greedy", "--where", "learning-rate=5e-1")
    assert f"\n0.5 greedy 1 2 {greedy(1, 0.5):.4g} 3 " in out
    assert "\n0 greedy" not in out


def test_episodes_in_a_file(evaluate, tmp_path):
    assert evaluate("host", "--episodes", 3, "--out", "e.csv", "--seed", 7).endswith("episodes: e.csv\n")
    episodes = pd.read_csv(tmp_path / "e.csv")
    columns = ["seed", "agent.learning_rate", "mode", "episode", "return", "length", "terminated", "truncated"]
    assert sorted(episodes.columns[8:]) == ["draw", "level", "number"]
    assert list(episodes.columns[:8]) == columns
    assert len(episodes) == 2 * 2 * 2 * 3
    mine = episodes[(episodes["seed"] == 1) & (episodes["agent.learning_rate"] == 0.5) & (episodes["mode"] == "greedy")]
    mean = uneven.initial_mean(1) + 4 * 0.5
    np.testing.assert_allclose(mine["return"], [15 + 5 * mean, 1 + mean, 15 + 5 * mean], rtol=1e-5)
    evaluate("host", "--episodes", 3, "--out", "f.csv", "--seed", 8)
    assert not set(episodes["draw"]) & set(pd.read_csv(tmp_path / "f.csv")["draw"])


def test_who_diverged_is_left_out(evaluate):
    out = evaluate("diverging", "--episodes", 1)
    assert "Left out: 2 diverged members, the first at step 32." in out
    assert "\n0.5 greedy 0 1 " in out
    assert "\n3e+38" not in out


def test_a_checkpoint_is_chosen(pliant, runs, tmp_path):
    run(plan(from_mapping({**CONFIGS["device"], "record_every": 16})), tmp_path, checkpoint_every=0.0)
    (path,) = tmp_path.iterdir()
    code, out, _ = pliant("evaluate", path, "--episodes", 2, "--step", 48)
    assert code == 0
    assert f"{path.name} at step 48: each seed" in out
    mean = uneven.initial_mean(0) + 3 * 0.5
    assert f"\ngreedy 0 2 {8 + 3 * mean:.4g} " in single_blanks(out)
    code, out, err = pliant("evaluate", path, "--step", 32)
    assert (code, out) == (2, "")
    assert err == f"pliant: step=32: {path}/shards/0-1 has no such checkpoint; there are: 48, 64\n"


def test_the_best_checkpoint(pliant, runs, tmp_path):
    # The mean falls by 1 a round, so that the first evaluation of three is the best but for the one before the first.
    falling = {"name": "riser", "learning_rate": -1.0}
    run(plan(from_mapping({**CONFIGS["device"], "agent": falling, "evaluate_every": 16})), tmp_path)
    (path,) = tmp_path.iterdir()
    code, out, _ = pliant("evaluate", path, "--episodes", 2, "--step", "best")
    assert code == 0
    assert f"{path.name} at step 16: each seed" in out
    code, out, err = pliant("evaluate", runs["device"], "--step", "best")
    assert (code, out) == (2, "")
    assert err.startswith(
        f"pliant: step=best: {runs['device']}/shards/0-1 has no best checkpoint, but only a run with evaluate"
    )


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
    for extras in (
        "friction at the checkpoint",
        "With --greedy agents take the most probable",
        "--greedy, --argmax",
        "default: the newest good",
    ):
        assert extras in words
    assert "\n  evaluate RUN  " in pliant()[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "the following arguments are required: RUN (see pliant evaluate --help)"),
        ("nothing", "nothing is not a run: it has no config.yaml; give the path of a run, such as runs/<name>-<hash>"),
        ("stream", "stream is a run of slowly_changing_regression, a stream of examples, without episodes"),
        ("new", "new/shards/0-1 has no checkpoint yet; wait for its first, or resume it: pliant run new"),
        ("device --step 10", "step=10: device/shards/0-1 has no such checkpoint; there are: 64"),
        ("device --step last", "--step=last: write a whole number, at least 0"),
        ("device --episodes 0", "--episodes=0: write a whole number, at least 1"),
        ("device --episodes many", "--episodes=many: write a whole number, at least 1"),
        ("device --seed -1", "--seed=-1: write a whole number, at least 0"),
        ("device --sed 1", "unknown argument --sed; did you mean --seed"),
        ("device --seeds 0-2", "seeds=0-2: there is no seed 2; the run has seeds=0-1"),
        ("device --seeds all", "seeds=all: write a number of seeds (100), or ranges from low to high (0-9,20)"),
        (
            "device --where learning_rate=0.5",
            "--where learning_rate=0.5: the run did not sweep agent.learning_rate, but nothing",
        ),
        ("host --where horizon=8", "--where horizon=8: the run did not sweep agent.horizon, but agent.learning_rate"),
        ("host --where learningrate=1", "unknown setting 'learningrate'; did you mean learning_rate?"),
        (
            "host --where learning_rate=1",
            "--where learning_rate=1: no member has this value; the run swept agent.learning_rate over 0.0",
        ),
        (
            "host --where learning_rate=0 --where learning_rate=0.5",
            "--where learning_rate=0.5: no member has this value",
        ),
        ("host --where learning_rate", "--where learning_rate=: write a number"),
        ("diverged", "all of the members diverged, the first at step 32: none of them can act"),
        ("device --env short", "env=short: uneven has no setting env; leave it out"),
        ("device --backend host", "backend=host: uneven has no setting backend; leave it out"),
        ("staged --env short,huge", "env='huge': write one of short, long, wide"),
        ("staged --env short,", "--env=short,: write one name or several, such as --env A,B"),
        (
            "staged --env wide",
            "env=wide: the agents were built for observations float32[1] and actions Continuous(size=1, bound=1.0)",
        ),
        ("staged --backend hots", "backend=hots: write device or host"),
        ("staged --film f.gif", "unknown argument --film"),
        ("device --out no/e.csv", "--out no/e.csv: there is no folder no; make it first"),
    ],
)
def test_one_line(refuses, runs, tmp_path, words, message):
    for name, path in runs.items():
        shutil.copytree(path, tmp_path / name)
    shutil.copytree(runs["device"], tmp_path / "new", ignore=shutil.ignore_patterns("checkpoints"))
    (tmp_path / "stream").mkdir()
    (tmp_path / "stream" / "config.yaml").write_text("problem: slowly_changing_regression\n")
    refuses(message, "evaluate", *words.split())


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
    assert episodes.groupby(["mode", "seed"])["return"].nunique().eq(3).all()
