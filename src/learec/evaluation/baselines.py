"""Floors: rankings by counts or in closed form. They stand in every table, because much that is trained does not beat them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from learec.artifacts import read_manifest
from learec.config import EvaluationConfig
from learec.data.log import MAKE_WITH, Floats, Ints, Log, Part, Sessions, load_times
from learec.data.neighbours import ContentKNN, ItemKNN, Rule
from learec.evaluation.literature import EASE, VSKNN
from learec.evaluation.metrics import Scorer

DESCRIPTIONS = {
    "popularity": "items by number of training events",
    "last_item": "what followed the last item in training sessions",
    "item_knn": "items of the same users, cosine, newer history counts more",
    "v_sknn": "items of the sessions nearest to the history, the newest item in common counts more",
    "ease": "linear regression of every item on all others, solved in closed form",
    "content_knn": "whitened item tokens nearest to the history's, nothing trained",
    "rule": "content_knn and the logarithm of item_knn added up, nothing trained",
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


def floors(
    config: EvaluationConfig, training: Sessions, n_items: int, item_vectors: Floats | None, ended: npt.NDArray[Any] | None = None
) -> dict[str, Scorer]:
    """All floors by name but those left out. ended (S,) tells which sessions are new, where that is known."""
    knn = ItemKNN.fit(training, n_items, config.knn_decay, config.knn_shrinkage)
    found: dict[str, Scorer] = {
        "popularity": Popularity.fit(training, n_items),
        "last_item": LastItem.fit(training, n_items),
        "item_knn": knn,
        "v_sknn": VSKNN.fit(training, n_items, config.sknn_neighbours, config.sknn_sample, ended),
    }
    if "ease" not in left_out(config, n_items, item_vectors is not None):
        found["ease"] = EASE.fit(training, n_items, config.ease_regularisation, config.ease_decay)
    if item_vectors is not None:
        content = ContentKNN(item_vectors, config.knn_decay)
        found |= {"content_knn": content, "rule": Rule(content, knn, config.text_weight)}
    return found


def left_out(config: EvaluationConfig, n_items: int, has_vectors: bool) -> dict[str, str]:
    """Floors that a table has to do without, and why."""
    reasons = {}
    if n_items > config.ease_items:
        size = 4 * (n_items + 1) ** 2 / 1e9
        reasons["ease"] = (
            f"{n_items:,} items are more than ease_items = {config.ease_items:,} in [evaluation], and its matrix would take "
            f"{size:.1f} GB"
        )
    if not has_vectors:
        reasons |= dict.fromkeys(("content_knn", "rule"), "it needs item vectors, which learec annotate makes")
    return reasons


def ends(folder: Path, log: Log) -> npt.NDArray[Any] | None:
    """Time of every session's newest training step, (S,), from the log's folder; None where its times are a mere order."""
    if read_manifest(folder, "log", MAKE_WITH).notes.get("time_unit", "order") == "order":
        return None
    times = load_times(folder)[log.parts == Part.TRAIN]
    filled = log.training.lengths > 0
    found = np.zeros(len(filled), dtype=times.dtype)
    found[filled] = times[log.training.offsets[1:][filled] - 1]
    return found
