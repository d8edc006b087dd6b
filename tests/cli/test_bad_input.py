"""Whatever is typed wrongly: exit code 2, one line that helps, nothing written."""

import os
import subprocess
import sys

import pytest

from pliant.cli import _main
from pliant.cli._acting import check_file
from pliant.core import registry
from pliant.experiment.errors import ConfigError

P = "slowly_changing_regression"
RUN = f"run {P} "
CBP = f"{RUN}--method continual_backprop "
GROWING = "run mujoco --agent td3 --method neuroplastic_expansion "
FILES = {
    "text.yaml": "problem: {",
    "list.yaml": "[1, 2]",
    "field.yaml": f"problem: {P}\nseed: 3\n",
    "setting.yaml": f"problem: {{name: {P}, input: 3}}\n",
    "value.yaml": f"problem: {{name: {P}, inputs: 0}}\n",
    "null.yaml": f"problem: {P}\nmethods:\n",
    "bytes.yaml": b"\xff\xfe\x00",
    "large.yaml": "#" * 1_000_001,
    "nested.yaml": "[" * 20_000,
    "aliases.yaml": "".join(f"{i}: &a{i} [{','.join([f'*a{i - 1}' if i else 'x'] * 10)}]\n" for i in range(9)),
    "twice.yaml": f"problem: {P}\nproblem: hopper\n",
    "names.yaml": f"problem: {P}\nagent: {{name: [ppo]}}\n",
    "date.yaml": "problem: 2020-50-50\n",
    "digits.yaml": f"problem: {{name: {P}, examples: {'9' * 400}}}\n",
    "folder/notes.txt": "",
}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("frob", "unknown command 'frob'; there are: list, run, runs, reproduce, report"),
        ("ruN", "unknown command 'ruN'; did you mean run?"),
        ("list method", "unknown kind 'method'; did you mean methods?"),
        ("list methods extra", "unknown argument extra (see pliant list --help)"),
        ("run", "write first what to run: pliant run TARGET [flags] (see pliant run --help)"),
        (f"run --seeds 2 {P}", "write first what to run: pliant run TARGET [flags]"),
        ("run slowly_changing_regresion", f"unknown problem or path 'slowly_changing_regresion'; did you mean {P}?"),
        ("run runs/nothing", f"unknown problem or path 'runs'; there are: {', '.join(registry.names('problems'))}"),
        ("run CartPole-v1", "unknown problem or path CartPole-v1; an environment of gymnasium is a setting: write "),
        ("run ALE/Pong-v5", "write pliant run gymnasium --env ALE/Pong-v5, or pliant.run('gymnasium', problem={"),
        (f"run {P}/sgd/bp/rely", f"unknown preset of {P} 'sgd/bp/rely'; did you mean sgd/bp/relu"),
        (f"{RUN}--agent sdg", "unknown agent 'sdg'; did you mean sgd?"),
        (f"{RUN}--method redu", "unknown method 'redu'; did you mean redo?"),
        (f"{RUN}--method redo --method redo", "methods: redo is listed 2 times"),
        (
            f"{RUN}--method redo@",
            "method redo@: a label has only letters, digits and _; write a name such as redo@first",
        ),
        (f"{RUN}--method redo@a --method redo@b --method.redo.period 3", "unknown argument --method.redo.period; did"),
        (f"{RUN}--method redo@a --method redo@b --sweep period=3,4", "period can mean method.redo@a.period or method"),
        (f"{RUN}--method", "argument --method: expected one argument"),
        (f"{RUN}--diagnostics ranks", "unknown diagnostic 'ranks'; did you mean rank"),
        (f"{RUN}--diagnostics rank,rank", "diagnostics: rank is listed 2 times"),
        (
            f"{RUN}--learningrate 1",
            "unknown argument --learningrate; did you mean --learning-rate? (see pliant run --help)",
        ),
        (f"{RUN}--learning_rat=1", "unknown argument --learning_rat; did you mean --learning-rate?"),
        (f"{RUN}--batch-size 3", "unknown argument --batch-size (see pliant run --help)"),
        (f"{RUN}another", "unknown argument another (see pliant run --help)"),
        (f"{RUN}--method.period 3", "unknown argument --method.period"),
        (f"{RUN}--learning-rate fast", "--learning-rate=fast: write a number, at least 0"),
        (f"{RUN}--learning-rate=-1", "--learning-rate=-1: write a number, at least 0"),
        (f"{RUN}--learning_rate nan", "--learning_rate=nan: write a number, at least 0"),
        (f"{RUN}--inputs 0", "--inputs=0: write a whole number, at least 1"),
        (f"{RUN}--inputs 2.5", "--inputs=2.5: write a whole number, at least 1"),
        (f"{RUN}--hidden-units -1", "--hidden-units=-1: write a whole number, from 0 to 65536"),
        (f"{RUN}--examples 0", "--examples=0: write a whole number, at least 1"),
        (f"{RUN}--examples 1e12", "--examples=1e12: write a whole number, at most 2147483647"),
        (f"{RUN}--activation rely", "--activation=rely: write relu or leaky_relu or"),
        (f"{RUN}--flipping-bits 25", "inputs=20 and flipping_bits=25 leave -5 fast bits"),
        (f"{RUN}--record-every -1", "--record-every=-1: write a whole number, at least 0"),
        (f"{RUN}--seed-axis scan", "--seed-axis=scan: write auto or vmap or map"),
        (f"{RUN}--seeds 9-3", "seeds=9-3: write a number of seeds (100), or ranges from low to high (0-9,20)"),
        (f"{RUN}--seeds 0", "seeds=0: write a number of seeds"),
        (f"{RUN}--seeds 10000000000", "seeds=10000000000: at most 1,000,000 seeds"),
        (f"{RUN}--seeds 0-2000000000,2000000000-0", "seeds=0-2000000000,2000000000-0: write a number of seeds"),
        (f"{RUN}--hidden-units 2147483647", "--hidden-units=2147483647: write a whole number, from 0 to 65536"),
        ("run hopper --hidden-layers 2147483647", "--hidden-layers=2147483647: write a whole number, from 0 to 100"),
        ("run hopper --epochs 2147483647", "--epochs=2147483647: write a whole number, from 1 to 1000"),
        (f"{GROWING}--batch-size 2147483647", "--batch-size=2147483647: write a whole number, from 1 to 1000000"),
        (f"{RUN}--activation {'x' * 5000}", f"--activation={'x' * 60}…: write relu or"),
        (f"{RUN}--{'x' * 5000} 3", f"unknown argument --{'x' * 58}… (see pliant run --help)"),
        (f"run {P}/{'x' * 5000}", f"unknown preset of {P} '{'x' * 60}…'"),
        (f"{RUN}--sweep learning_rate={'9' * 500}", f"sweep agent.learning_rate={'9' * 60}…: write a number"),
        ("run --config /dev/zero", "/dev/zero: not a file; write the path of a configuration file"),
        ("run --config pipe", "pipe: not a file; write the path of a configuration file"),
        ("run large.yaml", "large.yaml: more than 1,000,000 bytes: this is no configuration file"),
        ("run nested.yaml", "nested.yaml: this is nested too deeply for a configuration"),
        ("run aliases.yaml", "aliases.yaml: this has more than 100,000 values: it is no configuration"),
        ("run twice.yaml", "twice.yaml: problem stands there twice; write it once"),
        ("run names.yaml", "names.yaml: unknown agent ['ppo']; did you mean ppo?"),
        ("run date.yaml", "date.yaml: this is not YAML: month must be in 1..12"),
        ("run digits.yaml", f"digits.yaml: {P}.examples={'9' * 60}…: write a whole number, at least 1"),
        (f"{CBP}--method.replacement-rate 1.5", "replacement_rate=1.5"),
        (f"{CBP}--method.maturity -1", "maturity=-1"),
        (f"{CBP}--method.utility best", "--method.utility=best: write"),
        (f"{CBP}--method.groups policy", "no group 'policy' in this wiring; it has: Dense_0"),
        (
            f"{CBP}--method.on-new-task reset",
            f"continual_backprop.on_new_task=reset: {P} has no tasks; leave on_new_task out",
        ),
        (f"{CBP}--method.on-new-task lose", "--method.on-new-task=lose: write keep or reset"),
        (f"{RUN}--method l2 --method.groups policy", "unknown argument --method.groups"),
        (
            "run ant --agent sgd",
            "agent=sgd learns from a problem of another kind: ant is an environment; write agent a2c or ppo",
        ),
        (f"{RUN}--diagnostic.dormant-fraction.threshold -1", "threshold=-1"),
        (f"{GROWING}--method.initial-sparsity 1", "initial_sparsity=1.0: write a number from 0 to below 1"),
        (f"{GROWING}--method.final-sparsity 0.9", "final_sparsity=0.9 is above initial_sparsity=0.8"),
        (
            f"{GROWING}--method.initial-sparsity 0.999",
            "sparsity=0.999: 512 of 274944 weights belong to norms, which",
        ),
        (f"{GROWING}--sweep initial_sparsity=0.8,0.999", "sparsity=0.999: 512 of 274944 weights belong to norms"),
        (
            f"{GROWING}--method.end 10M",
            "end=10000000: growth would last longer than training, which has 5,975,000 updates",
        ),
        (
            f"{GROWING}--steps 100k --method.period 10k",
            "longer than training, which has 75,000 updates; write a period of at most 392",
        ),
        (f"{GROWING}--n-step 2M", "buffer_size=1000000 is too small for returns of 2000000 steps"),
        (f"{GROWING}--env HalfCheeta-v4", "unknown env 'HalfCheeta-v4'; did you mean HalfCheetah-v4"),
        (f"{GROWING}--method.groups critic/*", "no group 'critic/*' in this wiring; it has: actor/Dense_0, "),
        (f"{RUN}--sweep learning_rate", "--sweep learning_rate: write --sweep NAME=V1,V2,..."),
        (f"{RUN}--sweep learning_rate=", "--sweep learning_rate=: write --sweep NAME=V1,V2,..."),
        (f"{RUN}--sweep learningrate=1", "unknown setting 'learningrate'; did you mean learning_rate?"),
        (f"{RUN}--sweep seeds=1,2", "unknown setting 'seeds'"),
        (f"{RUN}--sweep learning_rate=0.1,fast", "sweep agent.learning_rate=fast: write a number, at least 0"),
        (f"{RUN}--sweep learning_rate=0.1,,0.2", "sweep agent.learning_rate=: write a number, at least 0"),
        (
            f"{RUN}--sweep learning_rate=0.1,0.10",
            "sweep agent.learning_rate: write it once, with at least one value, and each",
        ),
        (
            f"{RUN}--sweep learning_rate=1 --sweep learning-rate=2",
            "--sweep learning-rate=2: write --sweep NAME=V1,V2,..., once",
        ),
        (
            f"{RUN}--sweep learning_rate=0.1 --learning-rate 0.2",
            "agent.learning_rate is set by a flag, too; write one of the two",
        ),
        (f"{CBP}--sweep replacement_rate=0.1,2", "replacement_rate=2.0"),
        ("run nothing.yaml", "cannot read nothing.yaml: No such file or directory"),
        ("run folder", "cannot read folder/config.yaml: No such file or directory"),
        ("run text.yaml", "text.yaml: this is not YAML: "),
        ("run list.yaml", "list.yaml: a configuration is a mapping of names to values, not [1, 2]"),
        ("run field.yaml", "field.yaml: unknown field of a configuration 'seed'; did you mean seeds"),
        ("run setting.yaml", f"setting.yaml: unknown setting of {P} 'input'; did you mean inputs?"),
        ("run value.yaml", f"value.yaml: {P}.inputs=0: write a whole number, at least 1"),
        ("run null.yaml", "null.yaml: methods is a list, not None"),
        ("run bytes.yaml", "bytes.yaml: "),
        (f"{RUN}--out text.yaml", "cannot write text.yaml/"),
        (f"{RUN}--out /proc", "cannot write /proc/"),
        ("reproduce", "the following arguments are required: RECIPE (see pliant reproduce --help)"),
        ("reproduce classification", "unknown recipe 'classification'; there are: ant, continual_imagenet"),
        (
            "reproduce regression --scale 0",
            "--scale=0.0: write a fraction of the published length, above 0 and at most 1",
        ),
        (
            "reproduce regression --scale 2",
            "--scale=2.0: write a fraction of the published length, above 0 and at most 1",
        ),
        ("reproduce regression --scale nan", "--scale=nan: write a fraction of the published length"),
        ("reproduce regression --scale half", "argument --scale: invalid float value: 'half'"),
        ("reproduce regression --seeds 3-1", "seeds=3-1: write a number of seeds"),
        ("reproduce regression --book text.yaml", "--book text.yaml: this is a file; write the folder of the book"),
        (
            "reproduce regression --data mnist",
            "--data=mnist: regression has no such option; leave it out, or write: continual_imagenet, "
            "incremental_cifar, permuted_mnist",
        ),
        (
            "reproduce permuted_mnist --data nowhere",
            "data=nowhere: does not exist; write the name of a data set",
        ),
        ("reproduce permuted_mnist --data", "argument --data: expected one argument"),
        (
            "reproduce minigrid --scenario ant/transfer",
            "--scenario=ant/transfer: minigrid has no such option; leave it out, or write: continual_rl",
        ),
        (
            "reproduce continual_rl --scenario halfcheeta/forgetting",
            "unknown scenario 'halfcheeta/forgetting'; did you mean halfcheetah/forgetting",
        ),
        (
            "reproduce continual_rl --scenario halfcheetah/forgetting,ant/tranfser",
            "unknown scenario 'ant/tranfser'; did you mean ant/transfer",
        ),
        (
            "reproduce continual_rl --methods fine_tuning,packnett",
            "unknown method 'packnett'; did you mean packnet",
        ),
        ("reproduce regression --fall", "unknown argument --fall; did you mean --full?"),
        ("report", "the following arguments are required: RUN (see pliant report --help)"),
        ("report nothing", "there is no directory nothing"),
        ("report folder", "folder is not a run"),
    ],
)
def test_one_line(refuses, tmp_path, words, message):
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    os.mkfifo(tmp_path / "pipe")
    refuses(message, *words.split())


def test_a_traceback_for_those_who_ask(pliant, monkeypatch):
    monkeypatch.setenv("PLIANT_TRACEBACK", "1")
    with pytest.raises(ValueError, match="unknown method"):
        pliant("run", P, "--method", "redu")


@pytest.mark.parametrize(
    "error", [MemoryError("Unable to allocate 16.0 GiB"), RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating")]
)
def test_too_little_memory_is_one_line(pliant, monkeypatch, error):
    def exhaust(arguments):
        raise error

    monkeypatch.setattr(_main, "_command", lambda name: exhaust)
    code, _, err = pliant("run", P)
    assert (code, err) == (2, f"pliant: out of memory ({error}); write fewer seeds or smaller sizes\n")


def test_other_failures_of_the_program_keep_their_traceback(pliant, monkeypatch):
    def fail(arguments):
        raise RuntimeError("a mistake")

    monkeypatch.setattr(_main, "_command", lambda name: fail)
    with pytest.raises(RuntimeError, match="a mistake"):
        pliant("run", P)


def test_a_platform_that_jax_does_not_have_is_one_line():
    environment = {**os.environ, "JAX_PLATFORMS": "nonsense"}
    done = subprocess.run(
        [sys.executable, "-m", "pliant", "run", P], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("pliant: JAX_PLATFORMS=nonsense: Unable to initialize backend 'nonsense'")


def test_a_file_is_tried_before_the_work_for_it(tmp_path):
    check_file("--out", tmp_path / "new.csv")
    assert not (tmp_path / "new.csv").exists()
    (tmp_path / "old.csv").write_text("old")
    check_file("--out", tmp_path / "old.csv")
    assert (tmp_path / "old.csv").read_text() == "old"
    with pytest.raises(ConfigError, match=f"^--out {tmp_path}: cannot be written: Is a directory$"):
        check_file("--out", tmp_path)
