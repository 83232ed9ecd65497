"""Sessions to try a model on: those with a test step that something came before, whatever the split."""

import random
from dataclasses import replace

import numpy as np
import pytest

from learec.data.log import Part
from learec.serving.sessions import TestSessions


def parts_of(sessions, first_test_step):
    """Test from this step of every session on; steps before it are for training."""
    return np.where(sessions.step_of >= first_test_step, Part.TEST, Part.TRAIN).astype(np.uint8)


@pytest.mark.parametrize(("first_test_step", "n_before"), [(0, 1), (1, 1), (3, 3)])
def test_the_history_ends_before_the_first_test_step_that_has_one(small_log, first_test_step, n_before):
    log = replace(small_log, parts=parts_of(small_log.sessions, first_test_step))
    found = TestSessions(log, log.catalog)
    assert len(found) == (log.sessions.lengths > max(first_test_step, 1)).sum()
    name, history, following = found.draw(random.Random(1))
    session = log.session_ids.to_list().index(name)
    items = log.sessions.items[log.sessions.offsets[session] : log.sessions.offsets[session + 1]]
    ids = [log.catalog.ids[number] for number in items]
    assert history["item_id"].to_list() == ids[:n_before]
    assert following["item_id"].to_list() == ids[n_before : n_before + 50]


def test_a_log_whose_test_steps_have_no_history_has_none(small_log):
    parts = np.where(small_log.sessions.step_of == 0, Part.TEST, Part.TRAIN).astype(np.uint8)
    assert len(TestSessions(replace(small_log, parts=parts), small_log.catalog)) == 0
