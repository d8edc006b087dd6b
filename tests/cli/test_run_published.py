"""The ways to name a configuration: a preset, a file of ours, a file of the published program; and one seed."""

import pytest

from pliant import report
from pliant.cli import _run
from pliant.core import registry
from pliant.experiment.configuration.reading import from_mapping

P = "slowly_changing_regression"
SMALL = ("--examples", 200, "--record-every", 100)
PUBLISHED = """\
env_name: 'Ant-v3'
n_steps: 1e8
lr: 0.0001
beta_1: 0.99
beta_2: 0.99
rr: 1e-4
wd: 1e-4
dir: 'data/ant/cbp/'
"""


@pytest.fixture(autouse=True)
def files(tmp_path):
    """Configuration files in the working directory."""
    (tmp_path / "cbp.yml").write_text(PUBLISHED)
    (tmp_path / "no_suffix").write_text(PUBLISHED)
    (tmp_path / "ours.yaml").write_text(f"problem: {{name: {P}, examples: 300}}\nmethods: [redo]\n")


@pytest.mark.parametrize("name", ["std", "cbp"])
def test_two_ways_to_write_a_preset(asked, name):
    config, _ = asked("ant", "--preset", name, "--seed", 0)
    assert config == from_mapping({**registry.presets("ant")[name], "seeds": "0-0"})
    assert asked(f"ant/{name}", "-s", 0)[0] == asked(f"ant/{name}", "--preset", name, "--seeds", "0-0")[0] == config


def test_a_preset_decides_which_flags_there_are(asked):
    config, _ = asked("ant", "--preset", "l2", "--method.weight-decay", 0.5, "--minibatches", 8)
    assert config.methods[0].settings["weight_decay"] == 0.5
    assert config.agent.settings["minibatches"] == 8
    config, _ = asked(P, "--preset", "sgd/bp/relu_wd", "--inputs", 18)
    assert (config.problem.settings["inputs"], config.methods[0].name) == (18, "l2")


@pytest.mark.parametrize("words", [("--config", "cbp.yml"), ("-c", "cbp.yml"), ("--config=no_suffix",), ("cbp.yml",)])
def test_a_published_file(asked, words):
    config, err = asked(*words, "-s", 3)
    assert config == from_mapping({**registry.presets("ant")["cbp"], "seeds": "3-3"})
    assert err == "keys of the published configuration that are not used: dir (results lie under --out)\n"


def test_flags_change_what_a_file_says(asked):
    for words in (("--seeds", 4, "--config", "cbp.yml", "--epochs", 5), ("-c", "cbp.yml", "--seeds=4", "--epochs=5")):
        config, _ = asked(*words)
        assert (config.seeds, config.agent.settings["epochs"]) == ("4", 5)
    config, _ = asked("--config", "cbp.yml")
    assert config.seed_list == (1,)  # as in their program


def test_a_file_of_ours(asked):
    config, err = asked("--config", "ours.yaml", "--seed", 7)
    assert config == from_mapping({"problem": {"name": P, "examples": 300}, "methods": ["redo"], "seeds": "7-7"})
    assert err == ""


def test_the_directory_of_a_run_and_its_seed(pliant, asked):
    _, out, _ = pliant("run", P, *SMALL, "-s", 5)
    path = out.splitlines()[-2].partition(";")[0]
    assert set(report.load(path).metrics["seed"]) == {5}
    assert asked("--config", path)[0] == asked(path)[0] == asked("-c", f"{path}/config.yaml")[0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("ant --preset cpb", "unknown preset of ant 'cpb'; did you mean cbp"),
        ("ant/std --preset cbp", "ant/std and --preset cbp: write one of the two"),
        (f"{P} --preset cbp", f"unknown preset of {P} 'cbp'; "),
        ("ours.yaml --preset cbp", "--preset cbp: only a problem has presets, and ours.yaml is a file or a run"),
        ("--config cbp.yml --preset cbp", "--preset cbp: only a problem has presets, and cbp.yml is a file"),
        ("ant --preset", "argument --preset: expected one argument"),
        ("ant --config cbp.yml", "ant and --config cbp.yml: write one of the two"),
        ("--config cbp.yml ant", "ant and --config cbp.yml: write one of the two"),
        ("--config ours.yaml -s 0 ant", "unknown argument ant"),
        ("--config", "argument -c/--config: expected one argument"),
        ("-c nothing.yml", "cannot read nothing.yml: No such file or directory"),
        ("-c ant", "cannot read ant: No such file or directory"),
        ("-c typo.yml", "typo.yml: unknown key of a published configuration 'lrr'; did you mean rr or lr?"),
        ("-c cheetah.yml", "cheetah.yml: unknown env_name 'HalfCheetah-v3'; "),
        ("-c wide.yml", "wide.yml: h_dim=[64, 32]: all hidden layers have the same width here"),
        ("-c neither.yml", "neither.yml: unknown field of a configuration 'seed_'; did you mean seeds"),
        (f"{P} --seed 1 --seeds 2", "--seed 1 and --seeds 2: write one of the two"),
        (f"{P} -s 1.5", "--seed=1.5: write a whole number, at least 0"),
        (f"{P} -s -1", "--seed=-1: write a whole number, at least 0"),
        (f"{P} --seed 0-9", "--seed=0-9: write a whole number, at least 0"),
        (f"{P} --seed", "argument -s/--seed: expected one argument"),
        ("-s 0", "write first what to run: pliant run TARGET [flags]"),
    ],
)
def test_one_line(refuses, monkeypatch, tmp_path, words, message):
    # Were it taken, it would run for a hundred million steps.
    monkeypatch.setattr(_run, "plans", lambda config: pytest.fail(f"{words} was not refused"))
    for name, text in {
        "cbp.yml": PUBLISHED,
        "ours.yaml": f"problem: {P}\n",
        "typo.yml": "env_name: 'Ant-v3'\nlrr: 0.1\n",
        "cheetah.yml": "env_name: 'HalfCheetah-v3'\n",
        "wide.yml": "env_name: 'Ant-v3'\nh_dim: [64, 32]\n",
        "neither.yml": "seed_: 3\n",
    }.items():
        (tmp_path / name).write_text(text)
    refuses(message, "run", *words.split())


def test_help_names_the_short_flags(pliant):
    _, out, _ = pliant("run", "--help")
    words = " ".join(out.split())
    assert "--config FILE a configuration file instead of TARGET; -c for short" in words
    assert "--seed N one seed, the same as --seeds N-N; -s for short" in words
    assert "--preset NAME a preset of the problem" in words
