"""Tables: what may differ between files without harm, and errors that say which file, what was seen, what to do."""

import gzip
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from learec.data.tables import column_names, files_of, listed, missing_column, readable, scan
from learec.errors import DataError

Write = Callable[..., Path]
TEXT = "user_id,item_id,when\nu,i,1\nv,j,2\n"
ROWS = [("u", "i", "1"), ("v", "j", "2")]


@pytest.fixture
def write(tmp_path) -> Write:
    """Writes a file, gzipped if its name says so."""

    def written(content: str | bytes, name: str = "log.csv") -> Path:
        data = content if isinstance(content, bytes) else content.encode()
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") and isinstance(content, str) else data)
        return tmp_path / name

    return written


def refusal(path: Path, delimiter: str = ",") -> str:
    """What is said of a file when it is opened or read."""
    with pytest.raises(DataError) as refused, readable(path):
        scan(path, delimiter).collect()
    assert len(str(refused.value).splitlines()) == 1
    return str(refused.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        "\ufeff" + TEXT,
        TEXT.replace("\n", "\r\n"),
        "\ufeff" + TEXT.replace("\n", "\r\n"),
        TEXT.removesuffix("\n"),
        "\n" + TEXT,
        '"user_id","item_id","when"\n"u","i","1"\n"v","j","2"\n',
    ],
    ids=["plain", "BOM", "CRLF", "BOM and CRLF", "no last line end", "blank line first", "quotes"],
)
@pytest.mark.parametrize("name", ["log.csv", "log.csv.gz"])
def test_csv_reads_the_same_however_it_is_written(write, text, name):
    frame = scan(write(text, name))
    assert column_names(frame) == ["user_id", "item_id", "when"]
    assert frame.collect().rows() == ROWS


def test_values_keep_zeros_space_and_what_stands_in_quotes(write):
    text = 'a,b\n007, x \n"1,5","say ""hi""\nthere"\n'
    assert scan(write(text)).collect().rows() == [("007", " x "), ("1,5", 'say "hi"\nthere')]


@pytest.mark.parametrize("mark", [";", "\t", "|", ":", " "])
def test_the_mark_between_columns_is_the_recipes(write, mark):
    assert scan(write(TEXT.replace(",", mark)), mark).collect().rows() == ROWS


def test_tsv_is_separated_by_tabs_whatever_the_recipe_says_of_csv(write):
    assert scan(write(TEXT.replace(",", "\t"), "log.tsv"), ";").collect().rows() == ROWS


def test_parquet_keeps_its_types(tmp_path):
    frame = pl.DataFrame({"a": [1, 2], "b": [0.5, None]})
    frame.write_parquet(tmp_path / "log.parquet")
    assert scan(tmp_path / "log.parquet").collect().equals(frame)


@pytest.mark.parametrize(
    ("mark", "called", "advice"),
    [(";", "semicolons", 'delimiter = ";"'), ("\t", "tabs", 'delimiter = "\\t"'), ("|", "bars", 'delimiter = "|"')],
)
def test_another_mark_between_columns_is_recognised_and_the_setting_is_given(write, mark, called, advice):
    text = TEXT.replace(",", mark)
    header = text.split("\n")[0]
    assert refusal(write(text)) == (
        f"its only column is {header!r}, wanted columns separated by commas; they seem to be separated by {called}: "
        f"set {advice} in [data]"
    )


def test_commas_in_a_tsv_are_no_matter_of_the_delimiter_setting_which_is_for_csv(write):
    assert "they seem to be separated by commas: name it .csv instead of .tsv" in refusal(write(TEXT, "log.tsv"))
    assert "semicolons: name it .csv instead of .tsv and set delimiter" in refusal(write(TEXT.replace(",", ";"), "log.tsv"))


def test_a_column_whose_name_holds_another_mark_is_just_a_column(write):
    assert scan(write("item;id\nx\ny\n")).collect().rows() == [("x",), ("y",)]


@pytest.mark.parametrize("mark", ["é", '"', "\n", "\r"])
def test_a_mark_that_cannot_separate_columns_is_refused(write, mark):
    assert refusal(write(TEXT), mark) == (
        f"delimiter = {mark!r} in [data] cannot separate columns, wanted one ASCII mark such as ;"
    )


@pytest.mark.parametrize(
    ("junk", "number"),
    [
        ("# exported by a shop\n", 2),
        ("Report; from January; to March\n", 2),
        ("a,b\n\n1,2\n", 4),
        ("\n#\n", 3),
    ],
    ids=["comment", "title with semicolons", "another table", "blank line and comment"],
)
def test_a_header_in_a_later_line_is_found(write, junk, number):
    path = write(junk + TEXT)
    said = str(missing_column(path, "user_id", "[data.columns] user", scan(path)))
    assert said.startswith(f"{path}: no column 'user_id' for [data.columns] user; columns: ")
    assert said.endswith(f"; the header seems to be line {number}: remove the lines above it")


def test_a_missing_column_of_a_table_that_is_no_file_names_the_columns():
    frame = pl.LazyFrame({"a": [1], "b": [2]})
    assert (
        str(missing_column("log.csv", "c", "the item's id", frame)) == "log.csv: no column 'c' for the item's id; columns: a, b"
    )


def test_columns_are_listed_on_one_line_and_not_by_the_thousand():
    assert listed(["a", "b\u2028c", "d\n"]) == "a, 'b\\u2028c', 'd\\n'"
    assert listed([str(number) for number in range(100)]).endswith(", 28, 29 and 70 more")


def test_a_column_that_stands_twice_is_refused(write):
    assert refusal(write("a,b,a,a\n1,2,3,4\n")) == "column 'a' stands 3 times in the header; rename or remove all but one"
    assert refusal(write("\na,b,a\n1,2,3\n")) == "column 'a' stands 2 times in the header; rename or remove all but one"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "cannot be read (empty CSV), wanted UTF-8 text with the same columns in every line; write the file again"),
        ("\n\n", "cannot be read (empty CSV)"),
        (TEXT + "u,i,1,9\n", "cannot be read ("),
        (TEXT + '"u,i,1\n', "cannot be read ("),
        (
            (TEXT + "é,i,1\n").encode("latin-1"),
            "cannot be read (line 4 holds the byte 0xe9, which is not UTF-8), wanted UTF-8 text; convert it, for example",
        ),
        (("é," + TEXT).encode("cp1252"), "cannot be read (line 1 holds the byte 0xe9, which is not UTF-8)"),
        (TEXT.encode("utf-16"), "cannot be read (it is UTF-16), wanted UTF-8 text; convert it"),
        (TEXT.encode("utf-16-be"), "cannot be read (its first line holds zero bytes, as UTF-16 does), wanted UTF-8 text"),
        (b"PK\x03\x04\x14\x00\x08\x00", "cannot be read (its first line holds zero bytes"),
        (
            TEXT.replace("\n", "\r"),
            r"its lines end in carriage returns alone, wanted line feeds; convert it with `tr '\r' '\n'`",
        ),
    ],
    ids=[
        "empty", "blank lines", "ragged", "open quote", "Latin-1", "Latin-1 header", "UTF-16", "UTF-16 without BOM", "zip",
        "old Mac",
    ],
)  # fmt: skip
def test_a_csv_that_cannot_be_used_is_one_sentence(write, content, sentence):
    assert refusal(write(content)).startswith(sentence)


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (lambda packed: packed[: len(packed) // 2], "Compressed file ended"),
        (lambda packed: packed[:12] + bytes([packed[12] ^ 255]) * 4 + packed[16:], ""),
        (lambda packed: TEXT.encode(), "Not a gzipped file"),
        (lambda packed: packed[:-8] + b"\0\0\0\0" + packed[-4:], ""),
    ],
    ids=["truncated", "damaged", "not packed", "wrong checksum"],
)
def test_a_gzipped_file_that_is_not_whole_is_refused(write, break_it, reason):
    said = refusal(write(break_it(gzip.compress(TEXT.encode())), "log.csv.gz"))
    assert said.startswith("cannot be read (")
    assert reason in said


@pytest.mark.parametrize("cut", [0, 3, 20, 200, -1])
def test_a_truncated_parquet_file_is_refused(tmp_path, cut):
    path = tmp_path / "log.parquet"
    pl.DataFrame({"a": range(1000)}).write_parquet(path)
    path.write_bytes(path.read_bytes()[:cut])
    said = refusal(path)
    assert said.startswith("cannot be read (")
    assert said.endswith("), wanted a whole Parquet file; write the file again")


def test_a_file_with_another_ending_none_or_a_folder_is_refused(write, tmp_path):
    (tmp_path / "folder.csv").mkdir()
    assert refusal(write(TEXT, "log.xlsx")) == "ends in '.xlsx', wanted .csv, .tsv or .parquet; convert it"
    assert refusal(write(TEXT, "log")) == "ends in 'nothing', wanted .csv, .tsv or .parquet; convert it"
    assert refusal(tmp_path / "folder.csv").startswith("is a folder, wanted a file; check [data]")
    assert refusal(tmp_path / "none.csv").startswith("no such file; check [data] in the recipe and the data folder")


def test_the_files_of_a_folder_are_its_parquet_files_by_name_and_a_file_is_itself(tmp_path):
    for name in ("b.parquet", "a.PARQUET", ".hidden.parquet", "a.csv", "a.parquet.crc"):
        (tmp_path / name).touch()
    assert [path.name for path in files_of(tmp_path)] == ["a.PARQUET", "b.parquet"]
    assert files_of(tmp_path / "a.csv") == [tmp_path / "a.csv"]
