"""RecBole's atomic files: typed headers, raw quotes, sessions, kinds of events, and item tables with gaps."""

import pytest

from learec.data.formats.recbole import read
from learec.errors import DataError

INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"


@pytest.fixture
def atomic(tmp_path):
    """Writes NAME.inter and, if given, NAME.item; reads the folder."""

    def make(inter: str, item: str | None = None):
        (tmp_path / "toys.inter").write_text(inter, encoding="utf-8")
        if item is not None:
            (tmp_path / "toys.item").write_text(item, encoding="utf-8")
        return read(tmp_path, None)

    return make


def test_columns_are_mapped_by_the_name_before_the_colon(atomic):
    raw = atomic(INTER + "007\tB1\t4.0\t1.1e9\nu\tB2\tnan\t881250949.0\n")
    frame = raw.events[0].frame.collect()
    assert dict(zip(frame.columns, frame.rows()[0], strict=True)) == {
        "user": "007",
        "item": "B1",
        "rating": "4.0",
        "time": "1.1e9",
    }
    assert frame["rating"].to_list() == ["4.0", None]
    assert raw.events[0].names == {"user": "user_id", "item": "item_id", "rating": "rating", "time": "timestamp"}
    assert raw.items is None


def test_a_log_of_sessions_has_sessions_as_users(atomic):
    raw = atomic("session_id:token\titem_id:token\ttimestamp:float\ns1\ti1\t5\n")
    assert raw.events[0].names == {"user": "session_id", "item": "item_id", "time": "timestamp"}
    assert raw.events[0].frame.collect().rows() == [("s1", "i1", "5")]


def test_sessions_beside_users_cut_their_events_and_a_behaviour_is_the_kind(atomic):
    raw = atomic("behavior:token\tsession_id:token\titem_id:token\tuser_id:token\tage:float\nbuy\ts1\ti1\tu1\t3\n")
    frame = raw.events[0].frame.select("user", "item", "session", "event").collect()
    assert frame.rows() == [("u1", "i1", "s1", "buy")]
    assert "age" not in raw.events[0].frame.collect().columns


def test_item_columns_keep_their_bare_names_and_quotes_are_text(atomic):
    item = 'item_id:token\ttitle:token_seq\tprice:float\tbrand:token\nB1\t15" Monitor, "new\t9.50\tnan\nB2\t"Ünïque"\tnan\tAcme\n'
    raw = atomic(INTER + "u\tB1\t5\t1\n", item)
    frame = raw.items.collect()
    assert frame.columns == ["item_id", "title", "price", "brand"]
    assert frame.rows() == [("B1", '15" Monitor, "new', "9.50", ""), ("B2", '"Ünïque"', "", "Acme")]


def test_a_title_is_found_under_recboles_other_names_and_may_be_lacking(atomic):
    raw = atomic(
        INTER + "u\t1\t5\t1\n", "item_id:token\tmovie_title:token_seq\tclass:token_seq\n1\tToy Story\tAnimation Comedy\n"
    )
    assert raw.items.select("item_id", "title", "movie_title", "class").collect().rows() == [
        ("1", "Toy Story", "Toy Story", "Animation Comedy")
    ]
    raw = atomic(INTER + "u\t1\t5\t1\n", "item_id:token\tprice:float\n1\t3\n")
    assert raw.items.collect().to_dicts() == [{"item_id": "1", "price": "3", "title": ""}]


def test_items_that_only_events_have_get_a_row_without_text(atomic):
    raw = atomic(
        INTER + "u\tB9\t5\t1\nu\tB3\t5\t2\nu\tB1\t5\t3\nu\tB9 \t5\t4\n", "item_id:token\ttitle:token_seq\nB7\tSeven\nB1\tOne\n"
    )
    assert raw.items.collect().rows() == [("B7", "Seven"), ("B1", "One"), ("B3", ""), ("B9", "")]


def test_files_may_be_named_themselves(tmp_path):
    folder = tmp_path / "data[1] *"
    folder.mkdir()
    (folder / "a.inter").write_text(INTER + "u\t1\t5\t1\n")
    (folder / "b.inter").write_text(INTER + "v\t2\t5\t1\n")
    (folder / "texts.item").write_text("item_id:token\ttitle:token_seq\n2\tTwo\n")
    raw = read(folder / "b.inter", folder / "texts.item")
    assert raw.files == {"events file": folder / "b.inter", "items file": folder / "texts.item"}
    assert raw.events[0].frame.collect()["user"].to_list() == ["v"]
    with pytest.raises(DataError, match="holds a.inter, b.inter, wanted one .inter file; name the file itself as"):
        read(folder, None)
    with pytest.raises(DataError, match="is a folder, wanted the item table itself; name the file as"):
        read(folder / "b.inter", folder)


@pytest.mark.parametrize(
    ("inter", "sentence"),
    [
        (
            "user_id:token\tartist_id:token\nu\t1\n",
            "toys.inter: columns user_id, artist_id, wanted item_id and user_id or session_id",
        ),
        ("", "toys.inter: columns none, wanted item_id and user_id or session_id"),
    ],
)
def test_a_header_without_users_or_items_is_refused(atomic, inter, sentence):
    with pytest.raises(DataError) as caught:
        atomic(inter)
    assert sentence in str(caught.value)


def test_an_item_table_without_ids_is_refused(atomic):
    with pytest.raises(
        DataError, match="toys.item: columns asin, title, wanted item_id, separated by tabs; rename it in the header"
    ):
        atomic(INTER + "u\t1\t5\t1\n", "asin:token\ttitle:token_seq\n1\tOne\n")


def test_a_folder_without_atomic_files_is_refused(tmp_path):
    with pytest.raises(DataError, match="holds no .inter file, wanted one .inter file; name the file itself as"):
        read(tmp_path, None)
