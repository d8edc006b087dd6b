"""`pliant analyze`: what it prints and writes; and whatever is typed wrongly."""

import json
import shutil

import pandas as pd
import pyarrow.parquet as pq
import pytest

from pliant.cli import _analyze, main
from pliant.core import registry

P = "permuted_mnist"
SMALL = ("--data", "digits", "--tasks", "2", "--change-every", "60", "--batch-size", "5", "--hidden-units", "8")
# Runs are planned, and each analysis compiles what measures.
pytestmark = pytest.mark.compilations(12)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two tasks of 12 updates, with all checkpoints or the newest."""
    folder = tmp_path_factory.mktemp("runs")
    for keep in ("auto", "newest"):
        words = ["run", P, *SMALL, "--seeds", "2", "--diagnostics", "none", "--keep-checkpoints", keep]
        assert main([*words, "--out", str(folder / keep)]) == 0
    return {keep: next((folder / keep).iterdir()) for keep in ("auto", "newest")}


@pytest.fixture
def here(runs, tmp_path):
    """Copies of the runs in the working directory."""
    for name, path in runs.items():
        shutil.copytree(path, tmp_path / name)
    return tmp_path


def single_blanks(text):
    return "".join(" ".join(line.split()) + "\n" for line in text.splitlines())


def test_the_tables_and_the_file(pliant, here):
    code, out, err = pliant("analyze", "auto")
    assert code == 0, err
    out = single_blanks(out)
    assert "auto: on the next task\n" in out and "auto: of the network, and on the test set\n" in out
    assert (
        "\ntask step inactive fraction effective rank stable rank\n" in out and "\ntask step weight magnitude\n" in out
    )
    assert out.endswith("\nall numbers: auto/analysis.parquet\n")
    for task, step in ((0, 0), (1, 12), (2, 24)):
        assert out.count(f"\n{task} {step} ") == 2
    rows = pd.read_parquet("auto/analysis.parquet")
    assert list(rows.columns) == ["seed", "step", "task", "examples", "metric", "group", "value"]
    assert list(dict.fromkeys(rows["metric"])) == [*_analyze.DIAGNOSTICS]
    assert set(zip(rows["seed"], rows["step"])) == {(seed, step) for seed in (0, 1) for step in (0, 12, 24)}
    how = json.loads(pq.read_schema("auto/analysis.parquet").metadata[b"pliant.analysis"])
    assert how == {"examples": 0, "train_mode": False}
    # The report of the run shows the same tables, below its own.
    code, report, err = pliant("report", "auto")
    assert code == 0, err
    assert out.rpartition("all numbers")[0].strip() in single_blanks(report)
    # A damaged file is named.
    (here / "auto" / "analysis.parquet").write_bytes(b"PAR1")
    code, _, err = pliant("report", "auto")
    assert code == 2 and err.startswith("pliant: auto/analysis.parquet is damaged (")
    assert err.endswith("; write it again: pliant analyze auto\n")


def test_what_is_measured_is_chosen(pliant, here):
    words = ("--diagnostics", "dormant_fraction,inactive_fraction", "--diagnostic.dormant_fraction.threshold", 0.5)
    code, out, err = pliant("analyze", "auto", *words, "--step", "12, 24", "--seeds", "1-1", "--examples", 30, "--all")
    assert code == 0, err
    assert "auto: networks at the checkpoints\n" in out
    rows = pd.read_parquet("auto/analysis.parquet")
    assert set(rows["metric"]) == {"dormant_fraction", "inactive_fraction"}
    assert set(rows["step"]) == {12, 24} and set(rows["seed"]) == {1}
    groups = ["Dense_0", "Dense_1", "Dense_2", ""]
    assert {metric: sorted(set(of["group"])) for metric, of in rows.groupby("metric")} == dict.fromkeys(
        ("dormant_fraction", "inactive_fraction"), sorted(groups)
    )
    printed = single_blanks(out)
    for row in rows[rows["metric"] == "dormant_fraction"].itertuples():
        group = f"{row.group} " if row.group else ""
        assert f"\n{row.task} {row.step} next_task dormant_fraction {group}{row.value:.4g}\n" in printed
    # With a threshold of one half more units are dormant than those that are never active.
    last = rows[(rows["step"] == 24) & (rows["group"] == "")].set_index("metric")["value"]
    assert last["dormant_fraction"] > last["inactive_fraction"]


def test_a_run_that_kept_the_newest_says_so(pliant, here):
    code, _, err = pliant("analyze", "newest", "--diagnostics", "weight_magnitude")
    assert code == 0
    assert "newest kept its newest checkpoints alone; --keep-checkpoints tasks makes a run that keeps more" in err
    assert set(pd.read_parquet("newest/analysis.parquet")["step"]) == {24}


def test_stopped(pliant, here, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(_analyze, "analyze", interrupted)
    assert pliant("analyze", "auto") == (130, "", "pliant: stopped\n")
    assert not (here / "auto" / "analysis.parquet").exists()


@pytest.mark.parametrize("columns", [80, 200])
def test_help(pliant, columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    code, out, err = pliant("analyze", "--help")
    assert (code, err) == (0, "")
    assert out.startswith("usage: pliant analyze RUN [flags]")
    assert max(map(len, out.splitlines())) <= min(columns, 120)
    words = " ".join(out.split())
    for extras in ("--train-mode", "[units | activations; default activations]", "[all | last; default last]"):
        assert extras in words
    for name in registry.names("diagnostics"):
        assert name in words
    assert "\n  analyze RUN  " in pliant()[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "the following arguments are required: RUN (see pliant analyze --help)"),
        ("nothing", "nothing is not a run: it has no config.yaml; give the path of a run, such as runs/<name>-<hash>"),
        ("new", "new/shards/0-1 has no checkpoint yet; wait for its first, or resume it: pliant run new"),
        ("auto --step 10", "step=10: auto/shards/0-1 has no such checkpoint; there are: 0, 12, 24"),
        ("auto --step last", "--step=last: write a whole number, at least 0"),
        ("auto --seeds 0-2", "seeds=0-2: there is no seed 2; the run has seeds=0-1"),
        ("auto --examples -1", "--examples=-1: write a whole number, at least 0"),
        ("auto --train-mode", "the network of permuted_mnist has no running statistics, so both modes are the same"),
        ("auto --diagnostics dead", "unknown diagnostic 'dead'"),
        ("auto --diagnostics rank,rank", "diagnostics: rank is listed 2 times; write it once"),
        ("auto --diagnostics weight_change", "diagnostics=weight_change: it compares two times of a run; leave it out"),
        ("auto --diagnostics rank --diagnostic.rank.layers none", "layers=none: write all or last"),
        ("auto --diagnostic.rank.layers last", "unknown argument --diagnostic.rank.layers; did you mean"),
        ("auto --train_mod", "unknown argument --train_mod; did you mean --train-mode"),
    ],
)
def test_one_line(refuses, here, words, message):
    shutil.copytree(here / "auto", here / "new", ignore=shutil.ignore_patterns("checkpoints"))
    refuses(message, "analyze", *words.split())
