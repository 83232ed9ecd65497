"""Floors: rankings by counts or in closed form. They stand in every table, because much that is trained does not beat them."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from learec.config import EvaluationConfig
from learec.data.log import Floats, Ints, Log, Sessions
from learec.data.neighbours import ContentKNN, ItemKNN, Rule
from learec.data.tfidf import tfidf_vectors
from learec.evaluation.literature import EASE, VSKNN
from learec.evaluation.metrics import Scorer
from learec.evaluation.recency import Recency, RecentPopularity

TFIDF_ITEMS = 100_000  # with more, factorising their texts takes minutes
DESCRIPTIONS = {
    "popularity": "items by number of training events",
    "recent_popularity": "items by number of training events, newer events counting more",
    "last_item": "what followed the last item in training sessions",
    "item_knn": "items of the same users, cosine, newer history counts more",
    "v_sknn": "items of the sessions nearest to the history, the newest item in common counts more",
    "ease": "linear regression of every item on all others, solved in closed form",
    "content_knn": "whitened item tokens nearest to the history's, nothing trained",
    "rule": "content_knn and the logarithm of item_knn added up, nothing trained",
    "tfidf_rule": "the same with TF-IDF of the texts: no language model had a part in it",
}


@dataclass(frozen=True)
class Popularity:
    """Training events per item; whoever asks."""

    counts: Floats  # (N + 1,)

    @classmethod
    def fit(cls, training: Sessions, n_items: int) -> "Popularity":
        """Count training events."""
        return cls(np.bincount(training.items, minlength=n_items + 1).astype(np.float32))

    def scores(self, histories: Ints, lengths: Ints) -> Floats:
        """The same row for every history, (B, N + 1)."""
        return np.tile(self.counts, (len(histories), 1))


@dataclass(frozen=True)
class LastItem:
    """How often each item came right after the history's last one; among those that never did, the popular first."""

    follows: sparse.csr_array  # (N + 1, N + 1) counts
    popularity: Floats  # (N + 1,) below 1 in sum, so that it only breaks ties

    @classmethod
    def fit(cls, training: Sessions, n_items: int) -> "LastItem":
        """Count neighbouring pairs of training steps."""
        second = np.flatnonzero(training.step_of > 0)
        pairs = (training.items[second - 1], training.items[second])
        shape = (n_items + 1, n_items + 1)
        follows = sparse.csr_array((np.ones(len(second), dtype=np.float32), pairs), shape=shape)
        counts = np.bincount(training.items, minlength=n_items + 1).astype(np.float32)
        return cls(follows, counts / (counts.sum() + 1))

    def scores(self, histories: Ints, lengths: Ints) -> Floats:
        """Counts after the last item, (B, N + 1)."""
        last = np.take_along_axis(histories, np.maximum(lengths - 1, 0)[:, None], axis=1)[:, 0]
        after: Floats = self.follows[last].toarray()
        return after + self.popularity


def tfidf_of(log: Log) -> Floats | None:
    """TF-IDF vectors of the items, (N + 1, W); None where no item has a text, or too many have."""
    few = log.catalog.n_items <= TFIDF_ITEMS
    return tfidf_vectors(log.catalog.table["text"].to_list(), log.cold_items) if few and has_texts(log) else None


def has_texts(log: Log) -> bool:
    """Whether any item has one."""
    return bool((log.catalog.table["text"] != "").any())


def floors(
    config: EvaluationConfig,
    training: Sessions,
    n_items: int,
    item_vectors: Floats | None,
    recency: Recency | None = None,
    tfidf: Floats | None = None,
) -> dict[str, Scorer]:
    """All floors by name but those left out. Without recency, a step's age is told from its place in the session.

    item_vectors are of the language model, tfidf of words alone, (N + 1, W) each.
    """
    recency = recency or Recency.of_order(training)
    knn = ItemKNN.fit(training, n_items, config.knn_decay, config.knn_shrinkage)
    found: dict[str, Scorer] = {
        "popularity": Popularity.fit(training, n_items),
        "recent_popularity": RecentPopularity.fit(training, n_items, recency.ages, config.recency_half_life),
        "last_item": LastItem.fit(training, n_items),
        "item_knn": knn,
        "v_sknn": VSKNN.fit(training, n_items, config.sknn_neighbours, config.sknn_sample, recency.ended),
    }
    if "ease" not in left_out(config, n_items, item_vectors is not None, tfidf is not None):
        found["ease"] = EASE.fit(training, n_items, config.ease_regularisation, config.ease_decay)
    if item_vectors is not None:
        content = ContentKNN(item_vectors, config.knn_decay)
        found |= {"content_knn": content, "rule": Rule(content, knn, config.text_weight)}
    if tfidf is not None:
        found["tfidf_rule"] = Rule(ContentKNN(tfidf, config.knn_decay), knn, config.text_weight)
    return found


def left_out(config: EvaluationConfig, n_items: int, has_vectors: bool, has_texts: bool) -> dict[str, str]:
    """Floors that a table has to do without, and why."""
    reasons = {}
    if n_items > config.ease_items:
        size = 4 * (n_items + 1) ** 2 / 1e9
        reasons["ease"] = (
            f"{n_items:,} items are more than ease_items = {config.ease_items:,} in [evaluation], and its matrix would take "
            f"{size:.1f} GB"
        )
    if n_items > TFIDF_ITEMS:
        reasons["tfidf_rule"] = f"{n_items:,} items are more than {TFIDF_ITEMS:,}, whose texts would take minutes"
    elif not has_texts:
        reasons["tfidf_rule"] = "no item has a text"
    if not has_vectors:
        reasons |= dict.fromkeys(("content_knn", "rule"), "it needs item vectors, which learec annotate makes")
    return reasons
