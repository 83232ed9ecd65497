"""The clock: whether times are seconds, milliseconds ... since 1970, or a mere order."""

from datetime import UTC, datetime

import numpy as np
import pytest

from learec.data.clock import Clock, clock_of

NOVEMBER_2023 = 1_700_000_000


@pytest.mark.parametrize(
    ("length", "unit", "seconds"),
    [(1, "seconds", 1.0), (10**3, "milliseconds", 1e-3), (10**6, "microseconds", 1e-6), (10**9, "nanoseconds", 1e-9)],
)
def test_the_unit_is_the_one_that_puts_times_into_our_time(length, unit, seconds):
    clock = clock_of(np.array([NOVEMBER_2023, NOVEMBER_2023 + 5]) * length, are_dates=False)
    assert (clock.unit, clock.seconds_per_unit, clock.is_real) == (unit, seconds, True)


@pytest.mark.parametrize(
    "times",
    [[0, 1, 2], [-5, -4], [19_675, 19_676], [2**62], [0.25, 0.5], [], [400_000_000], [5_000_000_000]],
    ids=["counts", "negative", "days", "huge", "shares", "none", "1982", "2128"],
)
def test_other_numbers_are_an_order(times):
    clock = clock_of(np.array(times), are_dates=False)
    assert (clock.unit, clock.seconds_per_unit, clock.is_real) == ("order", None, False)


@pytest.mark.parametrize("length", [1, 10**3, 10**6, 10**9])
@pytest.mark.parametrize(
    ("day", "real"),
    [((1985, 1, 2), True), ((2099, 12, 31), True), ((1984, 12, 31), False), ((2100, 1, 2), False)],
)
def test_our_time_is_from_1985_to_2100(length, day, real):
    time = int(datetime(*day, tzinfo=UTC).timestamp()) * length
    assert (clock_of(np.array([time]), are_dates=False).seconds_per_unit == 1 / length) == real


def test_a_few_marks_for_an_unknown_time_do_not_change_the_unit():
    times = np.array([0, -1, np.iinfo(np.int64).min, *[NOVEMBER_2023 * 1000] * 5])
    assert clock_of(times, are_dates=False).unit == "milliseconds"


def test_fractions_of_seconds_are_seconds():
    assert clock_of(np.array([NOVEMBER_2023 + 0.25]), are_dates=False) == Clock("seconds")


def test_dates_are_seconds_however_old():
    assert clock_of(np.array([-2_000_000_000, 5]), are_dates=True) == Clock("seconds")


def test_of_many_times_a_sample_is_enough():
    times = np.concatenate([np.full(300_000, NOVEMBER_2023), np.zeros(150_000, dtype=np.int64)])
    assert clock_of(times, are_dates=False).unit == "seconds"
