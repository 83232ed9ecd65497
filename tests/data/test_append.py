"""prepare --append: new events join, nothing is renumbered, filters and splits stay what the recipe says."""

import numpy as np
import polars as pl
import pytest

from learec.agents.agent import Agent, save_agent
from learec.artifacts import building, file_digest
from learec.config import AgentConfig, AgentEntry, DataConfig
from learec.data.append import append
from learec.data.log import Part, load_log, load_times
from learec.data.prepare import prepare
from learec.errors import DataError

HOUR = 3600
START = 1_700_000_000
CONFIG = {
    "events": "log.csv", "items": "items.csv", "min_item_events": 2, "min_session_events": 2, "split": "leave_one_out",
    "columns": {"event": "kind"},
}  # fmt: skip
LOG = [("u", "a", 0), ("u", "b", 1), ("u", "c", 2), ("v", "a", 0), ("v", "b", 5), ("v", "c", 6), ("w", "a", 9), ("w", "z", 9)]
NEW = [("v", "d", 30), ("v", "a", 31), ("x", "d", 30), ("x", "b", 32), ("y", "rare", 30), ("u", "rare2", 30)]


def write(path, rows, kind="view"):
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    frame.with_columns(pl.col("timestamp") * HOUR + START, kind=pl.lit(kind)).write_csv(path)


@pytest.fixture
def grown(tmp_path):
    """Prepares LOG, appends NEW with some settings, and gives both logs."""

    def make(new=NEW, kind="view", **settings):
        write(tmp_path / "log.csv", LOG)
        write(tmp_path / "new.csv", new, kind)
        ids = ["d", "rare", "a", "b", "c", "z", "rare2"]  # d is above the old items: a fresh prepare would renumber them
        pl.DataFrame({"item_id": ids, "title": [f"Thing {name}" for name in ids]}).write_csv(tmp_path / "items.csv")
        config = DataConfig(**{**CONFIG, **settings})
        prepare(config, 0, tmp_path, tmp_path / "log")
        before = load_log(tmp_path / "log")
        titles, items = list(before.catalog.titles), np.array(before.sessions.items)
        ids_before = before.session_ids.to_list()
        append(config, 0, tmp_path / "new.csv", tmp_path / "items.csv", tmp_path / "log")
        after = load_log(tmp_path / "log")
        return (before.digest, titles, items, ids_before), after

    return make


def sessions_of(log) -> dict[str, list[str]]:
    rows = np.split(log.sessions.items, log.sessions.offsets[1:-1])
    return {name: [log.catalog.ids[number] for number in row] for name, row in zip(log.session_ids, rows, strict=True)}


def test_old_items_and_sessions_keep_their_numbers_and_new_ones_follow(grown):
    (_, titles, _, names), log = grown()
    assert titles == ["", "Thing a", "Thing b", "Thing c"]
    assert log.catalog.titles == [*titles, "Thing d"]
    assert log.session_ids.to_list() == [*names, "x"]


def test_a_known_users_events_go_on_in_their_session_and_a_new_users_make_one(grown):
    _, log = grown()
    assert sessions_of(log) == {"u": ["a", "b", "c"], "v": ["a", "b", "c", "d", "a"], "x": ["d", "b"]}


def test_rare_new_items_and_short_new_sessions_are_left_out_and_old_ones_are_not_judged_again(grown):
    _, log = grown(new=[("u", "c", 40), ("y", "rare", 30), ("y", "a", 31)])
    assert sessions_of(log)["u"] == ["a", "b", "c", "c"]
    assert "y" not in sessions_of(log)
    assert log.catalog.n_items == 3


def test_times_stay_in_order_even_when_new_events_are_older(grown, tmp_path):
    _, log = grown(new=[("v", "c", 1), ("v", "c", 99)])
    assert sessions_of(log)["v"] == ["a", "c", "b", "c", "c"]
    times = load_times(tmp_path / "log")
    assert all((np.diff(row) >= 0).all() for row in np.split(times, log.sessions.offsets[1:-1]))


def test_repeats_are_dropped_against_what_the_user_had_before(grown):
    _, log = grown(repeats="drop")
    assert sessions_of(log)["v"] == ["a", "b", "c", "d"]


def test_after_a_gap_a_known_users_events_make_a_new_session(grown):
    _, log = grown(session_gap=10 * HOUR, new=[("v", "a", 14), ("v", "b", 40), ("v", "c", 41), ("v", "a", 99), ("v", "c", 100)])
    assert sessions_of(log) == {"u": ["a", "b", "c"], "v": ["a", "b", "c", "a"], "v#2": ["b", "c"], "v#3": ["a", "c"]}


def test_the_split_is_that_of_the_whole_log(grown):
    _, log = grown()
    parts = dict(zip(log.session_ids, np.split(log.parts, log.sessions.offsets[1:-1]), strict=True))
    assert parts["v"].tolist() == [Part.TRAIN] * 3 + [Part.VALIDATION, Part.TEST]


def test_by_session_an_old_session_keeps_its_part(tmp_path):
    write(tmp_path / "log.csv", [(f"u{user:02d}", "ab"[step], step) for user in range(30) for step in range(2)])
    write(tmp_path / "new.csv", [(f"n{user:02d}", "ab"[step], step) for user in range(20) for step in range(2)])
    config = DataConfig(**{**CONFIG, "items": None, "split": "by_session"})
    prepare(config, 0, tmp_path, tmp_path / "log")
    before = np.array(load_log(tmp_path / "log").parts)
    append(config, 0, tmp_path / "new.csv", None, tmp_path / "log")
    after = load_log(tmp_path / "log").parts
    assert after[: len(before)].tolist() == before.tolist()
    assert np.bincount(after[len(before) :], minlength=3).tolist() == [32, 4, 4]


def test_a_new_kind_of_event_is_told_apart(grown):
    _, log = grown(kind="buy", rewards={"view": 0.25, "buy": 1.0})
    assert log.event_names == ["buy", "view"]
    assert log.sessions.rewards[-2:].tolist() == [1.0, 1.0]
    assert log.sessions.rewards[:3].tolist() == [0.25] * 3


def test_the_same_file_is_appended_once(grown, tmp_path):
    grown()
    before = file_digest(tmp_path / "log/manifest.json")
    with pytest.raises(DataError, match=r"new\.csv: was appended to .* already; name a file with new events"):
        append(DataConfig(**CONFIG), 0, tmp_path / "new.csv", tmp_path / "items.csv", tmp_path / "log")
    assert file_digest(tmp_path / "log/manifest.json") == before


def test_new_items_without_a_row_are_refused_and_the_log_stays(grown, tmp_path):
    _, log = grown()
    write(tmp_path / "more.csv", [("u", "unheard of", 50)])
    with pytest.raises(DataError, match=r"more\.csv: 1 items have no row in .*items\.csv, first 'unheard of'"):
        append(DataConfig(**CONFIG), 0, tmp_path / "more.csv", tmp_path / "items.csv", tmp_path / "log")
    assert load_log(tmp_path / "log").digest == log.digest


def test_an_agent_of_the_log_before_still_serves(grown, tmp_path):
    from learec.agents.train import agent_request
    from learec.serving.recommender import Recommender

    (digest, *_), log = grown()
    notes = {"n_items": 3, "state_size": 0}
    with building(
        tmp_path / "agents/a/seed-0", agent_request(AgentEntry("a", 0, AgentConfig(hidden_size=8)), digest, None), notes
    ) as partial:
        save_agent(Agent(AgentConfig(hidden_size=8), 3, 0), partial)
    assert digest in log.ancestors
    recommender = Recommender.load(tmp_path, "a")
    assert {item.item_id for item in recommender.recommend(["a"], 5).items} == {"b", "c"}
    assert recommender.recommend(["a", "d"], 5).unknown == ("d",), "item d joined the log after the agent was trained"


def test_new_items_join_their_category(tmp_path):
    write(tmp_path / "log.csv", LOG)
    write(tmp_path / "new.csv", NEW)
    ids = ["a", "b", "c", "d", "rare", "z", "rare2"]
    pl.DataFrame({"item_id": ids, "title": ids, "dept": ["x", "y", "x", "x", *"yyy"]}).write_csv(tmp_path / "items.csv")
    config = DataConfig(**CONFIG, category_column="dept")
    prepare(config, 0, tmp_path, tmp_path / "log")
    append(config, 0, tmp_path / "new.csv", tmp_path / "items.csv", tmp_path / "log")
    assert {name: found.tolist() for name, found in load_log(tmp_path / "log").catalog.members.items()} == {
        "x": [1, 3, 4],
        "y": [2],
    }


def test_appending_in_two_pieces_gives_what_one_piece_gives(grown, tmp_path):
    _, once = grown(min_item_events=1)
    write(tmp_path / "log.csv", LOG)
    config = DataConfig(**{**CONFIG, "min_item_events": 1})
    prepare(config, 0, tmp_path, tmp_path / "pieces")
    for number, rows in enumerate((NEW[:2], NEW[2:])):
        write(tmp_path / f"piece{number}.csv", rows)
        append(config, 0, tmp_path / f"piece{number}.csv", tmp_path / "items.csv", tmp_path / "pieces")
    twice = load_log(tmp_path / "pieces")
    assert len(twice.ancestors) == 2
    assert sessions_of(twice) == sessions_of(once)


def test_late_events_never_move_a_cut_back_over_what_was_learnt_from(tmp_path):
    write(tmp_path / "log.csv", [("u", "ab"[step % 2], step) for step in range(20)])
    write(tmp_path / "late.csv", [("u", "a", -step) for step in range(1, 30)])
    config = DataConfig(**{**CONFIG, "items": None, "split": "global_time"})
    cuts = prepare(config, 0, tmp_path, tmp_path / "log")["cuts"]
    assert cuts == [START + 16 * HOUR, START + 18 * HOUR]
    assert append(config, 0, tmp_path / "late.csv", None, tmp_path / "log")["cuts"] == cuts
    log, times = load_log(tmp_path / "log"), load_times(tmp_path / "log")
    assert times[log.parts == Part.TRAIN].max() < cuts[0] <= times[log.parts == Part.VALIDATION].min()
