"""Splits: which step is for training, validation or test. A pure function of the sessions and a seed."""

import numpy as np

from learec.data.log import Ints, Part


def leave_one_out(offsets: Ints) -> Ints:
    """The last step of every session is for test, the one before for validation, the rest for training: (E,) uint8.

    A session of fewer than three steps would leave no history to learn from and is for training only. The split
    leaks time: a session's training steps may be later than another's test step.
    """
    lengths = np.diff(offsets)
    parts = np.full(int(offsets[-1]), Part.TRAIN, dtype=np.uint8)
    last = offsets[1:][lengths >= 3] - 1
    parts[last] = Part.TEST
    parts[last - 1] = Part.VALIDATION
    return parts


def by_session(offsets: Ints, seed: int) -> Ints:
    """Whole sessions at random: eight tenths for training, one for validation, one for test: (E,) uint8."""
    n_sessions = len(offsets) - 1
    order = np.random.default_rng(seed).permutation(n_sessions)
    tenth = n_sessions // 10
    part_of_session = np.full(n_sessions, Part.TRAIN, dtype=np.uint8)
    part_of_session[order[:tenth]] = Part.TEST
    part_of_session[order[tenth : 2 * tenth]] = Part.VALIDATION
    return np.repeat(part_of_session, np.diff(offsets))
