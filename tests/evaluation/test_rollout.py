"""Rollouts: worked out by hand on three tracks, and on a simulated log: as the log was made, repeatable, and paired."""

import numpy as np
import polars as pl
import pytest

from learec.artifacts import building, request_for
from learec.config import DataConfig, EvaluationConfig, SimulateConfig
from learec.data.log import Part, load_log
from learec.data.prepare import prepare
from learec.data.simulate import simulate
from learec.data.sources import Frames
from learec.data.truth import Tracks, Truth, ids, save_truth
from learec.errors import DataError
from learec.evaluation.floors import first, floors
from learec.evaluation.listeners import Listeners, load_listeners
from learec.evaluation.metrics import HISTORY, ranking
from learec.evaluation.rollout import EXPOSURE, Moment, Rollout, all_knowing, at_random, served_by

DATA = {
    "events": "events",
    "columns": {"user": "listener_id", "item": "track_id", "time": "time", "event": "event"},
    "title": "{title}",
    "min_item_events": 1,
    "min_session_events": 5,
    "rewards": {"skip": 0.0, "play": 0.5, "like": 1.0},
    "split": "leave_one_out",
}


def made_log(folder, config, **changed):
    """A simulated log, prepared, and its truth joined to it."""
    made = simulate(config, seed=0)
    prepare(DataConfig(**{**DATA, **changed}), 0, Frames(made.events, made.items), folder)
    log = load_log(folder)
    return log, Listeners.of(made.truth, log, pl.read_ipc(folder / "sessions.arrow")["user"])


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return made_log(tmp_path_factory.mktemp("world") / "log", SimulateConfig(listeners=200, tracks=120, mean_plays=10))


@pytest.fixture(scope="module")
def knn(world):
    log, _ = world
    return floors(EvaluationConfig(), log.training, log.catalog.n_items, None, choose=first)["item_knn"].scorer


def rollout_of(world, n_users=100, n_steps=6, seed=0) -> Rollout:
    log, listeners = world
    return Rollout.from_targets(listeners, log, log.targets(Part.TEST), n_users, n_steps, seed)


def fixed(*items: int):
    return lambda moment: np.tile(items, (len(moment.lengths), 1))


@pytest.fixture
def three():
    """One listener of three tracks who has played the first; all that draws her is one genre that only track 1 has."""
    zero = np.zeros(3, np.int64)
    tracks = Tracks(np.array([0, 0, 1]), zero, zero, np.array([0, 5, 9]), np.arange(3), zero, np.zeros(3, np.float32))
    taste = np.array([[1, 0]], np.float32), np.ones((1, 1), np.float32), np.ones((1, 1), np.float32)
    focus = np.array([[1, 1]]), np.array([[0, 0]])  # in the other genre and the only mood
    truth = Truth(tracks, *taste, np.array([[0, 1]]), *focus, np.array([-9.0, 9.0]))
    frame = pl.DataFrame({"listener_id": ["listener-0000"] * 2, "track_id": ids("track", 3)[:2], "time": [1, 2], "event": "play"})
    return truth, frame


def by_hand(logits: list[float]) -> np.ndarray:
    return np.exp(logits) / np.exp(logits).sum()


def test_the_value_of_one_list_by_hand(three, tmp_path):
    """Left are track 1, drawn by 7 * .5, and track 2, by the genre in focus, 2.2; both by the one decade and mood. A play: .5."""
    truth, frame = three
    other = pl.DataFrame({"listener_id": ["listener-0000"], "track_id": ["track-0002"], "time": [3], "event": "like"})
    data = DataConfig(**{**DATA, "split": "leave_one_out", "min_session_events": 3})
    prepare(data, 0, Frames(pl.concat([frame, other])), tmp_path / "log")
    log = load_log(tmp_path / "log")
    listeners = Listeners.of(truth, log, pl.Series(["listener-0000"]))
    plays = listeners.plays(log, np.array([1]))
    histories, lengths = log.sessions.histories(plays.steps, HISTORY)
    rollout = Rollout(listeners, plays, histories, lengths, 1, 0)
    first, second = (int(log.catalog.numbers[name]) for name in ("track-0001", "track-0002"))
    alone = by_hand([3.5, 2.2])
    np.testing.assert_allclose(listeners.propensities(plays), [alone[0]], rtol=1e-6)
    assert rollout.values(fixed(first), exposure=0.0)[0] == pytest.approx(0.5 * alone[0], rel=1e-6)
    assert rollout.values(fixed(first))[0] == pytest.approx(0.5 * by_hand([3.5 + EXPOSURE, 2.2])[0], rel=1e-6)
    assert rollout.values(fixed(second))[0] == pytest.approx(0.5 * by_hand([3.5, 2.2 + EXPOSURE])[1], rel=1e-6)
    assert rollout.values(fixed(second, first))[0] == pytest.approx(0.5)
    assert rollout.values(fixed(int(log.catalog.numbers["track-0000"])))[0] == 0  # she has played it
    np.testing.assert_allclose(listeners.worth_of_lists(plays, np.array([[first, 0]])), [0.5], rtol=1e-6)


def test_the_same_seed_gives_the_same_values_and_another_seed_another_world(world, knn):
    lists = served_by(knn, 5, mask_seen=True)
    first, again, other = (rollout_of(world, seed=seed).values(lists) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_policies_lie_between_chance_and_the_truth_itself(world, knn):
    rollout = rollout_of(world, 200)
    low, middle, high = (
        rollout.values(lists).mean() for lists in (at_random(5, 0), served_by(knn, 5, mask_seen=True), all_knowing(5))
    )
    assert low + 0.1 < middle < high - 0.05


def test_two_policies_meet_the_same_luck(world, knn):
    rollout = rollout_of(world, 200)
    one, other = rollout.values(served_by(knn, 5, mask_seen=True)), rollout.values(served_by(knn, 6, mask_seen=True))
    assert (one - other).std() < 0.5 * np.sqrt(one.var() + other.var())


def test_where_being_shown_means_nothing_everyone_plays_the_same_whatever_is_shown(world):
    rollout, seen = rollout_of(world), []

    def watching(lists):
        def shown(moment: Moment):
            seen.append(moment.histories.copy())
            return lists(moment)

        return shown

    for lists in (at_random(5, 0), all_knowing(5)):
        rollout.values(watching(lists), exposure=0.0)
    np.testing.assert_array_equal(seen[5], seen[11])


def test_histories_begin_as_logged_and_grow_by_what_was_played_and_nothing_is_played_twice(world, knn):
    log, listeners = world
    rollout, moments = rollout_of(world), []

    def shown(moment: Moment):
        moments.append(Moment(moment.histories.copy(), moment.lengths.copy(), moment.n_items, moment.chances, moment.worth))
        return served_by(knn, 5, mask_seen=True)(moment)

    rollout.values(shown)
    start = log.sessions.histories(rollout.plays.steps, HISTORY)
    np.testing.assert_array_equal(moments[0].histories, start[0])
    for before, after in zip(moments, moments[1:], strict=False):
        assert set(after.lengths - before.lengths) <= {0, 1}  # 0: a track that the log does not have
        assert (after.lengths - before.lengths).mean() > 0.95
    for history, length in zip(moments[-1].histories, moments[-1].lengths, strict=True):
        assert len(set(history[:length])) == length and (history[:length] > 0).all()
    assert set(rollout.plays.steps) <= set(log.targets(Part.TEST))
    names = np.array(ids("listener", 200))[rollout.plays.listeners]
    assert log.session_ids.to_numpy()[log.sessions.session_of[rollout.plays.steps]].tolist() == names.tolist()


def test_the_first_lists_are_those_that_evaluate_measures(world, knn):
    log, _ = world
    rollout, shown = rollout_of(world), []

    def lists(moment: Moment):
        shown.append(served_by(knn, 5, mask_seen=True)(moment))
        return shown[-1]

    rollout.values(lists)
    best = ranking(knn, log.sessions, rollout.plays.steps, mask_seen=True, max_length=HISTORY, k=5).best
    np.testing.assert_array_equal(shown[0], best)


def test_what_a_step_earns_is_the_mean_of_what_would_be_drawn(world):
    """The first step's value against 4,000 draws of choices from the chances that the truth gives."""
    log, listeners = world
    rollout = rollout_of(world, n_users=30, n_steps=1)
    logits = listeners.logits(rollout.plays).astype(np.float64)
    items = listeners.item_of[np.argsort(-logits, axis=1)[:, [2, 9, 20]]]
    logits += EXPOSURE * (listeners.item_of[None, :, None] == items[:, None, :]).any(axis=2)
    rng = np.random.default_rng(0)
    worth = listeners.truth.worth(rollout.plays.listeners, listeners.rewards)
    drawn = np.array([(logits + rng.gumbel(size=logits.shape)).argmax(axis=1) for _ in range(4000)])  # (draws, n)
    hit = (listeners.item_of[drawn][:, :, None] == items).any(axis=2)
    earned = np.where(hit, worth[np.arange(30), drawn], 0)
    assert abs(earned.mean() - rollout.values(lambda moment: items).mean()) < 4 * earned.mean(axis=1).std() / np.sqrt(4000)


def test_a_listener_goes_on_in_the_focus_that_the_log_was_in_and_changes_it_as_often_as_there(world):
    log, listeners = world
    rollout = rollout_of(world, 200, 60)
    logged = listeners.truth.genre_focus[rollout.plays.listeners, rollout.plays.numbers]
    np.testing.assert_array_equal(rollout._genre[:, 0], logged)
    changes = [(focus[:, 1:] != focus[:, :-1]).mean() for focus in (rollout._genre, listeners.truth.genre_focus)]
    assert changes[0] == pytest.approx(changes[1], abs=0.02)


def test_an_item_that_the_log_left_out_is_played_but_enters_no_history(tmp_path):
    world = made_log(tmp_path / "log", SimulateConfig(listeners=100, tracks=120, mean_plays=12), min_item_events=6)
    log, listeners = world
    assert log.catalog.n_items < 110 and (listeners.item_of == 0).sum() == 120 - log.catalog.n_items
    rollout, lengths = rollout_of(world), []

    def shown(moment: Moment):
        lengths.append(moment.lengths.copy())
        return at_random(5, 0)(moment)

    assert (rollout.values(shown) > 0).any()
    growth = np.diff(lengths, axis=0)
    assert set(growth.ravel()) == {0, 1}
    steps = log.targets(Part.TEST)
    assert len(listeners.plays(log, steps).steps) == len(steps)


def test_a_small_catalogue_ends_the_rollout_before_it_is_played_out(tmp_path):
    world = made_log(tmp_path / "log", SimulateConfig(listeners=30, tracks=20, mean_plays=30))
    rollout = rollout_of(world, n_steps=500)
    assert rollout.n_steps == 20 - rollout.plays.numbers.max()
    values = rollout.values(at_random(20, 0))
    assert np.isfinite(values).all() and (values > 0).all()


def test_true_propensities_are_those_of_the_plays_that_were_made(world):
    log, listeners = world
    plays = listeners.plays(log, log.targets(Part.TEST))
    chances = listeners.propensities(plays)
    assert len(chances) == 200 and (chances > 0).all()
    logits = listeners.logits(plays).astype(np.float64)
    own = np.exp(logits - np.logaddexp.reduce(logits, axis=1)[:, None])
    np.testing.assert_allclose(chances, own[np.arange(200), listeners.truth.played[plays.listeners, plays.numbers]], rtol=1e-6)
    difference = chances - np.square(own).sum(axis=1)
    assert abs(difference.mean()) < 4 * difference.std() / np.sqrt(200)


def test_a_truth_of_another_log_is_refused(world):
    log, listeners = world
    with pytest.raises(DataError, match="names no item or no user of log/"):
        Listeners.of(listeners.truth, log, pl.Series(["somebody"] * log.sessions.n_sessions))


def test_a_truth_is_joined_by_names_whatever_the_items_numbers(world):
    log, listeners = world
    for number, name in list(enumerate(log.catalog.ids))[1:20]:
        assert ids("track", 120)[listeners.track_of[number]] == name
        assert listeners.item_of[listeners.track_of[number]] == number
    assert listeners.rewards == DATA["rewards"]


def test_a_run_folder_tells_who_its_sessions_are(tmp_path):
    config = SimulateConfig(listeners=40, tracks=40, mean_plays=8)
    log, listeners = made_log(tmp_path / "log", config)
    with building(tmp_path / "truth", request_for("truth", config, {}, seed=0), {}) as partial:
        save_truth(listeners.truth, partial)
    loaded = load_listeners(tmp_path / "truth", tmp_path / "log", log)
    np.testing.assert_array_equal(loaded.listener_of, np.arange(40))
    np.testing.assert_array_equal(loaded.item_of, listeners.item_of)
