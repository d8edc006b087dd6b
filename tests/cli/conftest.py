import logging

import pytest

from pliant.cli import main


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """An empty working directory, wide enough a terminal, and the logging that was before."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    logger = logging.getLogger("pliant")
    before = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:], logger.level, logger.propagate = before


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
