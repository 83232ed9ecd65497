"""The truth of a simulated log: it is what the log was drawn from, it is kept whole, and nothing that learns can see it."""

import ast
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy.special import softmax

import learec
from learec.artifacts import building, request_for
from learec.config import RunOptions, SimulateConfig, load_recipe
from learec.data.simulate import Simulation, simulate
from learec.data.truth import FILE, KINDS, STRETCH, Choosing, Tracks, Truth, ids, load_truth, save_truth
from learec.errors import ArtifactError
from learec.line import STAGES
from learec.progress import Reporter
from learec.run import Run

ROOT = Path(learec.__file__).parent
CONFIG = SimulateConfig(listeners=400, tracks=100, mean_plays=12)
WORTH = {"skip": 0.0, "play": 0.5, "like": 1.0}


@pytest.fixture(scope="module")
def made() -> Simulation:
    return simulate(CONFIG, seed=0)


def stored(made: Simulation, folder: Path) -> Path:
    with building(folder / "truth", request_for("truth", CONFIG, {}, seed=0), {}) as partial:
        save_truth(made.truth, partial)
    return folder / "truth"


def test_a_truth_comes_back_as_it_was_saved(made, tmp_path):
    again = load_truth(stored(made, tmp_path))
    assert again.tracks.__dict__.keys() == made.truth.tracks.__dict__.keys()
    for name, array in made.truth.tracks.__dict__.items():
        np.testing.assert_array_equal(getattr(again.tracks, name), array)
    for name in ("genres", "eras", "moods", "played", "genre_focus", "mood_focus", "bounds"):
        np.testing.assert_array_equal(getattr(again, name), getattr(made.truth, name))
    np.testing.assert_array_equal(again.preferences(np.arange(400)), made.preferences)


def test_a_damaged_truth_is_refused(made, tmp_path):
    folder = stored(made, tmp_path)
    (folder / FILE).write_bytes(b"rubbish")
    with pytest.raises(ArtifactError, match="truth.safetensors: damaged"):
        load_truth(folder)


def test_what_was_played_is_what_the_events_tell(made):
    numbers = {name: row for row, name in enumerate(ids("track", 100))}
    rows = [numbers[name] for name in made.events["track_id"]]
    assert made.truth.played[made.truth.played >= 0].tolist() == rows  # both by listener, then by time


def test_logits_of_a_choice_by_hand():
    few = np.array([0, 0, 1])
    tracks = Tracks(few, few, few, np.array([0, 1, 1]), np.array([0, 1, 1]), few, np.array([1.0, 0.0, 0.0], np.float32))
    choosing = Choosing.among(tracks, 2, 2)
    standing = choosing.standing(np.array([[0.5, 0.0, 1.0]], np.float32))
    np.testing.assert_allclose(standing, [[7 * 0.5 + 0.7, 0, 7]], rtol=1e-6)
    # Focus on genre 0 and mood 1, nothing played yet; then after track 0: itself by album and artist, track 1 by the next artist.
    zero, one = np.array([0]), np.array([1])
    np.testing.assert_allclose(choosing.logits(standing, zero, one, None), [[4.2 + 2.2, 2.2, 7 + 1.4]], rtol=1e-6)
    np.testing.assert_allclose(choosing.logits(standing, zero, one, zero), [[6.4 + 2.6, 2.2 + 2, 8.4]], rtol=1e-6)


def test_the_log_was_drawn_with_the_chances_that_its_truth_gives(made):
    """Where plays are drawn with chances p, the mean of p at what was drawn is the mean of the sum of p squared."""
    truth, place = made.truth, 4  # everyone's fifth play
    everyone = np.arange(400)
    now = truth.choosing.logits(
        truth.choosing.standing(made.preferences),
        truth.genre_focus[:, place],
        truth.mood_focus[:, place],
        truth.played[:, place - 1],
    )
    np.put_along_axis(now, truth.played[:, :place], -np.inf, axis=1)
    chances = softmax(now.astype(np.float64), axis=1)
    difference = chances[everyone, truth.played[:, place]] - np.square(chances).sum(axis=1)
    assert abs(difference.mean()) < 4 * difference.std() / 20
    other = (truth.genre_focus[:, place] + 1) % truth.genres.shape[1]  # another focus does not fit
    wrong = softmax(
        truth.choosing.logits(truth.choosing.standing(made.preferences), other, truth.mood_focus[:, place], None), axis=1
    )
    difference = wrong[everyone, truth.played[:, place]] - np.square(wrong).sum(axis=1)
    assert abs(difference.mean()) > 8 * difference.std() / 20


def test_the_worth_of_a_play_is_the_mean_over_the_kinds_of_event_it_may_be(made):
    worth = made.truth.worth(np.arange(400), WORTH)
    listener, step = np.nonzero(made.truth.played >= 0)
    expected = worth[listener, made.truth.played[listener, step]]
    seen = made.events["event"].replace_strict(WORTH).to_numpy()
    assert expected.mean() == pytest.approx(seen.mean(), abs=0.01)
    assert np.corrcoef(expected, seen)[0, 1] > 0.5
    low, high = np.quantile(expected, [0.25, 0.75])
    assert seen[expected > high].mean() == pytest.approx(expected[expected > high].mean(), abs=0.02)
    assert seen[expected < low].mean() == pytest.approx(expected[expected < low].mean(), abs=0.02)


def test_a_kind_without_a_reward_is_worth_nothing(made):
    some = np.arange(3)
    np.testing.assert_array_equal(made.truth.worth(some, {}), np.zeros((3, 100)))
    whole = sum(made.truth.worth(some, {kind: 1.0}) for kind in KINDS)
    np.testing.assert_allclose(whole, np.ones((3, 100)))


def test_a_focus_lasts_a_few_plays_and_comes_from_the_taste(made):
    focus = made.truth.genre_focus
    real = made.truth.played[:, 1:] >= 0
    changes = (focus[:, 1:] != focus[:, :-1])[real].mean()
    assert 0 < changes < 1 / STRETCH  # a new stretch may have the same genre
    taste = made.truth.genres
    own = np.take_along_axis(taste, focus, axis=1).mean()
    assert own == pytest.approx(np.square(taste).sum(axis=1).mean(), abs=0.02)  # of genres at random: 1 / 11


RECIPE = """
name = "small"
[simulate]
listeners = 40
tracks = 40
mean_plays = 8
[data]
events = "interactions.parquet"
items = "items.parquet"
columns = { user = "listener_id", item = "track_id", time = "time", event = "event" }
min_item_events = 1
min_session_events = 5
rewards = { skip = 0.0, play = 0.5, like = 1.0 }
[agents.gru4rec]
encoder = "gru4rec"
hidden_size = 8
epochs = 2
objective = "snqn"
[evaluation]
ease_decay = 0.8
ease_text_weight = 3.0
resamples = 20
rollout_steps = 2
"""


def opened(root: Path) -> Run:
    (root / "small.toml").write_text(RECIPE)
    options = RunOptions(root / "run", root)
    return Run(load_recipe(root / "small.toml"), "small.toml", options, Reporter(Console(quiet=True)))


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> Run:
    run = opened(tmp_path_factory.mktemp("simulated"))
    for stage in ("simulate", "prepare", "train"):
        STAGES[stage](run)
    return run


def test_a_run_keeps_the_truth_and_makes_it_again_where_it_is_missing_without_a_new_log(simulated, tmp_path):
    shutil.copytree(simulated.options.folder, tmp_path / "run")
    run = opened(tmp_path)
    assert not STAGES["simulate"](run)
    shutil.rmtree(run.folder("truth"))
    before = (run.folder("raw") / "manifest.json").stat().st_mtime_ns
    assert STAGES["simulate"](run)
    assert (run.folder("raw") / "manifest.json").stat().st_mtime_ns == before
    assert (run.folder("truth") / FILE).read_bytes() == (simulated.folder("truth") / FILE).read_bytes()


def test_what_is_learnt_is_the_same_whatever_stands_in_the_truth_and_evaluate_alone_refuses_it(simulated, tmp_path):
    shutil.copytree(simulated.options.folder, tmp_path / "run")
    run = opened(tmp_path)
    for folder in ("log", "agents"):
        shutil.rmtree(run.folder(folder))
    (run.folder("truth") / FILE).write_bytes(b"rubbish")
    for stage in ("prepare", "train"):
        assert STAGES[stage](run)
    for place in ("log", "agents/gru4rec/seed-0"):
        files = [json.loads((one.folder(place) / "manifest.json").read_text())["files"] for one in (simulated, run)]
        assert files[0] == files[1]
    with pytest.raises(ArtifactError, match="truth.safetensors: damaged"):
        STAGES["evaluate"](run)


def test_evaluate_rolls_out_a_simulated_run_and_does_without_if_the_truth_is_gone(simulated, tmp_path):
    shutil.copytree(simulated.options.folder, tmp_path / "run")
    run = opened(tmp_path)
    found = []
    for _ in range(2):
        STAGES["evaluate"](run)
        found.append(json.loads((run.folder("results") / "tables.json").read_text())["values"])
        shutil.rmtree(run.folder("truth"), ignore_errors=True)
    assert [row["name"] for row in found[0]["rollout"]["rows"]][-2:] == ["tfidf_cease", "gru4rec"]
    assert found[1]["rollout"] is None and "there is no truth/ here" in found[1]["without"]["rollout"]


def importers(*modules: str) -> set[str]:
    """Files below src/learec that import one of the modules, at any depth of their code."""
    found = set()
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = {alias.name for alias in node.names} if isinstance(node, ast.Import) else set()
            if isinstance(node, ast.ImportFrom):
                names = {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
            if names & set(modules):
                found.add(path.relative_to(ROOT).as_posix())
    return found


def test_only_the_simulation_and_what_values_policies_import_the_truth():
    truth = importers("learec.data.truth", "learec.data.simulate")
    assert truth - {"line.py"} == {"data/simulate.py", "evaluation/listeners.py", "evaluation/rollout.py"}
    values = importers(*(f"learec.evaluation.{name}" for name in ("listeners", "rollout", "simulated_values", "policy_values")))
    assert {path.split("/")[0] for path in values} <= {"evaluation", "contest.py"}
    assert not hasattr(Truth, "scores")  # and it is no scorer, so that nothing can be ranked by it
