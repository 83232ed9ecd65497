"""Last.fm listening histories: CSV exports of scrobbles, and the data set of a thousand users (Last.fm-1K)."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from learec.data.formats.items import titled
from learec.data.formats.layout import refuse_items
from learec.data.formats.text_tables import constant_kind, first_row, with_header, without_header
from learec.data.raw import Events, Raw
from learec.data.tables import found
from learec.errors import DataError

THOUSAND_USERS = "userid-timestamp-artid-artname-traid-traname.tsv"
WIDTH_1K = 6
EXPORT = ("username", "artist", "track", "album", "date", "time")
SCROBBLES = ("artist", "album", "title", "when")
NAMES_1K = {"user": "userid", "item": "traid", "time": "timestamp", "event": "event"}


@dataclass(frozen=True)
class Plays:
    """One file: user, item, time, and what there is of title, artist and album."""

    path: Path
    frame: pl.LazyFrame
    names: dict[str, str]

    def events(self) -> Events:
        """Every row is a `play`."""
        return Events(str(self.path), self.frame.select("user", "item", "time", constant_kind("play")), self.names)


def read(events: Path, items: Path | None) -> Raw:
    """Plays; items are tracks with title, artist and, in exports, album: the first that is not empty in the events.

    `events` is a file or a folder: the .tsv file of Last.fm-1K (http://ocelma.net/MusicRecommendationDataset/lastfm-1K.html), or
    CSV exports with the columns username, artist, track, album, date and time, or one export a user of lastfm-to-csv (artist,
    album, track, date, without a header; the file's name is the user). An item is "artist - track", or its MusicBrainz id
    where Last.fm-1K has one. Times without a zone are taken as UTC.
    """
    refuse_items(items, "Last.fm")
    plays = [_plays(path) for path in _files(events)]
    roles = ["events file"] if len(plays) == 1 else [f"events file {file.path.name}" for file in plays]
    files = dict(zip(roles, (file.path for file in plays), strict=True))
    return Raw(tuple(file.events() for file in plays), _items(plays), str(plays[0].path), files)


def _files(events: Path) -> list[Path]:
    if not found(events).is_dir():
        return [events]
    files = [path] if (path := events / THOUSAND_USERS).is_file() else sorted(events.glob("*.csv"))
    if not files:
        raise DataError(
            f"{events}: no {THOUSAND_USERS} and no .csv files, wanted Last.fm-1K or exports of Last.fm; "
            "name the folder that holds them as [data] events"
        )
    return files


def _plays(path: Path) -> Plays:
    """The file as whichever layout its first line has."""
    if path.name.lower().endswith((".tsv", ".tsv.gz")):
        return _thousand_users(path)
    first = first_row(path)
    columns = {name.strip().lower(): name for name in first}
    if set(EXPORT) <= columns.keys():
        return _export(path, columns)
    if len(first) == len(SCROBBLES):
        return _scrobbles(path)
    raise DataError(
        f"{path}: its first line is {', '.join(first) or 'empty'}, wanted the columns {', '.join(EXPORT)} "
        "or four without a header (artist, album, track, date); export it again"
    )


def _thousand_users(path: Path) -> Plays:
    if (width := len(first_row(path, "\t", quoted=False))) != WIDTH_1K:
        raise DataError(
            f"{path}: has {width} fields in its first line, wanted {WIDTH_1K} separated by tabs ({THOUSAND_USERS}); "
            "name that file or a .csv export as [data] events"
        )
    rows = without_header(path, ("user", "time", "artist_id", "artist", "track_id", "title"), "\t")
    time = pl.col("time").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", strict=False)
    item = pl.coalesce("track_id", _artist_and_track())
    return Plays(path, rows.select("user", time, "artist", "title", item=item), NAMES_1K)


def _export(path: Path, columns: dict[str, str]) -> Plays:
    names = {new: columns[name] for new, name in zip(("user", "artist", "title", "album", "date", "clock"), EXPORT, strict=True)}
    rows = _stripped(with_header(path, names))
    frame = rows.select("user", "artist", "title", "album", time=_time(pl.col("date"), pl.col("clock")), item=_artist_and_track())
    return Plays(path, frame, {"user": names["user"], "item": names["title"], "time": names["date"], "event": "event"})


def _scrobbles(path: Path) -> Plays:
    rows = _stripped(without_header(path, SCROBBLES, ",", quote='"'))
    # The track that was still playing at the time of the export has no date: it is no event yet.
    rows = rows.filter(pl.col("when").is_not_null())
    time = _time(pl.col("when").str.replace(r"\s+\S+$", ""), pl.col("when").str.extract(r"(\S+)$"))
    user = pl.lit(path.name.split(".csv")[0])
    names = {name: name for name in ("user", "item", "time", "event")}
    return Plays(path, rows.select("artist", "title", "album", user=user, time=time, item=_artist_and_track()), names)


def _stripped(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Without space around fields; empty ones, quoted or not, are null."""
    return rows.with_columns(pl.all().str.strip_chars().replace("", None))


def _artist_and_track() -> pl.Expr:
    """The item "artist - track"; null only if a row has neither."""
    both = pl.concat_str(pl.col("artist").fill_null(""), pl.lit(" - "), pl.col("title").fill_null(""))
    return pl.when(pl.col("artist").is_not_null() | pl.col("title").is_not_null()).then(both.str.strip_chars())


def _time(date: pl.Expr, clock: pl.Expr) -> pl.Expr:
    """A point in time from "31 Jan 2021" or "2021-01-31" and "23:36" or "23:36:05"; null if it is neither."""
    day = pl.coalesce(date.str.to_date(form, strict=False) for form in ("%d %b %Y", "%Y-%m-%d"))
    return day.dt.combine(clock.str.replace(r"^(\d{1,2}:\d{2})$", "$1:00").str.to_time("%H:%M:%S", strict=False))


def _items(plays: list[Plays]) -> pl.LazyFrame:
    rows = pl.concat([file.frame.drop("user", "time") for file in plays], how="diagonal")
    known = pl.exclude("item").drop_nulls().first()
    return titled(rows.group_by(item_id="item", maintain_order=True).agg(known).drop_nulls("item_id").sort("item_id"))
