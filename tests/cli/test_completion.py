"""Completion of commands, names and flags."""

import pathlib
import shutil
import subprocess

import pytest

from pliant._version import __version__

P = "slowly_changing_regression"


@pytest.mark.parametrize(
    ("words", "some", "without"),
    [
        ([""], {"run", "runs", "compare", "completion", "--version"}, {P}),
        (["list", ""], {"methods", "presets"}, {P}),
        (["reproduce", ""], {"regression", "hopper"}, {P}),
        (["reproduce", "permuted_mnist", "--data", ""], {"fashion_mnist", "synthetic"}, {"regression"}),
        (["reproduce", "continual_rl", "--scenario", ""], {"humanoid/hard", "all"}, {"regression"}),
        (["reproduce", "continual_rl", "--methods", ""], {"fine_tuning", "rewire"}, {"regression", "all"}),
        (["reproduce", "permuted_mnist", "--"], {"--data", "--full", "--seeds"}, {"regression"}),
        (["run", ""], {P, "hopper", "runs/one"}, {"hopper/std", "run"}),
        (["run", "hopper/"], {"hopper/std", "hopper/cbp"}, {"ant/std"}),
        (["run", P, "--method", ""], {"redo", "l2"}, {"ppo"}),
        (["run", P, "--method", "continual_backprop/"], {"continual_backprop/conv"}, {"hopper/std"}),
        (["run", P, "--agent", ""], {"sgd", "ppo"}, {"redo"}),
        (["run", "hopper", "--preset", ""], {"std", "cbp"}, {P}),
        (["run", P, "--method", "redo", "--"], {"--flip-every", "--seeds", "--method.threshold", "--out"}, {"--env"}),
        (["run", "my.py", "--"], {"--seeds", "--sweep"}, set()),
        (["report", ""], {"runs/one"}, {P}),
        (["compare", "runs/one", "--"], {"--metric", "--out", "--help"}, {"runs/one", "--seeds"}),
        (["analyze", "runs/one", "--"], {"--diagnostics", "--train-mode"}, {"runs/one"}),
        (["analyze", "runs/one", "--diagnostics", ""], {"stable_rank"}, {"runs/one"}),
        (["evaluate", "runs/one", "--"], {"--episodes", "--where"}, {"runs/one"}),
        (["unknown", ""], set(), {P}),
    ],
)
def test_words_are_completed(pliant, words, some, without):
    pathlib.Path("runs/one").mkdir(parents=True)
    pathlib.Path("runs/one/config.yaml").touch()
    pathlib.Path("my.py").write_text("raise SystemExit('executed')")
    code, out, err = pliant("completion", "words", "--", *words)
    found = set(out.split())
    assert (code, err) == (0, "") and some <= found and not without & found


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_script_completes_in_bash(pliant):
    _, script, _ = pliant("completion", "bash")
    known = 'pliant() { echo run runs reproduce; echo "$*" >&2; }'
    asked = 'COMP_WORDS=(pliant ru); COMP_CWORD=1; _pliant; echo "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", f"{known}\n{script}\n{asked}"], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["run", "runs"]


def test_other_shells(pliant, refuses):
    assert "bashcompinit" in pliant("completion", "zsh")[1]
    assert pliant("completion", "fish")[1].startswith("complete -c pliant -a ")
    refuses("unknown shell 'tcsh'; there are: bash, zsh, fish", "completion", "tcsh")


def test_the_version(pliant):
    assert pliant("--version") == (0, f"pliant {__version__}\n", "")
