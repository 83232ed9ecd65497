"""Amazon reviews of 2014, 2018 and 2023: lines that differ in keys and types, and products as Python literals or JSON."""

import gzip
import json
from pathlib import Path

import pytest

from learec.data.formats.amazon import read
from learec.errors import DataError

REVIEWS_2014 = [
    {"reviewerID": "A1", "asin": "B1", "helpful": [2, 3], "reviewText": 'a "q"\n', "overall": 5.0, "unixReviewTime": 1252800000},
    {"reviewerID": "A2", "asin": "B2", "unixReviewTime": 1252800001.0, "overall": 4, "reviewerName": "Zoë"},
    {"asin": "B9", "reviewerID": "A1", "unixReviewTime": 1252800002},
]
META_2014 = [
    "{'asin': 'B1', 'title': \"Men's Watch\", 'price': 9.99, 'categories': [['Shoes & Jewelry', 'Watches'], "
    "['Shoes & Jewelry', 'Men']], 'description': 'Says \"tick\".', 'brand': 'Casio', "
    "'related': {'also_bought': ['B2']}, 'salesRank': {'Watches': 7}}",
    "{'asin': 'B2', 'price': '$5', 'categories': [['Zoë\\u2019s']], 'brand': ''}",
]
REVIEWS_2018 = [
    {
        "overall": 5.0,
        "vote": "2",
        "verified": True,
        "reviewTime": "01 1, 2018",
        "reviewerID": "A1",
        "asin": "B1",
        "unixReviewTime": 1514764800,
    },
    {"overall": 3.0, "style": {"Size:": " L"}, "reviewerID": "A2", "asin": "B2", "unixReviewTime": 1514764801},
]
META_2018 = [
    {"category": ["Tools", "Drills", "</span></span>"], "description": ["First.", "", "Second."], "title": "Drill [18V]",
     "also_buy": ["B2"], "brand": "Bosch", "price": "$49", "asin": "B1"},
    {"category": [], "main_cat": "Tools", "title": "var aPageStart = (new Date()).getTime();", "brand": "", "asin": "B2"},
    {"category": ["Tools"], "title": "Drill again", "asin": "B1"},
]  # fmt: skip
REVIEWS_2023 = [
    {
        "rating": 5.0,
        "title": "ok",
        "asin": "B0C",
        "parent_asin": "B1",
        "user_id": "AE",
        "timestamp": 1588687728923,
        "verified_purchase": True,
    },
    {"rating": 1, "title": "no", "asin": "B2", "parent_asin": "B2", "user_id": "AF", "timestamp": 1588687728924},
]
META_2023 = [
    {"main_category": "All Beauty", "title": "Comb", "features": [], "description": ["Made of wood."], "price": None,
     "store": "Yes To", "categories": ["Hair", "Combs"], "details": {"Brand": "x"}, "parent_asin": "B1"},
    {"main_category": "All Beauty", "title": "Soap", "description": [], "price": "from 5", "store": None, "categories": [],
     "parent_asin": "B2"},
]  # fmt: skip


def write(path: Path, lines: list[str | dict]) -> Path:
    text = "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def events(raw) -> list[tuple]:
    return raw.events[0].frame.select("user", "item", "rating", "time").collect().rows()


def products(raw) -> list[tuple]:
    return raw.items.select("item_id", "title", "brand", "category", "description").collect().rows()


@pytest.mark.parametrize("ending", [".json", ".json.gz"])
def test_2014_has_reviews_whose_keys_and_types_differ_by_line(tmp_path, ending):
    path = write(tmp_path / f"reviews_Watches_5{ending}", REVIEWS_2014)
    raw = read(path, None)
    assert [row[:2] for row in events(raw)] == [("A1", "B1"), ("A2", "B2"), ("A1", "B9")]
    assert [float(row[3]) for row in events(raw)] == [1252800000.0, 1252800001.0, 1252800002.0]
    assert [row[2] and float(row[2]) for row in events(raw)] == [5.0, 4.0, None]
    assert raw.events[0].names == {"user": "reviewerID", "item": "asin", "rating": "overall", "time": "unixReviewTime"}
    assert raw.items is None


@pytest.mark.parametrize("ending", [".json", ".json.gz"])
def test_2014_has_products_as_python_literals_and_leaves_some_out(tmp_path, ending):
    write(tmp_path / "reviews_Watches_5.json.gz", REVIEWS_2014)
    meta = write(tmp_path / f"meta_Watches{ending}", META_2014)
    raw = read(tmp_path, None)
    assert products(raw) == [
        ("B1", "Men's Watch", "Casio", "Shoes & Jewelry, Watches, Men", 'Says "tick".'),
        ("B2", "", "", "Zoë’s", ""),
        ("B9", "", "", "", ""),
    ]
    assert raw.files == {"events file": tmp_path / "reviews_Watches_5.json.gz", "items file": meta}


def test_reviews_may_be_python_literals_too(tmp_path):
    path = write(tmp_path / "reviews_Watches.json", [repr(review) for review in REVIEWS_2014])
    assert [(row[0], row[1], float(row[3])) for row in events(read(path, None))] == [
        ("A1", "B1", 1252800000.0), ("A2", "B2", 1252800001.0), ("A1", "B9", 1252800002.0),
    ]  # fmt: skip


def test_2018_has_lists_scripts_for_titles_and_products_twice(tmp_path):
    write(tmp_path / "Tools.json.gz", REVIEWS_2018)
    write(tmp_path / "meta_Tools.json.gz", META_2018)
    raw = read(tmp_path, None)
    assert [(row[0], row[1], row[3]) for row in events(raw)] == [("A1", "B1", "1514764800"), ("A2", "B2", "1514764801")]
    assert products(raw) == [("B1", "Drill [18V]", "Bosch", "Tools, Drills", "First. Second."), ("B2", "", "", "Tools", "")]


def test_2023_has_parents_as_items_milliseconds_and_stores_as_brands(tmp_path):
    write(tmp_path / "All_Beauty.jsonl", REVIEWS_2023)
    write(tmp_path / "meta_All_Beauty.jsonl", META_2023)
    raw = read(tmp_path / "All_Beauty.jsonl", None)
    assert [(row[0], row[1], float(row[2]), row[3]) for row in events(raw)] == [
        ("AE", "B1", 5.0, "1588687728923"), ("AF", "B2", 1.0, "1588687728924"),
    ]  # fmt: skip
    assert products(raw) == [("B1", "Comb", "Yes To", "Hair, Combs", "Made of wood."), ("B2", "Soap", "", "All Beauty", "")]
    assert raw.events[0].names["item"] == "parent_asin"


def test_products_of_another_category_are_not_taken_unless_named(tmp_path):
    reviews = write(tmp_path / "Toys.json", REVIEWS_2018)
    meta = write(tmp_path / "meta_Tools.json", META_2018)
    assert read(reviews, None).items is None
    assert products(read(reviews, meta))[0][1] == "Drill [18V]"


def test_a_folder_may_have_brackets_and_stars_in_its_name(tmp_path):
    folder = tmp_path / "data[1] *"
    folder.mkdir()
    write(folder / "Tools.json", REVIEWS_2018)
    assert len(events(read(folder, None))) == 2


def test_only_wanted_rows_and_columns_of_literals_reach_polars(tmp_path):
    write(tmp_path / "reviews_Watches.json", [repr(review) for review in REVIEWS_2014])
    frame = read(tmp_path, None).events[0].frame
    assert frame.filter(item="B9").select("user").collect().rows() == [("A1",)]
    assert frame.head(1).select("item").collect().rows() == [("B1",)]


def test_literals_are_read_and_never_run(tmp_path):
    path = write(tmp_path / "meta_Tools.json", ["{'asin': 'B1'}", "{'asin': print('run')}"])
    reviews = write(tmp_path / "Tools.json", REVIEWS_2018)
    with pytest.raises(DataError, match=r"meta_Tools.json: line 2 starts \"\{'asin': print\('run'\)\}\", wanted one whole JSON"):
        read(reviews, path)


def test_a_broken_line_far_down_is_named_by_its_number(tmp_path):
    lines = [f"{{'asin': 'B{number}'}}" for number in range(1, 301)]
    lines[249] = "{'asin': 'B250', 'title"
    write(tmp_path / "meta_Tools.json.gz", ["", *lines])
    write(tmp_path / "Tools.json", REVIEWS_2018)
    items = read(tmp_path, None).items
    with pytest.raises(DataError, match="line 251 starts"):
        items.collect()


@pytest.mark.parametrize(
    ("name", "lines", "sentence"),
    [
        (
            "Tools.json",
            ['{"user": 1, "sku": 2}'],
            "its lines have user, sku, wanted reviewerID and asin or user_id and parent_asin",
        ),
        ("Tools.json", [], "its lines have no keys, wanted reviewerID and asin"),
        ("Tools.json", ["[", "{}", "]"], "line 1 starts '[', wanted one whole JSON object a line"),
        ("Tools.csv", ["A1,B1,5.0,1514764800"], "holds no file of reviews, wanted one file of reviews"),
        ("meta_Tools.json", ['{"asin": "B1"}'], "holds no file of reviews, wanted one file of reviews"),
    ],
)
def test_what_are_no_reviews_is_answered_with_what_was_wanted(tmp_path, name, lines, sentence):
    write(tmp_path / name, lines)
    with pytest.raises(DataError) as caught:
        read(tmp_path, None)
    assert sentence in str(caught.value)


def test_several_categories_in_a_folder_are_refused(tmp_path):
    write(tmp_path / "Toys.json", REVIEWS_2018)
    write(tmp_path / "Tools.json", REVIEWS_2018)
    with pytest.raises(DataError, match="holds Tools.json, Toys.json, wanted one file of reviews; name the file itself as"):
        read(tmp_path, None)


def test_a_product_file_without_ids_is_refused(tmp_path):
    reviews = write(tmp_path / "Tools.json", REVIEWS_2018)
    with pytest.raises(DataError, match="meta.json: its lines have title, wanted asin or parent_asin; name the file of products"):
        read(reviews, write(tmp_path / "meta.json", ['{"title": "x"}']))
