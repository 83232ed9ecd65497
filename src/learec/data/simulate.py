"""A simulated music log: invented listeners who play invented tracks. No person, artist or track in it is real.

A track has a genre, a decade, a mood, an artist and an album; the item table says them in words (the mood only through words
of titles and albums). A listener has a stable, sparse taste over genres, decades and moods. A focus on one genre and one mood
of that taste changes every few plays; the last track's album, its artist and the artist filed next to it draw as well; some
tracks are popular with everyone. Nobody plays a track twice. An event's kind is the true preference plus noise.

A number on this log can show that a pipeline works and that a model finds structure known to be there: taste, order, the
meaning of words. It cannot show how good a method is on people: the structure was put in by hand and favours whatever looks
for it, words come from small pools and so tell more than real texts do, and nobody here tires, shares or errs.
"""

from dataclasses import dataclass
from itertools import count

import numpy as np
import numpy.typing as npt
import polars as pl

from learec.config import SimulateConfig
from learec.data.log import Bools, Floats, Ints
from learec.data.simulated_words import ALBUMS, ARTISTS, BANDS, ERAS, GENRES, LEADERS, MOODS, TITLES
from learec.data.truth import (
    KINDS,
    NOISE,
    STRETCH,
    TEMPERATURE,
    Choosing,
    Tracks,
    Truth,
    focus,
    gumbel,
    ids,
    preferences,
    standardised,
)

SPARSITY = (0.25, 0.5, 0.3)  # Dirichlet concentrations; at 0.25 two or three genres make up most of a taste
SHORTEST = 5  # fewest plays, so that a history is left when two are held out
TRACKS_PER_ARTIST, TRACKS_PER_ALBUM = 6, 5
SKIPPED, LIKED = 0.2, 0.25  # shares of all events


@dataclass(frozen=True)
class Simulation:
    """A log, its item table and the truth behind them.

    events: listener_id, track_id, time (unix seconds, strictly increasing per listener), event ("skip", "play", "like"),
    sorted by listener and time. items: track_id, title, artist, album, genre, year. preferences: (listeners, tracks) in
    0..1, rows in the order of the sorted listener ids, columns in the order of the items table's rows; what a listener
    likes in the long run, without focus, stickiness and popularity. truth: all that the log was drawn from.
    """

    events: pl.DataFrame
    items: pl.DataFrame
    preferences: npt.NDArray[np.float32]
    truth: Truth


def simulate(config: SimulateConfig, seed: int) -> Simulation:
    """Make the log of this config and seed; the same arguments give identical frames.

    A history has 5 plays or more, config.mean_plays on average, and at most half of the tracks (a small catalogue: fewer).
    """
    rng = np.random.default_rng(seed)
    tracks = _tracks(config.tracks, rng)
    items = _items(tracks, rng)
    genres, eras, moods = (  # (U, kinds) each
        rng.dirichlet(np.full(kinds, sparsity), config.listeners).astype(np.float32)
        for kinds, sparsity in zip((len(GENRES), len(ERAS), len(MOODS)), SPARSITY, strict=True)
    )
    liking = preferences(tracks, genres, eras, moods)
    lengths = _lengths(config, rng)
    starts = rng.random((config.listeners, lengths.max())) < 1 / STRETCH  # a new focus from this play on, (U, L)
    starts[:, 0] = True
    genre, mood = focus(genres, starts, rng.random(starts.shape)), focus(moods, starts, rng.random(starts.shape))
    played = _played(Choosing.among(tracks, len(GENRES), len(MOODS)), liking, lengths, (genre, mood), rng)
    events, bounds = _events(played, starts, liking, items["track_id"], rng)
    truth = Truth(tracks, genres, eras, moods, played, genre, mood, bounds)
    return Simulation(events, items, liking, truth)


def _tracks(n_tracks: int, rng: np.random.Generator) -> Tracks:
    n_artists = n_tracks // TRACKS_PER_ARTIST
    genre = rng.integers(len(GENRES), size=n_artists)
    era = rng.integers(np.array([first for first, _, _ in GENRES.values()])[genre], len(ERAS))
    genre, era = np.stack([genre, era])[:, np.lexsort([era, genre])]
    renown = rng.normal(size=n_artists)
    shares = np.exp(0.8 * renown)
    more = rng.choice(n_artists, n_tracks - n_artists, p=shares / shares.sum())
    artist = np.sort(np.concatenate([np.arange(n_artists), more]))  # every artist has at least one track
    opens_album = (np.arange(n_tracks) - np.searchsorted(artist, artist)) % TRACKS_PER_ALBUM == 0
    album = np.cumsum(opens_album) - 1
    artist_of_album, n_albums = artist[opens_album], int(opens_album.sum())
    leanings = rng.integers(len(MOODS), size=(n_artists, 2))
    album_mood = leanings[artist_of_album, (rng.random(n_albums) < 0.3).astype(int)]
    mood = np.where(rng.random(n_tracks) < 0.8, album_mood[album], rng.integers(len(MOODS), size=n_tracks))
    year = np.array(list(ERAS))[era[artist_of_album]] + rng.integers(10, size=n_albums)
    popularity = (rng.normal(size=n_tracks) + 0.5 * renown[artist]).astype(np.float32)  # normal logits: log-normal counts
    return Tracks(genre[artist], era[artist], mood, artist, album, year[album], popularity)


def _items(tracks: Tracks, rng: np.random.Generator) -> pl.DataFrame:
    first_of_album = np.unique(tracks.album, return_index=True)[1]
    first_of_artist = np.unique(tracks.artist, return_index=True)[1]
    titles = _names(TITLES, np.arange(len(tracks.album)), tracks, tracks.artist, rng)
    albums = _names(ALBUMS, first_of_album, tracks, tracks.artist, rng)[tracks.album]
    artists = _names(ARTISTS, first_of_artist, tracks, np.zeros_like(tracks.artist), rng)[tracks.artist]
    columns = {"title": titles, "artist": artists, "album": albums, "genre": np.array(list(GENRES))[tracks.genre]}
    return pl.DataFrame({"track_id": ids("track", len(titles)), **columns, "year": tracks.year.astype(np.int64)})


def _names(forms: str, rows: Ints, tracks: Tracks, scope: Ints, rng: np.random.Generator) -> npt.NDArray[np.str_]:
    """Name each of these tracks (or what it is the first of) so that no name comes twice in a scope."""
    names: dict[tuple[int, str], None] = {}
    for row in rows.tolist():
        key, attempts = (int(scope[row]), _name(forms, row, tracks, rng)), count(2)
        while key in names:  # a huge catalogue uses the words up; then a number at the end makes the name new
            attempt = next(attempts)
            key = key[0], _name(forms, row, tracks, rng) + (f" {attempt}" if attempt > 20 else "")
        names[key] = None
    return np.array([name for _, name in names])


def _name(forms: str, row: int, tracks: Tracks, rng: np.random.Generator) -> str:
    _, flavour, thing = list(GENRES.values())[int(tracks.genre[row])]
    adjective, noun = list(MOODS.values())[int(tracks.mood[row])]
    era = list(ERAS.values())[int(tracks.era[row])]
    pools = {"flavour": flavour, "thing": thing, "adjective": adjective, "noun": noun, "era": era, "band": BANDS}
    options = {role: pool.split(", ") for role, pool in (pools | {"leader": LEADERS, "form": forms}).items()}
    words = {role: choices[int(rng.integers(len(choices)))] for role, choices in options.items()}
    return words.pop("form").format(**words)


def _lengths(config: SimulateConfig, rng: np.random.Generator) -> Ints:
    more = rng.negative_binomial(3, 3 / (3 + config.mean_plays - SHORTEST), size=config.listeners)
    return np.minimum(SHORTEST + more, min(3 * config.mean_plays + 4, config.tracks // 2))


def _played(choosing: Choosing, liking: Floats, lengths: Ints, in_focus: tuple[Ints, Ints], rng: np.random.Generator) -> Ints:
    """Let everyone choose, play by play: track rows in order of play, (U, L), -1 after the end."""
    order = np.argsort(-lengths, kind="stable")  # who still listens is then always a prefix
    standing = choosing.standing(liking)[order]  # (U, T)
    genre, mood = in_focus[0][order], in_focus[1][order]
    played = np.full(genre.shape, -1)
    for step in range(lengths.max()):
        n = int((lengths > step).sum())
        last = played[:n, step - 1] if step else None
        now = choosing.logits(standing[:n], genre[:n, step], mood[:n, step], last)
        chosen = (now / np.float32(TEMPERATURE) + gumbel(now.shape, rng)).argmax(axis=1)
        played[:n, step] = chosen
        standing[np.arange(n), chosen] = -np.inf
    return played[np.argsort(order)]


def _events(
    played: Ints, starts: Bools, liking: Floats, track_ids: pl.Series, rng: np.random.Generator
) -> tuple[pl.DataFrame, npt.NDArray[np.float64]]:
    """The log, and the two bounds of enjoyment between its kinds of events."""
    listener, step = np.nonzero(played >= 0)  # row by row: sorted by listener, then by step
    track = played[listener, step]
    enjoyment = standardised(liking)[listener, track] + NOISE * rng.normal(size=len(track))
    bounds = np.quantile(enjoyment, [SKIPPED, 1 - LIKED])
    kind = np.digitize(enjoyment, bounds)
    pause = np.where(starts, rng.integers(3_600, 4 * 86_400, size=starts.shape), rng.integers(120, 400, size=starts.shape))
    begin = 1_672_531_200 + rng.integers(365 * 86_400, size=(len(played), 1))  # somewhere in 2023
    time = (begin + pause.cumsum(axis=1))[listener, step].astype(np.int64)
    names, kinds = np.array(ids("listener", len(played)))[listener], np.array(KINDS)[kind]
    events = pl.DataFrame({"listener_id": names, "track_id": track_ids.gather(track), "time": time, "event": kinds})
    return events, bounds
