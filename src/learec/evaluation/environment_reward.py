"""The LE reward of recommended lists: what the environment makes of what an agent recommends, on a sample of the targets."""

import numpy as np

from learec.annotations.annotate import Environment
from learec.data.log import Ints, Log, Sessions
from learec.evaluation.compare import Values


def sampled(n_targets: int, wanted: int, seed: int) -> Ints:
    """Places of `wanted` of the targets, drawn at random, ascending; all if there are no more."""
    if wanted >= n_targets:
        return np.arange(n_targets)
    return np.sort(np.random.default_rng(seed).choice(n_targets, wanted, replace=False))


def rewards_of_lists(environment: Environment, log: Log, targets: Ints, lists: list[Ints]) -> list[Values]:
    """Mean reward of each list's items at each target: lists (T, k) of several policies -> as many (T,), 0 for an empty one.

    The targets' sessions are read once, whoever's lists they are: an item that several policies recommend is judged once.
    """
    union = [np.unique(row[row > 0]) for row in np.concatenate(lists, axis=1)]
    width = max((len(row) for row in union), default=0)
    candidates = np.zeros((len(targets), max(width, 1)), dtype=np.int64)
    for place, row in enumerate(union):
        candidates[place, : len(row)] = row
    judged = np.full((len(targets), log.catalog.n_items + 1), 0.0)
    np.put_along_axis(judged, candidates, _judged(environment, log.sessions, targets, candidates), axis=1)
    judged[:, 0] = 0
    return [np.take_along_axis(judged, best, axis=1).sum(axis=1) / np.maximum((best > 0).sum(axis=1), 1) for best in lists]


def _judged(environment: Environment, sessions: Sessions, targets: Ints, candidates: Ints) -> Values:
    """Rewards of candidates (T, C) at the targets, from one pass over the targets' sessions."""
    last = np.full(sessions.n_sessions, -1)
    np.maximum.at(last, sessions.session_of[targets], targets)
    chosen = np.arange(sessions.n_steps) <= last[sessions.session_of]  # nothing after a session's last target is read
    part = sessions.select(chosen)
    at = np.cumsum(chosen)[targets] - 1
    asked = np.zeros((part.n_steps, candidates.shape[1]), dtype=np.int64)
    asked[at] = candidates
    offsets = np.append(0, part.offsets[1:][part.lengths > 0])  # sessions without a target are gone
    _, _, rewards = environment.annotate(Sessions(offsets, part.items, part.events, part.rewards), asked)
    return np.asarray(rewards[at], dtype=np.float64)
