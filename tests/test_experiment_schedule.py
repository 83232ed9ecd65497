"""The order of an experiment's work, without any process: what a failure takes with it, what waits, how long the rest takes."""

import sys
from io import StringIO

import pytest
from rich.console import Console

from learec.config.experiment import load_experiment
from learec.errors import ArtifactError, ConfigError
from learec.experiment.board import Board
from learec.experiment.grid import plan_of
from learec.experiment.jobs import asked_for, jobs_of
from learec.experiment.processes import DEVICE, Ended, Processes
from learec.experiment.schedule import Progress, work_off
from learec.experiment.workplace import only
from learec.progress import Reporter

TWO_LOGS = """
[experiment]
objectives = ["supervised", "snqn"]
[columns.RM]
lea = ["reward"]
[logs.a.data]
events = "a.csv"
[logs.b.data]
events = "b.csv"
"""


class Pretended:
    """Processes that end at once, some of them badly."""

    def __init__(self, n: int, failing: dict[str, str]) -> None:
        self.n, self.failing, self.running, self.most, self.stopped = n, failing, [], 0, False

    @property
    def has_room(self) -> bool:
        return len(self.running) < self.n

    def ended(self) -> list[Ended]:
        over, self.running = self.running, []
        return [Ended(name, self.failing.get(name), 7.0) for name in over]

    def stop(self) -> None:
        self.stopped = True


class Hands:
    def __init__(self, n=1, failing=(), kept=(), refused=()) -> None:
        self.processes, self.started = Pretended(n, dict(failing)), []
        self._kept, self._refused = dict(kept), set(refused)

    def kept(self, job):
        if job.name in self._refused:
            raise ArtifactError("holds something else")
        return self._kept.get(job.name)

    def start(self, job):
        self.started.append(job.name)
        self.processes.running.append(job.name)
        self.processes.most = max(self.processes.most, len(self.processes.running))


@pytest.fixture
def jobs(tmp_path):
    (tmp_path / "two.toml").write_text(TWO_LOGS)
    return jobs_of(plan_of(load_experiment(tmp_path / "two.toml")))


def worked_off(jobs, hands) -> Progress:
    progress = Progress(jobs)
    work_off(progress, hands, lambda name: None)
    return progress


def test_everything_is_made_once_and_after_what_it_needs(jobs):
    hands = Hands(n=3)
    progress = worked_off(jobs, hands)
    assert sorted(hands.started) == sorted(jobs)
    assert set(progress.states.values()) == {"made"}
    assert hands.processes.most == 3
    places = {name: place for place, name in enumerate(hands.started)}
    assert all(places[one] < places[name] for name, job in jobs.items() for one in (*job.needs, *job.after))


def test_a_log_that_cannot_be_prepared_takes_its_cells_with_it_and_no_others(jobs):
    progress = worked_off(jobs, Hands(failing={"a/main/prepare": "no such file"}))
    assert progress.failed == {"a/main/prepare": "no such file"}
    left_out = ["adapt", "annotate", "sasrec/0", "sasrec-snqn/0", "sasrec-snqn-RM/0", "evaluate"]
    assert progress.left_out("a/main/prepare") == [f"a/main/{name}" for name in left_out]
    assert progress.missing["a/main/prepare"].startswith("no such file; left out with it: a/main/adapt, a/main/annotate")
    assert {progress.states[name] for name in jobs if name.startswith("b/")} == {"made"}


def test_a_language_model_that_fails_leaves_agents_without_columns_and_their_evaluation(jobs):
    progress = worked_off(jobs, Hands(failing={"a/main/adapt": "no such model"}))
    assert progress.left_out("a/main/adapt") == ["a/main/annotate", "a/main/sasrec-snqn-RM/0"]
    assert progress.states["a/main/evaluate"] == "made"


@pytest.mark.parametrize("how", [{"failing": {"a/main/sasrec/0": "diverged"}}, {"refused": ["a/main/sasrec/0"]}])
def test_a_cell_that_fails_is_noted_and_everything_else_is_made(jobs, how):
    progress = worked_off(jobs, Hands(n=2, **how))
    assert list(progress.failed) == ["a/main/sasrec/0"]
    assert {state for name, state in progress.states.items() if name != "a/main/sasrec/0"} == {"made"}


def test_without_any_cell_there_is_nothing_to_evaluate(jobs):
    cells = [name for name, job in jobs.items() if job.stage == "train" and name.startswith("a/")]
    progress = worked_off(jobs, Hands(failing=dict.fromkeys(cells, "diverged")))
    assert list(progress.failed) == cells
    assert progress.left_out(cells[0]) == ["a/main/evaluate"]


def test_a_terminal_shows_cells_by_log_and_what_is_at_work_and_else_a_line_tells_each_job(jobs):
    progress = Progress(jobs)
    progress.end(Ended("a/main/sasrec/0", None, 30.0))
    progress.end(Ended("b/main/sasrec/0", "diverged [nan]", 30.0))
    progress.states["b/main/adapt"] = "running"
    console = Console(file=StringIO(), width=120)
    board = Board(progress, 2, Reporter(console))
    console.print(board.table())
    rows = [line.split() for line in console.file.getvalue().splitlines()]
    assert rows[1] == ["a", "3", "1", "0", "2", "0", "0"]
    assert rows[3] == ["all", "6", "1", "0", "4", "1", "0"]
    assert " ".join(rows[4]) == "now: b/main/adapt, about 60 s left"
    assert board.line("a/main/sasrec/0") == "a/main/sasrec/0: made in 30 s [2 of 6 cells, about 60 s left]"
    assert board.line("b/main/sasrec/0") == "b/main/sasrec/0: failed: diverged [nan] [2 of 6 cells, about 60 s left]"


def test_cells_that_are_asked_for_are_made_with_what_they_need_and_others_are_kept_where_they_are_there(jobs):
    hands = Hands(kept={"a/main/sasrec-snqn/0": 60.0}, refused=["a/main/annotate"])
    progress = worked_off(asked_for(jobs, ["a/*/sasrec/0"]), hands)
    assert hands.started == ["a/main/prepare", "a/main/sasrec/0", "a/main/evaluate"]
    assert progress.states["a/main/sasrec-snqn/0"] == "kept"
    assert {name for name, state in progress.states.items() if state == "not asked for"} == {
        "a/main/adapt", "a/main/annotate", "a/main/sasrec-snqn-RM/0", *(name for name in jobs if name.startswith("b/")),
    }  # fmt: skip
    assert progress.cells() == {"made": 1, "kept": 1}
    assert not progress.missing, "what nobody asked for is not missing"


def test_a_cell_that_is_there_stands_though_what_its_annotations_came_from_is_gone(jobs):
    hands = Hands(kept={"a/main/sasrec-snqn-RM/0": 60.0})
    progress = worked_off(asked_for(jobs, ["a/*/sasrec/0"]), hands)
    assert hands.started == ["a/main/prepare", "a/main/sasrec/0", "a/main/evaluate"]
    assert progress.states["a/main/annotate"] == "not asked for"
    assert progress.states["a/main/sasrec-snqn-RM/0"] == "kept"


def test_what_an_asked_cell_reads_is_made_for_it(jobs):
    hands = Hands()
    worked_off(asked_for(jobs, ["b/main/*RM*", "b/main/sasrec-snqn/*"]), hands)
    stages = ["prepare", "adapt", "annotate"]
    assert sorted(hands.started) == sorted(f"b/main/{n}" for n in [*stages, "sasrec-snqn/0", "sasrec-snqn-RM/0", "evaluate"])


def test_a_pattern_that_names_no_cell_is_refused(jobs):
    with pytest.raises(ConfigError, match="names no cell; a cell's name is LOG/main/AGENT/SEED, such as a/main/sasrec/0"):
        asked_for(jobs, ["a/main/sasrec/0", "c/*"])


def test_what_is_there_starts_no_process(jobs):
    hands = Hands(kept={"a/main/sasrec/0": 60.0, "b/main/adapt": 0.0})
    progress = worked_off(jobs, hands)
    assert {"a/main/sasrec/0", "b/main/adapt"} & set(hands.started) == set()
    assert progress.cells()["kept"] == 1
    assert progress.cell_seconds["a/main/sasrec/0"] == 60


def test_the_time_left_is_the_median_cell_of_each_log_shared_by_the_processes(jobs):
    progress = Progress(jobs)
    assert progress.seconds_left(1) is None
    for name, seconds in (("a/main/sasrec/0", 10.0), ("a/main/sasrec-snqn/0", 30.0)):
        progress.end(Ended(name, None, seconds))
    # One cell of a is left at its median 20; three of b, which has none yet, at the median of all cells, 20 too.
    assert progress.seconds_left(2) == (20 + 3 * 20) / 2
    progress.end(Ended("b/main/sasrec/0", None, 100.0))
    assert progress.seconds_left(2) == (20 + 2 * 100) / 2


def test_processes_end_when_the_work_is_interrupted(jobs):
    hands = Hands()

    def interrupt(name: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work_off(Progress(jobs), hands, interrupt)
    assert hands.processes.stopped


def test_a_recipe_of_the_finished_cells_has_their_seeds_and_the_comparisons_that_are_left(jobs):
    recipe = jobs["a/main/prepare"].run.recipe
    assert recipe.evaluation.compare == (("sasrec-snqn", "sasrec"), ("sasrec-snqn-RM", "sasrec-snqn"))
    cut = only(recipe, [entry for entry in recipe.entries if entry.name != "sasrec"])
    assert list(cut.agents) == ["sasrec-snqn", "sasrec-snqn-RM"]
    assert cut.evaluation.compare == (("sasrec-snqn-RM", "sasrec-snqn"),)


def test_a_process_has_the_device_of_its_slot_its_share_of_threads_and_tells_its_last_line(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    told = "import os, sys; print(sys.argv[-1], os.environ['OMP_NUM_THREADS']); sys.exit('error: it broke')"
    (tmp_path / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{told}" "$@"\n')
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    processes = Processes(2, ["cuda:0", "cuda:1"])
    for name in ("one", "two"):
        processes.start(name, [DEVICE], tmp_path / f"{name}.txt")
    assert not processes.has_room
    found = []
    while len(found) < 2:
        found += processes.ended()
    assert {one.error for one in found} == {"it broke"}
    assert [(tmp_path / f"{name}.txt").read_text().split("\n")[0] for name in ("one", "two")] == ["cuda:0 4", "cuda:1 4"]
