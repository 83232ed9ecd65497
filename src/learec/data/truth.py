"""The truth behind a simulated log: its tracks, its listeners' tastes, what they were after, and how they choose.

`simulate` draws a log from it and keeps it in a run's truth/ folder, for the rollouts of evaluate alone. No stage that learns may
import this module or open that folder (tests/data/test_truth.py): what stands in it is what they are to find out.
"""

from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file
from scipy.special import ndtr

from learec.artifacts import check_files, read_manifest
from learec.data.log import Bools, Floats, Ints

MAKE_WITH = "learec prepare RECIPE"
FILE = "truth.safetensors"
KINDS = ("skip", "play", "like")
TASTE_SHARES = (0.5, 0.15, 0.35)  # of genre, decade and mood in the true preference
TASTE, FOCUS_GENRE, FOCUS_MOOD, POPULARITY = 7.0, 2.2, 1.4, 0.7  # weights in the logits of a choice
ALBUM, ARTIST = 0.6, 2.0  # logits, too: same album, same artist as the last track
NEXT_ARTIST, TEMPERATURE = 2.0, 1.0  # to the artist filed next, never back: a model that reads histories as sets cannot know it
STRETCH = 4  # mean plays under one focus
NOISE = 0.7  # beside a standardised preference, in what makes an event a skip or a like


@dataclass(frozen=True)
class Tracks:
    """What is true of each track, (T,) each, in numbers; filed by genre, then decade, then artist, then album."""

    genre: Ints
    era: Ints
    mood: Ints
    artist: Ints  # 0.. without gaps, as album
    album: Ints
    year: Ints
    popularity: Floats


@dataclass(frozen=True)
class Truth:
    """Tracks (T), listeners (U) and what moved them at each of their plays (at most L); rows in the order of their ids."""

    tracks: Tracks
    genres: Floats  # (U, kinds) shares of a taste
    eras: Floats
    moods: Floats
    played: Ints  # (U, L) track rows in order of play, -1 after the end
    genre_focus: Ints  # (U, L)
    mood_focus: Ints
    bounds: npt.NDArray[np.float64]  # (2,) enjoyment from which on a track is not skipped, and from which on it is liked

    @cached_property
    def choosing(self) -> "Choosing":
        """How its listeners choose."""
        return Choosing.among(self.tracks, self.genres.shape[1], self.moods.shape[1])

    def preferences(self, listeners: Ints) -> Floats:
        """True preferences of some listeners (n,), (n, T) in 0..1."""
        return preferences(self.tracks, self.genres[listeners], self.eras[listeners], self.moods[listeners])

    def worth(self, listeners: Ints, rewards: dict[str, float]) -> npt.NDArray[np.float64]:
        """What playing each track is worth to some listeners (n,) on average, (n, T); a kind without a reward is worth 0."""
        skip, play, like = (rewards.get(kind, 0.0) for kind in KINDS)
        enjoyed = standardised(self.preferences(listeners)).astype(np.float64)
        skipped, liked = ndtr((self.bounds[0] - enjoyed) / NOISE), ndtr((enjoyed - self.bounds[1]) / NOISE)
        found: npt.NDArray[np.float64] = skip * skipped + like * liked + play * (1 - skipped - liked)
        return found


@dataclass(frozen=True)
class Choosing:
    """What draws a listener to a track, in logits; the log and every rollout are drawn by this."""

    tracks: Tracks
    by_genre: Floats  # (kinds, T) of the genre in focus
    by_mood: Floats

    @classmethod
    def among(cls, tracks: Tracks, n_genres: int, n_moods: int) -> "Choosing":
        """For tracks of so many genres and moods."""
        by_genre = np.float32(FOCUS_GENRE) * (tracks.genre == np.arange(n_genres)[:, None])
        return cls(tracks, by_genre, np.float32(FOCUS_MOOD) * (tracks.mood == np.arange(n_moods)[:, None]))

    def standing(self, preferences: Floats) -> Floats:
        """What does not change from play to play, from preferences (n, T): (n, T)."""
        logits: Floats = TASTE * preferences + POPULARITY * self.tracks.popularity
        return logits

    def logits(self, standing: Floats, genre: Ints, mood: Ints, last: Ints | None) -> Floats:
        """All that draws now: standing (n, T), genre and mood in focus (n,), tracks just played (n,), if any: (n, T)."""
        now = standing + self.by_genre[genre] + self.by_mood[mood]
        return now if last is None else now + self._stickiness(last)

    def _stickiness(self, last: Ints) -> Floats:
        tracks = self.tracks
        album, artist, genre = tracks.album[last][:, None], tracks.artist[last][:, None], tracks.genre[last][:, None]
        pull: Floats = np.float32(ALBUM) * (tracks.album == album) + np.float32(ARTIST) * (tracks.artist == artist)
        pull += np.float32(NEXT_ARTIST) * ((tracks.artist == artist + 1) & (tracks.genre == genre))
        return pull


def preferences(tracks: Tracks, genres: Floats, eras: Floats, moods: Floats) -> Floats:
    """What listeners of these tastes like in the long run, (n, T) in 0..1."""
    share = np.array(TASTE_SHARES, dtype=np.float32)
    return share[0] * genres[:, tracks.genre] + share[1] * eras[:, tracks.era] + share[2] * moods[:, tracks.mood]


def standardised(preferences: Floats) -> Floats:
    """Preferences (n, T) with mean 0 and deviation 1 in every row."""
    spread = np.maximum(preferences.std(axis=1, keepdims=True), 1e-6)  # a tiny catalogue may hold nothing of one's taste
    return (preferences - preferences.mean(axis=1, keepdims=True)) / spread


def gumbel(shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Noise under which the largest of logits + noise is a draw from their softmax (Gumbel's trick)."""
    waiting = np.maximum(rng.standard_exponential(shape, dtype=np.float32), np.float32(1e-30))
    return -np.log(waiting)


def focus(taste: Floats, starts: Bools, uniform: npt.NDArray[np.float64]) -> Ints:
    """Kind in focus, (n, L): drawn from the taste (n, kinds) by uniform (n, L) where a stretch starts, kept from there on."""
    draws = uniform[:, :, None] > taste.cumsum(axis=1)[:, None, :-1]  # inverse of the distribution function
    began = np.maximum.accumulate(np.where(starts, np.arange(starts.shape[1]), 0), axis=1)
    return np.take_along_axis(draws.sum(axis=2), began, axis=1)


def ids(kind: str, n: int) -> list[str]:
    """Outside names by row: as text they sort in the order of the rows."""
    width = max(4, len(str(n - 1)))
    return [f"{kind}-{number:0{width}}" for number in range(n)]


def save_truth(truth: Truth, folder: Path) -> None:
    """Write the one file of a truth/ folder."""
    own: dict[str, Any] = {field.name: getattr(truth, field.name) for field in fields(Truth) if field.name != "tracks"}
    own |= {f"tracks.{field.name}": getattr(truth.tracks, field.name) for field in fields(Tracks)}
    save_file({name: np.ascontiguousarray(array) for name, array in own.items()}, folder / FILE)


def load_truth(folder: Path) -> Truth:
    """Open a truth/ folder after checking it."""
    manifest = read_manifest(folder, "truth", MAKE_WITH)
    check_files(folder, manifest, MAKE_WITH)
    arrays = load_file(folder / FILE)
    tracks = Tracks(**{field.name: arrays.pop(f"tracks.{field.name}") for field in fields(Tracks)})
    return Truth(tracks, **arrays)
