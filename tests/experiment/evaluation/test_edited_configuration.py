"""Agents are those of the configuration with which they were trained, not of what was made of its file since then."""

import pytest

from pliant.experiment.configuration.reading import from_mapping
from pliant.experiment.errors import StoreError
from pliant.experiment.evaluation.restore import load
from pliant.experiment.loops.planning import plan
from pliant.experiment.run import run


def test_agents_of_an_edited_configuration_are_refused(tmp_path, toy_parts):
    config = from_mapping(
        {
            "problem": {"name": "drift", "steps": 3},
            "agent": {"name": "watcher", "pull": 0.5},
            "diagnostics": [],
            "seeds": "1",
        }
    )
    path = run(plan(config), tmp_path)
    assert load(path).step == 3
    file = path / "config.yaml"
    text = file.read_text()
    file.write_text(text.replace("pull: 0.5", "pull: 5.0"))
    with pytest.raises(StoreError, match=r"belongs to another configuration: .*config\.yaml was edited or replaced"):
        load(path)
    file.write_text("# pull is 0.5\n" + text)  # a remark changes nothing
    assert load(path).step == 3
