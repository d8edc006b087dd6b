"""Whatever is typed or lies in a file: a command succeeds, or says one line; it never hangs or shows a traceback.

`make fuzz` tries more: PLIANT_FUZZ is the number of examples of each test.
"""

import contextlib
import io
import json
import os
import pathlib
import time

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from pliant import report
from pliant.cli import _run, main
from pliant.core import registry
from pliant.experiment.configuration.config import RUN_SETTINGS, ComponentSpec

P = "slowly_changing_regression"
SECONDS = 5.0  # for one command, on a machine with other work

fuzz = settings(
    max_examples=int(os.environ.get("PLIANT_FUZZ", "25")),
    deadline=None,
    derandomize="PLIANT_FUZZ" not in os.environ,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

# What people and programs write: words, numbers of any size, and what breaks parsers.
WORDS = st.one_of(
    st.sampled_from(
        [P, f"{P}/sgd/bp/relu", "ant", "redo", "redo@a", "none", "0", "-1", "1e9", "10k", "nan", "inf", "true"]
    ),
    st.sampled_from(
        ["--", "-", "=", "a=b", ",", "0-9", "9-0", "%s", "{", "[", "*a", "&a", "..", "/", "\x00x", "\u202e", "é"]
    ),
    st.integers().map(str),
    st.floats().map(str),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=80),
    st.integers(1, 10_000).map("x".__mul__),
)


def flags():
    """All flags of a run of this problem, with redo."""
    parts = [ComponentSpec("problems", P, {}), ComponentSpec("agents", "sgd", {}), ComponentSpec("methods", "redo", {})]
    names = [name for part in parts for name in part.schema]
    more = ["seed", "seeds", "sweep", "method", "agent", "preset", "diagnostics", "config"]
    return [f"--{name}" for name in (*names, *(f"method.{name}" for name in parts[2].schema), *RUN_SETTINGS, *more)]


@pytest.fixture
def planned(monkeypatch):
    """Commands end where they would begin to compute: the configuration is made and checked, no more."""
    monkeypatch.setattr(_run, "plans", lambda config: [])


def says(arguments):
    """Runs a command, and checks what it owes whatever is asked."""
    out, err, begun = io.StringIO(), io.StringIO(), time.process_time()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(arguments)
        except SystemExit as end:  # of argparse, after --help
            code = end.code
    assert time.process_time() - begun < SECONDS, arguments
    assert code in (0, 2), arguments
    if code == 2:
        assert err.getvalue().startswith("pliant: "), arguments
        assert err.getvalue().count("\n") == 1, arguments
        assert len(err.getvalue()) < 2000, arguments
    return code


@fuzz
@given(st.lists(st.one_of(WORDS, st.sampled_from(flags())), max_size=8))
def test_any_words_after_run(planned, words):
    says(["run", P, *(word.replace("\x00", "0") for word in words)])


@fuzz
@given(
    st.sampled_from(["list", "report", "evaluate", "visualize", "analyze", "reproduce", "run", "x"]),
    st.lists(WORDS, max_size=3),
)
def test_any_command(planned, command, words):
    words = [word.replace("\x00", "0") for word in words]
    if command == "reproduce" and words[:1] and words[0] in registry.names("recipes"):
        return  # it would compute
    says([command, *words])


# Plain data as in a configuration: the right keys with any values, and any keys.
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), WORDS),
    lambda values: st.one_of(st.lists(values, max_size=3), st.dictionaries(WORDS, values, max_size=3)),
    max_leaves=8,
)
FIELDS = ("problem", "agent", "methods", "diagnostics", "sweep", *RUN_SETTINGS)
PUBLISHED = (
    "env_name",
    "lr",
    "h_dim",
    "wd",
    "rr",
    "redo",
    "pgnt",
    "friction",
    "act_type",
    "bs",
    "n_steps",
    "loss_type",
)


@fuzz
@given(
    st.one_of(
        st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=4).map(lambda given: {"problem": P, **given}),
        st.dictionaries(st.sampled_from(FIELDS), VALUES),
        st.dictionaries(st.sampled_from(PUBLISHED), VALUES, max_size=4).map(
            lambda given: {"env_name": "Ant-v3", **given}
        ),
        VALUES,
    )
)
def test_any_configuration_file(planned, tmp_path, given):
    (tmp_path / "any.yaml").write_text(yaml.safe_dump(given, allow_unicode=True))
    says(["run", str(tmp_path / "any.yaml")])


@fuzz
@given(st.binary(max_size=200))
def test_any_bytes_as_a_configuration_file(planned, tmp_path, content):
    (tmp_path / "any.yaml").write_bytes(content)
    says(["run", str(tmp_path / "any.yaml")])


@fuzz
@given(
    st.sampled_from(["status.json", "environment.json", "metrics", "config.yaml"]),
    st.one_of(
        VALUES.map(lambda given: json.dumps(given, default=str).encode()),
        st.dictionaries(
            st.sampled_from(["state", "step", "steps", "tasks", "seconds", "versions", "command"]), VALUES
        ).map(lambda given: json.dumps(given, default=str).encode()),
        st.binary(max_size=100),
    ),
)
def test_any_contents_of_a_run(copied, name, content):
    run = pathlib.Path(copied)
    (shard,) = (run / "shards").iterdir()
    file = {"config.yaml": run / name, "metrics": next((shard / "metrics").iterdir())}.get(name, shard / name)
    before = file.read_bytes()
    file.write_bytes(content)
    try:
        says(["evaluate", copied])
        with contextlib.suppress(ValueError):  # what a command shows in one line
            report.summary(report.load(copied)).to_terminal(Console(file=io.StringIO()))
    finally:
        file.write_bytes(before)
