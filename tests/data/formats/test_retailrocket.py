"""Retailrocket: events, the latest category of two property files, and items without properties."""

import pytest

from learec.data.formats.retailrocket import read
from learec.errors import DataError

EVENTS = (
    "timestamp,visitorid,event,itemid,transactionid\n"
    "1433221332117,257597,view,355908,\n"
    "1433224214164,992329,addtocart,248676,\n"
    "1433222276276,599528,transaction,356475,4000\n"
)
PART_1 = (
    "timestamp,itemid,property,value\n"
    "1435460400000,460429,categoryid,1338\n"
    "1433041200000,355908,categoryid,1173\n"
    "1433041200000,248676,categoryid,900\n"
    "1435460400000,206783,888,1116713 960601 n277.200\n"
    "1432436400000,355908,available,0\n"
)
PART_2 = (
    "timestamp,itemid,property,value\n"
    "1433646000000,355908,categoryid,209\n"
    "1431831600000,355908,categoryid,1038\n"
    "1433646000000,355908,available,1\n"
)


@pytest.fixture
def shop(tmp_path):
    (tmp_path / "events.csv").write_text(EVENTS)
    (tmp_path / "item_properties_part1.csv").write_text(PART_1)
    (tmp_path / "item_properties_part2.csv").write_text(PART_2)
    (tmp_path / "category_tree.csv").write_text("categoryid,parentid\n1338,1278\n209,\n900,14\n")
    return tmp_path


def test_events_keep_their_kinds_and_milliseconds(shop):
    raw = read(shop, None)
    assert raw.events[0].frame.select("user", "item", "event", "time").collect().rows() == [
        ("257597", "355908", "view", "1433221332117"),
        ("992329", "248676", "addtocart", "1433224214164"),
        ("599528", "356475", "transaction", "1433222276276"),
    ]
    assert raw.events[0].names == {"user": "visitorid", "item": "itemid", "event": "event", "time": "timestamp"}


def test_an_item_has_its_latest_category_and_a_row_even_without_properties(shop):
    raw = read(shop, None)
    assert raw.items.select("item_id", "title", "category", "parent_category").collect().rows() == [
        ("248676", "", "900", "14"),
        ("355908", "", "209", ""),  # the latest of both files; a category at the root
        ("460429", "", "1338", "1278"),  # never in an event
        ("356475", "", "", ""),  # bought, without a category
    ]


def test_the_latest_category_does_not_depend_on_the_order_of_rows(shop):
    rows = PART_1.splitlines(keepends=True)
    tied = "1433646000000,355908,categoryid,14\n"
    expected = read(shop, None).items.collect()
    (shop / "item_properties_part1.csv").write_text("".join([rows[0], tied, *rows[:0:-1]]))
    assert read(shop, None).items.collect().equals(expected)


def test_every_file_that_is_read_is_named(shop):
    assert {role: path.name for role, path in read(shop, None).files.items()} == {
        "events file": "events.csv",
        "items file item_properties_part1.csv": "item_properties_part1.csv",
        "items file item_properties_part2.csv": "item_properties_part2.csv",
        "categories file": "category_tree.csv",
    }


def test_properties_and_tree_are_optional(shop):
    (shop / "category_tree.csv").unlink()
    raw = read(shop / "events.csv", shop / "item_properties_part1.csv")
    assert raw.items.collect().columns == ["item_id", "category", "title"]
    assert raw.items.collect().filter(item_id="355908")["category"].to_list() == ["1173"]
    for part in shop.glob("item_properties*"):
        part.unlink()
    assert read(shop, None).items is None


def test_a_folder_without_events_is_refused(shop):
    (shop / "events.csv").unlink()
    with pytest.raises(DataError, match="no events.csv, wanted a Retailrocket folder; name the folder that holds it as"):
        read(shop, None)


def test_another_shops_events_are_refused(shop):
    (shop / "events.csv").write_text("event_time,event_type,product_id,user_id\n2019-10-01,view,1,2\n")
    with pytest.raises(DataError, match="events.csv: no column 'visitorid' for user; columns: event_time"):
        read(shop, None)
