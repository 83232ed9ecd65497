"""Last.fm: CSV exports with and without a header, and the data set of a thousand users."""

from datetime import datetime

import pytest

from learec.data.formats.lastfm import THOUSAND_USERS, read
from learec.errors import DataError

EXPORT = (
    ",Username,Artist,Track,Album,Date,Time\n"
    '0,Babs_05,"Earth, Wind & Fire",September,The Best Of, 31 Jan 2021 ,23:36\n'
    '1,Babs_05,Björk,"""Jóga""",,1 Feb 2021,9:05\n'
    '2,Jo,"Earth, Wind & Fire",September,I Am,2021-02-03,23:36:07\n'
    '3,Jo,Björk,"""Jóga""",Homogenic,soon,12:00\n'
)
TSV = (
    "user_000001\t2009-05-04T23:08:57Z\tf1b1cf71\tDeep Dish\t\tFuck Me Im Famous (Pacha Ibiza)-09-28-2007\n"
    'user_000001\t2009-05-04T13:54:10Z\ta7f7df4a\t坂本龍一\tm-1\tComposition "0919\n'
    'user_000002\t2009-05-04T13:52:04Z\t\t"Weird Al" Yankovic\tm-1\tComposition 0919 (Live)\n'
    "user_000002\t2009-05-04T13:42:52Z\tf1b1cf71\tDeep Dish\t\tFuck Me Im Famous (Pacha Ibiza)-09-28-2007\n"
)


def events(raw, table: int = 0) -> list[tuple]:
    return raw.events[table].frame.select("user", "item", "time", "event").collect().rows()


@pytest.fixture
def export(tmp_path):
    (tmp_path / "Last.fm_data.csv").write_text(EXPORT, encoding="utf-8")
    return tmp_path


@pytest.fixture
def thousand(tmp_path):
    (tmp_path / THOUSAND_USERS).write_text(TSV, encoding="utf-8")
    (tmp_path / "userid-profile.tsv").write_text("#id\tgender\tage\tcountry\tregistered\nuser_000001\tm\t\tJapan\tAug 13, 2006\n")
    return tmp_path


def test_an_export_has_plays_with_dates_in_words_or_iso(export):
    assert events(read(export, None)) == [
        ("Babs_05", "Earth, Wind & Fire - September", datetime(2021, 1, 31, 23, 36), "play"),
        ("Babs_05", 'Björk - "Jóga"', datetime(2021, 2, 1, 9, 5), "play"),
        ("Jo", "Earth, Wind & Fire - September", datetime(2021, 2, 3, 23, 36, 7), "play"),
        ("Jo", 'Björk - "Jóga"', None, "play"),  # for the caller to name by its row
    ]
    assert read(export, None).events[0].names == {"user": "Username", "item": "Track", "time": "Date", "event": "event"}


def test_an_item_has_the_first_album_that_is_not_empty(export):
    raw = read(export / "Last.fm_data.csv", None)
    assert raw.items.select("item_id", "title", "artist", "album").collect().rows() == [
        ('Björk - "Jóga"', '"Jóga"', "Björk", "Homogenic"),
        ("Earth, Wind & Fire - September", "September", "Earth, Wind & Fire", "The Best Of"),
    ]
    assert raw.files == {"events file": export / "Last.fm_data.csv"}


def test_exports_without_a_header_are_one_a_user_by_the_files_name(tmp_path):
    playing = '"Wilco","Yankee ""Hotel"" Foxtrot","Kamera",""\n'
    (tmp_path / "ann.csv").write_text(playing + "Portishead,Portishead,Portishead,01 Jan 2020 00:07\n")
    (tmp_path / "bob.csv").write_text("Wilco,,Kamera,31 Dec 2019 23:59\nWilco,Yankee,Kamera,31 Dec 2019 23:55\n")
    raw = read(tmp_path, None)
    assert events(raw, 0) == [("ann", "Portishead - Portishead", datetime(2020, 1, 1, 0, 7), "play")]
    assert [row[:2] for row in events(raw, 1)] == [("bob", "Wilco - Kamera")] * 2
    assert raw.items.select("item_id", "title", "artist", "album").collect().rows() == [
        ("Portishead - Portishead", "Portishead", "Portishead", "Portishead"),
        ("Wilco - Kamera", "Kamera", "Wilco", "Yankee"),
    ]
    assert raw.files == {"events file ann.csv": tmp_path / "ann.csv", "events file bob.csv": tmp_path / "bob.csv"}


def test_a_thousand_users_have_musicbrainz_ids_or_artist_and_track(thousand):
    assert events(read(thousand, None)) == [
        ("user_000001", "Deep Dish - Fuck Me Im Famous (Pacha Ibiza)-09-28-2007", datetime(2009, 5, 4, 23, 8, 57), "play"),
        ("user_000001", "m-1", datetime(2009, 5, 4, 13, 54, 10), "play"),
        ("user_000002", "m-1", datetime(2009, 5, 4, 13, 52, 4), "play"),
        ("user_000002", "Deep Dish - Fuck Me Im Famous (Pacha Ibiza)-09-28-2007", datetime(2009, 5, 4, 13, 42, 52), "play"),
    ]


@pytest.mark.parametrize("engine", ["in-memory", "streaming"])
def test_a_thousand_users_have_items_by_their_first_play_with_quotes_as_text(thousand, engine):
    assert read(thousand, None).items.select("item_id", "title", "artist").collect(engine=engine).rows() == [
        (
            "Deep Dish - Fuck Me Im Famous (Pacha Ibiza)-09-28-2007",
            "Fuck Me Im Famous (Pacha Ibiza)-09-28-2007",
            "Deep Dish",
        ),
        ("m-1", 'Composition "0919', "坂本龍一"),
    ]


def test_a_track_without_a_name_goes_by_its_artist_and_an_empty_line_stays_empty(tmp_path):
    (tmp_path / THOUSAND_USERS).write_text("u\t2009-05-04T23:08:57Z\t\tWilco\t\t\n\n")
    raw = read(tmp_path, None)
    assert events(raw) == [("u", "Wilco -", datetime(2009, 5, 4, 23, 8, 57), "play"), (None, None, None, None)]
    assert raw.items.collect()["item_id"].to_list() == ["Wilco -"]


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("log.csv", "user,item,time\nu,i,1\n", "log.csv: its first line is user, item, time, wanted the columns username"),
        ("log.csv", "", "log.csv: its first line is empty, wanted the columns username"),
        ("log.tsv", "u\t2009-05-04T23:08:57Z\ti\n", "log.tsv: has 3 fields in its first line, wanted 6 separated by tabs"),
        (".", "", "no userid-timestamp-artid-artname-traid-traname.tsv and no .csv files, wanted Last.fm-1K or exports"),
    ],
)
def test_what_is_no_listening_history_is_answered_with_what_was_wanted(tmp_path, name, text, sentence):
    if name != ".":
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError) as caught:
        read(tmp_path / name, None)
    assert sentence in str(caught.value)


def test_an_item_table_is_refused(export):
    with pytest.raises(DataError, match="tracks.csv: named as item table, but Last.fm has none beside its events"):
        read(export, export / "tracks.csv")
