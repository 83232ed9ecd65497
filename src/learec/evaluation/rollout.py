"""Rollouts: what a policy really earns, from the listeners of a simulated log who are shown its lists and choose by the truth.

A listener goes on from where the log's test part begins: same taste, same focus, same history. At every step she is shown k
items. What is shown draws EXPOSURE logits more than it did, and she plays one track of the whole catalogue, as ever: with
EXPOSURE = 0 this is the simulation's own log. If it was in the list, the policy earns what the play is worth to her; if not,
nothing. Either way her history grows by it, the next list is made from that, and her focus changes by itself every few plays.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from learec.config import derived_seed
from learec.data.log import Bools, Floats, Ints, Log, Sessions
from learec.data.truth import STRETCH, TEMPERATURE, focus, gumbel
from learec.evaluation.compare import Values
from learec.evaluation.listeners import Listeners, Plays
from learec.evaluation.metrics import HISTORY, Scorer, ranking

EXPOSURE = 2.0  # logits that being shown adds: e^2 = 7.4 times as likely as a track that is not shown
Lists = Callable[["Moment"], Ints]


@dataclass(frozen=True)
class Moment:
    """What n listeners are like before they are shown a list. Policies that serve read the first three alone."""

    histories: Ints  # (n, L) item numbers, oldest first, 0 after the end
    lengths: Ints  # (n,)
    n_items: int
    chances: npt.NDArray[np.floating]  # (n, N + 1) in proportion to what each item is chosen with by itself; 0 if played before
    worth: Values  # (n, N + 1) of a play of each item


@dataclass(frozen=True)
class Rollout:
    """Listeners and luck: the same for every policy, so that two policies differ by what they show alone."""

    listeners: Listeners
    plays: Plays  # (n,) where each one starts
    histories: Ints  # (n, L) item numbers
    lengths: Ints  # (n,)
    n_steps: int
    seed: int

    @classmethod
    def from_targets(cls, listeners: Listeners, log: Log, targets: Ints, n_users: int, n_steps: int, seed: int) -> "Rollout":
        """Start at the first target of each session, of n_users sessions drawn at random if there are more.

        Nobody is left without a track to play: the steps are fewer where the catalogue is small.
        """
        _, first = np.unique(log.sessions.session_of[targets], return_index=True)
        plays = listeners.plays(log, targets[first])
        if len(plays.steps) > n_users:
            chosen = np.random.default_rng(seed).choice(len(plays.steps), n_users, replace=False)
            plays = plays.take(np.sort(chosen))
        left = len(listeners.item_of) - int(plays.numbers.max(initial=0))
        longest = int(log.sessions.step_of[plays.steps].max(initial=1))  # all of it: what was seen is masked
        histories, lengths = log.sessions.histories(plays.steps, longest)
        return cls(listeners, plays, histories, lengths, min(n_steps, left), seed)

    def values(self, lists: Lists, exposure: float = EXPOSURE) -> Values:
        """Reward per step of each listener under a policy, (n,).

        What is chosen is drawn; what a step earns is not, but its expectation over that draw and over the kind of event: the
        mean is the same and varies less.
        """
        truth, n = self.listeners.truth, len(self.plays.steps)
        everyone, heard = np.arange(n), self.listeners.heard(self.plays)
        last = truth.played[self.plays.listeners, self.plays.numbers - 1]
        histories, lengths = np.pad(self.histories, ((0, 0), (0, self.n_steps))), self.lengths.copy()
        earned = np.zeros(n)
        for step in range(self.n_steps):
            now = truth.choosing.logits(self._standing, self._genre[:, step], self._mood[:, step], last)
            now[heard] = -np.inf
            shown = self._shown(lists, histories, lengths, now)
            now += np.float32(exposure) * shown
            chances = softmax(now.astype(np.float64) / TEMPERATURE, axis=1)
            earned += (chances * self._worth * shown).sum(axis=1)
            last = (now / np.float32(TEMPERATURE) + self._noise(step)).argmax(axis=1)
            heard[everyone, last] = True
            items = self.listeners.item_of[last]
            histories[everyone, lengths] = items  # a track that is no item leaves a 0, which the next item replaces
            lengths += items > 0
        return earned / self.n_steps

    def _shown(self, lists: Lists, histories: Ints, lengths: Ints, now: Floats) -> Bools:
        """Which tracks are shown, (n, T)."""
        track_of = self.listeners.track_of
        known = np.maximum(track_of, 0)
        here = (track_of >= 0)[None, :]
        chances = np.where(here, np.exp(now - now.max(axis=1, keepdims=True))[:, known], 0)
        moment = Moment(histories[:, : max(int(lengths.max()), 1)], lengths, len(track_of) - 1, chances, self._worth[:, known])
        tracks = track_of[lists(moment)]
        rows, places = np.nonzero(tracks >= 0)
        shown = np.zeros(now.shape, dtype=bool)
        shown[rows, tracks[rows, places]] = True
        return shown

    @cached_property
    def _standing(self) -> Floats:
        truth = self.listeners.truth
        return truth.choosing.standing(truth.preferences(self.plays.listeners))

    @cached_property
    def _worth(self) -> Values:
        return self.listeners.truth.worth(self.plays.listeners, self.listeners.rewards)

    @cached_property
    def _starts(self) -> Bools:
        """Whether a new focus starts with the step, (n, steps); the one that the log was in goes on in the first."""
        starts = self._rng("stretches").random((len(self.plays.steps), self.n_steps)) < 1 / STRETCH
        starts[:, 0] = False
        return starts

    @cached_property
    def _genre(self) -> Ints:
        return self._focus("genre", self.listeners.truth.genres, self.listeners.truth.genre_focus)

    @cached_property
    def _mood(self) -> Ints:
        return self._focus("mood", self.listeners.truth.moods, self.listeners.truth.mood_focus)

    def _focus(self, name: str, taste: Floats, logged: Ints) -> Ints:
        """In focus at every step, (n, steps): what the log was in, until a new stretch starts."""
        drawn = focus(taste[self.plays.listeners], self._starts, self._rng(name).random(self._starts.shape))
        goes_on = ~np.logical_or.accumulate(self._starts, axis=1)
        return np.where(goes_on, logged[self.plays.listeners, self.plays.numbers][:, None], drawn)

    def _noise(self, step: int) -> Floats:
        """Luck of every listener with every track at a step, (n, T)."""
        return gumbel((len(self.plays.steps), len(self.listeners.item_of)), self._rng("choice", step))

    def _rng(self, *purpose: object) -> np.random.Generator:
        return np.random.default_rng(derived_seed("rollout", self.seed, *purpose))


def served_by(scorer: Scorer, k: int, *, mask_seen: bool) -> Lists:
    """The first k items of a scorer, as evaluate ranks them."""

    def lists(moment: Moment) -> Ints:
        sessions, steps = _with_next_step(moment)
        return ranking(scorer, sessions, steps, mask_seen=mask_seen, max_length=HISTORY, k=k).best

    return lists


def _with_next_step(moment: Moment) -> tuple[Sessions, Ints]:
    """The histories as sessions that end with one more step, whose item does not matter, and those steps (n,)."""
    lengths = moment.lengths + 1
    items = np.pad(moment.histories, ((0, 0), (0, 1)))
    np.put_along_axis(items, moment.lengths[:, None], 1, axis=1)
    flat = items[np.arange(items.shape[1]) < lengths[:, None]]
    offsets = np.append(0, np.cumsum(lengths))
    return Sessions(offsets, flat, np.zeros_like(flat), np.zeros(len(flat), dtype=np.float32)), offsets[1:] - 1


def at_random(k: int, seed: int) -> Lists:
    """K items drawn anew for every list, whoever asks: what any policy should beat."""
    rng = np.random.default_rng(seed)
    return lambda moment: 1 + np.argsort(rng.random((len(moment.lengths), moment.n_items)), axis=1)[:, :k]


def all_knowing(k: int) -> Lists:
    """The k items with most chance * worth, from the truth itself: a ceiling that no policy which sees histories can reach.

    Not the best lists there are, because it looks one step ahead and at one item at a time.
    """
    return lambda moment: np.argsort(-moment.chances * moment.worth, axis=1, kind="stable")[:, :k]
