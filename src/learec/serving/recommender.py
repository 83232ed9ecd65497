"""The recommender: a ranker and a catalog, from outside names to outside names. No language model, no training code."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from learec.config import suggest
from learec.data.log import Catalog, Ints
from learec.errors import ArtifactError, ConfigError, DataError
from learec.serving.choose import choose_agent
from learec.serving.load import Backend, load_ranker
from learec.serving.ranker import Ranker, Served, best, padded


@dataclass  # not frozen: that takes three times as long to make, and a request makes ten
class Recommendation:
    """One recommended item."""

    item_id: str
    title: str
    score: float


@dataclass(frozen=True)
class Query:
    """One request: the k best items after a history of item ids, oldest first."""

    history: tuple[str, ...]
    k: int = 10
    exclude: tuple[str, ...] = ()  # never these
    allow: tuple[str, ...] | None = None  # only these
    within: str | None = None  # only items of this category


@dataclass(frozen=True)
class Answer:
    """What is recommended, best first: fewer than k where no more are possible."""

    items: tuple[Recommendation, ...]
    unknown: tuple[str, ...]  # ids of the history that the model does not know: ignored
    fallback: bool  # the history has no known item: these are the most popular items of training, their counts as scores


@dataclass(frozen=True)
class _Asked:
    """A query in item numbers."""

    history: Ints  # known items, oldest first
    blocked: Ints
    candidates: Ints | None  # None: all items
    k: int
    unknown: tuple[str, ...]


class Recommender:
    """Recommends from a history alone: users need not have been in the log."""

    def __init__(self, ranker: Ranker, catalog: Catalog, served: Served) -> None:
        """The catalog must be the one that the agent was trained on, or extend it."""
        if ranker.n_items > catalog.n_items:
            raise ArtifactError(
                f"the agent knows {ranker.n_items} items and the log's catalog {catalog.n_items}; run `learec train RECIPE` again"
            )
        self.ranker, self.catalog, self.mask_seen = ranker, catalog, served.mask_seen
        self.name, self.version = served.name, served.version
        popularity = served.counts[: ranker.n_items + 1].astype(np.float64)
        self._popularity = np.where(np.isneginf(ranker.bias), -np.inf, popularity)

    @classmethod
    def load(cls, run_folder: Path | str, agent: str | None = None, *, backend: Backend = "auto") -> "Recommender":
        """An agent of a run (NAME, NAME/SEED; the best on validation) with the run's log.

        auto takes the export if there is one of this very agent, and else torch. Seen items are masked as they were in
        training. Raises ArtifactError, or ConfigError where a library is missing.
        """
        chosen = choose_agent(Path(run_folder), agent)
        return cls(*load_ranker(chosen, backend))

    def recommend(
        self,
        history: Sequence[str],
        k: int = 10,
        *,
        exclude: Sequence[str] = (),
        allow: Sequence[str] | None = None,
        within: str | None = None,
    ) -> Answer:
        """The answer to one query. Raises ConfigError or DataError as `check` does."""
        allowed = None if allow is None else tuple(allow)
        return self.answer([Query(tuple(history), k, tuple(exclude), allowed, within)])[0]

    def check(self, query: Query) -> None:
        """Raise ConfigError for a k below 1, DataError for a category that the catalog does not have."""
        if query.k < 1:
            raise ConfigError(f"k = {query.k}: must be at least 1")
        if query.within is not None:
            self._category(query.within)

    def answer(self, queries: Sequence[Query]) -> list[Answer]:
        """The answers to many queries, each with its own k and filters.

        One pass of the model for those that rank all items, and one for those with candidates of their own.
        """
        asked = [self._asked(query) for query in queries]
        known = [one for one in asked if len(one.history)]
        of_all = iter(self._best_of_all([one for one in known if one.candidates is None]))
        of_some = iter(self._best_of_some([one for one in known if one.candidates is not None]))
        return [
            self._most_popular(one) if not len(one.history) else next(of_all if one.candidates is None else of_some)
            for one in asked
        ]

    def _best_of_all(self, asked: list[_Asked]) -> Iterator[Answer]:
        if not asked:
            return
        k = max(one.k for one in asked)
        numbers, scores = self.ranker.top(self._items(asked), padded([one.blocked for one in asked]), k)
        for one, its_numbers, its_scores in zip(asked, numbers, scores, strict=True):
            yield self._answer(one, its_numbers[: one.k], its_scores[: one.k])

    def _best_of_some(self, asked: list[_Asked]) -> Iterator[Answer]:
        if not asked:
            return
        possible = [self._possible(one) for one in asked]
        found = self.ranker.scores(self._items(asked), possible)
        for one, candidates, scores in zip(asked, possible, found, strict=True):
            places = best(scores, one.k)
            yield self._answer(one, candidates[places], scores[places])

    def _most_popular(self, one: _Asked) -> Answer:
        """The fallback: the items with the most training steps, under the same filters."""
        candidates = self._possible(one)
        places = best(self._popularity[candidates], one.k)
        numbers = candidates[places]
        return self._answer(one, numbers, self._popularity[numbers])

    def _items(self, asked: list[_Asked]) -> Ints:
        return padded([one.history for one in asked], self.ranker.max_length)

    def _possible(self, one: _Asked) -> Ints:
        """The numbers that a query lets through, ascending."""
        numbers = np.arange(1, self.ranker.n_items + 1) if one.candidates is None else one.candidates
        return numbers[~np.isin(numbers, one.blocked)]

    def _answer(self, one: _Asked, numbers: Ints, scores: npt.NDArray[np.floating[Any]]) -> Answer:
        ids, titles = self.catalog.ids, self.catalog.titles
        items = tuple(
            Recommendation(ids[number], titles[number], score)
            for number, score in zip(numbers.tolist(), scores.tolist(), strict=True)
            if score > -math.inf
        )
        return Answer(items, one.unknown, fallback=not len(one.history))

    def _asked(self, query: Query) -> _Asked:
        self.check(query)
        history = self._numbers(query.history)
        seen = history if self.mask_seen else history[:0]
        blocked = np.concatenate([seen, self._numbers(query.exclude)]) if query.exclude else seen
        every_one_is_known = len(history) == len(query.history)
        unknown = () if every_one_is_known else tuple(dict.fromkeys(one for one in query.history if not self._number(one)))
        return _Asked(history, blocked, self._candidates(query), min(query.k, self.ranker.n_items), unknown)

    def _candidates(self, query: Query) -> Ints | None:
        """Numbers that allow and within let through, ascending; None for all."""
        allowed = None if query.allow is None else np.unique(self._numbers(query.allow))
        if query.within is None:
            return allowed
        members = self._category(query.within)
        members = members[members <= self.ranker.n_items]
        return members if allowed is None else np.intersect1d(members, allowed, assume_unique=True)

    def _category(self, name: str) -> Ints:
        """The numbers of a category's items, ascending."""
        members = self.catalog.members.get(name)
        if not self.catalog.members:
            raise DataError(
                f"within = {name!r}: the log knows no categories; name the item table's column as category_column in [data], "
                "and run `learec run RECIPE` again"
            )
        if members is None:
            raise DataError(f"within = {name!r}: no such category in the catalog; {suggest(name, set(self.catalog.members))}")
        return members

    def _numbers(self, ids: Iterable[str]) -> Ints:
        """Numbers of the ids that the agent knows, in their order."""
        return np.array([number for item_id in ids if (number := self._number(item_id))], dtype=np.int64)

    def _number(self, item_id: str) -> int:
        """0 for an item that is not in the catalog, or that joined it after the agent was trained."""
        number = self.catalog.numbers.get(item_id, 0)
        return number if number <= self.ranker.n_items else 0
