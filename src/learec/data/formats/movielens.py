"""MovieLens as GroupLens publishes it: 100K, 1M, 10M, 20M, 25M, 32M, latest and latest-small."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from learec.data.formats.items import titled
from learec.data.formats.layout import either, file_in, optional_file
from learec.data.formats.text_tables import with_header, without_header
from learec.data.raw import Events, Raw
from learec.errors import DataError

RATINGS = ("u.data", "ratings.dat", "ratings.csv")
GENRES = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
NO_GENRE = ("", "unknown", "(no genres listed)")
YEAR = r"\s*\((\d{4})(?:[-–]\d{0,4})?\)\s*$"  # series have "(2006–2007)": the first year is taken


@dataclass(frozen=True)
class Layout:
    """How one generation of MovieLens is written."""

    movies: str  # the item table's name
    names: dict[str, str]  # of the ratings' columns
    scan: Callable[[Path, dict[str, str]], pl.LazyFrame]  # user, item, rating, time
    items: Callable[[Path], pl.LazyFrame]  # item_id, title with its year, genres separated by bars


def read(events: Path, items: Path | None) -> Raw:
    """Ratings with their times; items with title, year and genres ("Animation, Comedy").

    Source: https://grouplens.org/datasets/movielens. `events` is the folder or the ratings file; the item table lies beside
    it. Titles lose their year, but keep the published order of words ("Godfather, The").
    """
    ratings = file_in(events, RATINGS, "MovieLens")
    layout = LAYOUTS.get(ratings.suffix)
    if layout is None:
        raise DataError(f"{ratings}: no MovieLens ratings, wanted {either(RATINGS)}; name one of them as [data] events")
    table = Events(str(ratings), layout.scan(ratings, layout.names), layout.names)
    movies = optional_file(items, ratings, (layout.movies,))
    if movies is None:
        return Raw((table,), None, "", {"events file": ratings})
    files = {"events file": ratings, "items file": movies}
    return Raw((table,), _tidy(layout.items(movies)), str(movies), files)


def _tidy(items: pl.LazyFrame) -> pl.LazyFrame:
    title, genres = pl.col("title"), pl.col("genres")
    return titled(
        items.select(
            "item_id",
            title=title.str.replace(YEAR, "").str.strip_chars(),
            year=title.str.extract(YEAR),
            genres=pl.when(~genres.is_in(NO_GENRE)).then(genres.str.replace_all("|", ", ", literal=True)),
        )
    )


def _tabbed(path: Path, names: dict[str, str]) -> pl.LazyFrame:
    return without_header(path, list(names), "\t")


def _double_colons(path: Path, names: dict[str, str]) -> pl.LazyFrame:
    """Polars separates by one byte: at every colon, with an empty column inside each double one."""
    user, *others = names
    columns = [user, *(name for role in others for name in (f"before {role}", role))]
    return without_header(path, columns, ":").select(*names)


def _bars(path: Path) -> pl.LazyFrame:
    rows = _records(path, "|", 5 + len(GENRES))
    genres = ["|".join(name for name, flag in zip(GENRES, row[5:], strict=True) if flag == "1") for row in rows]
    return _frame([row[0] for row in rows], [row[1] for row in rows], genres)


def _movies_dat(path: Path) -> pl.LazyFrame:
    rows = _records(path, "::", 3)
    return _frame(*([row[field] for row in rows] for field in range(3)))


def _movies_csv(path: Path) -> pl.LazyFrame:
    return with_header(path, {"item_id": "movieId", "title": "title", "genres": "genres"})


def _frame(ids: Sequence[str], titles: Sequence[str], genres: Sequence[str]) -> pl.LazyFrame:
    return pl.LazyFrame(
        {"item_id": ids, "title": titles, "genres": genres},
        schema_overrides=dict.fromkeys(("item_id", "title", "genres"), pl.String),
    )


def _records(path: Path, separator: str, width: int) -> list[list[str]]:
    """The fields of a small file, line by line: UTF-8 (10M) or Latin-1 (100K, 1M)."""
    data = path.read_bytes()
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    # Not splitlines: Latin-1 text may hold characters that it takes for line ends.
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    records = [(number, line.split(separator)) for number, line in enumerate(lines, 1) if line]
    for number, record in records:
        if len(record) != width:
            raise DataError(
                f"{path}: line {number} has {len(record)} fields, wanted {width} separated by {separator!r}; unpack it again"
            )
    return [record for _, record in records]


SPOKEN = {"user": "user id", "item": "item id", "rating": "rating", "time": "timestamp"}
DAT = {"user": "UserID", "item": "MovieID", "rating": "Rating", "time": "Timestamp"}
HEADER = {"user": "userId", "item": "movieId", "rating": "rating", "time": "timestamp"}
LAYOUTS = {
    ".data": Layout("u.item", SPOKEN, _tabbed, _bars),
    ".dat": Layout("movies.dat", DAT, _double_colons, _movies_dat),
    ".csv": Layout("movies.csv", HEADER, with_header, _movies_csv),
}
