"""An index over the item vectors of a large catalog: the best items without a product with all of them (FAISS, IVF)."""

from pathlib import Path
from typing import Any

import faiss
import numpy as np

from learec.data.log import Floats, Ints
from learec.errors import ArtifactError, ConfigError
from learec.serving.ranker import Ranker, VectorRanker

RECALL = 0.99  # of the exact best 10, at least
AIM = 0.995  # over the histories it is measured on, so that RECALL holds after others too
MEASURED = 10
LISTS_PER_ROOT = 2  # lists = 2 sqrt(N); with more, the best 100 are found worse than the best 10
TRAINING_POINTS, ROUNDS = 64, 10  # of k-means: points for each list
STEP = 1.4  # by which more lists are searched until enough is found
MORE = 2  # times as many lists are searched for more than 10 items: then 100 are found as well as 10
MOST = 1000  # items asked for; beyond, the product with all items is no slower
BLOCK = 8  # histories compared at once: exact scores of a million items take 4 MB each
THREADS = 1  # of one search; see onnx_ranker


class IndexedRanker(VectorRanker):
    """A ranker that finds the best items by an index; the rest is done by the exact one."""

    def __init__(self, exact: VectorRanker, index: Any) -> None:
        """The index must be of the exact ranker's items; `open_index` sees to it."""
        self.exact, self.index = exact, index
        self.n_items, self.max_length, self.table, self.bias = exact.n_items, exact.max_length, exact.table, exact.bias
        self._possible = possible_items(self.bias)

    def hidden(self, items: Ints) -> Floats:
        """(B, L) -> (B, H)."""
        return self.exact.hidden(items)

    def top(self, items: Ints, blocked: Ints, k: int) -> tuple[Ints, Floats]:
        """(B, L), (B, P) -> (B, k), (B, k).

        As many more are fetched as may be blocked; rows that are left with too few are ranked exactly.
        """
        fetched = k + blocked.shape[1]
        if fetched > min(MOST, len(self._possible)):
            return self.exact.top(items, blocked, k)
        hidden = self.hidden(items)
        places = self._search(hidden, fetched, MORE if k > MEASURED else 1)
        numbers = self._possible[places]
        scores = np.einsum("bkh,bh->bk", self.table[numbers], hidden) + self.bias[numbers]
        scores[(places < 0) | (numbers[:, :, None] == blocked[:, None, :]).any(axis=2)] = -np.inf
        order = np.lexsort((numbers, -scores), axis=1)[:, :k]
        numbers, scores = np.take_along_axis(numbers, order, axis=1), np.take_along_axis(scores, order, axis=1)
        short = np.isneginf(scores[:, -1])
        if short.any():
            numbers[short], scores[short] = self.exact.top(items[short], blocked[short], k)
        return numbers, scores

    def _search(self, hidden: Floats, k: int, times: int) -> Ints:
        """Places in the index of the k nearest of every hidden vector, (B, H) -> (B, k); -1 where there are no more."""
        faiss.omp_set_num_threads(THREADS)  # of the calling thread
        queries = np.pad(hidden, ((0, 0), (0, 2)))
        queries[:, -2] = 1  # meets the bias
        lists = min(times * self.index.nprobe, self.index.nlist)
        found: Ints = self.index.search(queries, k, params=faiss.SearchParametersIVF(nprobe=lists))[1]  # type: ignore[call-arg]
        return found


def build_index(exact: VectorRanker, histories: Ints, blocked: Ints, path: Path) -> dict[str, Any]:
    """Index the possible items of a ranker and write the index to a file. Returns what was measured.

    So many lists are searched that AIM of the exact best 10 are found after real histories (Q, L), with what is blocked
    after each (Q, P). Searching all lists is exact, so that some number of them is enough.
    """
    index = _trained(exact)
    ranker = IndexedRanker(exact, index)
    wanted = _best(exact, histories, blocked)
    index.nprobe, recall = 1, recall_of(_best(ranker, histories, blocked), wanted)
    while recall < AIM and index.nprobe < index.nlist:
        index.nprobe = min(int(STEP * index.nprobe) + 1, index.nlist)
        recall = recall_of(_best(ranker, histories, blocked), wanted)
    if recall < RECALL:  # only where so many items are equal that any ten of them are as good
        raise ConfigError(f"export: an index finds {recall:.4f} of the best {MEASURED} items, wanted {RECALL}; use --no-index")
    faiss.write_index(index, str(path))
    return {"recall_at_10": recall, "histories": len(histories), "lists": index.nlist, "lists_searched": index.nprobe}


def _trained(ranker: VectorRanker) -> Any:
    """Items spread over lists.

    A score is a product, and items that are near one another need not have large products with the same history. With one
    more coordinate all vectors are of one length, and the largest product is the nearest vector (Bachrach et al., RecSys 2014).
    """
    possible = possible_items(ranker.bias)
    vectors = np.zeros((len(possible), ranker.table.shape[1] + 2), dtype=np.float32)
    vectors[:, :-2], vectors[:, -2] = ranker.table[possible], ranker.bias[possible]
    lengths = np.square(vectors).sum(axis=1)
    vectors[:, -1] = np.sqrt(lengths.max(initial=0) - lengths)
    n_lists = max(1, min(int(LISTS_PER_ROOT * len(possible) ** 0.5), len(possible) // TRAINING_POINTS))
    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(vectors.shape[1]), vectors.shape[1], n_lists)
    index.cp.niter, index.cp.max_points_per_centroid = ROUNDS, TRAINING_POINTS
    index.train(vectors)
    index.add(vectors)
    return index


def _best(ranker: Ranker, histories: Ints, blocked: Ints) -> Ints:
    """The best 10 after every history, (Q, 10)."""
    k = min(MEASURED, ranker.n_items)
    rows = (slice(start, start + BLOCK) for start in range(0, len(histories), BLOCK))
    return np.concatenate([ranker.top(histories[row], blocked[row], k)[0] for row in rows])


def possible_items(bias: Floats) -> Ints:
    """Numbers of the items that can be recommended, ascending: what stands where in an index."""
    return np.flatnonzero(bias > -np.inf)


def recall_of(found: Ints, exact: Ints) -> float:
    """The share of the exact best items (Q, k) that are among those found, (Q, any)."""
    return float((found[:, :, None] == exact[:, None, :]).any(axis=1).mean())


def open_index(path: Path, ranker: VectorRanker) -> Any:
    """The index of a file. Raises ArtifactError if it is none, or not one of the ranker's items."""
    try:
        index = faiss.read_index(str(path))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ArtifactError(f"{path}: is no index ({reason}); delete {path.parent} and run `learec export` again") from None
    wanted = (len(possible_items(ranker.bias)), ranker.table.shape[1] + 2)
    if not isinstance(index, faiss.IndexIVFFlat) or (index.ntotal, index.d) != wanted:
        seen = f"{type(index).__name__} of {index.ntotal} vectors of {index.d} numbers"
        raise ArtifactError(
            f"{path}: holds {seen}, wanted {wanted[0]} of {wanted[1]}; delete {path.parent} and run `learec export` again"
        )
    return index
