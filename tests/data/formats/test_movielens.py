"""MovieLens in its three layouts: 100K, `::` (1M, 10M) and CSV (20M, 25M, latest)."""

from pathlib import Path

import pytest

from learec.data.formats.movielens import read
from learec.data.raw import Raw
from learec.errors import DataError

NO_FLAGS = "|".join("0" * 19)


def flags(*genres: int) -> str:
    """The 19 genre flags of u.item with these set."""
    return "|".join("1" if place in genres else "0" for place in range(19))


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def ratings(raw: Raw) -> list[tuple]:
    return raw.events[0].frame.select("user", "item", "rating", "time").collect().rows()


def movies(raw: Raw) -> list[tuple]:
    return raw.items.select("item_id", "title", "year", "genres").collect().rows()


@pytest.fixture
def ml_100k(tmp_path):
    lines = [
        f"1|Toy Story (1995)|01-Jan-1995||http://us.imdb.com/M/title-exact?Toy%20Story%20(1995)|{flags(3, 4, 5)}",
        f"127|Godfather, The (1972)|01-Jan-1972||http://us.imdb.com/M/title-exact?Godfather,%20The%20(1972)|{flags(1, 6, 8)}",
        f"267|unknown||||{flags(0)}",
        f"542|Pocahontas: L'été\x85 2 (1995)|01-Jan-1995|||{NO_FLAGS}",
    ]
    files = {"u.data": b"196\t1\t3\t881250949\n186\t267\t5\t891717742\n", "u.item": "\n".join([*lines, ""]).encode("latin-1")}
    return write(tmp_path, {**files, "u1.base": b"1\t1\t5\t1\n"})


def test_100k_has_ratings_separated_by_tabs(ml_100k):
    raw = read(ml_100k, None)
    assert ratings(raw) == [("196", "1", "3", "881250949"), ("186", "267", "5", "891717742")]
    assert raw.events[0].names == {"user": "user id", "item": "item id", "rating": "rating", "time": "timestamp"}


def test_100k_has_movies_in_latin_1_with_flags_for_genres(ml_100k):
    assert movies(read(ml_100k, None)) == [
        ("1", "Toy Story", "1995", "Animation, Children's, Comedy"),
        ("127", "Godfather, The", "1972", "Action, Crime, Drama"),
        ("267", "unknown", "", ""),
        ("542", "Pocahontas: L'été\x85 2", "1995", ""),
    ]


def test_every_file_that_is_read_is_named(ml_100k):
    raw = read(ml_100k / "u.data", None)
    assert raw.files == {"events file": ml_100k / "u.data", "items file": ml_100k / "u.item"}
    assert (raw.events[0].name, raw.items_name) == (str(ml_100k / "u.data"), str(ml_100k / "u.item"))


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"], ids=["1M", "10M"])
def test_1m_and_10m_have_double_colons_and_either_encoding(tmp_path, encoding):
    text = (
        "1::Toy Story (1995)::Animation|Children's|Comedy\n"
        "260::Star Wars: Episode IV - A New Hope (1977)::Action|Sci-Fi\n"
        '73::Misérables, Les: "I" (1995)::Drama\n'
    )
    files = {"ratings.dat": b"1::260::5::978300760\n2::73::3.5::978302109\n", "movies.dat": text.encode(encoding)}
    raw = read(write(tmp_path, files), None)
    assert ratings(raw) == [("1", "260", "5", "978300760"), ("2", "73", "3.5", "978302109")]
    assert movies(raw) == [
        ("1", "Toy Story", "1995", "Animation, Children's, Comedy"),
        ("260", "Star Wars: Episode IV - A New Hope", "1977", "Action, Sci-Fi"),
        ("73", 'Misérables, Les: "I"', "1995", "Drama"),
    ]


def test_25m_has_csv_with_commas_and_quotes_in_titles(tmp_path):
    text = (
        "movieId,title,genres\r\n"
        '11,"American President, The (1995)",Comedy|Drama|Romance\r\n'
        "40697,Babylon 5,Sci-Fi\r\n"
        '98,"""Great Performances"" Cats (1998) ",Musical\r\n'
        "171,Big Little Lies (2017–),(no genres listed)\r\n"
        "172,Death Note: Desu nôto (2006–2007),Crime\r\n"
    )
    files = {"ratings.csv": b"userId,movieId,rating,timestamp\n1,11,3.5,1147880044\n", "movies.csv": text.encode()}
    raw = read(write(tmp_path, files), None)
    assert ratings(raw) == [("1", "11", "3.5", "1147880044")]
    assert raw.events[0].names["user"] == "userId"
    assert movies(raw) == [
        ("11", "American President, The", "1995", "Comedy, Drama, Romance"),
        ("40697", "Babylon 5", "", "Sci-Fi"),
        ("98", '"Great Performances" Cats', "1998", "Musical"),
        ("171", "Big Little Lies", "2017", ""),
        ("172", "Death Note: Desu nôto", "2006", "Crime"),
    ]


def test_without_a_movie_table_there_are_no_items_and_one_may_be_named(tmp_path):
    write(tmp_path, {"ratings.dat": b"1::260::5::978300760\n"})
    assert read(tmp_path, None).items is None
    (tmp_path / "elsewhere.dat").write_bytes(b"260::Star Wars (1977)::Action\n")
    assert movies(read(tmp_path, tmp_path / "elsewhere.dat")) == [("260", "Star Wars", "1977", "Action")]


def test_a_line_that_is_not_whole_is_named_by_its_number(tmp_path):
    write(tmp_path, {"ratings.dat": b"1::260::5::978300760\n", "movies.dat": b"1::Toy Story (1995)::Comedy\n2::Jumanji (1995)\n"})
    with pytest.raises(DataError, match=r"movies\.dat: line 2 has 2 fields, wanted 3 separated by '::'; unpack it again$"):
        read(tmp_path, None)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (".", "no u.data, ratings.dat or ratings.csv, wanted a MovieLens folder; name the folder that holds them as"),
        ("README", "README: no MovieLens ratings, wanted u.data, ratings.dat or ratings.csv; name one of them as"),
        ("gone", "gone: no such file; check"),
    ],
)
def test_what_is_no_movielens_is_answered_with_what_was_wanted(tmp_path, name, sentence):
    write(tmp_path, {"README": b"SUMMARY\n"})
    with pytest.raises(DataError) as caught:
        read(tmp_path / name, None)
    assert sentence in str(caught.value)


def test_a_header_without_a_wanted_column_is_named(tmp_path):
    write(tmp_path, {"ratings.csv": b"user,movieId,rating,timestamp\n1,11,3.5,1147880044\n"})
    with pytest.raises(DataError, match="ratings.csv: no column 'userId' for user; columns: user, movieId"):
        read(tmp_path, None)
