"""learec tune through the command line: a killed search ends like one that was not, its winner is a recipe that trains."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from learec import line, tuning
from learec.config import RunOptions, load_recipe
from learec.data.log import Part
from learec.errors import ArtifactError, ConfigError
from learec.evaluation import evaluate
from learec.progress import Reporter
from learec.run import Run, check_folder

COMMAND = [sys.executable, "-c", "from learec.cli import main; main()"]
RECIPE = """
name = "small"
[simulate]
listeners = 80
tracks = 40
mean_plays = 8
[data]
events = "interactions.parquet"
items = "items.parquet"
columns = { user = "listener_id", item = "track_id", time = "time", event = "event" }
title = "{title} - {artist}"
min_item_events = 1
min_session_events = 5
rewards = { skip = 0.0, play = 0.5, like = 1.0 }
[agent]
hidden_size = 8
n_layers = 1
epochs = 5
batch_size = 32
[agents.sasrec]
[agents.snqn]
encoder = "gru4rec"
objective = "snqn"
[evaluation]
ease_decay = 0.8
ease_text_weight = 3.0
resamples = 20
compare = [["snqn", "sasrec"]]
"""
SPACE = """
[tune.sasrec]
trials = 7
startup_trials = 3
warmup_epochs = 1
dropout = [0, 0.5]
encoder = ["sasrec", "gru4rec"]
learning_rate = { low = 1e-4, high = 1e-1, log = true }
"""


def learec(*arguments, cwd):
    environment = {**os.environ, "COLUMNS": "160"}
    return subprocess.run([*COMMAND, *map(str, arguments)], cwd=cwd, env=environment, capture_output=True, text=True)


def write(root: Path, text: str) -> Path:
    (root / "small.toml").write_text(text)
    return root / "small.toml"


def opened(root: Path, reporter=None) -> Run:
    """The run of small.toml, for calls within this process."""
    options = RunOptions(root / "runs/small", root)
    return Run(load_recipe(root / "small.toml"), "small.toml", options, reporter or Reporter(Console(quiet=True)))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A run with a log."""
    root = tmp_path_factory.mktemp("prepared")
    write(root, RECIPE + SPACE)
    for stage in (line.simulate_stage, line.prepare_stage):
        stage(opened(root))
    return root


@pytest.fixture(scope="module")
def whole(prepared, tmp_path_factory):
    """A search that nothing disturbed, and what it printed."""
    root = tmp_path_factory.mktemp("whole") / "run"
    shutil.copytree(prepared, root)
    done = learec("tune", "small.toml", "--agent", "sasrec", cwd=root)
    assert done.returncode == 0, done.stderr
    return root, done.stdout


@pytest.fixture
def copy(whole, tmp_path):
    """A copy of the search to change."""
    shutil.copytree(whole[0], tmp_path / "copy")
    return tmp_path / "copy"


def winner(root: Path) -> Path:
    return root / "runs/small/tuning/sasrec/winner.toml"


def test_every_trial_is_told_then_the_best_ones_and_how_to_run_the_winner(whole):
    _, printed = whole
    assert [int(number) for number in re.findall(r"trial (\d) of 7: ", printed)] == [1, 2, 3, 4, 5, 6, 7]
    values = [float(value) for value in re.findall(r"^\d +(0\.\d{4}) +\d ", printed, flags=re.MULTILINE)]
    assert len(values) >= 3
    assert values == sorted(values, reverse=True)
    assert re.search(r"^trial +NDCG@10 +epochs +dropout +encoder +learning_rate", printed, flags=re.MULTILINE)
    assert re.search(r"best 0\.\d{4} in trial \d; done;", printed)
    assert printed.endswith("learec run runs/small/tuning/sasrec/winner.toml\n")


def test_the_winner_is_the_given_recipe_with_that_agents_settings_replaced(whole):
    root, printed = whole
    given, won = load_recipe(root / "small.toml"), load_recipe(winner(root))
    best = re.search(r"^\d +(0\.\d{4}) +\d +(\S+) +(\S+) +(\S+)", printed, flags=re.MULTILINE)
    assert won.agents["sasrec"].encoder == best[3]
    assert f"{won.agents['sasrec'].dropout:.4g}" == best[2]
    assert f"{won.agents['sasrec'].learning_rate:.4g}" == best[4]
    assert f"validation NDCG@10 {best[1]}." in winner(root).read_text()
    sought = {name: getattr(won.agents["sasrec"], name) for name in ("dropout", "encoder", "learning_rate")}
    assert won == given.with_agent("sasrec", given.agents["sasrec"].replaced(sought))
    assert won.agents["snqn"] == given.agents["snqn"]


def test_the_winner_trains_and_the_rest_of_the_run_stays_as_it_was(copy):
    done = learec("train", "runs/small/tuning/sasrec/winner.toml", "--agent", "sasrec", cwd=copy)
    assert done.returncode == 0, done.stderr
    assert (copy / "runs/small/agents/sasrec/seed-0/manifest.json").exists()
    assert "prepare: up to date" in learec("prepare", winner(copy), cwd=copy).stdout


def test_a_search_goes_on_from_its_winners_recipe(copy):
    before = winner(copy).read_bytes()
    done = learec("tune", "runs/small/tuning/sasrec/winner.toml", "--agent", "sasrec", cwd=copy)
    assert done.returncode == 0, done.stderr
    assert " of 7: " not in done.stdout.split("trials:")[0]
    assert winner(copy).read_bytes() == before


def test_a_search_killed_within_a_trial_ends_with_the_same_winner(prepared, whole, tmp_path):
    root = tmp_path / "run"
    shutil.copytree(prepared, root)
    scratch = root / "runs/small/tuning/sasrec/.trial"
    for _ in range(3):
        process = subprocess.Popen(
            [*COMMAND, "tune", "small.toml", "--agent", "sasrec"], cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 120
        while not list(scratch.glob(".seed-0.partial/checkpoints/*")) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        assert process.poll() is None, "the search ended before it could be killed"
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = learec("tune", "small.toml", "--agent", "sasrec", cwd=root)
    assert done.returncode == 0, done.stderr
    assert not scratch.exists()
    assert winner(root).read_bytes() == winner(whole[0]).read_bytes()


def test_only_the_validation_part_is_ranked(prepared, tmp_path, monkeypatch):
    parts = []
    real = evaluate.measured_ranks
    monkeypatch.setattr(
        evaluate, "measured_ranks", lambda agent, log, part, mask: parts.append(part) or real(agent, log, part, mask)
    )
    shutil.copytree(prepared, tmp_path / "run")
    tuning.tune_stage(opened(tmp_path / "run"), "sasrec", 2, None)
    assert set(parts) == {Part.VALIDATION}


def test_a_search_makes_no_stage_stale(prepared, tmp_path):
    root = tmp_path / "run"
    shutil.copytree(prepared, root)
    write(root, RECIPE)
    stages = (line.prepare_stage, line.train_stage, line.evaluate_stage, line.report_stage)
    assert [stage(opened(root)) for stage in stages] == [False, True, True, True]
    write(root, RECIPE + SPACE)
    tuning.tune_stage(opened(root), "sasrec", 1, None)
    assert [stage(opened(root)) for stage in stages] == [False, False, False, False]
    check_folder(root / "runs/small")
    page = root / "runs/small/report/report.html"
    shutil.rmtree(page.parent)
    line.report_stage(opened(root))
    assert "min session events" in page.read_text()
    assert "warmup" not in page.read_text()


def test_the_command_says_how_many_trials_and_for_how_long(copy):
    done = learec("tune", "small.toml", "--agent", "sasrec", "--trials", 9, "--minutes", 0, cwd=copy)
    assert done.returncode == 0, done.stderr
    assert "stopped after 7 of 9 trials; run the same command again to go on" in done.stdout
    done = learec("tune", "small.toml", "--agent", "sasrec", "--trials", 8, cwd=copy)
    assert re.findall(r"trial (\d) of 8: ", done.stdout) == ["8"]


def test_a_changed_search_is_refused_with_what_changed_and_leaves_the_old_one_alone(copy):
    before = winner(copy).read_bytes()
    write(copy, RECIPE + SPACE.replace("[0, 0.5]", "[0, 0.4]"))
    done = learec("tune", "small.toml", "--agent", "sasrec", cwd=copy)
    assert done.returncode == 2
    assert "because dropout was [0, 0.5] and is now [0, 0.4]; set that back in the recipe, or delete runs/small/" in done.stderr
    assert winner(copy).read_bytes() == before


def test_a_log_made_with_other_settings_is_refused(copy):
    write(copy, RECIPE.replace("min_session_events = 5", "min_session_events = 4") + SPACE)
    with pytest.raises(ArtifactError, match="stale: min_session_events was 5 and is now 4"):
        tuning.tune_stage(opened(copy), "sasrec", None, None)


@pytest.mark.parametrize(
    ("agent", "lea"), [("snqn", 'lea = ["reward"]\n'), ("snqn", ""), ("sasrec", "")], ids=["base", "choice", "none"]
)
def test_annotations_are_wanted_only_where_a_trial_reads_them(prepared, tmp_path, agent, lea):
    root = tmp_path / "run"
    shutil.copytree(prepared, root)
    space = "dropout = [0.1]" if lea or agent == "sasrec" else 'lea = [[], ["reward"]]'
    write(root, RECIPE.replace('objective = "snqn"\n', f'objective = "snqn"\n{lea}') + f"[tune.{agent}]\ntrials = 1\n{space}\n")
    if agent == "sasrec":
        tuning.tune_stage(opened(root), agent, None, None)
        return
    with pytest.raises(ArtifactError, match="no annotations here .*make it with `learec annotate small.toml`"):
        tuning.tune_stage(opened(root), agent, None, None)


def test_an_agent_without_a_search_or_without_a_place_in_the_recipe_is_refused(prepared):
    done = learec("tune", "small.toml", "--agent", "snqn", cwd=prepared)
    assert done.returncode == 2
    assert done.stderr == (
        "error: small.toml: has no table [tune.snqn] of what to search; add it, with a line such as dropout = [0.2, 0.5]\n"
    )
    done = learec("tune", "small.toml", "--agent", "gru", cwd=prepared)
    assert done.stderr == "error: --agent gru: no such agent in small.toml; it has sasrec, snqn\n"


def test_a_search_in_which_no_trial_could_be_trained_has_no_winner(prepared, tmp_path):
    root = tmp_path / "run"
    shutil.copytree(prepared, root)
    write(root, RECIPE + "[tune.sasrec]\ntrials = 1\nlearning_rate = [1e30]\n")
    with pytest.raises(
        ConfigError, match=r"\[tune.sasrec\]: none of 1 trials could be trained \(loss 'ce' is nan in epoch 1, batch 1\)"
    ):
        tuning.tune_stage(opened(root), "sasrec", None, None)
    assert not winner(root).exists()


def test_without_optuna_the_command_says_how_to_install_it(prepared, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"tune needs optuna, which is not installed; run `pip install 'learec\[tune\]'`"):
        tuning.tune_stage(opened(prepared), "sasrec", None, None)


def test_the_next_command_names_the_data_and_the_folder_where_they_are_not_the_usual_ones(prepared):
    run = opened(prepared)
    recipe = run.recipe.model_copy(update={"simulate": None})
    away = Run(recipe, "small.toml", RunOptions(Path("elsewhere"), Path("logs")), run.reporter)
    assert tuning._next_command(away, Path("w.toml")) == "learec run w.toml --data logs --folder elsewhere"
    usual = Run(run.recipe, "small.toml", RunOptions(Path("runs/small"), Path("logs")), run.reporter)
    assert tuning._next_command(usual, Path("w.toml")) == "learec run w.toml"
