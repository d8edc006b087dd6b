"""What `environment.json` says of program and machine."""

import json
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from pliant.experiment import environment as environments


def test_versions_and_machine_are_plain_data():
    found = json.loads(json.dumps(environments.environment()))
    assert found["versions"]["jax"] == version("jax")
    assert found["versions"]["mujoco"] == version("mujoco")  # simulators too
    assert found["cpu"] and found["cores"] >= 1


def test_a_package_that_is_not_installed_has_no_version():
    assert environments._versions_of(("numpy", "no-such-package")) == {"numpy": version("numpy")}


def test_outside_a_repository_there_is_no_revision(monkeypatch):
    monkeypatch.setenv("PATH", str(Path("/nowhere")))
    assert environments.revision() is None


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with a package of one file, and a file beside the package."""
    package = tmp_path / "src" / "pliant"
    (package / "experiment").mkdir(parents=True)
    (package / "method.py").write_text("a = 1\n")
    (tmp_path / "README.md").write_text("# A\n")

    def git(*words):
        ask = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *words]
        return subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "--quiet")
    git("add", "--all")
    git("commit", "--quiet", "--message", "a")
    monkeypatch.setattr(environments, "__file__", str(package / "experiment" / "environment.py"))
    return tmp_path, git("rev-parse", "HEAD")


def test_a_changed_file_of_the_package_is_marked(repository):
    folder, commit = repository
    assert environments.revision() == commit
    (folder / "src" / "pliant" / "method.py").write_text("a = 2\n")
    assert environments.revision() == f"{commit}+"


def test_a_new_file_of_the_package_is_marked_and_one_beside_it_is_not(repository):
    folder, commit = repository
    (folder / "README.md").write_text("# B\n")
    (folder / "results.md").write_text("new\n")
    assert environments.revision() == commit
    (folder / "src" / "pliant" / "another.py").write_text("b = 1\n")
    assert environments.revision() == f"{commit}+"
