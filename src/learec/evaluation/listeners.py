"""A simulated log joined with the truth it was drawn from: whose sessions they are, how targets were chosen, what items earn."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from scipy.special import softmax

from learec.data.log import Bools, Floats, Ints, Log
from learec.data.truth import TEMPERATURE, Truth, ids, load_truth
from learec.errors import DataError
from learec.evaluation.compare import Values

BLOCK = 512  # listeners whose logits over all tracks are in memory at once


@dataclass(frozen=True)
class Plays:
    """n moments just before a listener's next play: which log step it became, whose, and how many plays came before."""

    steps: Ints  # (n,)
    listeners: Ints  # (n,) rows of the truth
    numbers: Ints  # (n,) the play's place among the listener's own

    def take(self, rows: Ints) -> "Plays":
        """Some of them."""
        return Plays(self.steps[rows], self.listeners[rows], self.numbers[rows])


@dataclass(frozen=True)
class Listeners:
    """The truth, and how a log's numbers are its rows."""

    truth: Truth
    item_of: Ints  # (T,) item number of each track, 0 if the log has no such item
    track_of: Ints  # (N + 1,) row of each item's track, -1 if there is none
    listener_of: Ints  # (S,) row of each session's listener, -1 if there is none
    rewards: dict[str, float]  # by kind of event

    @classmethod
    def of(cls, truth: Truth, log: Log, users: pl.Series) -> "Listeners":
        """Join by outside names; users (S,) are those of the log's sessions. Raises DataError if not one is a listener."""
        tracks = {name: row for row, name in enumerate(ids("track", len(truth.tracks.genre)))}
        listeners = {name: row for row, name in enumerate(ids("listener", len(truth.genres)))}
        track_of = np.array([-1, *(tracks.get(name, -1) for name in log.catalog.ids[1:])])
        listener_of = np.array([listeners.get(str(name), -1) for name in users], dtype=np.int64)
        if not (track_of >= 0).any() or not (listener_of >= 0).any():
            raise DataError("truth/: names no item or no user of log/, wanted those of one simulation; run the recipe again")
        item_of = np.zeros(len(tracks), dtype=np.int64)
        known = np.flatnonzero(track_of >= 0)
        item_of[track_of[known]] = known
        worth = {name: log.sessions.rewards[log.sessions.events == kind] for kind, name in enumerate(log.event_names)}
        return cls(truth, item_of, track_of, listener_of, {name: float(some[0]) for name, some in worth.items() if len(some)})

    def plays(self, log: Log, steps: Ints) -> Plays:
        """Those of the log's steps (T,) that are plays of a listener, in their order."""
        listeners = self.listener_of[log.sessions.session_of[steps]]
        tracks = self.track_of[log.sessions.items[steps]]
        here = (self.truth.played[listeners] == tracks[:, None]) & (listeners >= 0)[:, None] & (tracks >= 0)[:, None]
        known = np.flatnonzero(here.any(axis=1))  # nobody plays a track twice, so the first place is the only one
        return Plays(steps[known], listeners[known], here[known].argmax(axis=1))

    def heard(self, plays: Plays) -> Bools:
        """What each listener has played before, (n, T); such a track is not played again."""
        found = np.zeros((len(plays.steps), len(self.item_of)), dtype=bool)
        before = np.arange(self.truth.played.shape[1]) < plays.numbers[:, None]
        rows, places = np.nonzero(before)
        found[rows, self.truth.played[plays.listeners[rows], places]] = True
        return found

    def logits(self, plays: Plays) -> Floats:
        """What draws each listener to each track at that moment, (n, T); -inf where it was played before."""
        truth, at = self.truth, (plays.listeners, plays.numbers)
        last = truth.played[plays.listeners, np.maximum(plays.numbers - 1, 0)]
        standing = truth.choosing.standing(truth.preferences(plays.listeners))
        now = truth.choosing.logits(standing, truth.genre_focus[at], truth.mood_focus[at], last)
        now[self.heard(plays)] = -np.inf
        return now

    def propensities(self, plays: Plays) -> Values:
        """With what probability the listeners took the track that they took, (n,): what a behaviour policy estimates."""
        found = np.zeros(len(plays.steps))
        for start in range(0, len(found), BLOCK):
            block = plays.take(np.arange(start, min(start + BLOCK, len(found))))
            chances = softmax(self.logits(block).astype(np.float64) / TEMPERATURE, axis=1)
            taken = self.truth.played[block.listeners, block.numbers]
            found[start : start + BLOCK] = chances[np.arange(len(taken)), taken]
        return found

    def worth_of_lists(self, plays: Plays, best: Ints) -> Values:
        """Mean worth of the items in lists (n, k), had they been played, (n,): what SNIPS and DR are estimates of."""
        tracks = self.track_of[best]
        found = np.zeros(len(best))
        for start in range(0, len(best), BLOCK):
            rows = slice(start, start + BLOCK)
            worth = self.truth.worth(plays.listeners[rows], self.rewards)
            own = np.where(tracks[rows] >= 0, np.take_along_axis(worth, np.maximum(tracks[rows], 0), axis=1), 0)
            found[rows] = own.sum(axis=1) / np.maximum((best[rows] > 0).sum(axis=1), 1)
        return found


def load_listeners(truth: Path, log_folder: Path, log: Log) -> Listeners:
    """Join a run's truth/ and log/."""
    return Listeners.of(load_truth(truth), log, pl.read_ipc(log_folder / "sessions.arrow")["user"])
