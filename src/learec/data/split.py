"""Splits: which step is for training, validation or test. Pure functions of sessions, times and a seed."""

import math

import numpy as np
import numpy.typing as npt

from learec.config import DataConfig, derived_seed
from learec.data.clock import Clock
from learec.data.events import EventArrays, counts_of
from learec.data.log import Ints, Part
from learec.errors import DataError


def chosen_split(config: DataConfig, clock: Clock) -> str:
    """The split that the recipe names, or the one that the times allow."""
    return config.split or ("global_time" if clock.is_real else "leave_one_out")


def split_steps(
    arrays: EventArrays, offsets: Ints, config: DataConfig, clock: Clock, seed: int, name: str
) -> tuple[Ints, list[float]]:
    """Part of every step, and the points in time where global_time cuts."""
    split, chosen = derived_seed("split", seed), chosen_split(config, clock)
    if chosen == "leave_one_out":
        return leave_one_out(offsets, split, config.validation_sessions), []
    if chosen == "by_session":
        return by_session(offsets, split, config.held_out), []
    if chosen == "global_time":
        if not clock.is_real:
            raise DataError(
                f"{name}: split global_time needs real times, and the time column holds an order or nothing; "
                'set split = "leave_one_out" in [data] or name another column as [data.columns] time'
            )
        return global_time(arrays.times, config.held_out)
    if arrays.parts is None:
        raise DataError(f'{name}: split = "column", but no column of the source says the part; choose another split in [data]')
    return with_validation(arrays.parts, offsets, split, config.held_out), []


def steps_by_part(parts: Ints, n_sessions: int, config: DataConfig, name: str) -> list[int]:
    """Steps for training, validation and test; a split that leaves one of them empty is refused."""
    counts: list[int] = counts_of(parts, 3).tolist()
    if not all(counts):
        split = str(config.split)
        needs = {
            "global_time": "newest events of different times",
            "by_session": f"at least {math.ceil(1 / config.held_out)} sessions",
            "column": "rows of every part",
        }.get(split, "a session of at least three events")
        raise DataError(
            f"{name}: split {split} of {n_sessions} sessions leaves {counts} steps for training, validation and test, but needs "
            f"{needs}: give more events, lower min_item_events or choose another split in [data]"
        )
    return counts


def leave_one_out(offsets: Ints, seed: int = 0, validation_sessions: int | None = None) -> Ints:
    """The last step of every session is for test, the one before for validation, the rest for training: (E,) uint8.

    With `validation_sessions` only so many sessions, drawn by the seed, have a validation step, and the others' are for training:
    choosing needs a few thousand steps, and the newest steps of everybody are worth learning from. Sessions that join later
    do not change the draw among the earlier ones' numbers. A session of fewer than three steps would leave no history to learn
    from and is for training only. The split leaks time: a session's training steps may be later than another's test step.
    """
    held_out = np.flatnonzero(np.diff(offsets) >= 3)
    parts = np.full(int(offsets[-1]), Part.TRAIN, dtype=np.uint8)
    parts[offsets[1:][held_out] - 1] = Part.TEST
    if validation_sessions is not None and validation_sessions < len(held_out):
        draws = np.random.default_rng(seed).random(len(offsets) - 1)[held_out]
        held_out = held_out[np.argsort(draws, kind="stable")[:validation_sessions]]
    parts[offsets[1:][held_out] - 2] = Part.VALIDATION
    return parts


def by_session(offsets: Ints, seed: int, held_out: float = 0.1) -> Ints:
    """Whole sessions at random: a share for validation, as many for test, the rest for training: (E,) uint8."""
    n_sessions = len(offsets) - 1
    order = np.random.default_rng(seed).permutation(n_sessions)
    share = int(n_sessions * held_out + 1e-9)
    part_of_session = np.full(n_sessions, Part.TRAIN, dtype=np.uint8)
    part_of_session[order[:share]] = Part.TEST
    part_of_session[order[share : 2 * share]] = Part.VALIDATION
    return np.repeat(part_of_session, np.diff(offsets))


def global_time(
    times: npt.NDArray[np.number], held_out: float = 0.1, earliest: list[float] | None = None
) -> tuple[Ints, list[float]]:
    """The newest share of all events for test, the share before for validation: (E,) uint8, and the two points in time.

    Nothing that is learnt is later than anything it is measured on. Events of one time are never parted: all that are
    as late as a cut are after it. No cut is before the one of `earliest`: what was learnt from stays learnt from.
    """
    n = len(times)
    first, second = (min(int(n * (1 - share)), n - 1) for share in (2 * held_out, held_out))
    cuts = np.partition(times, (first, second))[[first, second]]
    if earliest:
        cuts = np.maximum(cuts, np.array(earliest, dtype=cuts.dtype))
    parts = (times >= cuts[0]).astype(np.uint8)
    parts += times >= cuts[1]
    return parts, [float(cut) for cut in cuts]


def with_validation(parts: Ints, offsets: Ints, seed: int, held_out: float = 0.1) -> Ints:
    """A given split that has no validation part gets one out of its training steps: (E,) uint8.

    Where test steps follow training steps of their session, it is the last training step of these sessions; where whole
    sessions are for test, a share of the training sessions at random.
    """
    if (parts == Part.VALIDATION).any():
        return parts
    made = parts.copy()
    follows = np.flatnonzero((parts[:-1] == Part.TRAIN) & (parts[1:] == Part.TEST)) + 1
    inner = follows[~np.isin(follows, offsets)] - 1
    if len(inner):
        made[inner] = Part.VALIDATION
        return made
    training = np.flatnonzero(np.maximum.reduceat(parts, offsets[:-1]) == Part.TRAIN)
    chosen = np.random.default_rng(seed).permutation(training)[: int(len(training) * held_out)]
    is_chosen = np.zeros(len(offsets) - 1, dtype=bool)
    is_chosen[chosen] = True
    made[np.repeat(is_chosen, np.diff(offsets))] = Part.VALIDATION
    return made
