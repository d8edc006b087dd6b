"""What a user does: list, run, sweep, stop, go on, report, reproduce; and what the help says."""

import contextlib
import dataclasses
import os
import re
import signal
import subprocess
import sys

import busy
import numpy as np
import pytest
import toys

from pliant import report
from pliant.cli import _run
from pliant.core import registry
from pliant.experiment.configuration.config import OF_ANY_METHOD
from pliant.experiment.configuration.settings import settings_of
from pliant.recipes import regression

P = "slowly_changing_regression"
SMALL = ("--examples", 200, "--flip-every", 50, "--record-every", 100, "--seeds", 2)


def directory(out):
    """The run's directory, as the last line tells it."""
    return re.findall(r"^(\S+).*; curves: pliant report \1$", out, re.MULTILINE)


@pytest.mark.parametrize("words", [(), ("-h",), ("--help",)])
def test_help(pliant, words):
    code, out, err = pliant(*words)
    assert (code, err) == (0, "")
    for command in ("list", "run PROBLEM", "reproduce RECIPE", "report RUN"):
        assert f"\n  {command}  " in out


@pytest.mark.parametrize("command", ["list", "run", "reproduce", "report"])
@pytest.mark.parametrize("columns", [80, 200])
def test_help_of_each_command_fits_the_terminal(pliant, command, columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    code, out, err = pliant(command, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"usage: pliant {command}")
    assert max(map(len, out.splitlines())) <= min(columns, 120)


def test_help_explains_every_setting(pliant):
    _, out, _ = pliant("run", "--help")
    words = " ".join(out.split())
    for kind in ("problems", "agents", "methods", "diagnostics"):
        for name in registry.names(kind):
            found = registry.find(kind, name)
            for setting in settings_of(found.Config if kind in ("problems", "agents") else found).values():
                assert setting.help in words, f"{name}.{setting.name}"
                assert f"[{setting.kind}]" in words, f"{name}.{setting.name}"
    for setting in OF_ANY_METHOD.values():
        assert f"{setting.help} [{setting.kind}]" in words
    assert "Seeds of the members: a number of them (100), or a list of ranges (0-9,20)" in words
    assert "--method.redo.threshold THRESHOLD" in words


def test_help_of_a_target_shows_its_own_flags(pliant):
    _, out, _ = pliant("run", P, "--method", "redo", "--help")
    assert "--method.threshold THRESHOLD" in out
    assert "--flip-every EVERY" in out
    assert "whole number, at least 1; default 10000" in " ".join(out.split())
    assert "method l2" not in out
    _, out, _ = pliant("run", P, "--method", "redo", "--method", "l2", "--help")
    assert "--method.redo.threshold THRESHOLD" in out
    assert "--method.l2.weight-decay DECAY" in out


def test_help_of_a_target_is_in_the_order_of_importance(pliant):
    _, out, _ = pliant("run", P, "--method", "redo", "--help")
    assert re.findall(r"^(\w[\w ]*):$", out, re.MULTILINE) == [
        "positional arguments", "options", f"problem {P}", "method redo", "run", "agent sgd",
        "diagnostic dormant_fraction", "diagnostic weight_magnitude", "files and output",
    ]  # fmt: skip


def test_help_of_a_target_shows_what_can_be_said_of_its_methods(pliant):
    _, out, _ = pliant("run", P, "--method", "redo", "--method", "l2", "--help")
    assert re.findall(r"--method\.(\w+)\.(groups|on-new-task) ", out) == [
        ("redo", "groups"), ("redo", "on-new-task"), ("l2", "on-new-task"),
    ]  # fmt: skip
    assert f"{OF_ANY_METHOD['groups'].help} [text; default none]" in " ".join(out.split())


def test_help_of_a_target_shows_its_own_defaults(pliant, monkeypatch):
    agents = {"a2c": {"horizon": 5}, "ppo": {"horizon": 6}}
    own = {"AGENTS": agents, "RUN": {"evaluate_every": 500}}
    toys.add(monkeypatch, "problems", "toy", Config=toys.Drift, make=toys.drift, **own)
    assert "0: never. [whole number, at least 0; default 500]" in " ".join(pliant("run", "toy", "--help")[1].split())
    for words, agent, horizon in ((), "a2c", 5), (("--agent", "ppo"), "ppo", 6):
        _, out, _ = pliant("run", "toy", *words, "--help")
        _, _, flags = out.partition(f"\nagent {agent}:\n")
        help_of_horizon = " ".join(flags.split()).partition("--horizon ")[2].partition(" --")[0]
        assert help_of_horizon.endswith(f"[whole number, at least 1; default {horizon}]")


@pytest.mark.parametrize("problem", registry.names("problems"))
def test_flags_of_problem_and_agent_do_not_collide(problem):
    module = registry.find("problems", problem)
    agent = registry.find("agents", next(iter(module.AGENTS)))
    assert not set(settings_of(module.Config)) & set(settings_of(agent.Config))


def test_list(pliant):
    code, out, err = pliant("list")
    assert (code, err) == (0, "")
    for kind in ("problems", "agents", "methods", "diagnostics", "recipes"):
        for name, line in registry.summaries(kind).items():
            assert re.search(rf"^  {name} +{re.escape(line)}$", out, re.MULTILINE)
    count = len(registry.presets(P))
    assert re.search(rf"^  {P} +{count} presets: see pliant list presets$", out, re.MULTILINE)


def test_list_of_one_kind(pliant):
    _, out, _ = pliant("list", "methods")
    assert re.match(r"methods\n  continual_backprop +Continual", out)
    assert "sgd" not in out
    _, out, _ = pliant("list", "presets")
    line = r"sgd/bp/relu_wd +l2 examples=1000000 .* learning_rate=0.01 sweeping weight_decay=1e-06,1e-05,.*,1.0$"
    assert re.search(rf"^  {P}/{line}", out, re.MULTILINE)
    assert re.search(r"^  continual_backprop/conv +rate_of=all .* initializer=default$", out, re.MULTILINE)


def test_list_imports_little():
    code = """
import sys
from pliant.cli import main
assert main(["list"]) == 0
late = {"orbax", "pandas", "matplotlib", "pyarrow", "flax", "docstring_parser", "pliant.experiment.run"}
assert not late & set(sys.modules), late & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_a_reader_that_leaves_early():
    listing = f"{sys.executable} -m pliant list presets | head -1"
    done = subprocess.run(listing, shell=True, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("presets\n", "")


@pytest.mark.compilations(8)  # two runs that learn
def test_run_and_run_again(pliant, tmp_path):
    code, out, err = pliant("run", P, *SMALL)
    assert code == 0
    (path,) = directory(out)
    assert path.startswith(f"runs/{P}-sgd-")
    assert "loss" in out
    name = path.removeprefix("runs/")  # no terminal, no bar; a slow machine reports more than the end
    assert re.fullmatch(rf"{name}: compiling…\n({name}: \d\d?%.*\n)*{name}: 100%, \d+\S* examples/s\n", err)
    written = {file: file.stat().st_mtime_ns for file in (tmp_path / path).glob("shards/*/metrics/*")}

    code, again, err = pliant("run", P, *SMALL)
    assert (code, again) == (0, out)
    assert err == f"{path} is finished already (run it again with --force)\n"
    # A configuration file, or a run, is a target; what is the same is not run again, wherever it was read.
    for target in (path, f"{path}/config.yaml", tmp_path / path):
        code, again, _ = pliant("run", target)
        assert (code, again.replace(f"{tmp_path}/", "")) == (0, out)
    assert {file: file.stat().st_mtime_ns for file in written} == written

    code, again, _ = pliant("run", path, "--force")
    assert (code, again) == (0, out)
    assert {file: file.stat().st_mtime_ns for file in written} != written


@pytest.mark.usefixtures("counts")
def test_flags_change_what_the_target_says(pliant, asked, tmp_path):
    config, _ = asked(P, *SMALL, "--method", "redo", "--method.period", 50)
    (tmp_path / "first.yaml").write_text(config.to_yaml())
    config, _ = asked("first.yaml", "--method.redo.threshold", 0.5, "--activation", "tanh")
    assert config.problem.settings["activation"] == "tanh"
    assert config.problem.settings["examples"] == 200
    (method,) = config.methods
    assert (method.settings["period"], method.settings["threshold"]) == (50, 0.5)
    _, out, _ = pliant("run", "first.yaml", "--method", "none", "--diagnostics", "none", "--out", "elsewhere")
    (path,) = directory(out)
    assert path.startswith("elsewhere/")
    config = report.load(path).config
    assert (config["methods"], config["diagnostics"]) == ([], [])
    assert set(report.load(path).metrics["metric"]) == {"loss"}


def test_a_preset_with_other_parts(asked):
    # The sweep of a setting goes along when its method gets company, and goes away with it.
    preset = (f"{P}/sgd/bp/relu_wd", *SMALL)
    config, _ = asked(*preset, "--method", "l2", "--method", "redo")
    assert list(config.sweep) == ["method.l2.weight_decay"]
    config, _ = asked(*preset, "--method", "redo")
    assert config.sweep == {}
    config, _ = asked(*preset, "--method.weight-decay", "0.1")
    assert (config.sweep, config.methods[0].settings["weight_decay"]) == ({}, 0.1)
    config, _ = asked(*preset, "--sweep", "method.weight_decay=0.1,0.2")
    assert {name: list(values) for name, values in config.sweep.items()} == {"method.weight_decay": [0.1, 0.2]}


def test_a_method_twice(pliant, asked):
    twice = ("--method", "redo@Often", "--method", "redo@seldom", "--method.redo@seldom.period", 100)
    _, out, _ = pliant("run", P, *twice, "--help")
    assert re.findall(r"(?m)^method (\S+):$|--method\.(\S+)\.on-new-task ", out) == [
        ("redo@Often", ""), ("", "redo@Often"), ("redo@seldom", ""), ("", "redo@seldom"),
    ]  # fmt: skip
    sweep = ("--sweep", "method.redo@Often.period=10,20", "--method.redo@Often.on-new-task", "keep")
    code, out, err = pliant("run", P, *SMALL, *twice, *sweep)
    assert code == 0, err
    (path,) = directory(out)
    assert path.startswith(f"runs/{P}-redo@Often+redo@seldom-")
    run = report.load(path)
    assert [(method["name"], method["period"]) for method in run.config["methods"]] == [
        ("redo@Often", 1000), ("redo@seldom", 100),
    ]  # fmt: skip
    assert run.settings == ("method.redo@Often.period",) and set(run.metrics["method.redo@Often.period"]) == {10, 20}
    # From the run's file, with one of them left out.
    config, _ = asked(path, "--method", "redo@seldom", "--method.redo@seldom.threshold", 0.5)
    (method,) = config.methods
    assert (method.name, method.settings["period"], method.settings["threshold"]) == ("redo@seldom", 100, 0.5)
    assert config.sweep == {}


@pytest.mark.parametrize("methods", busy.that_go_together(), ids=lambda names: names[-1])
def test_every_method_runs_with_its_defaults(pliant, methods):
    code, out, _ = pliant("run", P, *SMALL, *(word for name in methods for word in ("--method", name)))
    assert code == 0
    loss = report.load(*directory(out)).metrics.query("metric == 'loss'")["value"]
    assert len(loss) == 4
    assert np.isfinite(loss).all()


def test_two_methods(pliant):
    words = ("--method", "redo", "--method", "l2", "--method.redo.threshold", 0.2, "--sweep", "weight_decay=0.1,0")
    code, out, _ = pliant("run", P, *SMALL, *words)
    assert code == 0
    loaded = report.load(*directory(out))
    assert [method["name"] for method in loaded.config["methods"]] == ["redo", "l2"]
    assert loaded.config["methods"][0]["threshold"] == 0.2
    assert loaded.settings == ("method.l2.weight_decay",)


@pytest.mark.usefixtures("counts")
def test_methods_say_what_they_will_do_with_each_value(pliant):
    words = ("--method", "continual_backprop", "--sweep", "replacement_rate=0.1,0.01")
    _, _, err = pliant("run", P, *SMALL, *words)
    # Of five units 0.5 and 0.05 a step; nothing of the default, 0.0005, which nobody runs.
    extras = re.findall(r"^continual_backprop: no replacement before step 101 .* up to (\S+) units", err, re.MULTILINE)
    assert extras == ["0.5", "0.05"]


def test_every_diagnostic_at_once(pliant):
    names = registry.names("diagnostics")
    words = ("--method", "continual_backprop", "--diagnostics", ",".join(names))
    code, out, _ = pliant("run", P, *SMALL, *words, "--diagnostic.dormant-fraction.threshold", 0.1)
    assert code == 0
    loaded = report.load(*directory(out))
    # Of a mask there is nothing to tell where no weight is missing.
    assert set(loaded.metrics["metric"]) == {"loss", *names} - {"mask_overlap", "topology_steps"}
    assert loaded.config["diagnostics"][names.index("dormant_fraction")]["threshold"] == 0.1


@pytest.mark.usefixtures("counts")
def test_a_sweep_that_takes_several_runs(pliant):
    words = ("--sweep", "activation=relu,tanh", "--sweep", "learning-rate=0.01,0.001", "--seed-axis", "map")
    code, out, err = pliant("run", P, *SMALL, *words)
    assert code == 0
    first, second = directory(out)
    assert f"{first} (activation=relu)" in out
    assert f"{second} (activation=tanh)" in out
    assert re.search(r"^1/2 \S+ \(activation=relu\): 100%", err, re.MULTILINE)
    assert report.load(second).settings == ("agent.learning_rate",)


@pytest.mark.usefixtures("counts")
def test_stopped_and_gone_on(pliant, monkeypatch):
    @contextlib.contextmanager
    def stopping(title, unit):
        yield lambda done, total: done and os.kill(os.getpid(), signal.SIGINT)

    words = ("run", P, *SMALL, "--method", "redo")
    with monkeypatch.context() as patched:
        patched.setattr(_run, "progress", stopping)
        code, out, err = pliant(*words)
    assert (code, out) == (130, "")
    assert err.splitlines() == [
        "stopping after this round; once more to stop at once",
        "pliant: stopped at step 100; the same command goes on from there",
    ]
    code, out, err = pliant(*words)
    assert code == 0
    assert "going on from step 100 of 200" in err


def test_stopped_before_the_first_stretch(pliant, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(_run, "plans", interrupted)
    code, out, err = pliant("run", P, *SMALL)
    assert (code, out) == (130, "")
    assert err == "pliant: stopped; the same command goes on from the last checkpoint\n"


@pytest.mark.parametrize("words", [(), ("--out", "there")])
def test_report(pliant, copied, words, tmp_path):
    code, out, err = pliant("report", copied, *words)
    assert (code, err) == (0, "")
    written = words[-1] if words else f"{copied}/report"
    assert out.endswith(f"{written}/report.md\n")
    assert "loss" in out
    assert (tmp_path / written / "loss.png").stat().st_size > 10_000


def test_report_names_what_is_damaged(pliant, copied, tmp_path):
    path = copied
    files = sorted((tmp_path / path).glob("shards/*/metrics/*"))  # a slow machine writes more than one
    for file in files:
        os.truncate(file, 100)
    code, out, err = pliant("report", path)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert any(f"{file.relative_to(tmp_path)} is damaged" in err for file in files)
    assert not (tmp_path / path / "report").exists()
    left = sorted((tmp_path / path).rglob("*"))
    code, _, err = pliant("run", path)  # a finished run keeps all other files
    assert code == 2 and "run the same command again, with --force if the run is finished" in err
    assert sorted((tmp_path / path).rglob("*")) == left
    assert pliant("run", path, "--force")[0] == 0  # as the message says
    assert len(report.load(path).metrics) > 0


@pytest.mark.usefixtures("counts")
def test_more_seeds_of_a_run(pliant, tmp_path):
    _, first, _ = pliant("run", P, *SMALL, "--seeds", 1)
    (path,) = directory(first)
    code, out, err = pliant("run", path, "--seeds", 3)
    assert (code, directory(out)) == (0, [path])
    assert f"{path} has seeds 0-0 already; computing seeds 1-2\n" in err
    assert sorted(shard.name for shard in (tmp_path / path / "shards").iterdir()) == ["0-0", "1-2"]
    # The table is that of the seeds that were asked for; a run as a target has all of its own.
    assert pliant("run", P, *SMALL, "--seeds", 1)[1] == first
    assert pliant("run", path)[1] == pliant("run", f"{path}/config.yaml")[1] == out
    code, _, err = pliant("run", path, "--seeds", 2, "--force")
    message = f"--force for seeds 0-1: {path}/shards/1-2 holds other seeds, too, and is computed as a whole; write"
    assert (code, err) == (2, f"pliant: {message} --seeds 0-2\n")


@pytest.mark.usefixtures("counts")
def test_reproduce(pliant, tmp_path, monkeypatch):
    """In bins of 100 examples, so that a run has 1,000; the published numbers then lie beyond all runs."""
    monkeypatch.setattr(regression, "_BIN", 100)
    monkeypatch.setattr(regression, "_ERROR", dataclasses.replace(regression._ERROR, bin=100))
    words = ("reproduce", "regression", "--scale", 0.001, "--seeds", 2, "--out", "here", "--book", "book")
    code, out, _ = pliant(*words)
    assert code == 0
    for label in ("backprop 0.01", "linear 0.01", "L2", "shrink & perturb", "continual backprop"):
        assert label in out
    figures = tmp_path / "here" / "figures" / "regression"
    assert "figure: here/figures/regression/regression.png and .pdf; table: .md and .csv" in out
    assert sorted(file.name for file in figures.iterdir()) == [f"regression.{e}" for e in ("csv", "md", "pdf", "png")]
    runs = [path for path in (tmp_path / "here").iterdir() if path.name != "figures"]
    assert all(report.load(run).status["state"] == "finished" for run in runs)
    assert "page: book/regression.md" in out

    def book():
        """All files, but for the day on which a page was written."""
        files = {file.name: file.read_bytes() for file in (tmp_path / "book").iterdir()}
        return {name: re.sub(rb"written on \S+", b"", content) for name, content in files.items()}

    pages = book()
    assert sorted(pages) == ["index.md", *(f"regression.{ending}" for ending in ("md", "parquet", "png"))]
    code, again, err = pliant(*words)
    assert code == 0
    assert book() == pages
    assert err.count("is finished already") == len(runs)
    assert again == out
