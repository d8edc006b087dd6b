"""What lies in a folder of runs."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from .ends import values_at_ends
from .labels import differing, in_words
from .load import Run, load
from .shards import DamagedRunError, read_mapping, shards_of
from .tables import Cell, Table

_SILENT = 180.0  # seconds without a heartbeat after which the owner of a shard is dead


def overview(folder: str | os.PathLike[str]) -> Table:
    """The runs in a folder, the latest last.

    Args:
        folder: of run directories.

    Returns:
        A row for each run: its settings that differ from other runs of the same problem, its seeds, its state
        (`finished`, `running`, `stopped`, `begun` without results, or `damaged`), its step, and the mean over seeds of
        the last return, or else the last loss.

    Raises:
        ValueError: if the folder is missing, or has no runs.
    """
    path = Path(folder)
    files = sorted(path.glob("*/config.yaml"), key=lambda file: file.parent.stat().st_mtime)
    if not files:
        what = f"{path} has no runs" if path.is_dir() else f"there is no folder {path}"
        raise ValueError(f"{what}; a run makes one: pliant run PROBLEM, or name another folder: pliant runs FOLDER")
    configs = [_config(file) for file in files]
    problems = [_problem(config) for config in configs]
    settings = [""] * len(files)
    for problem in set(problems):
        same = [index for index, other in enumerate(problems) if other == problem]
        for index, different in zip(same, differing([configs[i] for i in same]), strict=True):
            settings[index] = in_words(different)
    rows = [[file.parent.name, words, *_facts(file.parent)] for file, words in zip(files, settings, strict=True)]
    return Table(str(path), ["run", "settings", "seeds", "state", "step", "metric", "value"], rows)


def _config(file: Path) -> Mapping[str, Any]:
    """The configuration of a run; empty if the file is damaged."""
    try:
        return read_mapping(file, yaml.safe_load)
    except DamagedRunError:
        return {}


def _problem(config: Mapping[str, Any]) -> str:
    problem = config.get("problem")
    return str(problem.get("name")) if isinstance(problem, Mapping) else ""


def _facts(run: Path) -> list[Cell]:
    """Seeds, state, step, metric and value."""
    try:
        if not shards_of(run):
            return ["", "begun", None, "", None]
        found = load(run)
    except ValueError:
        return ["", "damaged", None, "", None]
    seeds = ",".join(shard.name for shard in found.shards)
    return [seeds, _state(run, found), found.last_step, *_last(found)]


def _state(path: Path, run: Run) -> str:
    if run.damaged:
        return "damaged"
    if run.status["state"] == "finished":
        return "finished"
    now = time.time()
    beats = [owner.stat().st_mtime for owner in path.glob("shards/*/owner.json")]
    return "running" if any(now - beat < _SILENT for beat in beats) else "stopped"


def _last(run: Run) -> tuple[Cell, Cell]:
    """The first of return and loss that the run has, and its mean over all members at the end."""
    for metric in ("return", "loss"):
        rows = run.metrics.loc[(run.metrics["metric"] == metric) & (run.metrics["group"] == "")]
        if rows.empty:
            continue
        cells = [((), rows)] if not run.settings else rows.groupby(list(run.settings), observed=True)
        values = np.concatenate([values_at_ends(run, metric, key, cell)[-1].to_numpy() for key, cell in cells])
        values = values[np.isfinite(values)]
        return metric, float(values.mean()) if values.size else float("nan")
    return "", None
