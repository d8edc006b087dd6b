import pathlib
import shutil

import counting
import pytest

from pliant.cli import _run, main
from pliant.core.problem import Stream
from pliant.experiment.loops import planning

P = "slowly_changing_regression"
SMALL = ("--examples", "200", "--flip-every", "50", "--record-every", "50", "--seeds", "2")


@pytest.fixture(autouse=True)
def transfer(tmp_path, monkeypatch):
    """An empty working directory and wide enough a terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def pliant(capsys):
    """`pliant(*words)` runs a command in this process: exit code, standard output, standard error."""

    def run(*words):
        try:
            code = main([str(word) for word in words])
        except SystemExit as end:  # argparse, after --help
            code = end.code
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def counts(monkeypatch):
    """Runs of streams are planned as ever, and then count instead of learning: for what numbers do not matter to."""
    monkeypatch.setitem(planning._LOOPS, Stream, counting.CountingStream())


@pytest.fixture(scope="session")
def a_run(tmp_path_factory):
    """What `pliant run` writes of a small run, which is run once."""
    folder = tmp_path_factory.mktemp("a_run")
    assert main(["run", P, *SMALL, "--out", str(folder)]) == 0
    (path,) = folder.iterdir()
    return path


@pytest.fixture
def copied(a_run):
    """The path, `runs/...`, of a copy of the small run in the working directory, as if it had been run here."""
    path = pathlib.Path("runs", a_run.name)
    shutil.copytree(a_run, path)
    return str(path)


@pytest.fixture
def refuses(pliant, tmp_path):
    """`refuses(message, *words)`: a command says one line that has the message in it, and leaves all files alone."""

    def run(message, *words):
        before = sorted(tmp_path.rglob("*"))
        code, out, err = pliant(*words)
        assert (code, out) == (2, "")
        assert err.startswith("pliant: ")
        assert message in err
        assert err.count("\n") == 1
        assert sorted(tmp_path.rglob("*")) == before

    return run


@pytest.fixture
def asked(pliant, monkeypatch):
    """`asked(*words)` is the configuration that `pliant run` would plan, and what it said; nothing is run."""

    def run(*words):
        configs = []
        with monkeypatch.context() as patched:
            patched.setattr(_run, "plans", lambda config: configs.append(config) or [])
            code, out, err = pliant("run", *words)
        assert (code, out) == (0, ""), err
        (config,) = configs
        return config, err

    return run
