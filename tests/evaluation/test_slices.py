"""Slices by hand: repeats, head, tail and cold items by training steps alone, short and long histories."""

import numpy as np
import polars as pl
import pytest

from learec.config import EvaluationConfig
from learec.data.log import Catalog, Log, Part, Sessions
from learec.evaluation.slices import head_items, repeated, slices_of

TRAIN, TEST = Part.TRAIN, Part.TEST


def log_of(rows, parts, n_items):
    """A log whose every session has these items and parts."""
    items = np.array([item for row in rows for item in row], dtype=np.int32)
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    sessions = Sessions(offsets, items, np.zeros(len(items), int), np.ones(len(items), np.float32))
    flat = np.array([part for row in parts for part in row])
    ids = [str(number) for number in range(1, n_items + 1)]
    catalog = Catalog(pl.DataFrame({"item_id": ids, "title": ids, "text": ids}))
    return Log(catalog, sessions, flat, pl.Series(["s"] * len(rows)), ["view"], "digest")


@pytest.fixture
def log():
    """Training steps: item 1 three times, 2 twice, 3 and 4 once, 5 never. Targets: the last step of every session."""
    rows = [[1, 2, 1], [1, 2, 3], [1, 4, 5], [3, 3, 2, 4]]
    parts = [[TRAIN, TRAIN, TEST], [TRAIN, TRAIN, TEST], [TRAIN, TRAIN, TEST], [TRAIN, TEST, TEST, TEST]]
    return log_of(rows, parts, 5)


TARGETS = np.array([2, 5, 8, 12])  # items 1 (a repeat), 3, 5 (cold) and 4


def sliced(log, targets=TARGETS, **settings):
    found = slices_of(log, targets, EvaluationConfig(**settings))
    return {name: mask.tolist() for name, mask in found.items()}


def test_every_target_is_in_one_slice_of_each_group(log):
    assert sliced(log, head_share=0.25, short_history=2) == {
        "new item": [False, True, True, True],
        "repeated item": [True, False, False, False],
        "head item": [True, False, False, False],
        "tail item": [False, True, False, True],
        "cold item": [False, False, True, False],
        "short history": [True, True, True, False],
        "long history": [False, False, False, True],
    }


def test_a_group_that_tells_nothing_apart_is_left_out(log):
    assert sliced(log, head_share=0.25, short_history=5).keys() == {
        "new item", "repeated item", "head item", "tail item", "cold item"
    }  # fmt: skip
    assert sliced(log, TARGETS[1:2]) == {}
    assert sliced(log, TARGETS[:0]) == {}


def test_an_empty_slice_of_a_group_is_left_out_alone(log):
    assert [name for name in sliced(log, TARGETS[[0, 1]], head_share=0.25) if name.endswith("item")] == [
        "new item", "repeated item", "head item", "tail item"
    ]  # fmt: skip


def test_popularity_is_counted_in_training_alone():
    # In training 1 has three steps, 2 two and 4 one; all in all 4 has four.
    log = log_of([[1, 2, 4], [1, 2, 4], [1, 4, 4]], [[TRAIN, TRAIN, TEST]] * 3, 4)
    assert np.flatnonzero(head_items(log.training_counts, 0.4)).tolist() == [1]


def test_head_items_are_the_share_with_most_steps_and_ties_at_the_bound_stay_out():
    counts = np.array([99, 5, 3, 3, 1, 0])
    assert np.flatnonzero(head_items(counts, 0.25)).tolist() == [1]
    assert np.flatnonzero(head_items(counts, 0.5)).tolist() == [1]  # 2 and 3 tie: both stay out
    assert np.flatnonzero(head_items(counts, 0.75)).tolist() == [1, 2, 3]
    assert np.flatnonzero(head_items(counts, 1.0)).tolist() == [1, 2, 3, 4]  # never what is cold
    assert not head_items(np.array([0, 2, 2, 2]), 0.5).any()


def test_an_item_repeats_within_its_session_only():
    sessions = log_of([[1, 2, 1, 1], [1, 2]], [[TRAIN] * 4, [TRAIN] * 2], 2).sessions
    assert repeated(sessions).tolist() == [False, False, True, True, False, False]
