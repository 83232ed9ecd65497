"""The log: histories by hand, what training is allowed to see, targets."""

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from learec.artifacts import building
from learec.config import DataConfig
from learec.data.log import ARRAYS, TABLES, Catalog, Log, Part, Sessions, load_catalog, load_log, load_times
from learec.data.prepare import prepare
from learec.data.sources import Frames
from learec.errors import ArtifactError

ITEMS = [5, 3, 5, 2, 4, 1, 1]
PARTS = [0, 0, 1, 2, 0, 0, 2]


@pytest.fixture
def sessions() -> Sessions:
    """Three sessions: 5 3 5 2, then 4, then 1 1."""
    return Sessions(np.array([0, 4, 5, 7]), np.array(ITEMS), np.arange(7) % 2, np.arange(7, dtype=np.float32))


@pytest.fixture
def log(sessions) -> Log:
    catalog = Catalog(pl.DataFrame({"item_id": list("abcde"), "title": list("ABCDE"), "text": [""] * 5}))
    return Log(catalog, sessions, np.array(PARTS, dtype=np.uint8), pl.Series(["u", "v", "w"]), ["view", "buy"], "digest")


def test_every_step_knows_its_session_and_its_place_in_it(sessions):
    assert (sessions.n_sessions, sessions.n_steps) == (3, 7)
    assert sessions.lengths.tolist() == [4, 1, 2]
    assert sessions.session_of.tolist() == [0, 0, 0, 0, 1, 2, 2]
    assert sessions.step_of.tolist() == [0, 1, 2, 3, 0, 0, 1]


def test_a_history_is_what_came_before_in_the_session_oldest_first_and_padded_on_the_right(sessions):
    items, lengths = sessions.histories(np.array([3, 0, 1, 6]), max_length=10)
    assert items.tolist() == [[5, 3, 5], [0, 0, 0], [5, 0, 0], [1, 0, 0]]
    assert lengths.tolist() == [3, 0, 1, 1]


def test_a_history_that_is_too_long_keeps_its_newest_items(sessions):
    items, lengths = sessions.histories(np.array([3, 2]), max_length=2)
    assert items.tolist() == [[3, 5], [5, 3]]
    assert lengths.tolist() == [2, 2]


def test_a_history_never_reaches_into_the_session_before(sessions):
    items, lengths = sessions.histories(np.array([4, 5]), max_length=3)
    assert items.tolist() == [[0], [0]]
    assert lengths.tolist() == [0, 0]


def test_histories_of_no_steps_have_no_rows(sessions):
    items, lengths = sessions.histories(np.array([], dtype=np.int64), max_length=3)
    assert items.shape == (0, 1)
    assert lengths.shape == (0,)


def test_select_keeps_the_steps_and_the_sessions_numbers_even_of_an_empty_one(sessions):
    chosen = sessions.select(np.array([True, False, True, False, False, True, True]))
    assert chosen.offsets.tolist() == [0, 2, 2, 4]
    assert chosen.items.tolist() == [5, 5, 1, 1]
    assert chosen.events.tolist() == [0, 0, 1, 0]
    assert chosen.rewards.tolist() == [0, 2, 5, 6]


def test_training_holds_no_step_of_another_part(log):
    assert log.training.items.tolist() == [5, 3, 4, 1]
    assert log.training.offsets.tolist() == [0, 2, 3, 4]
    assert log.training.rewards.tolist() == [0, 1, 4, 5]


def test_training_holds_no_held_out_step_of_a_real_log(small_log):
    held_out = small_log.parts != Part.TRAIN
    assert small_log.training.n_steps == (~held_out).sum()
    for session in range(small_log.sessions.n_sessions):
        start, stop = small_log.sessions.offsets[session : session + 2]
        kept = small_log.training.items[slice(*small_log.training.offsets[session : session + 2])]
        np.testing.assert_array_equal(kept, small_log.sessions.items[start:stop][~held_out[start:stop]])


def test_targets_are_the_steps_of_a_part_that_have_a_history(log, sessions):
    assert log.targets(Part.TEST).tolist() == [3, 6]
    assert log.targets(Part.VALIDATION).tolist() == [2]
    assert log.targets(Part.TRAIN).tolist() == [1]  # 0, 4 and 5 are first steps


def test_columns_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match=r"columns of different lengths: \[2, 3\]"):
        Sessions(np.array([0, 2]), np.array([1, 2, 3]), np.zeros(2), np.zeros(2, dtype=np.float32))


def test_the_catalog_counts_items_from_one_and_keeps_zero_for_padding(log):
    assert log.catalog.n_items == 5
    assert log.catalog.numbers == {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}
    assert (log.catalog.ids[0], log.catalog.titles[0], log.catalog.titles[2]) == ("", "", "B")


def test_blocks_hold_every_session_once_and_in_order(sessions):
    assert [block.tolist() for block in sessions.blocks(np.array([2, 0, 1]), 2)] == [[2, 0], [1]]


def test_a_log_whose_file_was_changed_is_not_opened(small_log, tmp_path):
    from learec.artifacts import request_for

    with building(tmp_path / "log", request_for("log", {}, {}), {"events": ["view"]}) as partial:
        for name in ARRAYS:
            np.save(partial / f"{name}.npy", np.array(ITEMS))
        for name in TABLES:
            (partial / name).touch()
    np.save(tmp_path / "log" / "items.npy", np.array(ITEMS[::-1]))
    with pytest.raises(ArtifactError, match=r"items\.npy: damaged .* run `learec prepare RECIPE`"):
        load_log(tmp_path / "log")


def test_seen_lists_everything_before_a_step_without_padding(sessions):
    rows, items = sessions.seen(np.array([3, 4, 6]))
    assert rows.tolist() == [0, 0, 0, 2]
    assert items.tolist() == [5, 3, 5, 1]


@pytest.fixture(scope="module")
def prepared_folder(tmp_path_factory) -> Path:
    """A prepared log of 20 users with 6 events each over 10 items."""
    rows = [
        (f"u{user}", f"i{(user * 3 + step * step) % 10}", 1_700_000_000 + 1000 * user + step)
        for user in range(20)
        for step in range(6)
    ]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    folder = tmp_path_factory.mktemp("prepared") / "log"
    prepare(DataConfig(events="log", min_item_events=1), 0, Frames(frame), folder)
    return folder


@pytest.mark.parametrize("where", [0.0, 0.3, 0.6, 0.999])
@pytest.mark.parametrize("name", [*(f"{array}.npy" for array in ARRAYS), *TABLES, "times.npy"])
def test_a_flipped_bit_in_any_file_is_noticed_when_it_is_opened(prepared_folder, tmp_path, name, where):
    folder = shutil.copytree(prepared_folder, tmp_path / "log")
    data = bytearray((folder / name).read_bytes())
    data[int(where * len(data))] ^= 4
    (folder / name).write_bytes(data)
    with pytest.raises(ArtifactError, match=rf"{name}: damaged \(its sha256 is not the manifest's\); delete .* and run `learec"):
        if name == "times.npy":
            load_times(folder)
        load_log(folder)


@pytest.mark.parametrize("name", [*(f"{array}.npy" for array in ARRAYS), *TABLES, "times.npy"])
def test_a_file_that_is_cut_short_or_gone_is_noticed_when_it_is_opened(prepared_folder, tmp_path, name):
    folder = shutil.copytree(prepared_folder, tmp_path / "log")
    (folder / name).write_bytes((folder / name).read_bytes()[:-1])
    with pytest.raises(ArtifactError, match=rf"{name}: damaged"):
        load_times(folder) if name == "times.npy" else load_log(folder)
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match=rf"{name}: missing; delete .* and run `learec prepare RECIPE`"):
        load_times(folder) if name == "times.npy" else load_log(folder)


@pytest.mark.parametrize("cut", [0, 1, 40, 400])
def test_a_manifest_that_is_not_whole_is_noticed(prepared_folder, tmp_path, cut):
    folder = shutil.copytree(prepared_folder, tmp_path / "log")
    (folder / "manifest.json").write_bytes((folder / "manifest.json").read_bytes()[:cut])
    with pytest.raises(ArtifactError, match=r"manifest\.json: damaged .*; delete the folder and run `learec prepare RECIPE`"):
        load_log(folder)


def test_categories_hold_their_items_in_ascending_order_and_no_item_without_one():
    table = pl.DataFrame({"item_id": list("abcde"), "title": [""] * 5, "category": ["tea", "tools", "", "tea", "tea"]})
    members = Catalog(table).members
    assert {name: numbers.tolist() for name, numbers in members.items()} == {"tea": [1, 4, 5], "tools": [2]}
    assert Catalog(table.drop("category")).members == {}


def test_the_catalog_opens_alone_and_knows_the_log_that_it_belongs_to(small_log_folder, small_log):
    catalog, digests = load_catalog(small_log_folder)
    assert catalog.ids == small_log.catalog.ids
    assert digests == (small_log.digest,)
