"""Ages of training steps from real times and from a mere order, and the floor that counts them."""

from types import SimpleNamespace

import numpy as np
import pytest

from learec.artifacts import building, request_for
from learec.data.log import Part, Sessions
from learec.evaluation.recency import Recency, RecentPopularity, recency


def sessions_of(*rows):
    items = np.array([item for row in rows for item in row], dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    return Sessions(offsets, items, np.zeros(len(items), int), np.ones(len(items), np.float32))


def test_an_event_counts_half_as_much_for_every_half_life_of_its_age():
    training = sessions_of([1, 2], [1, 3])
    found = RecentPopularity.fit(training, 4, ages=np.array([0.5, 0.25, 0.0, 1.0]), half_life=0.25)
    assert found.scores(np.array([[1], [2]]), np.array([1, 1])).tolist() == [[0, 1 / 4 + 1, 1 / 2, 1 / 16, 0]] * 2


def test_real_times_give_ages_in_shares_of_the_training_span():
    found = Recency.of_times(sessions_of([1, 2], [], [3]), np.array([10, 30, 50]))
    assert found.ages.tolist() == [1, 0.5, 0]
    assert found.ended.tolist() == [30, 0, 50]


def test_a_log_of_one_moment_is_all_new():
    assert Recency.of_times(sessions_of([1], [2]), np.array([7, 7])).ages.tolist() == [0, 0]


def test_a_mere_order_gives_ages_in_places_from_the_end_of_the_session():
    found = Recency.of_order(sessions_of([1, 2, 3], [4, 5], []))
    assert found.ages.tolist() == [1, 0.5, 0, 0.5, 0]
    assert found.ended is None
    assert Recency.of_order(sessions_of([1], [2])).ages.tolist() == [0, 0]
    assert len(Recency.of_order(sessions_of([])).ages) == 0


@pytest.mark.parametrize("unit", ["seconds", "order"])
def test_held_out_times_play_no_part(tmp_path, unit):
    sessions = sessions_of([1, 2, 3], [1, 2], [3])
    parts = np.array([Part.TRAIN, Part.TRAIN, Part.TEST, Part.VALIDATION, Part.TEST, Part.TRAIN])
    log = SimpleNamespace(sessions=sessions, parts=parts, training=sessions.select(parts == Part.TRAIN))
    for name, held_out in (("one", 30), ("other", 9999)):
        with building(tmp_path / name, request_for("log", {}, {}), {"time_unit": unit}) as partial:
            np.save(partial / "times.npy", np.array([10, 20, held_out, 40, held_out, 60]))
    one, other = recency(tmp_path / "one", log), recency(tmp_path / "other", log)
    assert one.ages.tolist() == other.ages.tolist() == ([1, 0.8, 0] if unit == "seconds" else [1, 0, 0])
    if unit == "seconds":
        assert one.ended.tolist() == other.ended.tolist() == [20, 0, 60]
    else:
        assert one.ended is None
