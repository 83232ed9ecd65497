"""Floors: rankings by counts or in closed form. They stand in every table, because much that is trained does not beat them.

Were floors tuned less than agents, a table would show who was tuned. So a setting of [evaluation] may have several values, of
which validation chooses, for every floor by itself.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

import numpy as np

from learec.config import EvaluationConfig, derived_seed
from learec.data.ease import Explained
from learec.data.log import Catalog, Floats, Ints, Log, Part, Sessions
from learec.data.neighbours import ContentKNN, ItemKNN, Rule, counted_together
from learec.data.tfidf import fewer_directions, tfidf_vectors
from learec.evaluation.baselines import LastItem, Popularity
from learec.evaluation.literature import EASE, VSKNN
from learec.evaluation.metrics import HISTORY, Scorer, ndcg, ranks
from learec.evaluation.recency import Recency, RecentPopularity

TFIDF_ITEMS = 100_000  # with more, factorising their texts takes minutes
DESCRIPTIONS = {
    "popularity": "items by number of training events",
    "recent_popularity": "items by number of training events, newer events counting more",
    "last_item": "what followed the last item in training sessions",
    "item_knn": "items of the same users, cosine, newer history counts more",
    "v_sknn": "items of the sessions nearest to the history, the newest item in common counts more",
    "ease": "linear regression of every item on all others, solved in closed form",
    "content_knn": "item vectors of the language model nearest to the history's, nothing trained",
    "rule": "texts as in content_knn and the logarithm of item_knn added up, nothing trained",
    "cease": "ease that explains the texts of content_knn too",
    "tfidf_rule": "the rule with TF-IDF of the texts: no language model had a part in it",
    "tfidf_cease": "cease with TF-IDF of the texts",
}
MOST_TARGETS, FEWEST_TARGETS = 10_000, 2_000  # of the validation part, on which settings are chosen
MOST_SCORES = 200_000_000  # fewer targets where a catalog is so large that more scores would be made

Settings = Mapping[str, float]
S = TypeVar("S", bound=Scorer, covariant=True)


@dataclass(frozen=True)
class Floor(Generic[S]):
    """A scorer, and the settings that it was given."""

    scorer: S
    settings: Settings
    tried: int = 1  # combinations of settings
    validation: float | None = None  # NDCG@10 on the targets that chose among them; None where there was nothing to choose

    @property
    def told(self) -> str:
        """Its settings, for people; nothing of a floor that has none."""
        if not self.settings:
            return ""
        chosen = f", the best of {self.tried} on validation" if self.tried > 1 else ""
        return f" ({', '.join(f'{name} {value:g}' for name, value in self.settings.items())}{chosen})"

    def as_json(self) -> dict[str, object]:
        """What results keep of it."""
        return {"settings": dict(self.settings), "tried": self.tried, "validation": self.validation}


Texts = tuple[Settings, Floats]  # settings that vectors (N + 1, W) were made with, and the vectors
Candidates = Iterable[tuple[Settings, S]]  # made one after the other: two EASEs at once may fill the memory


class Choose(Protocol):
    """Which of a floor's candidates stands in the table."""

    def __call__(self, candidates: Candidates[S]) -> Floor[S]: ...  # noqa: D102


def first(candidates: Candidates[S]) -> Floor[S]:
    """Without looking at the rest: every setting as it comes first."""
    settings, scorer = next(iter(candidates))
    return Floor(scorer, settings)


@dataclass(frozen=True)
class OnValidation:
    """Chooses by NDCG@10 on the validation part, or on a sample where that is large; of equal ones the first."""

    log: Log
    targets: Ints
    mask_seen: bool
    advance: Callable[[], None]  # after every candidate

    @classmethod
    def of(cls, log: Log, *, mask_seen: bool, seed: int, advance: Callable[[], None] = lambda: None) -> "OnValidation":
        """On at most MOST_TARGETS of a log's validation targets."""
        return cls(log, choosing_targets(log, seed), mask_seen, advance)

    def __call__(self, candidates: Candidates[S]) -> Floor[S]:
        """The best of them. The first, and nothing is ranked, where there is no other or no target."""
        several = iter(candidates)
        best = first(several)
        if not len(self.targets):
            self.advance()
            return best
        value, tried = None, 1
        for settings, scorer in several:
            value = self._value(best.scorer) if value is None else value
            other = self._value(scorer)
            tried += 1
            if other > value:
                best, value = Floor(scorer, settings), other
            del scorer  # while the next one is made, this one and the best would be two
        if value is None:
            self.advance()
        return replace(best, tried=tried, validation=value)

    def _value(self, scorer: Scorer) -> float:
        rank = ranks(scorer, self.log.sessions, self.targets, mask_seen=self.mask_seen, max_length=HISTORY)
        self.advance()
        return float(ndcg(rank, 10).mean())


def choosing_targets(log: Log, seed: int) -> Ints:
    """The validation targets on which weights and settings are chosen, ascending."""
    targets = log.targets(Part.VALIDATION)
    most = int(np.clip(MOST_SCORES // log.catalog.n_items, FEWEST_TARGETS, MOST_TARGETS))
    if len(targets) <= most:
        return targets
    return np.sort(np.random.default_rng(derived_seed("hybrid", seed)).choice(targets, most, replace=False))


def tfidf_of(log: Log, size: int) -> Floats | None:
    """TF-IDF vectors of the items, (N + 1, W); None where no item has a text, or too many have."""
    few = log.catalog.n_items <= TFIDF_ITEMS
    return tfidf_vectors(log.catalog.table["text"].to_list(), log.cold_items, size) if few and has_texts(log.catalog) else None


def has_texts(catalog: Catalog) -> bool:
    """Whether any item has one."""
    return bool((catalog.table["text"] != "").any())


def floors(
    config: EvaluationConfig,
    training: Sessions,
    n_items: int,
    item_vectors: Floats | None,
    recency: Recency | None = None,
    tfidf: Floats | None = None,
    *,
    choose: Choose,
) -> dict[str, Floor[Scorer]]:
    """All floors by name but those left out. Without recency, a step's age is told from its place in the session.

    item_vectors are of the language model, tfidf of words alone, (N + 1, W) each, the latter in the largest tfidf_size. The rules
    are given the item-kNN that was chosen, and choose how they read texts; so are both CEASE the regularisation of EASE, and
    tfidf_cease the size of tfidf_rule.
    """
    recency = recency or Recency.of_order(training)
    absent = left_out(config, n_items, item_vectors is not None, tfidf is not None)
    counted = choose(_item_knn(config, training, n_items))
    found: dict[str, Floor[Scorer]] = {
        "popularity": Floor(Popularity.fit(training, n_items), {}),
        "recent_popularity": choose(_recent_popularity(config, training, n_items, recency)),
        "last_item": Floor(LastItem.fit(training, n_items), {}),
        "item_knn": counted,
        "v_sknn": choose(_v_sknn(config, training, n_items, recency)),
    }
    if "ease" not in absent:
        found["ease"] = choose(_ease(config, training, n_items))
    if item_vectors is not None:
        found["content_knn"] = choose(({"knn_decay": one}, ContentKNN(item_vectors, one)) for one in config.knn_decay)
    of_model: list[Texts] = [] if item_vectors is None else [({}, item_vectors)]
    of_words: list[Texts] = []
    if tfidf is not None:
        of_words = [({"tfidf_size": size}, fewer_directions(tfidf, size)) for size in sizes_of(config, tfidf)]
    for before, texts in (("", of_model), ("tfidf_", of_words)):
        if not texts:
            continue
        rule = choose(_rule(config, texts, counted))
        found[f"{before}rule"] = rule
        if "ease" in found:
            regularisation = found["ease"].settings["ease_regularisation"]
            chosen = next(one for one in texts if one[0].items() <= rule.settings.items())
            found[f"{before}cease"] = choose(_cease(config, training, n_items, chosen, regularisation))
    return found


def sizes_of(config: EvaluationConfig, tfidf: Floats | None) -> list[int]:
    """In how many directions floors may have TF-IDF vectors (N + 1, W): tfidf_size, each once where W is less; none without."""
    return [] if tfidf is None else list(dict.fromkeys(min(size, tfidf.shape[1]) for size in config.tfidf_size))


def n_tried(config: EvaluationConfig, n_items: int, *, has_vectors: bool, tfidf: Floats | None) -> int:
    """How many candidates `floors` makes in all."""
    sizes, has_texts = len(sizes_of(config, tfidf)), tfidf is not None
    decays = len(config.knn_decay)
    rule = decays * len(config.text_weight)
    tried = len(config.recency_half_life) + decays * len(config.knn_shrinkage)
    tried += len(config.sknn_neighbours) * len(config.sknn_sample)
    if "ease" not in left_out(config, n_items, has_vectors, has_texts):
        decays_of_ease = len(config.ease_decay)
        tried += len(config.ease_regularisation) * decays_of_ease
        tried += (has_vectors + has_texts) * len(config.ease_text_weight) * decays_of_ease
    return tried + has_vectors * (decays + rule) + rule * sizes


def _recent_popularity(
    config: EvaluationConfig, training: Sessions, n_items: int, recency: Recency
) -> Iterator[tuple[Settings, RecentPopularity]]:
    for half_life in config.recency_half_life:
        yield {"recency_half_life": half_life}, RecentPopularity.fit(training, n_items, recency.ages, half_life)


def _item_knn(config: EvaluationConfig, training: Sessions, n_items: int) -> Iterator[tuple[Settings, ItemKNN]]:
    together = counted_together(training, n_items)
    for shrinkage in config.knn_shrinkage:
        fitted = ItemKNN.of_counts(together, config.knn_decay[0], shrinkage)
        for decay in config.knn_decay:
            yield {"knn_decay": decay, "knn_shrinkage": shrinkage}, replace(fitted, decay=decay)


def _v_sknn(config: EvaluationConfig, training: Sessions, n_items: int, recency: Recency) -> Iterator[tuple[Settings, VSKNN]]:
    for sample in config.sknn_sample:
        fitted = VSKNN.fit(training, n_items, config.sknn_neighbours[0], sample, recency.ended)
        for neighbours in config.sknn_neighbours:
            yield {"sknn_neighbours": neighbours, "sknn_sample": sample}, replace(fitted, neighbours=neighbours)


def _ease(config: EvaluationConfig, training: Sessions, n_items: int) -> Iterator[tuple[Settings, EASE]]:
    for regularisation in config.ease_regularisation:
        fitted = EASE.fit(training, n_items, regularisation, config.ease_decay[0])
        for decay in config.ease_decay:
            yield {"ease_regularisation": regularisation, "ease_decay": decay}, replace(fitted, decay=decay)
        del fitted


def _cease(
    config: EvaluationConfig, training: Sessions, n_items: int, texts: Texts, regularisation: float
) -> Iterator[tuple[Settings, EASE]]:
    of_texts, vectors = texts
    for weight in config.ease_text_weight:
        fitted = EASE.fit(training, n_items, regularisation, config.ease_decay[0], Explained(vectors, weight))
        for decay in config.ease_decay:
            settings = {**of_texts, "ease_regularisation": regularisation, "ease_text_weight": weight, "ease_decay": decay}
            yield settings, replace(fitted, decay=decay)
        del fitted


def _rule(config: EvaluationConfig, texts: list[Texts], counted: Floor[ItemKNN]) -> Iterator[tuple[Settings, Rule]]:
    for (of_texts, vectors), decay, weight in itertools.product(texts, config.knn_decay, config.text_weight):
        settings = {**counted.settings, **of_texts, "text_decay": decay, "text_weight": weight}
        yield settings, Rule(ContentKNN(vectors, decay), counted.scorer, weight)


def left_out(config: EvaluationConfig, n_items: int, has_vectors: bool, has_texts: bool) -> dict[str, str]:
    """Floors that a table has to do without, and why."""
    reasons: dict[str, str] = {}
    if n_items > TFIDF_ITEMS:
        told = f"{n_items:,} items are more than {TFIDF_ITEMS:,}, whose texts would take minutes"
        reasons |= dict.fromkeys(("tfidf_rule", "tfidf_cease"), told)
    elif not has_texts:
        reasons |= dict.fromkeys(("tfidf_rule", "tfidf_cease"), "no item has a text")
    if not has_vectors:
        reasons |= dict.fromkeys(("content_knn", "rule", "cease"), "it needs item vectors, which learec annotate makes")
    if n_items > config.ease_items:
        size = 4 * (n_items + 1) ** 2 / 1e9
        told = (
            f"{n_items:,} items are more than ease_items = {config.ease_items:,} in [evaluation], and its matrix would take "
            f"{size:.1f} GB"
        )
        for name in ("ease", "cease", "tfidf_cease"):
            reasons[name] = f"{reasons[name]}; {told}" if name in reasons else told
    return reasons
