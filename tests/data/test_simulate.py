"""The simulated log is what its docstring says: deterministic, well-formed, and with taste, order and words that tell."""

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from learec.config import SimulateConfig
from learec.data.simulate import GENRES, MOODS, Simulation, simulate

CONFIG = SimulateConfig(listeners=300, tracks=300, mean_plays=12)


@pytest.fixture(scope="module")
def log() -> Simulation:
    return simulate(CONFIG, seed=0)


def rows(log: Simulation) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Find the listener row and the track row of every event."""
    listeners = log.events["listener_id"].rank("dense").to_numpy() - 1
    numbers = log.items.with_row_index("row").select("track_id", "row")
    tracks = log.events.join(numbers, on="track_id", how="left", maintain_order="left")["row"].to_numpy()
    return listeners.astype(np.int64), tracks.astype(np.int64)


def bags_of_words(log: Simulation, *columns: str) -> npt.NDArray[np.float64]:
    """Count words: one row per track, weighted by rarity, of unit length."""
    texts = log.items.select(pl.concat_str(columns, separator=" ").str.to_lowercase())[columns[0]].to_list()
    words = {word: number for number, word in enumerate(sorted({word for text in texts for word in text.split()}))}
    bags = np.array([np.bincount([words[word] for word in text.split()], minlength=len(words)) for text in texts], dtype=float)
    bags *= np.log(len(bags) / (bags > 0).sum(axis=0))  # "the" tells nothing
    bags /= np.linalg.norm(bags, axis=1, keepdims=True)
    return bags


def repeats(values: pl.Series, tracks: npt.NDArray[np.int64], listeners: npt.NDArray[np.int64]) -> float:
    """Measure how often a track has the value of the one before it, of the same listener."""
    codes = values.rank("dense").to_numpy()[tracks]
    return float((codes[1:] == codes[:-1])[listeners[1:] == listeners[:-1]].mean())


def test_same_seed_gives_the_same_log_and_another_seed_another(log: Simulation) -> None:
    again, other = simulate(CONFIG, seed=0), simulate(CONFIG, seed=1)
    assert again.events.equals(log.events) and again.items.equals(log.items)
    np.testing.assert_array_equal(again.preferences, log.preferences)
    assert not other.events.equals(log.events) and not other.items.equals(log.items)


def test_columns_and_kinds_are_as_promised(log: Simulation) -> None:
    assert dict(log.events.schema) == {
        "listener_id": pl.String, "track_id": pl.String, "time": pl.Int64, "event": pl.String,
    }  # fmt: skip
    assert log.items.columns == ["track_id", "title", "artist", "album", "genre", "year"]
    assert log.items["year"].dtype == pl.Int64 and log.items["year"].is_between(1960, 2019).all()
    assert set(log.events["event"]) == {"skip", "play", "like"}
    assert log.preferences.shape == (300, 300) and log.preferences.dtype == np.float32
    assert (log.preferences >= 0).all() and (log.preferences <= 1).all()


def test_no_listener_plays_a_track_twice(log: Simulation) -> None:
    assert not log.events.select("listener_id", "track_id").is_duplicated().any()


def test_time_strictly_increases_for_every_listener(log: Simulation) -> None:
    steps = log.events.select(pl.col("time").diff().over("listener_id")).to_series().drop_nulls()
    assert steps.min() > 0
    assert log.events["listener_id"].is_sorted()


def test_histories_have_five_plays_or_more_and_twelve_on_average(log: Simulation) -> None:
    lengths = log.events.group_by("listener_id").len()["len"]
    assert len(lengths) == 300
    assert lengths.min() == 5 and lengths.max() <= 40
    assert lengths.mean() == pytest.approx(12, abs=1.5)


def test_shortest_histories_and_tiny_catalogues_work() -> None:
    assert simulate(SimulateConfig(listeners=3, tracks=20, mean_plays=5), seed=0).events.height == 15
    crowded = simulate(SimulateConfig(listeners=30, tracks=20, mean_plays=30), seed=0)
    assert crowded.events.group_by("listener_id").len()["len"].max() == 10  # half of the tracks
    assert not crowded.events.select("listener_id", "track_id").is_duplicated().any()


def test_ids_sort_in_the_order_of_the_preferences_rows() -> None:
    many = simulate(SimulateConfig(listeners=10_003, tracks=20, mean_plays=5), seed=0)
    listeners = many.events["listener_id"].unique(maintain_order=True)
    assert listeners.is_sorted() and listeners[-1] == "listener-10002"


def test_every_logged_track_is_in_the_items_table_once(log: Simulation) -> None:
    assert log.items["track_id"].is_unique().all()
    assert set(log.events["track_id"]) <= set(log.items["track_id"])


def test_an_artist_has_no_two_tracks_of_one_title_and_lives_in_one_genre_and_decade(log: Simulation) -> None:
    assert not log.items.select("artist", "title").is_duplicated().any()
    artists = log.items.group_by("artist").agg(pl.col("genre").n_unique(), (pl.col("year") // 10).n_unique())
    assert artists["genre"].max() == 1 and artists["year"].max() == 1


def test_played_tracks_stand_high_in_the_listeners_true_preference(log: Simulation) -> None:
    listeners, tracks = rows(log)
    own = log.preferences[listeners]
    percentile = (own < own[np.arange(len(tracks)), tracks][:, None]).mean(axis=1)
    assert percentile.mean() > 0.7  # of random tracks: below 0.5


def test_preference_rows_belong_to_their_listeners(log: Simulation) -> None:
    listeners, tracks = rows(log)
    own, next_ones = log.preferences[listeners, tracks], log.preferences[(listeners + 1) % 300, tracks]
    assert own.mean() > 2 * next_ones.mean()


def test_liked_tracks_are_preferred_to_played_and_played_to_skipped(log: Simulation) -> None:
    listeners, tracks = rows(log)
    preference, event = log.preferences[listeners, tracks], log.events["event"].to_numpy()
    skip, play, like = (preference[event == kind].mean() for kind in ("skip", "play", "like"))
    assert like > play + 0.05 > skip + 0.1


def test_next_track_shares_genre_or_artist_with_one_of_the_last_three_far_more_often_than_a_random_one(log: Simulation) -> None:
    listeners, tracks = rows(log)
    genre = log.items["genre"].rank("dense").to_numpy()  # an artist has one genre, so genre covers artist
    ends = np.flatnonzero(np.append(listeners[1:] != listeners[:-1], True))
    recent = genre[tracks[ends[:, None] - [1, 2, 3]]]
    other = np.random.default_rng(0).integers(300, size=len(ends))
    true_share, random_share = ((genre[track][:, None] == recent).any(axis=1).mean() for track in (tracks[ends], other))
    assert true_share > 0.6 and true_share > 2 * random_share


def test_words_of_the_last_three_tracks_pick_the_next_track_out_of_two(log: Simulation) -> None:
    listeners, tracks = rows(log)
    bags = bags_of_words(log, "title", "album", "artist", "genre")
    ends = np.flatnonzero(np.append(listeners[1:] != listeners[:-1], True))
    recent = bags[tracks[ends[:, None] - [1, 2, 3]]].sum(axis=1)
    other = np.random.default_rng(0).integers(300, size=len(ends))
    margin = (recent * (bags[tracks[ends]] - bags[other])).sum(axis=1)
    assert ((margin > 0) + 0.5 * (margin == 0)).mean() > 0.63  # guessing gives 0.5


def test_tracks_of_different_artists_that_share_title_words_please_the_same_listeners(log: Simulation) -> None:
    bags = bags_of_words(log, "title")
    agreement = np.corrcoef(log.preferences.T)
    artist = log.items["artist"].to_numpy()
    strangers = artist[:, None] != artist  # one artist's tracks agree whatever their words
    alike = agreement[strangers & (bags @ bags.T > 0.15)]
    assert len(alike) > 500
    assert alike.mean() > agreement[strangers].mean() + 0.15


def test_an_artists_name_holds_a_word_of_its_genre(log: Simulation) -> None:
    for name, genre in log.items.select("artist", "genre").iter_rows():
        assert any(word in name for word in GENRES[genre][1].split(", ")), (name, genre)


def test_no_word_stands_under_two_moods() -> None:
    words = [word for adjectives, nouns in MOODS.values() for word in f"{adjectives}, {nouns}".split(", ")]
    assert len(words) == len(set(words)) >= 8 * 20


@pytest.mark.parametrize("column", ["genre", "artist"])
def test_order_matters_neighbours_in_time_are_more_alike_than_in_a_shuffled_history(log: Simulation, column: str) -> None:
    listeners, tracks = rows(log)
    noise = np.random.default_rng(0).random(len(tracks))
    shuffled = tracks[np.lexsort([noise, listeners])]  # within each listener
    in_order, out_of_order = (repeats(log.items[column], order, listeners) for order in (tracks, shuffled))
    assert in_order > 1.2 * out_of_order


def test_the_step_to_the_next_artist_goes_one_way(log: Simulation) -> None:
    listeners, tracks = rows(log)
    artist = log.items["artist"].to_numpy()
    number = np.cumsum(np.append(0, artist[1:] != artist[:-1]))  # artists in the order in which the table files them
    steps = (number[tracks[1:]] - number[tracks[:-1]])[listeners[1:] == listeners[:-1]]
    assert (steps == 1).sum() > 2 * (steps == -1).sum()


def test_popularity_has_a_long_tail(log: Simulation) -> None:
    plays = np.sort(np.bincount(rows(log)[1], minlength=300))[::-1]
    assert 0.2 < plays[:30].sum() / plays.sum() < 0.5  # the most played tenth; even plays give 0.1
