"""Histories of users that the service keeps: events as they come in, the newest of a user back. SQLite or Redis.

What `add` has returned for is on disk: in SQLite by an fsync of its write-ahead log, in Redis as far as the server is
configured to (appendonly, appendfsync). One thread uses a store, and many events share one commit.
"""

import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from learec.errors import ConfigError
from learec.serving.limits import KEPT_EVENTS
from learec.serving.messages import Event
from learec.serving.missing import libraries_for
from learec.serving.problems import busy

SCHEMES = ("redis://", "rediss://", "unix://")
MARK = 0x6C726563  # application_id of our SQLite files
TIMEOUT = 2.0  # seconds


class Histories(Protocol):
    """What keeps events. Every method raises Problem 503 when the store does not answer."""

    described: str

    def add(self, events: Sequence[Event]) -> None:
        """All of them or none; durable on return. Only a user's newest KEPT_EVENTS are kept."""
        ...

    def newest(self, user_id: str) -> list[str]:
        """Item ids of a user's events, oldest first; empty for a user who is not known."""
        ...

    def forget(self, user_id: str) -> int:
        """Delete a user's events: how many there were."""
        ...

    def close(self) -> None:
        """Nothing is used after it."""
        ...


def open_histories(place: str) -> Histories:
    """A store by its place: redis://... or the path of an SQLite file. Raises ConfigError."""
    return RedisHistories(place) if place.startswith(SCHEMES) else SQLiteHistories(Path(place))


class SQLiteHistories:
    """An SQLite file in WAL mode with synchronous = FULL: a commit returns after fsync, so neither kill -9 nor a power cut
    loses it. Deleted content is overwritten with zeros (secure_delete).
    """  # noqa: D205

    def __init__(self, path: Path) -> None:
        """Make or open it. Raises ConfigError for a file that is something else, or a folder that is not there."""
        try:
            self._connection = sqlite3.connect(path, timeout=TIMEOUT, isolation_level=None, check_same_thread=False)
            self._open()
        except sqlite3.Error as error:
            raise ConfigError(f"--histories {path}: not usable as an SQLite file ({error}); name another path") from None
        self.described = f"SQLite file {path}"

    def _open(self) -> None:
        if self._mark() not in (0, MARK) or (self._mark() == 0 and self._tables()):
            raise sqlite3.DatabaseError("it is the database of another program")
        mode = self._connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise sqlite3.DatabaseError(f"the file system allows no write-ahead log, only {mode}")
        self._connection.executescript(
            f"""
            PRAGMA synchronous = FULL;
            PRAGMA secure_delete = ON;
            PRAGMA application_id = {MARK};
            CREATE TABLE IF NOT EXISTS events (
                id INTEGER PRIMARY KEY, user_id TEXT NOT NULL, item_id TEXT NOT NULL, event TEXT, time REAL NOT NULL
            ) STRICT;
            CREATE INDEX IF NOT EXISTS events_of_user ON events (user_id, id);
            """
        )

    def _mark(self) -> int:
        return int(self._connection.execute("PRAGMA application_id").fetchone()[0])

    def _tables(self) -> int:
        return int(self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])

    def add(self, events: Sequence[Event]) -> None:
        """One transaction, one fsync."""
        now = time.time()
        rows = [(one.user_id, one.item_id, one.event, now) for one in events]
        users = [(user_id, KEPT_EVENTS) for user_id in {one.user_id for one in events}]
        with self._transaction() as connection:
            connection.executemany("INSERT INTO events (user_id, item_id, event, time) VALUES (?, ?, ?, ?)", rows)
            connection.executemany(
                "DELETE FROM events WHERE user_id = ?1 AND id <= "
                "(SELECT id FROM events WHERE user_id = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
                users,
            )

    def newest(self, user_id: str) -> list[str]:
        """By the index alone."""
        with _sqlite_answers():
            found = self._connection.execute("SELECT item_id FROM events WHERE user_id = ? ORDER BY id", (user_id,))
            return [item_id for (item_id,) in found]

    def forget(self, user_id: str) -> int:
        """Also out of the write-ahead log, which is emptied."""
        with self._transaction() as connection:
            gone = connection.execute("DELETE FROM events WHERE user_id = ?", (user_id,)).rowcount
        with _sqlite_answers():
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return gone

    def close(self) -> None:
        """Empties the write-ahead log into the file."""
        self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with _sqlite_answers():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise


@contextmanager
def _sqlite_answers() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise busy(f"the histories' SQLite file does not take it ({error}); nothing was changed, try again") from error


class RedisHistories:
    """A list per user, learec:history:USER, of JSON arrays [item id, event, time]."""

    def __init__(self, url: str) -> None:
        """Connect. Raises ConfigError where the library is missing or the server does not answer."""
        with libraries_for("--histories redis://..."):
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        self._errors: type[Exception] = redis.RedisError
        shown = urlsplit(url)._replace(netloc=urlsplit(url).netloc.rpartition("@")[2]).geturl()  # no password
        try:
            # One more try: after a restart of the server the first command meets a dead connection.
            self._redis: Any = redis.Redis.from_url(
                url, decode_responses=True, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT, retry=Retry(NoBackoff(), 1)
            )
            self._redis.ping()
        except (redis.RedisError, ValueError) as error:
            raise ConfigError(f"--histories {shown}: no Redis answers there ({error}); start one or mend the URL") from None
        self.described = f"Redis at {shown} ({self._durability()})"

    def _durability(self) -> str:
        try:
            found = self._redis.config_get("append*")
        except self._errors:  # managed servers forbid it
            return "its durability is not known"
        if found.get("appendonly") != "yes":
            return "appendonly no: a crash of it loses events; set appendonly yes"
        return f"appendonly yes, appendfsync {found.get('appendfsync')}"

    def add(self, events: Sequence[Event]) -> None:
        """One transaction (MULTI), one round trip."""
        now = round(time.time(), 3)
        by_user: dict[str, list[str]] = {}
        for one in events:
            by_user.setdefault(one.user_id, []).append(json.dumps([one.item_id, one.event, now], ensure_ascii=False))
        with self._answers(), self._redis.pipeline(transaction=True) as pipeline:
            for user_id, added in by_user.items():
                pipeline.rpush(_key(user_id), *added)
                pipeline.ltrim(_key(user_id), -KEPT_EVENTS, -1)
            pipeline.execute()

    def newest(self, user_id: str) -> list[str]:
        """The whole list, which is short."""
        with self._answers():
            return [json.loads(one)[0] for one in self._redis.lrange(_key(user_id), 0, -1)]

    def forget(self, user_id: str) -> int:
        """The key is deleted; the server's log has it until it is rewritten."""
        with self._answers(), self._redis.pipeline(transaction=True) as pipeline:
            pipeline.llen(_key(user_id))
            pipeline.delete(_key(user_id))
            return int(pipeline.execute()[0])

    def close(self) -> None:
        """Close its connections."""
        self._redis.close()

    @contextmanager
    def _answers(self) -> Iterator[None]:
        try:
            yield
        except self._errors as error:
            raise busy(f"the histories' Redis does not answer ({error}); try again") from error


def _key(user_id: str) -> str:
    return f"learec:history:{user_id}"
