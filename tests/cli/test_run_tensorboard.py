import dataclasses
import itertools
import shutil
import sys

import pytest
from event_files import assert_complete, scalars

from pliant import report
from pliant.experiment.configuration.reading import from_yaml
from pliant.experiment.loops.planning import plan
from pliant.experiment.run import run

# Event files are written of any metrics.
pytestmark = pytest.mark.usefixtures("counts")

P = "slowly_changing_regression"
SMALL = ("--examples", 200, "--flip-every", 50, "--record-every", 50, "--seeds", 2)


def test_event_files_of_a_run(pliant, tmp_path):
    code, _, err = pliant("run", P, *SMALL, "--sweep", "learning_rate=0.01,0.003", "--tensorboard")
    assert code == 0, err
    (path,) = (tmp_path / "runs").iterdir()
    assert_complete(path)
    assert set(scalars(path)) == {f"seed={seed},learning_rate={size}" for seed in (0, 1) for size in (0.01, 0.003)}
    # The flag is no part of the configuration: it is the same run without it, and it may be asked for later.
    shutil.rmtree(path / "tensorboard")
    status = path / "shards" / "0-1" / "status.json"
    written_at = status.stat().st_mtime_ns
    for flags in ([], ["--tensorboard"]):
        assert pliant("run", P, *SMALL, "--sweep", "learning_rate=0.01,0.003", *flags)[0] == 0
        assert status.stat().st_mtime_ns == written_at  # nothing was run
        assert [path] == list((tmp_path / "runs").iterdir())
        assert (path / "tensorboard").exists() == bool(flags)
    assert_complete(path)
    for flags in ([], ["--tensorboard"]):
        shutil.rmtree(path / "tensorboard", ignore_errors=True)
        assert pliant("report", path, *flags)[0] == 0
        assert (path / "tensorboard").exists() == bool(flags)
    assert_complete(path)


class Stop(Exception):
    pass


def test_event_files_of_a_run_that_was_stopped(pliant, tmp_path):
    assert pliant("run", P, *SMALL)[0] == 0
    (path,) = (tmp_path / "runs").iterdir()
    config = dataclasses.replace(from_yaml((path / "config.yaml").read_text()), seeds="2")
    calls = itertools.count()

    def stop(done, total):
        if next(calls) == 3:
            raise Stop

    with pytest.raises(Stop):  # after three of four chunks, of which two were saved
        run(plan(config), path.parent, force=True, on_progress=stop, on_save=report.tensorboard(), checkpoint_every=0.0)
    assert {step for rows in scalars(path).values() for step, *_ in rows} == {50, 100}
    assert pliant("run", path, "--tensorboard")[0] == 0
    assert_complete(path)
    pliant("run", path, "--force", "--tensorboard")
    assert_complete(path)


def test_without_the_package_nothing_begins(pliant, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX.proto.event_pb2", None)
    code, out, err = pliant("run", P, *SMALL, "--tensorboard")
    assert (code, out) == (2, "")
    assert err == "pliant: event files need tensorboardX; write pip install -e '.[tensorboard]'\n"
    assert not list(tmp_path.iterdir())
    assert pliant("run", P, *SMALL)[0] == 0
    (path,) = (tmp_path / "runs").iterdir()
    assert pliant("report", path, "--tensorboard") == (2, "", err)
    assert not (path / "report").exists()
