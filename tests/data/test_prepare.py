"""prepare: what a log/ holds, what is refused, and what happens to files that change, on logs small enough to check by hand."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learec.artifacts import check_files, partial_folder, read_manifest
from learec.config import Columns, DataConfig
from learec.data import prepare as stage
from learec.data.log import MAKE_WITH, Part, load_log, load_times
from learec.data.prepare import Prepared, log_request, prepare, read
from learec.data.sources import Frames
from learec.errors import ArtifactError, DataError

CONFIG: dict[str, Any] = {"events": "log.csv", "items": "items.csv", "min_item_events": 1, "min_session_events": 2}
# (user, item, time, kind); times are out of order on purpose
LOG = [
    ("u", "b", 2, "view"),
    ("u", "a", 1, "view"),
    ("u", "b", 3, "buy"),
    ("v", "c", 1, "view"),
    ("v", "a", 2, "buy"),
    ("v", "b", 3, "view"),
    ("w", "a", 1, "view"),
    ("w", "d", 2, "view"),
]
ITEMS = [("d", "Dee"), ("c", "Cee"), ("b", ""), ("a", "Ay"), ("z", "never seen")]
START = 1_700_000_000


def write(folder: Path, log: list = LOG, items: list = ITEMS) -> None:
    frame = pl.DataFrame(log, schema=["user_id", "item_id", "timestamp", "kind"], orient="row")
    frame.write_csv(folder / "log.csv")
    pl.DataFrame(items, schema=["item_id", "title"], orient="row").write_csv(folder / "items.csv")


@pytest.fixture
def prepared(tmp_path) -> Callable[..., Prepared]:
    """Reads the log above, or another, with some settings changed."""

    def make(log: list = LOG, items: list = ITEMS, **changed: Any) -> Prepared:
        write(tmp_path, log, items)
        return read(DataConfig(**{**CONFIG, **changed}), 0, tmp_path)

    return make


def sessions_of(made: Prepared) -> dict[str, list[str]]:
    """Item ids by session, in order."""
    ids = ["", *made.catalog["item_id"]]
    rows = np.split(made.arrays["items"], made.arrays["offsets"][1:-1])
    return {name: [ids[number] for number in row] for name, row in zip(made.sessions["session_id"], rows, strict=True)}


def parts_of(made: Prepared) -> list[int]:
    return [int(part) for part in made.arrays["parts"]]


def test_sessions_are_in_order_of_time_and_items_numbered_by_the_item_table(prepared):
    made = prepared()
    assert made.catalog.rows() == [("d", "Dee", "Dee"), ("c", "Cee", "Cee"), ("b", "", ""), ("a", "Ay", "Ay")]
    assert made.sessions.to_dict(as_series=False) == {
        "session_id": ["u", "v", "w"],
        "visit": ["u", "v", "w"],
        "user": ["u", "v", "w"],
    }
    assert made.arrays["offsets"].tolist() == [0, 3, 6, 8]
    assert made.arrays["items"].tolist() == [4, 3, 3, 2, 4, 3, 4, 1]  # u: a b b, v: c a b, w: a d
    assert made.arrays["times"].tolist() == [1, 2, 3, 1, 2, 3, 1, 2]
    assert parts_of(made) == [0, 1, 2, 0, 1, 2, 0, 0]
    assert made.notes == {
        "funnel": [
            {"step": "read", "events": 8, "users": 3, "items": 4},
            {"step": "core: items >= 1, sessions >= 2", "events": 8, "users": 3, "items": 4},
        ],
        "events": ["event"], "sessions": 3, "items": 4, "steps": 8, "items_without_text": 1, "steps_by_part": [4, 2, 2],
        "split": "leave_one_out", "cuts": [], "time_unit": "order",
        "caveats": [
            "1 items have no training step: 75.0% of the held-out steps, which only their text can predict "
            '(cold_items = "drop" in [data] leaves them out)'
        ],
    }  # fmt: skip


def test_an_item_that_only_filtered_events_have_is_not_in_the_catalog(prepared):
    assert prepared(min_session_events=3).catalog["item_id"].to_list() == ["c", "b", "a"]


def test_the_core_is_filtered_until_nothing_changes(prepared):
    # c and d have one event: without d, w has one event left; without w, a has two and stays.
    made = prepared(min_item_events=2)
    assert sessions_of(made) == {"u": ["a", "b", "b"], "v": ["a", "b"]}
    assert made.notes["funnel"][-1] == {"step": "core: items >= 2, sessions >= 2", "events": 5, "users": 2, "items": 2}


def test_a_repeat_that_is_dropped_is_the_later_one_and_does_not_count_for_the_core(prepared):
    visits = {"u": "xqrrzx", "v": "xqzr", "w": "xqz"}
    log = [(user, item, time, "view") for user, items in visits.items() for time, item in enumerate(items)]
    items = [(item, "") for item in "qrxz"]
    kept, dropped = (prepared(log, items, repeats=repeats, min_item_events=3) for repeats in ("keep", "drop"))
    assert sessions_of(kept) == {"u": list("xqrrzx"), "v": list("xqzr"), "w": list("xqz")}
    assert sessions_of(dropped) == {"u": list("xqz"), "v": list("xqz"), "w": list("xqz")}  # r came from two users only
    assert [(row["step"], row["events"]) for row in dropped.notes["funnel"][:2]] == [("read", 13), ("repeats dropped", 11)]


def test_rewards_are_looked_up_by_the_kind_of_event(prepared):
    made = prepared(columns=Columns(event="kind"), rewards={"view": 0.25, "buy": 1.0, "return": -1.0})
    assert made.notes["events"] == ["buy", "view"]
    assert made.arrays["events"].tolist() == [1, 1, 0, 1, 0, 1, 1, 1]
    assert made.arrays["rewards"].tolist() == [0.25, 0.25, 1.0, 0.25, 1.0, 0.25, 0.25, 0.25]


def test_without_a_table_of_rewards_every_event_is_worth_one(prepared):
    made = prepared(columns=Columns(event="kind"))
    assert made.notes["events"] == ["buy", "view"]
    assert made.arrays["rewards"].tolist() == [1.0] * 8


def test_kinds_that_are_not_wanted_need_no_reward_and_are_counted_in_the_funnel(prepared):
    made = prepared(columns=Columns(event="kind"), kinds=("view",), rewards={"view": 0.5}, split="by_session", held_out=0.4)
    assert sessions_of(made) == {"u": ["a", "b"], "v": ["c", "b"], "w": ["a", "d"]}
    assert made.notes["events"] == ["view"]
    assert made.notes["funnel"][1] == {"step": "kinds view", "events": 6, "users": 3, "items": 4}


def test_a_kind_without_a_reward_is_refused_with_the_key_to_add(prepared):
    with pytest.raises(
        DataError, match=r"log\.csv: events of kind 'buy' have no reward; add it to \[data\.rewards\] in the recipe"
    ):
        prepared(columns=Columns(event="kind"), rewards={"view": 0.25})


def test_a_kind_that_the_log_does_not_have_is_refused_with_the_one_that_is_meant(prepared):
    with pytest.raises(DataError, match=r"log\.csv: no event of kind 'veiw', which kinds in \[data\] names; did you mean view\?"):
        prepared(columns=Columns(event="kind"), kinds=("veiw",))


def test_items_without_a_row_are_counted_and_the_first_is_named(prepared):
    with pytest.raises(DataError, match=r"log\.csv: 2 items have no row in .*items\.csv, first 'b'; add them to the item table"):
        prepared(items=[("a", "Ay"), ("d", "Dee")])


def test_items_of_events_that_are_left_out_as_they_are_read_need_no_row(prepared):
    log = [*LOG, ("u", "unknown", 9, "impression")]
    assert prepared(log, columns=Columns(event="kind"), kinds=("view", "buy")).notes["steps"] == 8


def test_the_item_tables_own_name_of_its_ids_is_in_what_is_said_of_them(tmp_path):
    (tmp_path / "log.csv").write_text("user_id,sku,timestamp\nu,a,1\n")
    (tmp_path / "items.csv").write_text("sku,title\na,Ay\n,Bee\n")
    with pytest.raises(DataError, match=r"items\.csv: column 'sku': 1 empty ids, first in row 2"):
        read(DataConfig(**CONFIG, columns={"item": "sku"}), 0, tmp_path)


def test_a_filter_that_leaves_nothing_is_refused_with_the_settings_to_lower(prepared):
    with pytest.raises(
        DataError, match=r"nothing is left of 8 events when items need 9 events and sessions 2; lower min_item_events"
    ):
        prepared(min_item_events=9)


def test_ratings_that_leave_nothing_are_refused_with_the_limit(prepared):
    with pytest.raises(DataError, match=r"log\.csv: nothing is left of 8 events \(rating >= 7\); change that in \[data\]"):
        prepared(columns=Columns(rating="timestamp"), min_rating=7)


# ---- splits


def test_real_times_are_split_at_two_points_in_time_unless_the_recipe_says_otherwise(prepared):
    log = [(user, item, START + time, kind) for user, item, time, kind in LOG]
    made = prepared(log, held_out=0.25)
    # Of 8 events those from the 5th on (second 2) are held out, those from the 7th on (second 3) are for test.
    assert (made.notes["split"], made.notes["cuts"], made.notes["time_unit"]) == (
        "global_time",
        [START + 2, START + 3],
        "seconds",
    )
    assert parts_of(made) == [0, 1, 2, 0, 1, 2, 0, 1]
    assert prepared(log, split="leave_one_out").notes["split"] == "leave_one_out"


def test_a_split_by_time_needs_real_times(prepared):
    with pytest.raises(DataError, match=r"log\.csv: split global_time needs real times, .*; set split = \"leave_one_out\""):
        prepared(split="global_time")


def test_a_given_split_is_taken_as_it_is_and_gets_a_validation_part_if_it_has_none(prepared):
    columns, items = Columns(split="kind"), [(item, "") for item in "abcdef"]
    given = [
        ("u", item, number, part)
        for number, (item, part) in enumerate(zip("abcdef", ["train"] * 3 + ["valid"] + ["test"] * 2, strict=True))
    ]
    assert parts_of(prepared(given, items, columns=columns, split="column")) == [0, 0, 0, 1, 2, 2]
    without = [(*row[:3], "train" if row[3] == "valid" else row[3]) for row in given]
    assert parts_of(prepared(without, items, columns=columns, split="column")) == [0, 0, 0, 1, 2, 2]


def test_a_format_without_parts_cannot_be_split_by_them(tmp_path):
    (tmp_path / "events.csv").write_text(
        "timestamp,visitorid,event,itemid,transactionid\n" + "".join(f"{n},u,view,{n},\n" for n in range(9))
    )
    config = DataConfig(format="retailrocket", events="events.csv", split="column", min_item_events=1)
    with pytest.raises(DataError, match='split = "column", but no column of the source says the part; choose another split'):
        read(config, 0, tmp_path)


def test_held_out_events_of_cold_items_are_kept_or_dropped_with_sessions_that_lose_all(prepared):
    words = ["ua", "ub", "va", "vb", "wx", "wa", "yx", "yx", "zb", "zy"]  # user and item, second by second
    log = [(user, item, START + second, "view") for second, (user, item) in enumerate(words)]
    items = [(item, "") for item in "abxy"]
    kept = prepared(log, items, held_out=0.3)
    assert sessions_of(kept) == {"u": ["a", "b"], "v": ["a", "b"], "w": ["x", "a"], "y": ["x", "x"], "z": ["b", "y"]}
    assert parts_of(kept) == [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]
    dropped = prepared(log, items, held_out=0.3, cold_items="drop")
    assert sessions_of(dropped) == {"u": ["a", "b"], "v": ["a", "b"], "w": ["a"], "z": ["b"]}
    assert parts_of(dropped) == [0, 0, 0, 0, 1, 2]
    assert dropped.catalog["item_id"].to_list() == ["a", "b"]
    assert dropped.notes["funnel"][-1] == {"step": "cold items dropped", "events": 6, "users": 4, "items": 2}


def test_sessions_of_one_visit_are_told_apart_and_keep_their_user(tmp_path):
    frame = pl.DataFrame(
        [(user, visit, item, START + 1000 * number + 10 * step) for user in "uv" for visit in "st"
         for number in range(2) for step, item in enumerate("abc")],
        schema=["user_id", "visit", "item_id", "timestamp"], orient="row",
    )  # fmt: skip
    config = DataConfig(events="log", columns={"session": "visit"}, session_gap=60, min_item_events=1, split="leave_one_out")
    made = read(config, 0, Frames(frame))
    assert made.sessions.rows() == [
        ("u/s", "u/s", "u"), ("u/s#2", "u/s", "u"), ("u/t", "u/t", "u"), ("u/t#2", "u/t", "u"),
        ("v/s", "v/s", "v"), ("v/s#2", "v/s", "v"), ("v/t", "v/t", "v"), ("v/t#2", "v/t", "v"),
    ]  # fmt: skip
    assert [(row["step"], row["users"]) for row in made.notes["funnel"]] == [
        ("read", 2), ("cut into 8 sessions", 2), ("core: items >= 1, sessions >= 3", 2),
    ]  # fmt: skip


def test_sessions_have_names_of_their_own_though_a_user_is_called_like_anothers_second_session(prepared):
    log = [
        (user, item, START + 1000 * n + second, "view")
        for user in ("u", "u#2")
        for n in range(2)
        for second, item in enumerate("abc")
    ]
    made = prepared(log, [(item, "") for item in "abc"], session_gap=60, split="leave_one_out")
    assert made.sessions["session_id"].to_list() == ["u", "u##2", "u#2", "u#2##2"]
    assert made.sessions["user"].to_list() == ["u", "u", "u#2", "u#2"]


def test_a_split_that_leaves_nothing_to_test_on_is_refused_with_what_it_needs(prepared):
    pairs = [(user, item, time, "view") for user in "uvw" for time, item in enumerate("ab")]
    for changed, needs in {
        (): r"split leave_one_out of 3 sessions leaves \[6, 0, 0\] steps .*, but needs a session of at least three events: give",
        (("split", "by_session"),): r"split by_session of 3 sessions leaves \[6, 0, 0\] steps .*, but needs at least 10 sessions",
        (("split", "by_session"), ("held_out", 0.2)): "needs at least 5 sessions: give more events",
    }.items():
        with pytest.raises(DataError, match=needs):
            prepared(pairs, **dict(changed))
    same = [(user, item, START, kind) for user, item, _, kind in LOG]
    with pytest.raises(
        DataError, match=r"split global_time of 3 sessions leaves \[0, 0, 8\] .* needs newest events of different times"
    ):
        prepared(same)
    given = [(user, item, time, "train") for user, item, time, _ in LOG]
    with pytest.raises(DataError, match=r"split column of 3 sessions leaves \[8, 0, 0\] .* needs rows of every part"):
        prepared(given, split="column", columns=Columns(split="kind"))


# ---- what is out of proportion, and works


def test_a_session_of_a_hundred_thousand_events_is_prepared(prepared):
    log = [("u", f"i{number % 7}", START + number, "view") for number in range(100_000)]
    made = prepared(
        [*log, ("v", "i0", START, "view"), ("v", "i1", START + 1, "view")], [(f"i{number}", "") for number in range(7)]
    )
    assert made.arrays["offsets"].tolist() == [0, 100_000, 100_002]
    assert made.arrays["items"][:9].tolist() == [1, 2, 3, 4, 5, 6, 7, 1, 2]
    assert made.notes["steps_by_part"] == [80_002 - 1, 10_000, 10_001]
    assert any("100,000 events" in caveat for caveat in made.notes["caveats"])


def test_a_user_with_half_of_the_log_is_prepared_and_told(prepared):
    log = [(f"u{user}", "ab"[step % 2], START + 100 * user + step, "view") for user in range(50) for step in range(10)]
    log += [("robot", "ab"[number % 2], START + 10 * number, "view") for number in range(500)]
    made = prepared(log)
    assert "user 'robot' has 50% of all events: a robot, or a default id?" in made.notes["caveats"]


def test_a_log_of_one_event_is_refused_and_not_more(prepared):
    with pytest.raises(DataError, match=r"log\.csv: nothing is left of 1 events when items need 1 events and sessions 2"):
        prepared(LOG[:1])


# ---- the folder


def test_a_prepared_log_is_read_back_as_it_was_made(tmp_path):
    write(tmp_path)
    config = DataConfig(**CONFIG)
    notes = prepare(config, 0, tmp_path, tmp_path / "log")
    manifest = read_manifest(tmp_path / "log", "log", MAKE_WITH)
    check_files(tmp_path / "log", manifest, MAKE_WITH)
    assert manifest.request == log_request(config, 0, tmp_path)
    assert manifest.notes == notes
    log = load_log(tmp_path / "log")
    assert log.sessions.items.tolist() == [4, 3, 3, 2, 4, 3, 4, 1]
    assert log.session_ids.to_list() == ["u", "v", "w"]
    assert log.catalog.numbers == {"d": 1, "c": 2, "b": 3, "a": 4}
    assert log.targets(Part.TEST).tolist() == [2, 5]
    assert load_times(tmp_path / "log").tolist() == [1, 2, 3, 1, 2, 3, 1, 2]


def test_preparing_twice_gives_the_same_bytes(tmp_path):
    write(tmp_path)
    for name in ("one", "two"):
        prepare(DataConfig(**CONFIG), 0, tmp_path, tmp_path / name)
    one, two = (read_manifest(tmp_path / name, "log", MAKE_WITH) for name in ("one", "two"))
    assert (one.files, one.digest) == (two.files, two.digest)


def test_a_log_that_is_refused_leaves_nothing_on_disk(tmp_path):
    write(tmp_path, items=[("a", "Ay")])
    with pytest.raises(DataError):
        prepare(DataConfig(**CONFIG), 0, tmp_path, tmp_path / "run" / "log")
    assert not (tmp_path / "run").exists()


def test_the_request_names_files_by_content_and_not_by_place(tmp_path):
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        write(tmp_path / name)
    here, there = (log_request(DataConfig(**CONFIG), 0, tmp_path / name) for name in ("here", "there"))
    assert here == there
    write(tmp_path / "there", LOG[:-1])
    assert log_request(DataConfig(**CONFIG), 0, tmp_path / "there").parents["events file"] != here.parents["events file"]


# ---- files that change, disks that fill


def while_read(monkeypatch: pytest.MonkeyPatch, change: Callable[[], object]) -> None:
    """Something that happens to the files after their digest was taken and before they have been read to the end."""
    encode = stage.encode

    def changed(*arguments: Any) -> Any:
        change()
        return encode(*arguments)

    monkeypatch.setattr(stage, "encode", changed)


@pytest.mark.parametrize("name", ["log.csv", "items.csv"])
def test_a_file_that_grows_while_it_is_read_is_refused(tmp_path, monkeypatch, name):
    write(tmp_path)

    def grow() -> None:
        with (tmp_path / name).open("a") as file:
            file.write("u,a,4,view\n" if name == "log.csv" else "y,Why\n")

    while_read(monkeypatch, grow)
    with pytest.raises(DataError, match=rf"{name}: changed while it was read; wait until it is written and run again"):
        prepare(DataConfig(**CONFIG), 0, tmp_path, tmp_path / "run" / "log")
    assert not (tmp_path / "run").exists()


def test_a_file_that_is_written_anew_or_removed_while_it_is_read_is_refused(tmp_path, monkeypatch):
    for change in (lambda: write(tmp_path, LOG[::-1]), (tmp_path / "items.csv").unlink):
        write(tmp_path)
        with monkeypatch.context() as patch:
            while_read(patch, change)
            with pytest.raises(DataError, match="(log|items).csv: (changed while it was read|cannot be read)"):
                prepare(DataConfig(**CONFIG), 0, tmp_path, tmp_path / "run" / "log")
        assert not (tmp_path / "run").exists()


def test_a_file_that_joins_a_folder_while_it_is_read_is_left_for_the_next_time(tmp_path, monkeypatch):
    (tmp_path / "log").mkdir()
    rows = pl.DataFrame(LOG, schema=["user_id", "item_id", "timestamp", "kind"], orient="row")
    rows.write_parquet(tmp_path / "log" / "1.parquet")
    config = DataConfig(events="log", min_item_events=1, min_session_events=2)
    digests = stage.source_digests

    def joined(*arguments: Any) -> dict[str, str]:
        found = digests(*arguments)
        rows.write_parquet(tmp_path / "log" / "2.parquet")
        return found

    monkeypatch.setattr(stage, "source_digests", joined)
    notes = prepare(config, 0, tmp_path, tmp_path / "made")
    parents = read_manifest(tmp_path / "made", "log", MAKE_WITH).request.parents
    assert (notes["funnel"][0]["events"], list(parents)) == (8, ["events file"])
    monkeypatch.undo()
    assert list(log_request(config, 0, tmp_path).parents) == ["events file 1.parquet", "events file 2.parquet"]


@pytest.mark.parametrize("failing", ["write_ipc", "save"])
def test_a_disk_that_is_full_is_one_sentence_and_the_log_before_stays(tmp_path, monkeypatch, failing):
    write(tmp_path)
    prepare(DataConfig(**CONFIG), 0, tmp_path, tmp_path / "log")
    before = load_log(tmp_path / "log").digest

    def full(*_: Any, **__: Any) -> None:
        raise OSError("8000 requested and 3056 written")  # what numpy says

    monkeypatch.setattr(*((pl.DataFrame, failing) if failing == "write_ipc" else (np, failing)), full)
    sentence = (
        r"log: cannot be written \(8000 requested and 3056 written\); make room on the disk, or name another folder, and run"
    )
    with pytest.raises(ArtifactError, match=sentence):
        prepare(DataConfig(**{**CONFIG, "min_session_events": 3}), 0, tmp_path, tmp_path / "log")
    assert load_log(tmp_path / "log").digest == before
    assert not partial_folder(tmp_path / "log").exists()


# ---- what holds for every log


PAIRS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 7)), min_size=12, max_size=60)


@settings(max_examples=40, deadline=None)
@given(pairs=PAIRS, k=st.integers(1, 4), m=st.integers(2, 4))
def test_every_item_and_session_that_is_kept_has_enough_events(tmp_path_factory, pairs, k, m):
    folder = tmp_path_factory.mktemp("core")
    write(
        folder,
        [(f"u{user}", f"i{item}", time, "view") for time, (user, item) in enumerate(pairs)],
        [(f"i{n}", "") for n in range(8)],
    )
    try:
        made = read(DataConfig(**{**CONFIG, "min_item_events": k, "min_session_events": m}), 0, folder)
    except DataError as error:
        assert "nothing is left" in str(error) or "leaves" in str(error)
        return
    finally:
        shutil.rmtree(folder)
    assert np.bincount(made.arrays["items"])[1:].min() >= k
    assert len(np.bincount(made.arrays["items"])) == len(made.catalog) + 1, "numbers run from 1 to N"
    assert np.diff(made.arrays["offsets"]).min() >= m


def test_a_log_is_the_same_on_a_machine_with_more_cores(tmp_path: Path) -> None:
    """As polars holds them, strings lie in as many pieces as there were threads; a log's digest must not know."""
    rng = np.random.default_rng(0)
    items = rng.integers(0, 6000, 40_000)
    pl.DataFrame({"user_id": np.repeat(np.arange(4000), 10), "item_id": items, "timestamp": np.arange(40_000)}).write_parquet(
        tmp_path / "events.parquet"
    )
    titles = [f"a title of some length, number {number}" for number in range(6000)]
    pl.DataFrame({"item_id": np.arange(6000), "title": titles}).write_parquet(tmp_path / "items.parquet")
    data = '[data]\nevents = "events.parquet"\nitems = "items.parquet"\nmin_item_events = 1\n'
    (tmp_path / "recipe.toml").write_text(data + "[agents.sasrec]\n")
    found = []
    for threads in ("1", "5"):
        command = [sys.executable, "-m", "learec", "prepare", "recipe.toml", "--folder", threads]
        environment = {**os.environ, "POLARS_MAX_THREADS": threads, "OMP_NUM_THREADS": "1"}
        subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
        found.append(read_manifest(tmp_path / threads / "log", "log", "x").files)
    assert found[0] == found[1]
