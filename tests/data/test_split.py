"""Splits: by hand, and what holds for every log."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from learec.config import DataConfig
from learec.data.clock import Clock
from learec.data.log import Part
from learec.data.split import by_session, chosen_split, global_time, leave_one_out, steps_by_part, with_validation
from learec.errors import DataError

TRAIN, VALIDATION, TEST = Part.TRAIN, Part.VALIDATION, Part.TEST
LENGTHS = st.lists(st.integers(1, 9), min_size=1, max_size=40)


def offsets_of(lengths: list[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)])


def test_the_last_step_is_for_test_and_the_one_before_for_validation():
    parts = leave_one_out(offsets_of([3, 5]))
    assert parts.tolist() == [TRAIN, VALIDATION, TEST, TRAIN, TRAIN, TRAIN, VALIDATION, TEST]
    assert parts.dtype == np.uint8


def test_a_session_that_is_too_short_is_for_training_only():
    assert leave_one_out(offsets_of([2, 1, 3, 2])).tolist() == [TRAIN] * 3 + [TRAIN, VALIDATION, TEST] + [TRAIN] * 2


def test_by_session_gives_a_tenth_each_to_validation_and_test_and_never_cuts_a_session():
    lengths = [1 + number % 4 for number in range(25)]
    parts = by_session(offsets_of(lengths), seed=0)
    of_session = [set(part.tolist()) for part in np.split(parts, np.cumsum(lengths)[:-1])]
    assert all(len(part) == 1 for part in of_session)
    counts = [sum(part == {kind} for part in of_session) for kind in (TRAIN, VALIDATION, TEST)]
    assert counts == [21, 2, 2]


def test_by_session_depends_on_the_seed_and_on_nothing_else():
    offsets = offsets_of([2] * 50)
    assert by_session(offsets, 3).tolist() == by_session(offsets, 3).tolist()
    assert by_session(offsets, 3).tolist() != by_session(offsets, 4).tolist()


def test_the_share_of_sessions_held_out_is_the_recipes_twice():
    parts = by_session(offsets_of([1] * 100), seed=0, held_out=0.29)
    assert [(parts == kind).sum() for kind in (TRAIN, VALIDATION, TEST)] == [42, 29, 29]


@pytest.mark.parametrize("unit", ["seconds", "milliseconds", "microseconds", "nanoseconds"])
def test_by_default_real_times_are_split_by_time_and_an_order_leaves_one_out(unit):
    assert chosen_split(DataConfig(events="log.csv"), Clock(unit)) == "global_time"
    assert chosen_split(DataConfig(events="log.csv"), Clock("order")) == "leave_one_out"
    for clock in (Clock(unit), Clock("order")):
        assert chosen_split(DataConfig(events="log.csv", split="by_session"), clock) == "by_session"


def test_global_time_holds_out_the_newest_events_whosever_they_are():
    times = np.array([5, 9, 0, 1, 8, 3, 2, 7, 6, 4])
    parts, cuts = global_time(times, 0.2)
    assert parts.tolist() == [TRAIN, TEST, TRAIN, TRAIN, TEST, TRAIN, TRAIN, VALIDATION, VALIDATION, TRAIN]
    assert parts.dtype == np.uint8
    assert cuts == [6.0, 8.0]


def test_global_time_never_parts_events_of_one_time():
    parts, cuts = global_time(np.array([0, 1, 2, 3, 4, 4, 4, 7, 8, 8]), 0.2)
    assert parts.tolist() == [TRAIN] * 4 + [VALIDATION] * 4 + [TEST] * 2
    assert cuts == [4.0, 8.0]
    parts, _ = global_time(np.array([0] * 5 + [1] * 5), 0.1)  # both cuts fall on one time
    assert parts.tolist() == [TRAIN] * 5 + [TEST] * 5


@settings(deadline=None)
@given(
    times=st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 9), min_size=1, max_size=50),
    held_out=st.floats(0.01, 0.49),
)
def test_nothing_is_learnt_from_what_is_later_and_at_least_the_share_is_held_out(times, held_out):
    array = np.array(times, dtype=np.int64)
    parts, _ = global_time(array, held_out)
    for early, late in ((TRAIN, VALIDATION), (VALIDATION, TEST), (TRAIN, TEST)):
        if (parts == early).any() and (parts == late).any():
            assert array[parts == early].max() < array[parts == late].min()
    assert (parts == TEST).sum() >= max(int(held_out * len(times)), 1)
    assert (parts != TRAIN).sum() >= max(int(2 * held_out * len(times)), 1)


def given_parts(*sessions: str) -> tuple[np.ndarray, np.ndarray]:
    """Sessions as words of r (training), v (validation) and e (test)."""
    parts = np.array(["rve".index(letter) for session in sessions for letter in session], dtype=np.uint8)
    return parts, offsets_of([len(session) for session in sessions])


def validated(*sessions: str, seed: int = 0, held_out: float = 0.1) -> list[str]:
    parts, offsets = given_parts(*sessions)
    made = with_validation(parts, offsets, seed, held_out)
    assert parts.tolist() == given_parts(*sessions)[0].tolist(), "the given parts are not written into"
    return ["".join("rve"[part] for part in session) for session in np.split(made, offsets[1:-1])]


def test_a_given_validation_part_stays():
    assert validated("rrve", "ve", "rr") == ["rrve", "ve", "rr"]


def test_without_a_validation_part_the_last_training_step_before_a_test_step_is_one():
    assert validated("rre", "rrr", "e", "reer", "re") == ["rve", "rrr", "e", "veer", "ve"]


def test_a_test_session_after_a_training_session_is_no_continuation_of_it():
    assert sorted(validated("rr", "ee", "rr", held_out=0.4)) == ["ee", "rr", "rr"]  # 0.4 of two training sessions are none
    assert sorted(validated("rr", "ee", "rr", held_out=0.5)) == ["ee", "rr", "vv"]


def test_where_whole_sessions_are_for_test_whole_training_sessions_are_for_validation():
    made = validated(*["rrr"] * 20, *["ee"] * 5, held_out=0.2)
    assert sorted(made) == ["ee"] * 5 + ["rrr"] * 16 + ["vvv"] * 4
    assert made != validated(*["rrr"] * 20, *["ee"] * 5, held_out=0.2, seed=1)


def test_a_split_with_an_empty_part_is_refused_and_any_other_counted():
    config = DataConfig(events="log.csv", split="by_session", held_out=0.3)
    assert steps_by_part(np.array([0, 1, 0, 2, 2], dtype=np.uint8), 2, config, "log.csv") == [2, 1, 2]
    sentence = (
        r"log\.csv: split by_session of 2 sessions leaves \[2, 0, 1\] steps for training, validation and test, but "
        r"needs at least 4 sessions: give more events, lower min_item_events or choose another split in \[data\]"
    )
    with pytest.raises(DataError, match=sentence):
        steps_by_part(np.array([0, 0, 2], dtype=np.uint8), 2, config, "log.csv")


@settings(deadline=None)
@given(lengths=LENGTHS)
def test_training_comes_before_validation_before_test_in_every_session(lengths):
    for part in np.split(leave_one_out(offsets_of(lengths)), np.cumsum(lengths)[:-1]):
        assert np.all(np.diff(part.astype(int)) >= 0)
        assert part[0] == TRAIN
        assert (part == VALIDATION).sum() == (part == TEST).sum() == (len(part) >= 3)


@settings(deadline=None)
@given(lengths=LENGTHS, seed=st.integers(0, 2**62), wanted=st.integers(1, 45))
def test_some_sessions_only_have_a_validation_step_and_the_others_learn_from_it(lengths, seed, wanted):
    everybody, some = (leave_one_out(offsets_of(lengths), seed, n) for n in (None, wanted))
    assert (some == VALIDATION).sum() == min(wanted, (everybody == VALIDATION).sum())
    assert set(np.flatnonzero(some == VALIDATION)) <= set(np.flatnonzero(everybody == VALIDATION))
    np.testing.assert_array_equal(some[some != everybody], TRAIN)
    np.testing.assert_array_equal(some == TEST, everybody == TEST)


def test_sessions_that_join_do_not_change_the_draw_among_the_earlier_ones():
    before, after = (leave_one_out(offsets_of([5] * n), 3, 4) for n in (20, 30))
    chosen = set(np.flatnonzero(after == VALIDATION))
    assert {step for step in chosen if step < 100} <= set(np.flatnonzero(before == VALIDATION))
    assert not np.array_equal(before, leave_one_out(offsets_of([5] * 20), 4, 4))


@pytest.mark.parametrize("split", [None, "by_session", "global_time"])
def test_validation_sessions_are_refused_without_leave_one_out(split):
    with pytest.raises(
        ValidationError, match='validation_sessions is for split "leave_one_out"; set that split or drop the setting'
    ):
        DataConfig(events="log.csv", split=split, validation_sessions=10)
    assert "validation_sessions" not in DataConfig(events="log.csv").model_dump()
    asked = DataConfig(events="log.csv", split="leave_one_out", validation_sessions=10)
    assert asked.model_dump()["validation_sessions"] == 10


@settings(deadline=None)
@given(lengths=LENGTHS, seed=st.integers(0, 2**62))
def test_by_session_puts_every_session_into_exactly_one_part(lengths, seed):
    parts = np.split(by_session(offsets_of(lengths), seed), np.cumsum(lengths)[:-1])
    assert [len(part) for part in parts] == lengths
    assert all(part.min() == part.max() for part in parts)
    kinds = [int(part[0]) for part in parts]
    assert kinds.count(TEST) == kinds.count(VALIDATION) == len(lengths) // 10
