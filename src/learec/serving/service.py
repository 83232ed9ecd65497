"""The service without HTTP: what every route does."""

import random
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, Literal

import polars as pl

from learec.data.log import Catalog
from learec.errors import LearecError
from learec.serving.batching import Batcher
from learec.serving.histories import Histories
from learec.serving.limits import MAX_EVENTS, MAX_HISTORIES, MAX_WORK
from learec.serving.messages import (
    Event,
    FoundItems,
    Item,
    ListedModels,
    ManyHistories,
    Model,
    OneHistory,
    Ready,
    Recommended,
    TestSession,
    UserRecommended,
)
from learec.serving.metrics import Metrics
from learec.serving.models import Models
from learec.serving.problems import Problem, shown
from learec.serving.recommender import Answer, Query, Recommender

MOST_SCORES = 2**26  # float32 at once: 256 MiB
Action = Literal["add", "newest", "forget"]


class Service:
    """Answers requests of an event loop; the model and the histories have a thread each."""

    def __init__(self, models: Models, histories: Histories | None, max_waiting: int) -> None:
        self.models, self.histories = models, histories
        self.metrics = Metrics(lambda: self._model.n_waiting)
        self.draining = False
        self._chance = random.Random()  # noqa: S311 (which session is shown)
        self._model: Batcher[Recommender, Query, Answer] = Batcher(
            _answered, name="histories", max_pass=MAX_HISTORIES, max_waiting=max_waiting, seen=self.metrics.passes.observe,
        )  # fmt: skip
        self._kept: Batcher[Action, Any, Any] = Batcher(
            self._use_histories, name="events", max_pass=MAX_EVENTS, max_waiting=max(max_waiting, MAX_EVENTS)
        )
        self.metrics.serving(models.now.listed, len(models.now.refused))

    async def recommend(self, body: OneHistory | ManyHistories, gone: Callable[[], bool] = lambda: False) -> Recommended:
        """POST /recommend. Of a client that is gone before its turn came, nothing is computed."""
        recommender = self._find(body.model)
        histories = body.histories if isinstance(body, ManyHistories) else [body.history]
        work = len(histories) * (body.k + len(body.exclude) + len(body.allow or ()))
        if work > MAX_WORK:
            raise _unprocessable(
                f"histories times (k + exclude + allow) is {work:,}, at most {MAX_WORK:,} go into one request; send several"
            )
        self._check_category(body.within, recommender.catalog)
        exclude, allow = tuple(body.exclude), None if body.allow is None else tuple(body.allow)
        queries = [Query(tuple(history), body.k, exclude, allow, body.within) for history in histories]
        return Recommended(Model(recommender.name, recommender.version), await self._answers(recommender, queries, gone))

    async def recommend_user(self, user_id: str, k: int, model: str | None) -> UserRecommended:
        """GET /users/{user_id}/recommendations."""
        recommender = self._find(model)
        history: list[str] = (await self._histories("newest", [user_id]))[0]
        answer = (await self._answers(recommender, [Query(tuple(history), k)]))[0]
        named = Model(recommender.name, recommender.version)
        return UserRecommended(named, answer.items, answer.unknown, answer.fallback, len(history))

    async def keep(self, events: Sequence[Event]) -> int:
        """POST /events: how many, when they are durable."""
        await self._histories("add", events)
        self.metrics.events.inc(len(events))
        return len(events)

    async def forget(self, user_id: str) -> int:
        """DELETE /users/{user_id}: how many events there were."""
        forgotten: int = (await self._histories("forget", [user_id]))[0]
        return forgotten

    def found(self, query: str, limit: int) -> FoundItems:
        """GET /items. Takes milliseconds in a large catalog: not for the event loop."""
        return FoundItems(_items(self.models.now.titles.find(query, limit)))

    def listed(self) -> ListedModels:
        """GET /models."""
        return ListedModels(self.models.now.listed)

    def ready(self) -> Ready:
        """GET /ready."""
        now = self.models.now
        return Ready(not self.draining, now.listed, list(now.refused))

    def random_session(self) -> TestSession:
        """GET /sessions/random."""
        now = self.models.now
        if now.sessions is None:
            raise Problem(HTTPStatus.NOT_FOUND, now.no_sessions)
        name, history, following = now.sessions.draw(self._chance)
        return TestSession(name, _items(history), _items(following))

    def close(self) -> None:
        """After the last request."""
        self._model.close()
        self._kept.close()
        if self.histories is not None:
            self.histories.close()

    def _find(self, name: str | None) -> Recommender:
        now = self.models.now
        found = now.default if name is None else now.find(name)
        if found is None:
            raise Problem(HTTPStatus.NOT_FOUND, f"model: {shown(name)} is not served; served: {', '.join(now.models)}")
        return found

    def _check_category(self, name: str | None, catalog: Catalog) -> None:
        if name is not None and name not in catalog.members:
            reason = "no such category in the catalog" if catalog.members else "the log has no categories"
            raise Problem(HTTPStatus.NOT_FOUND, f"within: {shown(name)}: {reason}; GET /items tells the category of every item")

    async def _answers(
        self, recommender: Recommender, queries: Sequence[Query], gone: Callable[[], bool] = lambda: False
    ) -> list[Answer]:
        try:
            answers = await self._model.submit(recommender, queries, gone)
        except LearecError as error:
            raise _unprocessable(" ".join(str(error).split())) from None
        unknown, fallbacks = sum(len(answer.unknown) for answer in answers), sum(answer.fallback for answer in answers)
        if unknown:
            self.metrics.unknown.inc(unknown)
        if fallbacks:
            self.metrics.fallbacks.inc(fallbacks)
        return answers

    async def _histories(self, action: Action, jobs: Sequence[Any]) -> list[Any]:
        if self.histories is None:
            raise Problem(
                HTTPStatus.NOT_FOUND,
                "no histories of users are kept here; start `learec serve` with --histories PATH or redis://...",
            )
        return await self._kept.submit(action, jobs)

    def _use_histories(self, action: Action, jobs: list[Any]) -> list[Any]:
        """In the histories' thread: events of many requests are one commit."""
        histories = self.histories
        if histories is None:
            return []
        if action == "add":
            histories.add(jobs)
            return [None] * len(jobs)
        return [(histories.newest if action == "newest" else histories.forget)(user_id) for user_id in jobs]


def _answered(recommender: Recommender, queries: Sequence[Query]) -> list[Answer]:
    """In the model's thread: one pass, or several where the catalog is so large that one would take too much memory."""
    size = max(MOST_SCORES // recommender.catalog.n_items, 1)
    return [answer for start in range(0, len(queries), size) for answer in recommender.answer(queries[start : start + size])]


def _items(rows: pl.DataFrame) -> list[Item]:
    columns = ["item_id", "title", *(["category"] if "category" in rows.columns else [])]
    return [
        Item(item_id, title, (rest[0] or None) if rest else None) for item_id, title, *rest in rows.select(columns).iter_rows()
    ]


def _unprocessable(sentence: str) -> Problem:
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, sentence)
