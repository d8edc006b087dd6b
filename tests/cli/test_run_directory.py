"""`pliant run RUN` continues in the directory of the run, wherever it is and however it is called."""

import pathlib
import shutil

import pytest

from pliant import report

P = "slowly_changing_regression"
WORDS = ("run", P, "--examples", 20, "--record-every", 5)

pytestmark = pytest.mark.usefixtures("counts")


@pytest.fixture
def elsewhere(pliant, tmp_path):
    """A run of two seeds in `mine/renamed`; nothing is in `runs`."""
    assert pliant(*WORDS, "--seeds", 2, "--out", "made")[0] == 0
    (path,) = pathlib.Path("made").iterdir()
    pathlib.Path("mine").mkdir()
    path.rename("mine/renamed")
    return pathlib.Path("mine/renamed")


def shards(path):
    return [shard.name for shard in report.load(path).shards]


def test_a_run_that_was_renamed_is_the_same_run(pliant, elsewhere):
    code, out, err = pliant("run", elsewhere)
    assert code == 0 and "mine/renamed is finished already" in err and "curves: pliant report mine/renamed" in out
    assert pliant("run", elsewhere, "--seeds", 3)[0] == 0
    assert pliant("run", elsewhere / "config.yaml", "--seeds", 4)[0] == 0
    assert shards(elsewhere) == ["0-1", "2-2", "3-3"]
    assert not pathlib.Path("runs").exists()


def test_a_copy_is_a_run_of_its_own(pliant, elsewhere):
    copy = shutil.copytree(elsewhere, "copy")
    assert pliant("run", copy, "--seeds", 3)[0] == 0
    assert (shards(copy), shards(elsewhere)) == (["0-1", "2-2"], ["0-1"])


def test_another_configuration_or_folder_is_another_run(pliant, elsewhere):
    assert pliant("run", elsewhere, "--learning-rate", 0.5)[0] == 0
    assert pliant("run", elsewhere, "--out", "third")[0] == 0
    assert len(list(pathlib.Path("runs").iterdir())) == len(list(pathlib.Path("third").iterdir())) == 1
    assert shards(elsewhere) == ["0-1"]


def test_an_edited_configuration_is_refused_and_computed_by_force(pliant, elsewhere):
    file = elsewhere / "config.yaml"
    file.write_text("# mine\n" + file.read_text())
    assert pliant("run", elsewhere)[0] == 0  # a remark is no other configuration
    file.write_text(file.read_text().replace("learning_rate: 0.01", "learning_rate: 0.02"))
    code, out, err = pliant("run", elsewhere, "--seeds", 2)
    assert (code, out) == (2, "")
    assert "0-1 belongs to another configuration: mine/renamed/config.yaml was edited or replaced; undo that" in err
    assert pliant("run", elsewhere, "--force")[0] == 0
    assert shards(elsewhere) == ["0-1"]
