"""The models that are served, and hot reload: a new version is loaded beside the old one, tried, and only then takes over."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl

from learec.artifacts import MANIFEST, read_manifest
from learec.data.log import MAKE_WITH as MAKE_LOG
from learec.data.log import Catalog
from learec.errors import ArtifactError, LearecError
from learec.serving.choose import Chosen, agents_of, choose_agent
from learec.serving.folders import check_inside, open_log
from learec.serving.messages import ListedModel, Refused
from learec.serving.recommender import Query, Recommender
from learec.serving.search import TitleSearch
from learec.serving.sessions import TestSessions

Mark = tuple[tuple[int, int, int] | None, ...]
TRIAL_K = 5
COLUMNS = ("item_id", "title", "category")  # of a catalog


@dataclass(frozen=True)
class Serving:
    """What is served at one time; replaced as a whole, so a request sees one state."""

    models: dict[str, Recommender]  # by NAME/SEED, the default one first
    refused: tuple[Refused, ...]
    titles: TitleSearch
    sessions: TestSessions | None
    no_sessions: str  # why there are none

    @property
    def default(self) -> Recommender:
        """Answers where a request names no model."""
        return next(iter(self.models.values()))

    @cached_property
    def listed(self) -> list[ListedModel]:
        """All of them, the default one first."""
        return [ListedModel(name, model.version, model is self.default) for name, model in self.models.items()]

    def find(self, name: str) -> Recommender | None:
        """By NAME/SEED, or by NAME alone."""
        by_name = (model for full, model in self.models.items() if full.rpartition("/")[0] == name)
        return self.models.get(name) or next(by_name, None)


class Models:
    """The agents of one run folder. Which of them are served, and which is the default, is settled at the start."""

    def __init__(self, run_folder: Path, names: Sequence[str] = ()) -> None:
        """Load them: those named, the first as default; or the best on validation and one seed of each other agent.

        Raises LearecError if one that is named cannot be served, or if none can.
        """
        self._folder, self._names = run_folder.resolve(), tuple(names)
        self._tried: dict[str, Mark] = {}
        self._reasons: dict[str, str] = {}
        self._log_mark: Mark = ()
        models: dict[str, Recommender] = {}
        for chosen in self._selected():
            self._load(chosen, models)
        if not models or (self._names and self._reasons):
            raise ArtifactError(next(iter(self._reasons.values())))
        self.now = self._serving(models, None)

    def refresh(self) -> list[ListedModel | Refused]:
        """Load what has changed in the run folder since: what took over and what was refused. Not for the event loop."""
        models, before = dict(self.now.models), dict(self._reasons)
        loaded = [name for chosen in self._to_look_at() if (name := self._load(chosen, models))]
        refused = [Refused(name, reason) for name, reason in self._reasons.items() if before.get(name) != reason]
        if loaded or before != self._reasons or self._log_mark != self._mark(self._folder / "log"):
            self.now = self._serving(models, self.now)
        return [one for one in self.now.listed if one.name in loaded] + refused

    def _selected(self) -> list[Chosen]:
        """The default one first."""
        if self._names:
            return list({str(chosen): chosen for name in self._names for chosen in [choose_agent(self._folder, name)]}.values())
        agents = sorted(agents_of(self._folder).values(), key=_validation, reverse=True)
        if not agents:
            choose_agent(self._folder, None)  # raises with the sentence for an empty run
        first = {chosen.name: chosen for chosen in reversed(agents)}
        return sorted(first.values(), key=agents.index)

    def _to_look_at(self) -> list[Chosen]:
        """What is served, and agents that are new in the folder unless some were named."""
        found = agents_of(self._folder)
        if self._names:
            return [chosen for name, chosen in found.items() if name in self._tried]
        tried = {name.rpartition("/")[0] for name in self._tried}
        first_seeds = {chosen.name: chosen for chosen in reversed(found.values()) if chosen.name not in tried}
        return [chosen for name, chosen in found.items() if name in self._tried] + list(first_seeds.values())

    def _load(self, chosen: Chosen, models: dict[str, Recommender]) -> str | None:
        """Put the agent among the models if its files are new and good: its name then, else None and maybe a reason."""
        name, mark = str(chosen), self._mark(chosen.trained, chosen.exported, self._folder / "log")
        if self._tried.get(name) == mark:
            return None
        self._tried[name] = mark
        try:
            recommender = Recommender.load(self._folder, name)
            # Files may be overwritten in place, and a mapped file that is cut ends the process.
            recommender.catalog = _in_memory(recommender.catalog, list(models.values()))
            _try(recommender)
        except LearecError as error:
            self._reasons[name] = " ".join(str(error).split())
        except Exception as error:  # libraries raise anything on damaged files, and the old model must go on
            self._reasons[name] = f"agent {name} cannot be loaded ({type(error).__name__}: {' '.join(str(error).split())[:300]})"
        else:
            self._reasons.pop(name, None)
            changed = name not in models or models[name].version != recommender.version
            models[name] = recommender
            return name if changed else None
        return None

    def _serving(self, models: dict[str, Recommender], old: Serving | None) -> Serving:
        catalog = next(iter(models.values())).catalog
        titles = old.titles if old is not None and old.default.catalog is catalog else TitleSearch(catalog)
        mark = self._mark(self._folder / "log")
        same_log = old is not None and mark == self._log_mark
        sessions, why = (old.sessions, old.no_sessions) if old is not None and same_log else self._sessions(list(models.values()))
        self._log_mark = mark
        refused = tuple(Refused(name, reason) for name, reason in self._reasons.items())
        return Serving(models, refused, titles, sessions, why)

    def _sessions(self, models: Sequence[Recommender]) -> tuple[TestSessions | None, str]:
        any_chosen, folder = Chosen(self._folder, "", ""), self._folder / "log"
        try:
            check_inside(any_chosen, folder, [MANIFEST])
            log = open_log(any_chosen, read_manifest(folder, "log", MAKE_LOG).digest)
            sessions = TestSessions(log, _in_memory(log.catalog, models))
        except LearecError as error:
            return None, f"the log's sessions are not in the run folder ({' '.join(str(error).split())})"
        return (sessions, "") if len(sessions) else (None, "the log has no test session with a history")

    @staticmethod
    def _mark(*folders: Path) -> Mark:
        """Changes when one of the folders' manifests is replaced."""
        return tuple(_stat(folder / MANIFEST) for folder in folders)


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _validation(chosen: Chosen) -> float:
    try:
        check_inside(chosen, chosen.trained, [MANIFEST])
        check_inside(chosen, chosen.exported, [MANIFEST])
        return chosen.validation
    except LearecError:  # loading it will tell
        return -math.inf


def _in_memory(catalog: Catalog, others: Sequence[Recommender]) -> Catalog:
    """A copy of the catalog without texts, complete before the first request; agents of one log share one."""
    table = catalog.table.select(name for name in COLUMNS if name in catalog.table.columns)
    for other in others:
        if other.catalog.table.equals(table):
            return other.catalog
    buffer = io.BytesIO()
    table.write_ipc(buffer)
    copied = Catalog(pl.read_ipc(buffer.getvalue()))
    _ = copied.titles, copied.ids, copied.numbers, copied.members
    return copied


def _try(recommender: Recommender) -> None:
    """One pass over a few items, as a request would be answered."""
    some = Query(tuple(recommender.catalog.ids[1:3]), TRIAL_K)
    answers = recommender.answer([some, Query((), TRIAL_K)])
    scores = [item.score for answer in answers for item in answer.items]
    if not all(answer.items for answer in answers[recommender.catalog.n_items <= len(some.history) :]):
        raise ArtifactError(f"agent {recommender.name}: recommends nothing in a trial; train it again with `learec train RECIPE`")
    if not all(map(math.isfinite, scores)):
        raise ArtifactError(f"agent {recommender.name}: its scores are not numbers; train it again with `learec train RECIPE`")
