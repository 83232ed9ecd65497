"""learec experiment through the command line: what fails, a kill, and cells that are the same however they are made."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
from rich.console import Console

from learec.artifacts import COST, MANIFEST
from learec.errors import ArtifactError
from learec.experiment.experiment import write_log_page, write_pages
from learec.experiment.workplace import Workplace, share
from learec.progress import Reporter

COMMAND = [sys.executable, "-c", "from learec.cli import main; main()", "experiment", "tiny.toml"]
ENVIRONMENT = {**os.environ, "COLUMNS": "160", "OMP_NUM_THREADS": "1"}
EXPERIMENT = """
[experiment]
encoders = ["gru4rec"]
objectives = ["supervised", "snqn"]
[agent]
hidden_size = 8
n_layers = 1
epochs = 2
batch_size = 32
[evaluation]
ease_decay = 0.8
ease_text_weight = 3.0
resamples = 20
permutations = 199
rollout_users = 0
hybrids = ["gru4rec"]
compare = [["gru4rec", "item_knn"], ["gru4rec", "rule"]]
[logs.music]
simulate = { listeners = 60, tracks = 40, mean_plays = 8 }
[logs.music.data]
events = "interactions.parquet"
items = "items.parquet"
columns = { user = "listener_id", item = "track_id", time = "time", event = "event" }
title = "{title} - {artist}"
min_item_events = 1
min_session_events = 5
rewards = { skip = 0.0, play = 0.5, like = 1.0 }
"""
BROKEN = """
[columns.gamma-0]
objectives = ["snqn"]
agent = { gamma = 0.0 }
[logs.nowhere.data]
events = "nowhere.csv"
"""
OWN = Path("runs/tiny/experiment")
AGENTS = Path("runs/tiny/music/main/agents")
POOLED = {
    "new": "LEA (6 agents)", "base": "none", "metric": "NDCG@10", "n": 40, "difference": 0.0178, "low": 0.0151, "high": 0.0205,
    "p": 0.0001, "p_adjusted": 0.0001, "seeds": 3, "covers_seeds": True, "placebos": [],
}  # fmt: skip


def learec(*arguments, cwd):
    return subprocess.run([*COMMAND, *arguments], cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True)


def contents(folder: Path) -> dict[Path, bytes]:
    return {p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file() and p.name != COST}


def at_work(folder: Path) -> list[str]:
    """Jobs of an experiment whose process runs."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
            if b"learec.experiment.job" in words and os.readlink(path.parent / "cwd") == str(folder):
                found.append(path.parent.name)
        except OSError:  # it has just ended
            continue
    return found


def wait_for(condition, seconds=60) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert condition()


@pytest.fixture(scope="module")
def parallel(tmp_path_factory):
    """Two processes at once; a log is not there, and the folder of one agent holds something else."""
    root = tmp_path_factory.mktemp("parallel")
    (root / "tiny.toml").write_text(EXPERIMENT + BROKEN)
    foreign = root / AGENTS / "gru4rec-snqn-gamma-0/seed-0/thesis.txt"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("not learec's")
    return root, learec("--jobs", "2", cwd=root)


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """One process at a time; killed within the first cell, and started again."""
    root = tmp_path_factory.mktemp("killed").resolve()
    (root / "tiny.toml").write_text(EXPERIMENT)
    process = subprocess.Popen(COMMAND, cwd=root, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: (root / AGENTS / "gru4rec/.seed-0.partial/request.json").exists() or process.poll() is not None)
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_for(lambda: not at_work(root))
    finished_before = (root / AGENTS / "gru4rec-snqn/seed-0").exists()
    return root, learec(cwd=root), finished_before


def test_what_fails_is_listed_with_its_reason_and_the_exit_code_says_so(parallel):
    _, done = parallel
    assert done.returncode == 1, done.stderr
    assert "missing: nowhere/main/prepare: " in done.stdout
    assert "nowhere.csv: no such file" in done.stdout
    assert "4 more jobs are left out with it" in done.stdout
    assert "missing: music/main/gru4rec-snqn-gamma-0/0: " in done.stdout
    assert "holds something that learec did not write" in done.stdout


def test_the_tables_hold_what_is_there_and_name_what_is_not(parallel):
    root, _ = parallel
    page, text = ((root / OWN / name).read_text() for name in ("tables.md", "tables.tex"))
    assert "| gru4rec | supervised |" in page
    assert "| hybrid | gru4rec-hybrid |" in page
    assert "- nowhere/main/prepare: " in page
    assert "left out with it: nowhere/main/gru4rec/0" in page
    assert "snqn + gamma-0" not in page
    assert "gru4rec & supervised & " in text
    finished = (root / OWN / "recipes/music/main.finished.toml").read_text()
    assert "gamma-0" not in finished
    assert 'compare = [["gru4rec-snqn", "gru4rec"], ["gru4rec", "item_knn"]]' in finished


def test_a_comparison_with_a_floor_that_needs_annotations_waits_for_some(killed):
    root, done, _ = killed
    assert done.returncode == 0, done.stdout
    tables = json.loads((root / "runs/tiny/music/main/results/tables.json").read_text())
    assert [(one["new"], one["base"]) for one in tables["comparisons"]] == [("gru4rec-snqn", "gru4rec"), ("gru4rec", "item_knn")]
    assert tables["left_out"]["rule"] == "it needs item vectors, which learec annotate makes"


def test_recipes_of_a_log_stand_side_by_side_and_a_report_of_the_experiments_folder_finds_them(parallel, tmp_path):
    root, _ = parallel
    shutil.copytree(root / "runs/tiny", tmp_path / "runs/tiny")
    shutil.copytree(root / "runs/tiny/music/main", tmp_path / "runs/tiny/music/users-0.5")
    workplace = Workplace(tmp_path / "runs/tiny", tmp_path, Reporter())
    main, other = (SimpleNamespace(log="music", variant=variant, name=f"music/{variant}") for variant in ("main", "users-0.5"))
    write_log_page(workplace, [main], {"music/main": []})
    assert not (tmp_path / OWN / "music.html").exists(), "one alone is no comparison"
    write_log_page(workplace, [main], {"music/main": [POOLED]})
    page = (tmp_path / OWN / "music.html").read_text()
    assert "One run" in page and "LEA (6 agents)" in page
    page = tmp_path / OWN / "music.html"
    thesis = page.with_name("thesis.html")
    thesis.write_text("not learec's")
    write_pages(workplace, [main], {})
    assert not page.exists() and thesis.exists(), "what it said is no longer asked"
    write_pages(workplace, [main, other], {})
    page = (tmp_path / OWN / "music.html").read_text()
    assert "Over all encoders" not in page
    assert "2 runs side by side" in page and "users-0.5" in page and "gru4rec-snqn" in page
    found = subprocess.run([*COMMAND[:-2], "report", "runs/tiny"], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert "comparison of 2 runs: runs/comparison.html" in found.stdout, found.stderr


def test_cells_have_a_row_for_every_agent_seed_part_event_and_metric_with_what_they_cost(parallel):
    root, _ = parallel
    cells = pl.read_parquet(root / OWN / "cells.parquet")
    agents = cells.filter(kind="agent")
    # 2 agents x 1 seed x 2 parts x (all + 3 kinds of event) x 3 metrics x 3 cutoffs
    assert len(agents) == 2 * 2 * 4 * 9
    assert agents.null_count().sum_horizontal().to_list() == [agents["placebo"].null_count()]
    hybrids = cells.filter(kind="hybrid")
    assert len(hybrids) == 2 * 4 * 9
    assert hybrids.select("agent", "seed").unique().rows() == [("gru4rec-hybrid", 0)]
    row = agents.row(by_predicate=(pl.col("agent") == "gru4rec-snqn") & (pl.col("part") == "test")
                     & (pl.col("event") == "all") & (pl.col("metric") == "NDCG@10"), named=True)  # fmt: skip
    assert (row["encoder"], row["objective"], row["columns"], row["seed"]) == ("gru4rec", "snqn", "none", 0)
    tables = json.loads((root / "runs/tiny/music/main/results/tables.json").read_text())
    assert row["n"] == tables["n_targets"]["test"]
    mean = next(one for one in tables["rows"] if one["name"] == "gru4rec-snqn")["metrics"]["NDCG@10"]["mean"]
    assert row["value"] == pytest.approx(mean, abs=1e-12)
    assert row["peak_mb"] > 0 and len(row["digest"]) == 64
    assert cells.filter(kind="floor")["seed"].null_count() == len(cells.filter(kind="floor"))


def test_every_test_has_a_row(parallel):
    root, _ = parallel
    found = pl.read_parquet(root / OWN / "comparisons.parquet").to_dicts()
    compared = json.loads((root / "runs/tiny/music/main/results/tables.json").read_text())["comparisons"]
    assert found
    assert [(row["new"], row["base"]) for row in found] == [(one["new"], one["base"]) for one in compared]
    for row, one in zip(found, compared, strict=True):
        assert (row.pop("log"), row.pop("variant"), row.pop("pooled")) == ("music", "main", False)
        assert row == {name: one[name] for name in row}


def test_every_job_has_a_file_of_what_it_printed(parallel):
    root, _ = parallel
    told = (root / OWN / "logs/nowhere/main/prepare.txt").read_text()
    assert told.startswith("error: ")
    assert "epochs" in (root / OWN / "logs/music/main/gru4rec/0.txt").read_text()


def test_a_log_that_only_leaves_out_stays_in_the_tables_until_its_results_are_stale(killed, tmp_path):
    shutil.copytree(killed[0] / "runs", tmp_path / "runs")
    other = EXPERIMENT[EXPERIMENT.index("[logs.music]") :].replace("music", "other")
    (tmp_path / "tiny.toml").write_text(EXPERIMENT + other)
    done = learec("--only", "other/main/gru4rec/0", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    cells, compared = (pl.read_parquet(tmp_path / OWN / name) for name in ("cells.parquet", "comparisons.parquet"))
    assert set(cells["log"]) == {"music", "other"}
    pairs = compared.filter(log="other").select("new", "base").rows()
    assert pairs == [("gru4rec", "item_knn")], "one agent of the other is there"
    before = cells.filter(log="music").drop("seconds", "peak_mb")
    assert before.equals(pl.read_parquet(killed[0] / OWN / "cells.parquet").drop("seconds", "peak_mb"))
    stale = EXPERIMENT.replace("listeners = 60", "listeners = 61") + other, (EXPERIMENT + other).replace("= 199", "= 299")
    for text in stale:  # of another simulation, and of other tests
        (tmp_path / "tiny.toml").write_text(text)
        assert learec("--only", "other/main/gru4rec/0", cwd=tmp_path).returncode == 0
        assert set(pl.read_parquet(tmp_path / OWN / "cells.parquet")["log"]) == {"other"}


def test_a_killed_experiment_goes_on_and_its_cells_are_those_of_one_that_ran_in_parallel(parallel, killed):
    (root, _), (other, done, finished_before) = parallel, killed
    assert not finished_before
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("gru4rec", "gru4rec-snqn"):
        assert contents(other / AGENTS / name) == contents(root / AGENTS / name)
    serial, beside = (pl.read_parquet(one / OWN / "cells.parquet").drop("seconds", "peak_mb") for one in (other, root))
    assert serial.equals(beside)


def test_a_second_start_trains_nothing_though_the_cost_of_an_agent_is_lost(killed):
    root, *_ = killed
    (root / AGENTS / "gru4rec/seed-0/cost.json").unlink()
    before = {path: path.stat().st_mtime_ns for path in (root / "runs/tiny/music").rglob("*")}
    done = learec(cwd=root)
    assert done.returncode == 0
    assert "music/main/gru4rec/0: up to date" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in (root / "runs/tiny/music").rglob("*")} == before
    cells = pl.read_parquet(root / OWN / "cells.parquet")
    assert cells.filter(agent="gru4rec")["seconds"].null_count() == len(cells.filter(agent="gru4rec")) > 0
    assert cells.filter(agent="gru4rec-snqn")["seconds"].null_count() == 0


def test_a_folder_where_an_experiment_works_is_refused(tmp_path):
    workplace = Workplace(tmp_path, tmp_path, Reporter(Console(quiet=True)))
    with workplace.locked(), pytest.raises(ArtifactError, match=f"works here \\(process {os.getpid()}\\)"), workplace.locked():
        pass
    with workplace.locked():
        pass


def test_a_shared_artifact_takes_no_space_and_follows_the_one_it_is_shared_with(tmp_path):
    source, target = tmp_path / "main", tmp_path / "variant"
    (source / "log").mkdir(parents=True)
    (source / "log/steps.npy").write_bytes(b"steps")
    (source / "log" / MANIFEST).write_text("first")
    share(source, target, ("raw", "log"))
    assert (target / "log/steps.npy").stat().st_ino == (source / "log/steps.npy").stat().st_ino
    assert not (target / "raw").exists()
    (source / "log" / MANIFEST).unlink()
    (source / "log" / MANIFEST).write_text("second")
    share(source, target, ("log",))
    assert (target / "log" / MANIFEST).read_text() == "second"
    assert [path.name for path in target.iterdir()] == ["log"]
