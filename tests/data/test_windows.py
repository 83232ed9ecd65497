"""Windows and batches: by hand, and what holds for every log: each step is answered for once and sees enough."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learec.data.log import Sessions
from learec.data.windows import batches_by_budget, stretches_of, windows_of


def sessions_of(lengths: list[int]) -> Sessions:
    """Sessions of these lengths; step s holds item s + 1, so that items tell steps apart."""
    n = sum(lengths)
    return Sessions(np.concatenate([[0], np.cumsum(lengths)]), np.arange(1, n + 1), np.zeros(n, int), np.zeros(n, np.float32))


CUTS = st.tuples(
    st.lists(st.integers(0, 30), min_size=1, max_size=8).filter(any), st.integers(2, 9), st.randoms(use_true_random=False)
)


def test_a_long_session_is_cut_into_windows_that_overlap_by_half():
    windows = windows_of(sessions_of([7, 2]), np.array([0, 1]), history=4)
    assert windows.items.tolist() == [[1, 2, 3, 4], [3, 4, 5, 6], [5, 6, 7, 0], [8, 9, 0, 0]]
    assert windows.steps.tolist() == [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, -1], [7, 8, -1, -1]]
    assert windows.scored.astype(int).tolist() == [[1, 1, 1, 1], [0, 0, 1, 1], [0, 0, 1, 0], [1, 1, 0, 0]]
    assert windows.lengths.tolist() == [4, 4, 3, 2]


def test_a_session_that_just_fits_is_one_window():
    assert windows_of(sessions_of([4]), np.array([0]), history=4).steps.tolist() == [[0, 1, 2, 3]]
    assert len(windows_of(sessions_of([5]), np.array([0]), history=4).steps) == 2


def test_only_the_given_sessions_are_cut_and_in_the_given_order():
    windows = windows_of(sessions_of([2, 3, 1]), np.array([2, 0]), history=4)
    assert windows.steps.tolist() == [[5, -1], [0, 1]]


def test_some_windows_are_taken_at_the_width_of_the_longest():
    windows = windows_of(sessions_of([7, 2]), np.array([0, 1]), history=4).take(np.array([3, 2]))
    assert windows.items.tolist() == [[8, 9, 0], [5, 6, 7]]
    assert windows.scored.astype(int).tolist() == [[1, 1, 0], [0, 0, 1]]


@given(CUTS)
def test_every_step_of_every_given_session_is_scored_exactly_once(cuts):
    lengths, history, random = cuts
    sessions = sessions_of(lengths)
    given_sessions = np.array(random.sample(range(len(lengths)), random.randint(1, len(lengths))))
    windows = windows_of(sessions, given_sessions, history)
    wanted = np.flatnonzero(np.isin(sessions.session_of, given_sessions))
    assert sorted(windows.steps[windows.scored].tolist()) == wanted.tolist()


@given(CUTS)
def test_a_window_is_a_stretch_of_one_session_and_no_longer_than_the_history(cuts):
    lengths, history, _ = cuts
    sessions = sessions_of(lengths)
    windows = windows_of(sessions, np.arange(len(lengths)), history)
    assert windows.lengths.max() <= history
    for row, items in zip(windows.steps, windows.items, strict=True):
        steps = row[row >= 0]
        assert np.all(row[: len(steps)] >= 0), "padding is on the right"
        assert np.all(np.diff(steps) == 1)
        assert len(set(sessions.session_of[steps].tolist())) <= 1
        np.testing.assert_array_equal(items, np.where(row >= 0, row + 1, 0))


@given(CUTS)
def test_a_scored_step_sees_the_whole_session_so_far_or_at_least_half_a_history(cuts):
    lengths, history, _ = cuts
    sessions = sessions_of(lengths)
    windows = windows_of(sessions, np.arange(len(lengths)), history)
    row, predecessors = np.nonzero(windows.scored)
    place_in_session = sessions.step_of[windows.steps[row, predecessors]]
    assert np.all((predecessors == place_in_session) | (predecessors >= history // 2))


def test_stretches_of_a_stride_as_long_as_a_history_share_one_step():
    firsts = set()
    for seed in range(20):
        windows = stretches_of(sessions_of([7, 2]), np.array([0, 1]), 4, 3, np.random.default_rng(seed))
        rows = [[step for step in row if step >= 0] for row in windows.steps.tolist()]
        firsts.add(len(rows[0]))
        assert len(rows) in (3, 4), "7 steps are 6 actions: two or three stretches, and one of the other session"
        if len(rows[0]) == 4:
            assert rows == [[0, 1, 2, 3], [3, 4, 5, 6], [7, 8]]
            assert windows.scored.astype(int).tolist() == [[1, 1, 1, 1], [0, 1, 1, 1], [1, 1, 0, 0]]
    assert firsts == {2, 3, 4}, "the first cut is drawn"


def test_stretches_of_stride_one_give_every_action_a_whole_history():
    windows = stretches_of(sessions_of([6]), np.array([0]), 4, 1, np.random.default_rng(0))
    assert windows.steps.tolist() == [[0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5]]
    assert windows.scored.astype(int).tolist() == [[1, 1, 1, 1], [0, 0, 0, 1], [0, 0, 0, 1]]


@given(CUTS, st.integers(0, 9), st.data())
def test_every_action_is_new_in_exactly_one_stretch_and_has_enough_steps_before_it_there(cuts, seed, data):
    lengths, places, _ = cuts
    stride = data.draw(st.integers(1, places - 1))
    sessions = sessions_of(lengths)
    windows = stretches_of(sessions, np.flatnonzero(sessions.lengths), places, stride, np.random.default_rng(seed))
    assert windows.lengths.max() <= places
    assert sorted(windows.steps[windows.scored].tolist()) == list(range(sessions.n_steps))
    assert np.all(np.diff(windows.steps, axis=1)[windows.steps[:, 1:] >= 0] == 1)
    row, place = np.nonzero(windows.scored)
    before = sessions.step_of[windows.steps[row, place]]
    assert np.all(place >= np.minimum(before, max(places - stride, 1)))


def test_sessions_that_fit_are_cut_alike_whatever_is_drawn():
    one, other = (stretches_of(sessions_of([4, 2]), np.arange(2), 4, 3, np.random.default_rng(seed)) for seed in (1, 2))
    assert one.steps.tolist() == other.steps.tolist() == [[0, 1, 2, 3], [4, 5, -1, -1]]


def test_batches_are_filled_up_to_the_budget_in_the_given_order():
    batches = batches_by_budget(np.array([3, 2, 4, 1, 9]), order=np.array([1, 0, 3, 2, 4]), budget=6)
    assert [batch.tolist() for batch in batches] == [[1, 0, 3], [2], [4]]  # 2 + 3 + 1, 4, and 9 alone though it is too large


@given(st.lists(st.integers(1, 20), max_size=40), st.integers(1, 30), st.randoms(use_true_random=False))
def test_batches_keep_the_budget_and_lose_nothing(sizes, budget, random):
    order = np.array(random.sample(range(len(sizes)), len(sizes)), dtype=np.int64)
    batches = batches_by_budget(np.array(sizes, dtype=np.int64), order, budget)
    assert [window for batch in batches for window in batch.tolist()] == order.tolist()
    totals = [sum(sizes[window] for window in batch) for batch in batches]
    assert all(total <= budget or len(batch) == 1 for total, batch in zip(totals, batches, strict=True))
    for total, following in zip(totals, batches[1:], strict=False):
        assert total + sizes[following[0]] > budget, "the next window would have fitted"


@pytest.mark.parametrize("lengths", [[0, 3], [3, 0], [0, 0, 3, 0]])
def test_an_empty_session_is_a_window_without_steps(lengths):
    windows = windows_of(sessions_of(lengths), np.arange(len(lengths)), history=4)
    assert windows.lengths.tolist() == lengths
    assert windows.scored.sum() == sum(lengths)
