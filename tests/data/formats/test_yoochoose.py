"""YooChoose: clicks and buys in two files, and items that nobody clicked."""

from datetime import datetime

import pytest

from learec.data.formats.yoochoose import read
from learec.errors import DataError

CLICKS = (
    "1,2014-04-07T10:51:09.277Z,214536502,0\n"
    "1,2014-04-07T10:54:09.868Z,214536500,7\n"
    "2,2014-08-02T10:54:46.998Z,214536500,S\n"
    "2,2014-06-02T10:54:46.998Z,214536500,5\n"
    "4,2014-09-07T11:09:51.200Z,214536500,0\n"
)
BUYS = "420374,2014-04-06T18:44:58.314Z,214537888,12462,1\n420374,2014-04-06T18:44:58.325Z,214536502,10471,2\n"


@pytest.fixture
def challenge(tmp_path):
    (tmp_path / "yoochoose-clicks.dat").write_text(CLICKS)
    (tmp_path / "yoochoose-buys.dat").write_text(BUYS)
    (tmp_path / "yoochoose-test.dat").write_text("5,2014-04-07T10:51:09.277Z,1,0\n")
    return tmp_path


def test_clicks_are_views_and_buys_are_purchases_in_two_tables(challenge):
    clicks, buys = read(challenge, None).events
    assert clicks.frame.select("user", "item", "time", "event").collect().rows()[:2] == [
        ("1", "214536502", datetime(2014, 4, 7, 10, 51, 9, 277_000), "view"),
        ("1", "214536500", datetime(2014, 4, 7, 10, 54, 9, 868_000), "view"),
    ]
    assert buys.frame.select("user", "item", "time", "event").collect().rows()[0] == (
        ("420374", "214537888", datetime(2014, 4, 6, 18, 44, 58, 314_000), "purchase")
    )
    assert (clicks.name, buys.name) == (str(challenge / "yoochoose-clicks.dat"), str(challenge / "yoochoose-buys.dat"))


def test_items_are_those_of_both_files_with_the_category_of_the_last_click_that_has_one(challenge):
    assert read(challenge, None).items.select("item_id", "title", "category").collect().rows() == [
        ("214536500", "", "S"),
        ("214536502", "", ""),  # clicked without a category
        ("214537888", "", ""),  # bought and never clicked
    ]


def test_an_empty_line_stays_empty_and_a_time_that_is_none_is_null(challenge):
    (challenge / "yoochoose-clicks.dat").write_text(CLICKS + "\n9,soon,7,0\n")
    rows = read(challenge, None).events[0].frame.select("user", "item", "time", "event").collect().rows()
    assert rows[5:] == [(None, None, None, None), ("9", "7", None, "view")]
    assert read(challenge, None).items.collect()["item_id"].to_list() == ["214536500", "214536502", "214537888", "7"]


def test_the_clicks_may_be_named_alone(challenge):
    raw = read(challenge / "yoochoose-clicks.dat", None)
    assert raw.files == {"events file": challenge / "yoochoose-clicks.dat", "buys file": challenge / "yoochoose-buys.dat"}
    (challenge / "yoochoose-buys.dat").unlink()
    raw = read(challenge / "yoochoose-clicks.dat", None)
    assert len(raw.events) == 1
    assert raw.items.collect()["item_id"].to_list() == ["214536500", "214536502"]


@pytest.mark.parametrize("name", ["yoochoose-clicks.dat", "yoochoose-buys.dat"])
def test_a_folder_must_hold_both_files(challenge, name):
    (challenge / name).unlink()
    with pytest.raises(DataError, match=f"no {name}, wanted a YooChoose folder; name the folder that holds it as"):
        read(challenge, None)


def test_an_item_table_is_refused(challenge):
    with pytest.raises(DataError, match="named as item table, but YooChoose has none beside its events; remove items from"):
        read(challenge, challenge / "products.csv")
