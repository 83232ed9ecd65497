"""Who proposes actions: for every training step the K best items of a source, never the logged one, never a seen one."""

from collections.abc import Callable

import numpy as np

from learec.config import AnnotationsConfig
from learec.data.log import Floats, Ints, Sessions
from learec.data.neighbours import ContentKNN, ItemKNN, Rule
from learec.data.windows import batches_by_budget

BLOCK = 1024
BLOCK_SEEN = 4_000_000  # items seen before the steps of a block
LONGEST = 200  # items of the history that evidence is gathered from
Scores = Callable[[Ints], Floats]  # steps (B,) -> scores of all items (B, N + 1)


def candidate_scores(config: AnnotationsConfig, training: Sessions, item_vectors: Floats, n_items: int) -> Scores:
    """Scores by step from item-kNN, item tokens, or the product of both (rule)."""
    content = ContentKNN(item_vectors, config.knn_decay)
    knn = ItemKNN.fit(training, n_items, config.knn_decay, config.knn_shrinkage)
    sources: dict[str, Rule | ContentKNN | ItemKNN] = {
        "rule": Rule(content, knn, config.text_weight),
        "item_tokens": content,
        "item_knn": knn,
    }
    source = sources[config.candidates]
    return lambda steps: source.scores(*training.histories(steps, LONGEST))


def propose(scores: Scores, training: Sessions, n_candidates: int, cold_items: Ints) -> tuple[Ints, Floats]:
    """The best-scored items per step, best first, and their scores, both (E, K); 0 where a step has no history.

    The step's own item, the items before it and cold items are no candidates; with fewer other items than K there are
    zeros.
    """
    chosen = np.zeros((training.n_steps, n_candidates), dtype=np.int32)
    values = np.zeros((training.n_steps, n_candidates), dtype=np.float32)
    steps = np.flatnonzero(training.step_of > 0)
    sizes = np.maximum(training.step_of[steps], BLOCK_SEEN // BLOCK)
    for places in batches_by_budget(sizes, np.arange(len(steps)), BLOCK_SEEN):
        block = steps[places]
        allowed = scores(block).copy()
        allowed[:, cold_items] = -np.inf
        chosen[block], values[block] = _best(allowed, training, block, n_candidates)
    return chosen, values


def _best(scores: Floats, training: Sessions, steps: Ints, n_candidates: int) -> tuple[Ints, Floats]:
    scores[training.seen(steps)] = -np.inf
    np.put_along_axis(scores, training.items[steps].astype(np.int64)[:, None], -np.inf, axis=1)
    scores[:, 0] = -np.inf
    k = min(n_candidates, scores.shape[1] - 1)
    best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    value = np.take_along_axis(scores, best, axis=1)
    order = np.argsort(-value, axis=1, kind="stable")
    best, value = np.take_along_axis(best, order, axis=1), np.take_along_axis(value, order, axis=1)
    chosen = np.zeros((len(steps), n_candidates), dtype=np.int32)
    values = np.zeros((len(steps), n_candidates), dtype=np.float32)
    chosen[:, :k] = np.where(np.isneginf(value), 0, best)
    values[:, :k] = np.where(np.isneginf(value), 0, value)
    return chosen, values
