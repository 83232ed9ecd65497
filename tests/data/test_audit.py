"""audit: counts worked out by hand, and the same counts by brute force on random logs, whatever the size of a chunk."""

from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learec.data import events
from learec.data.audit import again_in, in_several, limits, novelty_table, part_table, popularity_shift
from learec.data.audited import Split, chunks_of
from learec.data.leaks import copied_sessions, leaks_in
from learec.data.log import Catalog, Log, Sessions
from learec.data.sequential import sequentialness

T, V, X = 0, 1, 2  # training, validation, test
DAY = 86_400
START = 12_000 * DAY  # 9 November 2002


def split_of(sessions, *, split="column", unit="seconds", n_items=None, **config):
    """A split of (user, [(item, day, part), ...]) or (..., part, kind); sessions are called s0, s1 ..."""
    rows = [(*step, 0)[:4] for _, steps in sessions for step in steps]
    items, days, parts, kinds = (np.array(column) for column in zip(*rows, strict=True))
    offsets = np.append(0, np.cumsum([len(steps) for _, steps in sessions]))
    n_items = n_items or int(items.max())
    catalog = Catalog(pl.DataFrame({"item_id": [f"i{number + 1}" for number in range(n_items)]}))
    ids = pl.Series([f"s{number}" for number in range(len(sessions))])
    steps = Sessions(offsets, items.astype(np.int32), kinds.astype(np.uint8), np.ones(len(items), dtype=np.float32))
    log = Log(catalog, steps, parts.astype(np.uint8), ids, ["view", "buy"], "digest")
    users = np.unique([user for user, _ in sessions], return_inverse=True)[1]
    times = days * DAY + START if unit == "seconds" else days
    return Split(log, times, users, config, {"split": split, "time_unit": unit, "cuts": []})


@pytest.fixture
def tiny():
    """Four sessions of three users; items 1 to 4."""
    return split_of(
        [
            ("u", [(1, 0, T), (2, 1, T), (1, 1, T)]),
            ("u", [(1, 1, T), (3, 5, V)]),
            ("v", [(2, 2, T), (2, 6, X), (2, 6, X)]),
            ("w", [(4, 6, X), (4, 7, X, 1)]),
        ]
    )


def test_a_part_is_told_by_what_is_in_it_and_when_it_was(tiny):
    assert part_table(tiny).rows() == [
        ("train", 3, 2, 2, 5, "2002-11-09", "2002-11-11"),
        ("validation", 1, 1, 1, 1, "2002-11-14", "2002-11-14"),
        ("test", 2, 2, 2, 4, "2002-11-15", "2002-11-16"),
    ]


def test_cold_items_and_users_are_those_without_a_training_step_and_their_share_is_of_the_parts_events(tiny):
    # validation holds item 3 alone, which is cold; half of test's four events are item 4's and user w's
    assert novelty_table(tiny).rows() == [("validation", 1, 1.0, 0, 0.0, 0.0), ("test", 1, 0.5, 1, 0.5, 0.0)]


def test_a_session_without_events_changes_no_count():
    steps = [(1, 0, T), (1, 1, V), (2, 1, X)]
    empty, filled = ("x", []), ("u", steps)
    split = split_of([empty, filled, empty, filled, empty])
    assert split.by_session.tolist() == [[0, 0, 0], [1, 1, 1], [0, 0, 0], [1, 1, 1], [0, 0, 0]]
    assert again_in(split).duplicates.tolist() == [1, 1, 1]
    assert leaks_in(split, again_in(split)) == []


def test_training_events_that_are_not_before_a_part_are_counted_with_those_of_the_same_time():
    split = split_of([("u", [(1, 0, T), (1, 3, T), (1, 4, V), (1, 9, X)]), ("v", [(1, 4, T), (1, 9, T)])])
    assert novelty_table(split)["training not before share"].to_list() == [0.5, 0.25]  # days 4 and 9 of 0, 3, 4, 9


def test_times_that_are_an_order_are_not_compared_between_users():
    split = split_of([("u", [(1, 0, T), (1, 1, V), (1, 2, X)])], unit="order")
    assert novelty_table(split)["training not before share"].to_list() == [None, None]
    assert part_table(split)["first"].to_list() == ["0", "1", "2"]


def test_repeats_are_within_a_session_and_duplicates_within_a_user(tiny):
    # u's item 1 on day 1 is a repeat in the first session and a duplicate in the second; w's events differ in time and kind
    found = again_in(tiny)
    assert found.repeats.tolist() == [1, 0, 3]
    assert found.duplicates.tolist() == [1, 0, 1]
    assert found.ties.tolist() == [1, 0, 1]
    assert found.table(tiny).rows()[2] == ("test", 2.0, 3, 0.75, 1, 0.25, 1, 0.25)


def test_an_event_of_another_kind_or_time_or_user_is_no_duplicate():
    split = split_of([("u", [(1, 0, T), (1, 0, V, 1), (1, 1, X)]), ("v", [(1, 0, X)])])
    found = again_in(split)
    assert found.duplicates.tolist() == [0, 0, 0]
    assert found.copied == 0


def test_users_and_sessions_in_more_than_one_part(tiny):
    assert in_several(tiny.by_user) == 2  # u trains and validates, v trains and tests
    assert in_several(tiny.by_session) == 2


def test_the_popularity_shift_of_two_distributions_worked_out_by_hand(tiny):
    # training a 3/5, b 2/5; test b 1/2, d 1/2. Divergence: .5 (.6 + .4 log2(.4/.45)) + .5 (.5 log2(.5/.45) + .5) = .55402
    shift = popularity_shift(tiny)
    assert shift.distance == pytest.approx(0.55402**0.5, abs=1e-5)
    assert shift.spearman == pytest.approx(-(3**0.5) / 2)  # ranks 3 2 1 against 1 2.5 2.5


def test_a_test_part_drawn_from_training_is_as_far_as_chance_says():
    rng = np.random.default_rng(0)
    rows = [(int(item), day, T if day < 45_000 else X) for day, item in enumerate(rng.integers(1, 30, 50_000))]
    shift = popularity_shift(split_of([("u", rows)]))
    assert shift.distance == pytest.approx(shift.by_chance, rel=0.3)
    assert shift.distance < 0.1


def test_order_is_seen_where_the_last_item_alone_tells_the_next():
    training = [("t", [(1, 0, T), (2, 1, T)]), ("t", [(3, 0, T), (4, 1, T)])]
    held_out = [(f"u{n}", [(3, 2, X), (1, 3, X), (2, 4, X)]) for n in range(400)]
    found = sequentialness(split_of(training + held_out))
    assert found.targets == 400
    assert found.true == 1.0
    assert found.shuffled == pytest.approx(0.5, abs=0.05)  # after 3 comes 4, and half of the shuffles end with it
    assert found.ratio == pytest.approx(2, abs=0.2)
    assert found.meaning.startswith("order matters: ")


def test_only_the_ten_that_followed_most_often_are_hits():
    followers = [("t", [(1, 0, T), (item, 1, T)]) for item in range(2, 14) for _ in range(item)]
    held_out = [(f"u{item}", [(1, 2, X), (1, 3, X), (item, 4, X)]) for item in range(2, 15)]
    found = sequentialness(split_of(followers + held_out))
    assert found.true == found.shuffled == pytest.approx(10 / 13)  # items 4 to 13 of 2 to 14
    assert "no sign that order matters" in found.meaning


def test_items_that_followed_equally_often_and_are_equally_popular_gain_nothing_from_their_tie():
    followers = [("t", [(1, 0, T), (item, 1, T)]) for item in range(2, 13)]  # eleven, once each
    held_out = [("u", [(1, 2, X), (1, 3, X), (2, 4, X)])]
    assert sequentialness(split_of(followers + held_out)).true == 0.0
    popular = [("p", [(2, 0, T)])]
    assert sequentialness(split_of(followers + popular + held_out)).true == 1.0


def test_a_step_that_follows_in_another_session_or_is_held_out_does_not_count_as_following():
    training = [("t", [(5, 0, T), (1, 1, T)]), ("t", [(2, 2, T)])]
    held_out = [("u", [(1, 2, T), (2, 3, V)]), ("u", [(1, 2, V), (2, 3, T)]), ("u", [(1, 2, T), (1, 3, T), (2, 4, X)])]
    found = sequentialness(split_of(training + held_out))
    assert (found.targets, found.true) == (1, 0.0)


def test_without_a_history_of_two_items_there_is_nothing_to_shuffle():
    assert sequentialness(split_of([("u", [(1, 0, T), (1, 1, X)])])).targets == 0


def test_what_the_split_does_not_protect_from_is_said_with_its_numbers():
    sessions = [("u", [(1, 0, T), (1, 3, T), (1, 4, V), (1, 9, X)]), ("v", [(1, 4, T), (1, 9, T)])]
    by_user = split_of(sessions, split="leave_one_out", min_item_events=5, min_session_events=2, cold_items="drop")
    told = limits(by_user, again_in(by_user))
    assert len(told) == 3
    assert told[0].startswith("leave_one_out leaks the future across users: 25.0% of the training events")
    assert told[1].startswith("items with fewer than 5 events and sessions with fewer than 2 events were left out, counted over")
    assert "training has not were left out" in told[2]
    by_time = split_of([("u", [(1, 0, T), (1, 3, T), (1, 4, V), (1, 9, X)])], split="global_time")
    assert limits(by_time, again_in(by_time)) == []


def test_an_order_that_only_the_file_gives_is_said():
    sessions = [("u", [(1, 0, T), (2, 0, T), (3, 4, V), (3, 9, X)])]
    for ties, n_told in (("file_order", 1), ("item_id", 0)):
        split = split_of(sessions, split="global_time", ties=ties)
        assert len(limits(split, again_in(split))) == n_told


def test_an_order_cannot_tell_what_is_later():
    split = split_of([("u", [(1, 0, T), (1, 1, V), (1, 2, X)])], split="leave_one_out", unit="order")
    assert limits(split, again_in(split))[0].startswith("times are a mere order")


STEPS = st.lists(st.tuples(st.integers(1, 3), st.integers(0, 2), st.integers(0, 2), st.integers(0, 1)), min_size=1, max_size=5)
LOGS = st.lists(st.tuples(st.sampled_from("uvw"), STEPS), min_size=1, max_size=12)


@pytest.fixture(autouse=True, scope="module")
def small_chunks():
    """Every log of these tests is cut into many chunks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(events, "CHUNK_EVENTS", 3)
        yield


def by_hand(sessions):
    """Repeats, duplicates and ties by part, held-out copies and steps out of order, with plain loops."""
    repeats, duplicates, ties, copied, late = Counter(), Counter(), Counter(), 0, 0
    trained = {(user, *step[:2], step[3]) for user, steps in sessions for step in steps if step[2] == T}
    had = set()
    for user, steps in sorted(sessions, key=lambda session: session[0]):
        for place, (item, day, part, kind) in enumerate(steps):
            repeats[part] += item in [step[0] for step in steps[:place]]
            ties[part] += place > 0 and steps[place - 1][1] == day
            duplicates[part] += (user, item, day, kind) in had
            copied += part != T and (user, item, day, kind) in trained
            late += any(step[2] > part for step in steps[:place])
            had.add((user, item, day, kind))
    return [[counts[part] for part in (T, V, X)] for counts in (repeats, duplicates, ties)], copied, late


@settings(max_examples=150, deadline=None)
@given(sessions=LOGS)
def test_what_occurs_again_and_what_is_out_of_order_is_what_plain_loops_count(sessions):
    split = split_of(sessions, n_items=3)
    found = again_in(split)
    counts, copied, late = by_hand(sessions)
    assert [found.repeats.tolist(), found.duplicates.tolist(), found.ties.tolist()] == counts
    assert found.copied == copied
    sentences = [str(leak) for leak in leaks_in(split, found)]
    assert any(sentence.startswith(f"{late} steps come after") for sentence in sentences) == (late > 0)
    assert len(sentences) == (late > 0) + (copied > 0)


# Few items, few times and one part each, so that copies are common; 3 events make a session that may be one.
WHOLE = st.tuples(st.lists(st.integers(1, 2), min_size=2, max_size=4), st.integers(0, 1), st.sampled_from([T, V, X]))


@settings(max_examples=150, deadline=None)
@given(drawn=st.lists(WHOLE, min_size=1, max_size=20))
def test_copied_sessions_are_those_that_plain_loops_find(drawn):
    sessions = [(f"u{number % 3}", [(item, day, part) for item in items]) for number, (items, day, part) in enumerate(drawn)]

    def whole(training, width):
        chosen = [steps for _, steps in sessions if len(steps) >= 3 and {step[2] == T for step in steps} == {training}]
        return [[step[:width] for step in steps] for steps in chosen]

    copies, alike = (sum(steps in whole(True, width) for steps in whole(False, width)) for width in (2, 1))
    leak, n_alike = copied_sessions(split_of(sessions))
    assert (leak is not None) == (copies > 0)
    assert leak is None or leak.what.startswith(f"{copies} held-out sessions")
    assert n_alike == alike - copies


@given(sessions=LOGS)
def test_chunks_hold_every_step_once_and_no_user_twice(sessions):
    split = split_of(sessions, n_items=3)
    chunks = list(chunks_of(split))
    assert sorted(np.concatenate([chunk.steps for chunk in chunks])) == list(range(split.log.sessions.n_steps))
    users = [user for chunk in chunks for user in set(split.users[chunk.sessions])]
    assert len(users) == len(set(users))
    assert len(chunks) > 1 or split.log.sessions.n_steps <= 3 or len(set(split.users)) == 1
