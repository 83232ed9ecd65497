"""Damaged files of every format: each is read or refused in one sentence, and never ends in another exception.

The damage is drawn by fixed seeds: bytes, lines, marks between columns, headers, numbers. Parquet is read in a process of its
own, because the library that reads it is native code.
"""

import gzip
import json
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import pytest

from learec.config import DataConfig
from learec.data.prepare import read
from learec.errors import LearecError

START = 1_700_000_000
ROWS = [
    (user, (user * 3 + step * step) % 5, START + 100 * user + step, "view" if step % 3 else "buy")
    for user in range(8)
    for step in range(5)
]
HEADER = "user_id,item_id,timestamp,kind"
EVENTS = "\n".join([HEADER, *(f"u{user},i{item},{time},{kind}" for user, item, time, kind in ROWS)]) + "\n"
ITEMS = 'item_id,title,price\ni0,Thing é,1.5\ni1,"Thing, large",2\ni2,,3\ni3,"Say ""hi""",4\ni4,Five,\n'

Damage = Callable[[bytes, Random], bytes]


# ---- damage


def flip_bits(data: bytes, rng: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def truncate(data: bytes, rng: Random) -> bytes:
    return data[: rng.randrange(len(data))]


def cut_out(data: bytes, rng: Random) -> bytes:
    start = rng.randrange(len(data))
    return data[:start] + data[start + rng.randint(1, 30) :]


def random_bytes(data: bytes, rng: Random) -> bytes:
    start, n = rng.randrange(len(data)), rng.randint(1, 40)
    return data[:start] + rng.randbytes(n) + data[start + n * rng.randrange(2) :]


def zeros(data: bytes, rng: Random) -> bytes:
    start = rng.randrange(len(data))
    return data[:start] + b"\0" * rng.randint(1, 20) + data[start:]


def no_text(data: bytes, rng: Random) -> bytes:
    return rng.randbytes(rng.choice([1, 10, 1000]))


def nothing(data: bytes, rng: Random) -> bytes:
    return rng.choice([b"", b"\n", b"\r\n\r\n", b" ", b"\xef\xbb\xbf", b"\xff\xfe"])


def lines_damaged(change: Callable[[list[bytes], Random], None]) -> Damage:
    def damage(data: bytes, rng: Random) -> bytes:
        lines = data.split(b"\n")
        change(lines, rng)
        return b"\n".join(lines)

    return damage


def delete_lines(lines: list[bytes], rng: Random) -> None:
    for _ in range(rng.randint(1, 3)):
        if lines:
            del lines[rng.choice([0, rng.randrange(len(lines))])]


def repeat_lines(lines: list[bytes], rng: Random) -> None:
    for _ in range(rng.randint(1, 3)):
        at = rng.choice([0, rng.randrange(len(lines))])
        lines.insert(rng.randrange(len(lines)), lines[at])


def swap_lines(lines: list[bytes], rng: Random) -> None:
    one, two = rng.choice([0, rng.randrange(len(lines))]), rng.randrange(len(lines))
    lines[one], lines[two] = lines[two], lines[one]


def blank_lines(lines: list[bytes], rng: Random) -> None:
    for _ in range(rng.randint(1, 4)):
        lines.insert(rng.randrange(len(lines) + 1), rng.choice([b"", b" ", b"\r", b"\x0b", b",,,", b"\t\t\t"]))


def junk_header(lines: list[bytes], rng: Random) -> None:
    lines[0:0] = [
        rng.choice([b"# exported", b"a,b,c", b"Report; of; shop", b'"', b"\xe9", b"{}", b"user_id", b"\xe2\x80\xa8"])
    ] * rng.randint(1, 3)


def long_line(lines: list[bytes], rng: Random) -> None:
    at = rng.randrange(len(lines))
    lines[at] += rng.choice([b"x", b",", b'"', b"1", b"\t", b"{", b"["]) * rng.choice([100, 70_000, 200_000])


def marks(data: bytes, rng: Random) -> bytes:
    old = rng.choice([mark for mark in (b",", b"\t", b"::", b"|", b":", b'"', b"'", b" ") if mark in data] or [b"1"])
    return data.replace(old, rng.choice([b",", b";", b"\t", b"|", b"", b'"', b",,", b"\0"]), rng.choice([-1, -1, 1, 5]))


def numbers(data: bytes, rng: Random) -> bytes:
    at = rng.choice([place for place, byte in enumerate(data) if 48 <= byte < 58] or [0])
    huge = [
        b"9" * 40,
        b"-",
        b"1e308",
        b"1e999",
        b"nan",
        b"inf",
        b"0x7",
        b"99999999999999999999",
        b"-9223372036854775808",
        b"1.5",
        b"",
        b" ",
        b"2024-02-30",
    ]
    return data[:at] + rng.choice(huge) + data[at + rng.randint(0, 10) :]


def encodings(data: bytes, rng: Random) -> bytes:
    text = data.decode("utf-8", errors="replace")
    return text.encode(rng.choice(["latin-1", "utf-16", "utf-32", "utf-16-be", "utf-7", "cp037"]), errors="replace")


def line_ends(data: bytes, rng: Random) -> bytes:
    return data.replace(b"\n", rng.choice([b"\r", b"\r\n", b"\n\n", b"\n\r", b"\x0b", b"", b"\\n"]), rng.choice([-1, -1, 1, 5]))


BINARY: tuple[Damage, ...] = (flip_bits, truncate, cut_out, random_bytes, zeros, no_text, nothing)
TEXT: tuple[Damage, ...] = (
    *BINARY, marks, numbers, encodings, line_ends,
    *map(lines_damaged, (delete_lines, repeat_lines, swap_lines, blank_lines, junk_header, long_line)),
)  # fmt: skip


# ---- files


@dataclass(frozen=True)
class Target:
    """Whole files, the one of them that is damaged, and the recipe that reads them."""

    damaged: str
    files: dict[str, bytes]
    config: dict[str, Any]
    damages: tuple[Damage, ...] = TEXT
    rounds: int = 1
    inside: bool = False  # gzipped after the damage

    def write(self, folder: Path) -> None:
        """The whole files."""
        for name, data in self.files.items():
            (folder / name).write_bytes(packed(data) if self.inside and name == self.damaged else data)

    def settings(self) -> DataConfig:
        """The recipe."""
        return DataConfig(**{"min_item_events": 1, "min_session_events": 2, **self.config})


def packed(data: bytes) -> bytes:
    """Gzipped, always to the same bytes."""
    return gzip.compress(data, mtime=0)


def parquet(frame: pl.DataFrame, folder: Path, **how: Any) -> bytes:
    frame.write_parquet(folder / "frame.parquet", **how)
    return (folder / "frame.parquet").read_bytes()


def text(*lines: object) -> bytes:
    return ("\n".join(map(str, lines)) + "\n").encode()


def reviews(user: str, item: str, rating: str, time: str, unit: int) -> bytes:
    return text(*(json.dumps({user: f"u{u}", item: f"i{i}", rating: 4.5, time: t * unit, "extra": [1]}) for u, i, t, _ in ROWS))


TABLE = {"events": "log.csv", "items": "items.csv", "columns": {"event": "kind"}, "text": "{title}, {price}"}
CSV = {"log.csv": EVENTS.encode(), "items.csv": ITEMS.encode()}
EXPORT = text(
    "username,artist,track,album,date,time",
    *(f'u{u},"Artist, {i}",Song é {i},Album,{1 + u} Jan 2021,{10 + t % 10}:36' for u, i, t, _ in ROWS),
)
THOUSAND = text(
    *(
        f'user_{u:06}\t2009-05-{1 + u:02}T23:08:{t % 60:02}Z\tm{i}\tArtist "{i}\t{"t" + str(i) if i % 2 else ""}\tSong {i}'
        for u, i, t, _ in ROWS
    )
)
SCROBBLES = text(*(f'"Artist, {i}",Album,Song {i},{1 + u} Jan 2021 {10 + t % 10}:36' for u, i, t, _ in ROWS))
ML_100K = {
    "u.data": text(*(f"{u + 1}\t{i + 1}\t{1 + i}\t{t}" for u, i, t, _ in ROWS)),
    "u.item": "".join(f"{i}|Thing é, The (199{i})|01-Jan-1995||http://x|{'|'.join('01' * 9)}|1\n" for i in range(1, 6)).encode(
        "latin-1"
    ),
}
ML_1M = {
    "ratings.dat": text(*(f"{u + 1}::{i + 1}::{1 + i}::{t}" for u, i, t, _ in ROWS)),
    "movies.dat": "".join(f"{i}::Thing é: Two (199{i})::Comedy|Drama\n" for i in range(1, 6)).encode("latin-1"),
}
ML_25M = {
    "ratings.csv": text("userId,movieId,rating,timestamp", *(f"{u + 1},{i + 1},{1 + i}.5,{t}" for u, i, t, _ in ROWS)),
    "movies.csv": text("movieId,title,genres", *(f'{i},"Thing, The (199{i})",Comedy|Drama' for i in range(1, 6))),
}
RECBOLE = {
    "shop.inter": text(
        "user_id:token\titem_id:token\trating:float\ttimestamp:float", *(f"u{u}\ti{i}\t{i}\t{t}.0" for u, i, t, _ in ROWS)
    ),
    "shop.item": text("item_id:token\tname:token_seq\tprice:float", *(f'i{i}\tThing "{i}\t{i}.5' for i in range(5))),
}
RETAIL = {
    "events.csv": text("timestamp,visitorid,event,itemid,transactionid", *(f"{t * 1000},{u},view,{i}," for u, i, t, _ in ROWS)),
    "item_properties_part1.csv": text(
        "timestamp,itemid,property,value", *(f"{START}000,{i},categoryid,{i % 2}" for i in range(5)), f"{START}000,1,available,1"
    ),
    "category_tree.csv": text("categoryid,parentid", "0,7", "1,"),
}
YOOCHOOSE = {
    "yoochoose-clicks.dat": text(*(f"{u},2014-04-07T10:{u:02}:{t % 60:02}.527Z,{i},{i % 3}" for u, i, t, _ in ROWS)),
    "yoochoose-buys.dat": text(*(f"{u},2014-04-07T11:{u:02}:00.000Z,{u % 7},1046,1" for u in range(8))),
}
AMAZON_2014 = {
    "reviews_Books_5.json": reviews("reviewerID", "asin", "overall", "unixReviewTime", 1),
    "meta_Books.json": text(
        *(
            {"asin": f"i{i}", "title": f"Thing's {i}", "categories": [["Books", "x"]], "related": {"also_bought": ["a"]}}
            for i in range(5)
        )
    ),
}
AMAZON_2018 = {
    "Books_5.json": AMAZON_2014["reviews_Books_5.json"],
    "meta_Books.json": text(
        *(
            json.dumps({"asin": f"i{i}", "title": f"Thing {i}", "category": ["B", "x"], "description": [["a"], 1], "price": i})
            for i in range(5)
        )
    ),
}
AMAZON_2023 = {
    "Books.jsonl": reviews("user_id", "parent_asin", "rating", "timestamp", 1000),
    "meta_Books.jsonl": text(
        *(json.dumps({"parent_asin": f"i{i}", "title": f"Thing {i}", "store": None, "categories": []}) for i in range(5))
    ),
}


def known(layout: str, files: dict[str, bytes], events: str, **settings: Any) -> list[Target]:
    """Every file of a known data set in turn."""
    return [Target(name, files, {"format": layout, "events": events, **settings}) for name in files]


TARGETS = {
    f"{target.config.get('format', 'table')}: {target.damaged}{' inside' if target.inside else ''}": target
    for target in [
        Target("log.csv", CSV, TABLE, rounds=4),
        Target("items.csv", CSV, TABLE, rounds=2),
        Target("log.tsv", {**CSV, "log.tsv": EVENTS.replace(",", "\t").encode()}, {**TABLE, "events": "log.tsv"}),
        Target("log.csv.gz", {**CSV, "log.csv.gz": packed(EVENTS.encode())}, {**TABLE, "events": "log.csv.gz"}, BINARY, 4),
        Target("log.csv.gz", {**CSV, "log.csv.gz": EVENTS.encode()}, {**TABLE, "events": "log.csv.gz"}, inside=True),
        *known("movielens", ML_100K, "u.data"),
        *known("movielens", ML_1M, "ratings.dat"),
        *known("movielens", ML_25M, "ratings.csv", min_rating=2),
        *known("recbole", RECBOLE, "shop.inter"),
        *known("retailrocket", RETAIL, "events.csv"),
        *known("yoochoose", YOOCHOOSE, "."),
        *known("amazon", AMAZON_2014, "reviews_Books_5.json"),
        *known("amazon", AMAZON_2018, "Books_5.json"),
        *known("amazon", AMAZON_2023, "Books.jsonl"),
        Target("meta_Books.json.gz", {**AMAZON_2018, "meta_Books.json.gz": packed(AMAZON_2018["meta_Books.json"])},
               {"format": "amazon", "events": "Books_5.json", "items": "meta_Books.json.gz"}, BINARY, 2),
        Target("export.csv", {"export.csv": EXPORT}, {"format": "lastfm", "events": "export.csv"}),
        Target("me.csv", {"me.csv": SCROBBLES}, {"format": "lastfm", "events": "me.csv", "max_session_events": 9}),
        Target("userid-timestamp-artid-artname-traid-traname.tsv", {"userid-timestamp-artid-artname-traid-traname.tsv": THOUSAND},
               {"format": "lastfm", "events": "."}),
    ]
}  # fmt: skip


def damaged(target: Target) -> list[tuple[str, bytes]]:
    """What is said of the damage if it is not survived, and the damaged file."""
    made = []
    for seed in range(target.rounds):
        for number, damage in enumerate(target.damages):
            data = damage(target.files[target.damaged], Random(f"{target.damaged}/{number}/{seed}"))
            made.append((f"{target.damaged}, damage {number} ({damage.__name__}), seed {seed}", data))
    return made


def surprise(error: BaseException) -> str:
    """What is wrong with an error: nothing if it is one sentence for the user."""
    if not isinstance(error, LearecError):
        return f"{type(error).__name__}: {error}"
    lines = str(error).splitlines()
    return "" if len(lines) == 1 and len(lines[0]) < 3000 else f"not one sentence: {str(error)[:300]!r}"


@pytest.mark.parametrize("name", TARGETS)
def test_a_whole_file_is_read(tmp_path, name):
    """The files that are damaged below are good."""
    TARGETS[name].write(tmp_path)
    assert read(TARGETS[name].settings(), 0, tmp_path).notes["steps"] > 8


@pytest.mark.parametrize("name", TARGETS)
def test_a_damaged_file_is_read_or_refused_in_one_sentence(tmp_path, name):
    target = TARGETS[name]
    target.write(tmp_path)
    surprises = []
    for what, data in damaged(target):
        (tmp_path / target.damaged).write_bytes(packed(data) if target.inside else data)
        try:
            read(target.settings(), 0, tmp_path)
        except BaseException as error:
            if wrong := surprise(error):
                surprises.append(f"{what}: {wrong}")
    assert not surprises, "\n".join(surprises)


PARQUET_ROUNDS = 12


@pytest.fixture(scope="module")
def other_process():
    """A process that reads files for this one."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.mark.parametrize("compression", ["zstd", "uncompressed"])
@pytest.mark.parametrize("name", ["log.parquet", "items.parquet"])
def test_a_damaged_parquet_file_is_read_or_refused_in_one_sentence(tmp_path, other_process, name, compression):
    events = pl.DataFrame([(f"u{u}", f"i{i}", *rest) for u, i, *rest in ROWS], schema=HEADER.split(","), orient="row")
    items = pl.read_csv(ITEMS.encode())
    files = {
        "log.parquet": parquet(events, tmp_path, compression=compression),
        "items.parquet": parquet(items, tmp_path, compression=compression),
    }
    config = {**TABLE, "events": "log.parquet", "items": "items.parquet"}
    target, surprises = Target(name, files, config, BINARY, PARQUET_ROUNDS), []
    target.write(tmp_path)
    assert other_process.submit(read, target.settings(), 0, tmp_path).result().notes["steps"] == len(ROWS)
    for what, data in damaged(target):
        (tmp_path / name).write_bytes(data)
        error = other_process.submit(read, target.settings(), 0, tmp_path).exception()
        if error is not None and (wrong := surprise(error)):
            surprises.append(f"{what}: {wrong}")
    assert not surprises, "\n".join(surprises)


def test_there_are_hundreds_of_damaged_files_and_some_of_them_are_still_read(tmp_path):
    """So that the tests above cannot come down to refusing everything."""
    assert sum(len(damaged(target)) for target in TARGETS.values()) > 400
    target = TARGETS["table: log.csv"]
    target.write(tmp_path)
    outcomes = []
    for _, data in damaged(target):
        (tmp_path / target.damaged).write_bytes(data)
        try:
            outcomes.append(read(target.settings(), 0, tmp_path).notes["steps"] > 0)
        except LearecError:
            outcomes.append(False)
    assert 5 < sum(outcomes) < len(outcomes) - 20
