"""Filters by hand: repeats, sessions cut at gaps, newest events, the core; and the funnel that counts what each left."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learec.config import DataConfig
from learec.data import events
from learec.data.events import EventArrays
from learec.data.filters import Funnel, filtered, newest, offsets_of, repeats_in, starts_of
from learec.errors import DataError

OPEN = {"min_item_events": 1, "min_session_events": 2}


def sorted_events(*visits: str, times: list[list[int]] | None = None) -> EventArrays:
    """Visits as words: every letter is an item, a is 0; times count up from 0 if they are not given."""
    letters = [ord(letter) - ord("a") for visit in visits for letter in visit]
    moments = times if times is not None else [list(range(len(visit))) for visit in visits]
    return EventArrays(
        np.repeat(np.arange(len(visits), dtype=np.int32), [len(visit) for visit in visits]),
        np.array(letters, dtype=np.int32),
        np.zeros(len(letters), dtype=np.uint8),
        np.array([moment for visit in moments for moment in visit]),
        None,
    )


def words(arrays: EventArrays, sessions: np.ndarray) -> list[str]:
    letters = [chr(ord("a") + item) for item in arrays.items.tolist()]
    return ["".join(letters[start:stop]) for start, stop in zip(offsets_of(sessions), offsets_of(sessions)[1:], strict=False)]


def left(arrays: EventArrays, seconds_per_unit: float | None = 1.0, **settings: Any) -> list[str]:
    """What the filters leave, session by session."""
    funnel = Funnel()
    funnel.count("read", arrays)
    sessions = filtered(arrays, DataConfig(events="log.csv", **{**OPEN, **settings}), seconds_per_unit, funnel, "log.csv")
    assert len(sessions) == len(arrays)
    assert sessions.tolist() == sorted(sessions)
    return words(arrays, sessions)


def test_repeats_are_kept_dropped_or_dropped_where_nothing_came_between():
    log = ("abbab", "bba", "ba")
    assert left(sorted_events(*log), repeats="keep") == ["abbab", "bba", "ba"]
    assert left(sorted_events(*log), repeats="drop") == ["ab", "ba", "ba"]
    assert left(sorted_events(*log), repeats="drop_neighbours") == ["abab", "ba", "ba"]


def test_a_repeat_is_dropped_however_long_ago_it_was_but_not_in_another_visit():
    gap = [[0, 1, 9, 10], [0, 1]]
    assert left(sorted_events("abca", "ab", times=gap), repeats="drop", session_gap=5, min_session_events=2) == ["ab", "ab"]


@settings(deadline=None)
@given(visits=st.lists(st.text("abc", min_size=1, max_size=8), min_size=1, max_size=8), chunk=st.integers(1, 12))
def test_dropped_repeats_are_those_of_a_set_whatever_the_chunks(visits, chunk):
    arrays = sorted_events(*visits)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(events, "CHUNK_EVENTS", chunk)
        again = repeats_in(arrays.visits, arrays.items, "drop")
    assert again.tolist() == [letter in visit[:place] for visit in visits for place, letter in enumerate(visit)]


def test_a_session_ends_after_a_gap_and_not_at_one_of_exactly_its_length():
    log = sorted_events("abcd", "ef", times=[[0, 5, 11, 13], [100, 104]])
    assert left(log, session_gap=5) == ["ab", "cd", "ef"]


@pytest.mark.parametrize(("unit", "length"), [(1.0, 1), (1e-3, 1_000), (1e-6, 1_000_000), (1e-9, 1_000_000_000)])
def test_a_gap_is_in_seconds_whatever_the_times_are_in(unit, length):
    start = 1_700_000_000 * length
    log = sorted_events("abcd", times=[[start, start + 60 * length, start + 120 * length + 1, start + 121 * length]])
    assert left(log, unit, session_gap=60) == ["ab", "cd"]


def test_a_gap_may_be_a_fraction_and_longer_than_an_integer_can_say():
    assert left(sorted_events("abcd", times=[[0.0, 0.2, 0.9, 1.0]]), session_gap=0.5) == ["ab", "cd"]
    far = [[np.iinfo(np.int64).min, 1_700_000_000, 1_700_000_001], [0, 1]]
    assert left(sorted_events("abc", "de", times=far), session_gap=60) == ["bc", "de"]


def test_a_gap_needs_real_times():
    with pytest.raises(DataError, match=r"log\.csv: session_gap needs real times, .*; drop session_gap in \[data\] or name"):
        left(sorted_events("abc"), None, session_gap=60)


def test_of_a_long_session_the_newest_events_stay():
    assert left(sorted_events("abcde", "fg", "hij"), max_session_events=3) == ["cde", "fg", "hij"]
    log = sorted_events("abcdef", times=[[0, 1, 2, 100, 101, 102]])
    assert left(log, session_gap=10, max_session_events=2) == ["bc", "ef"]


@settings(deadline=None)
@given(lengths=st.lists(st.integers(1, 6), max_size=8), n=st.integers(1, 5))
def test_newest_events_are_the_last_of_every_session(lengths, n):
    sessions = np.repeat(np.arange(len(lengths)), lengths)
    assert newest(sessions, n).tolist() == [place >= length - n for length in lengths for place in range(length)]


def test_the_core_is_filtered_until_nothing_changes_or_once():
    # Without d (once) the third session has one event; without it, c has one; without c, the second has one.
    log = ("abab", "bc", "cd")
    assert left(sorted_events(*log), min_item_events=2) == ["abab"]
    # Once: items first (d goes), then sessions (the third goes); c stays, though it has one event left.
    assert left(sorted_events(*log), min_item_events=2, core="once") == ["abab", "bc"]


def test_sessions_shorter_than_the_least_length_go_with_their_items():
    assert left(sorted_events("abc", "ab", "abcd"), min_session_events=3) == ["abc", "abcd"]


def test_nothing_left_is_refused_with_the_settings_to_lower():
    sentence = r"log\.csv: nothing is left of 5 events when items need 4 events and sessions 2; lower min_item_events or"
    with pytest.raises(DataError, match=sentence):
        left(sorted_events("abc", "ab"), min_item_events=4)


def test_the_funnel_has_a_row_for_every_filter_that_is_on():
    arrays, funnel = sorted_events("aabcab", "bba", "d", times=[[0, 1, 2, 50, 51, 52], [0, 1, 2], [0]]), Funnel()
    funnel.count("read", arrays)
    settings = {"repeats": "drop_neighbours", "session_gap": 20, "max_session_events": 2, "min_item_events": 2}
    filtered(arrays, DataConfig(events="log.csv", min_session_events=2, **settings), 1.0, funnel, "log.csv")
    assert [tuple(row.values()) for row in funnel.steps] == [
        ("read", 10, 3, 4),
        ("neighbouring repeats dropped", 8, 3, 4),
        ("cut into 4 sessions", 8, 3, 4),  # ab, cab, ba, d
        ("sessions' newest 2 events", 7, 3, 3),  # without c
        ("core: items >= 2, sessions >= 2", 6, 2, 2),  # without d
    ]


def test_the_funnel_counts_users_and_not_their_visits_where_the_log_has_sessions():
    funnel = Funnel(owners=np.array([0, 0, 1]))
    funnel.count("read", sorted_events("ab", "c", "a"))
    funnel.count("two visits of one user", sorted_events("ab", "c"))
    assert [(row["users"], row["items"], row["events"]) for row in funnel.steps] == [(2, 3, 4), (1, 3, 3)]


def test_groups_begin_where_numbers_change():
    assert starts_of(np.array([3, 3, 5, 3])).tolist() == [True, False, True, True]
    assert offsets_of(np.array([3, 3, 5, 3])).tolist() == [0, 2, 3, 4]
    assert starts_of(np.array([], dtype=np.int32)).tolist() == []
    assert offsets_of(np.array([], dtype=np.int32)).tolist() == [0]
