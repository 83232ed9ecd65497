"""Histories of users: what is acknowledged is kept, whatever is killed, and what is forgotten is gone."""

import json
import sqlite3
import threading
import time

import httpx
import pytest

from learec.errors import ConfigError
from learec.serving.histories import open_histories
from learec.serving.limits import KEPT_EVENTS
from learec.serving.messages import Event
from learec.serving.problems import Problem


@pytest.fixture(params=["sqlite", "redis"])
def place(request, tmp_path):
    """Where histories are kept: a file, or a Redis server."""
    return str(tmp_path / "histories.db") if request.param == "sqlite" else request.getfixturevalue("redis").url


@pytest.fixture
def histories(place):
    opened = open_histories(place)
    yield opened
    opened.close()


def events(user_id, *item_ids, kind=None):
    return [Event(user_id=user_id, item_id=item_id, event=kind) for item_id in item_ids]


def test_a_users_events_come_back_oldest_first_and_no_one_elses(histories):
    histories.add(events("ann", "a", "b") + events("bob", "c"))
    histories.add(events("ann", "a", kind="purchase"))
    assert (histories.newest("ann"), histories.newest("bob"), histories.newest("eve")) == (["a", "b", "a"], ["c"], [])


def test_names_may_hold_anything(histories):
    for name in ("a:b", "ü/ñ 東京", "' OR 1=1 --", "*", "a\nb\x00c"):
        histories.add(events(name, name))
        assert histories.newest(name) == [name]


def test_only_the_newest_events_of_a_user_are_kept(histories):
    histories.add(events("ann", *map(str, range(KEPT_EVENTS))) + events("bob", "x"))
    histories.add(events("ann", "new", "newer"))
    kept = histories.newest("ann")
    assert (len(kept), kept[0], kept[-2:]) == (KEPT_EVENTS, "2", ["new", "newer"])
    assert histories.newest("bob") == ["x"]


def test_who_is_forgotten_is_gone_and_the_others_stay(histories):
    histories.add(events("ann", "a", "b") + events("bob", "c"))
    assert (histories.forget("ann"), histories.forget("ann")) == (2, 0)
    assert (histories.newest("ann"), histories.newest("bob")) == ([], ["c"])


def test_events_outlive_the_store(place):
    for round_ in range(2):
        opened = open_histories(place)
        opened.add(events("ann", str(round_)))
        opened.close()
    opened = open_histories(place)
    assert opened.newest("ann") == ["0", "1"]
    opened.close()


def test_nothing_of_a_forgotten_user_is_left_in_the_files(tmp_path):
    histories = open_histories(str(tmp_path / "histories.db"))
    histories.add(events("forgotten-user", "item-of-the-forgotten"))
    histories.add(events("bob", "item-of-bob"))

    def content():
        return b"".join(path.read_bytes() for path in tmp_path.iterdir())

    assert b"forgotten" in content()
    histories.forget("forgotten-user")
    assert b"forgotten" not in content() and b"item-of-bob" in content()
    histories.close()


def test_sqlite_syncs_its_log_at_every_commit(tmp_path):
    histories = open_histories(str(tmp_path / "histories.db"))
    pragmas = {name: histories._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")}
    assert pragmas == {"journal_mode": "wal", "synchronous": 2}
    histories.close()


def test_events_that_cannot_be_kept_leave_nothing_behind(tmp_path):
    path = tmp_path / "histories.db"
    histories = open_histories(str(path))
    histories.add(events("ann", "a"))
    with sqlite3.connect(path) as other:
        other.execute("CREATE TRIGGER full BEFORE INSERT ON events WHEN NEW.item_id = 'c' BEGIN SELECT RAISE(ABORT, 'full'); END")
    with pytest.raises(Problem, match="full") as refused:
        histories.add(events("ann", "b", "c"))
    assert refused.value.status == 503
    assert histories.newest("ann") == ["a"]
    histories.add(events("ann", "d"))
    assert histories.newest("ann") == ["a", "d"]
    histories.close()


@pytest.mark.parametrize("content", [b"not a database, but a text that is long enough to be one" * 20, None])
def test_a_file_of_something_else_is_refused_and_left_alone(tmp_path, content):
    path = tmp_path / "other"
    if content is None:
        with sqlite3.connect(path) as other:
            other.execute("CREATE TABLE customers (name TEXT)")
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=f"--histories {path}: not usable"):
        open_histories(str(path))
    assert path.read_bytes() == before


def test_no_redis_at_the_url_is_said_without_its_password():
    with pytest.raises(ConfigError, match="no Redis answers there") as refused:
        open_histories("redis://user:secret@127.0.0.1:1/0")
    assert "secret" not in str(refused.value)


def test_how_durable_redis_is_is_said_at_the_start(redis):
    histories = open_histories(redis.url)
    assert histories.described.endswith("(appendonly yes, appendfsync always)")
    histories._redis.config_set("appendonly", "no")
    assert "a crash of it loses events" in open_histories(redis.url).described


def test_without_the_option_no_history_is_kept(exported_run, start):
    server = start(exported_run, "--agents", "sasrec")
    for reply in (
        server.post("/events", {"user_id": "ann", "item_id": "x"}),
        server.get("/users/ann/recommendations"),
        server.client.delete("/users/ann"),
    ):
        assert reply.status_code == 404
        assert "start `learec serve` with --histories" in reply.json()["error"]


def test_a_users_recommendations_are_those_of_their_events(server, ids):
    assert server.post("/events", {"user_id": "u/1", "item_id": ids[3]}).status_code == 201
    several = [{"user_id": "u/1", "item_id": item_id, "event": "play"} for item_id in (ids[5], "gone", ids[4])]
    assert server.post("/events", {"events": several}).json() == {"stored": 3}
    reply = server.get("/users/u%2F1/recommendations?k=4&model=untied")
    found = reply.json()
    assert found["history"] == 4
    assert found["unknown"] == ["gone"]
    assert found["items"] == server.recommend([ids[3], ids[5], "gone", ids[4]], k=4, model="untied")["items"]
    assert reply.headers["X-Learec-Model"] == f"untied/0@{found['model']['version']}"


def test_a_forgotten_user_is_as_one_who_was_never_there(server, ids):
    server.post("/events", {"user_id": "gone", "item_id": ids[3]})
    assert server.client.delete("/users/gone").json() == {"forgotten": 1}
    found = server.get("/users/gone/recommendations?k=3").json()
    assert (found["history"], found["fallback"]) == (0, True)
    assert found["items"] == server.recommend([], k=3)["items"]


@pytest.mark.parametrize(
    "body",
    [{}, {"user_id": "a"}, {"user_id": "a", "item_id": 3}, {"user_id": "", "item_id": "x"}, {"events": []}, {"events": [{}]},
     {"user_id": "a", "item_id": "x", "price": 3}, {"events": [{"user_id": "a", "item_id": "x"}] * 1001}, [], None],
)  # fmt: skip
def test_events_that_are_none_are_refused(server, body):
    assert server.post("/events", body).status_code == 422


def test_a_web_page_of_another_host_cannot_send_events(server):
    # Without asking first, a browser sends text/plain and forms to other hosts, and never application/json.
    body = json.dumps({"user_id": "victim", "item_id": "x"})
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        assert server.client.post("/events", content=body, headers={"Content-Type": kind}).status_code == 415
    assert server.get("/users/victim/recommendations").json()["history"] == 0


def write_until_killed(server, killed):
    """Four clients that send events one after the other: what was acknowledged to each, and how many were sent in all."""
    acknowledged = [0] * 4

    def send(user):
        with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=5) as client:
            while not killed.is_set() and acknowledged[user] < KEPT_EVENTS - 1:
                try:
                    reply = client.post("/events", json={"user_id": f"user-{user}", "item_id": str(acknowledged[user])})
                except httpx.TransportError:
                    return
                if reply.status_code == 201:
                    acknowledged[user] += 1

    threads = [threading.Thread(target=send, args=(user,)) for user in range(4)]
    for thread in threads:
        thread.start()
    return acknowledged, threads


def test_kill_9_loses_no_acknowledged_event(exported_run, start, place):
    killed = threading.Event()
    server = start(exported_run, "--agents", "sasrec", "--histories", place)
    acknowledged, threads = write_until_killed(server, killed)
    time.sleep(1.5)
    server.kill()
    killed.set()
    for thread in threads:
        thread.join()
    assert min(acknowledged) > 5
    again = start(exported_run, "--agents", "sasrec", "--histories", place)
    for user, count in enumerate(acknowledged):
        kept = again.get(f"/users/user-{user}/recommendations").json()
        assert kept["history"] in (count, count + 1)  # the last one may be on disk without its reply
    again.stop()
    histories = open_histories(place)
    for user, count in enumerate(acknowledged):
        assert histories.newest(f"user-{user}")[:count] == [str(number) for number in range(count)]
    histories.close()


def test_a_redis_that_is_killed_loses_nothing_and_is_used_again_when_it_is_back(exported_run, start, redis):
    server = start(exported_run, "--agents", "sasrec", "--histories", redis.url)
    killed = threading.Event()
    acknowledged, threads = write_until_killed(server, killed)
    time.sleep(1)
    redis.kill()
    reply = server.post("/events", {"user_id": "late", "item_id": "x"})
    assert reply.status_code == 503 and reply.headers["Retry-After"] == "1"
    assert "Redis does not answer" in reply.json()["error"]
    assert server.get("/users/late/recommendations").status_code == 503
    assert server.post("/recommend", {"history": []}).status_code == 200
    killed.set()
    for thread in threads:
        thread.join()
    redis.start()
    assert server.post("/events", {"user_id": "late", "item_id": "y"}).status_code == 201
    assert min(acknowledged) > 5
    for user, count in enumerate(acknowledged):
        assert server.get(f"/users/user-{user}/recommendations").json()["history"] in (count, count + 1)


def test_a_locked_file_is_waited_for_and_then_refused_and_the_model_goes_on(exported_run, start, tmp_path):
    path = tmp_path / "histories.db"
    server = start(exported_run, "--agents", "sasrec", "--histories", str(path))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    event = {"user_id": "ann", "item_id": "x"}
    replies = []
    blocked = threading.Thread(target=lambda: replies.append(httpx.post(f"http://127.0.0.1:{server.port}/events", json=event)))
    blocked.start()
    assert server.post("/recommend", {"history": []}).status_code == 200
    blocked.join(10)
    assert replies[0].status_code == 503 and "database is locked" in replies[0].json()["error"]
    other.execute("ROLLBACK")
    assert server.post("/events", event).status_code == 201
    assert server.get("/users/ann/recommendations").json()["history"] == 1
