"""Search by title."""

import time

import numpy as np
import polars as pl
import pytest

from learec.data.log import Catalog
from learec.serving.search import TitleSearch

TITLES = [
    "Café au lait",
    "Decaf",
    "The best café",
    "LATTE cafe",
    "cafeteria",
    "",
    "Straße 7",
    "東京 タワー",
    "ﬁne ﬁne tea",
    "a  b",
]


@pytest.fixture
def search():
    table = pl.DataFrame({"item_id": [f"id-{number}" for number in range(len(TITLES))], "title": TITLES})
    return TitleSearch(Catalog(table))


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("cafe", [0, 4, 2, 3]),  # begins with it; a word begins with it
        ("CAFÉ", [0, 4, 2, 3]),
        ("caf", [0, 4, 2, 3, 1]),  # anywhere
        ("best the", [2]),  # words in any order
        ("au caf", [0]),
        ("straße", [6]),
        ("タワー", [7]),
        ("fine", [8]),  # as letters, not as ligatures
        ("a b", [9, 2]),
        ("id-5", [5]),  # an item without a title is found by its id
        ("id-1", [1]),  # and any by its very id
        ("nothing", []),
        (".*", []),
        ("' OR 1=1", []),
        ("  ", list(range(10))),
        ("", list(range(10))),
    ],
)
def test_titles_that_begin_with_the_query_come_first(search, query, found):
    assert search.find(query, 10)["item_id"].to_list() == [f"id-{number}" for number in found]


def test_no_more_than_asked_for_come_back_and_the_very_id_first(search):
    assert search.find("caf", 2)["item_id"].to_list() == ["id-0", "id-4"]
    table = pl.DataFrame({"item_id": ["x", "caf", "y"], "title": ["caf one", "none", "caf two"]})
    assert TitleSearch(Catalog(table)).find("caf", 2)["item_id"].to_list() == ["caf", "x"]


def test_a_million_titles_are_searched_in_a_fraction_of_a_second():
    rng = np.random.default_rng(0)
    words = pl.Series([f"{syllable}{number}" for number in range(100) for syllable in ("crème", "drill", "tea", "lamp", "bolt")])
    columns = [words[rng.integers(0, len(words), 1_000_000)].alias(str(place)) for place in range(4)]
    titles = pl.DataFrame(columns).select(pl.concat_str(pl.all(), separator=" ").alias("title"))
    search = TitleSearch(Catalog(titles.select(pl.format("i{}", pl.int_range(pl.len())).alias("item_id"), "title")))
    for query in ("creme7", "e", "drill1 tea2", "nothing of the kind"):
        start = time.perf_counter()
        found = search.find(query, 20)
        seconds = time.perf_counter() - start
        assert seconds < 0.5, f"{query}: {seconds:.3f} s"
        assert len(found) == (0 if "nothing" in query else 20)
    assert all(title.startswith("crème7") for title in search.find("CREME7", 20)["title"])
