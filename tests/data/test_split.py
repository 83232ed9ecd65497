"""Splits: by hand, and what holds for every log."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from learec.data.log import Part
from learec.data.split import by_session, leave_one_out

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


@given(lengths=LENGTHS)
def test_training_comes_before_validation_before_test_in_every_session(lengths):
    for part in np.split(leave_one_out(offsets_of(lengths)), np.cumsum(lengths)[:-1]):
        assert np.all(np.diff(part.astype(int)) >= 0)
        assert part[0] == TRAIN
        assert (part == VALIDATION).sum() == (part == TEST).sum() == (len(part) >= 3)


@given(lengths=LENGTHS, seed=st.integers(0, 2**62))
def test_by_session_puts_every_session_into_exactly_one_part(lengths, seed):
    parts = np.split(by_session(offsets_of(lengths), seed), np.cumsum(lengths)[:-1])
    assert [len(part) for part in parts] == lengths
    assert all(part.min() == part.max() for part in parts)
    kinds = [int(part[0]) for part in parts]
    assert kinds.count(TEST) == kinds.count(VALIDATION) == len(lengths) // 10
