"""TF-IDF of item texts in few dimensions: the plainest thing that words alone can say."""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import svds

from learec.data.log import Floats, Ints
from learec.data.neighbours import unit_rows

SIZE = 256  # as many numbers an item as the language model's vectors have
_WORD = re.compile(r"\w+")


def tfidf_vectors(texts: Sequence[str], cold_items: Ints, size: int = SIZE) -> Floats:
    """Vectors of unit length of items 1..N from their texts, (N + 1, W); zeros for padding and items without known words.

    W is `size`, or less if the texts span less: rows of log(1 + count) * log((1 + n) / (1 + n with the word)), brought to unit
    length, are projected on their first singular vectors (latent semantic analysis). Words, their weights and the projection
    come from the items that are not cold; cold ones are only projected.
    """
    warm = np.ones(len(texts) + 1, dtype=bool)
    warm[[0, *cold_items]] = False
    counts = [Counter(_WORD.findall(text.lower())) for text in texts]
    frequency = Counter(word for number, count in enumerate(counts, 1) if warm[number] for word in count)
    columns = {word: column for column, word in enumerate(frequency)}
    entries = [
        (number, columns[word], np.log1p(n))
        for number, count in enumerate(counts, 1)
        for word, n in count.items()
        if word in columns
    ]
    if not entries:
        return np.zeros((len(texts) + 1, 1), dtype=np.float32)
    rows, places, values = (np.array(part) for part in zip(*entries, strict=True))
    idf = np.log((1 + warm.sum()) / (1 + np.array([frequency[word] for word in columns])))
    weighted = sparse.csr_array((values * idf[places], (rows, places)), shape=(len(texts) + 1, len(columns)))
    length = np.maximum(sparse.linalg.norm(weighted, axis=1), 1e-12)
    rows_of_one = sparse.csr_array(sparse.diags_array(1 / length) @ weighted)
    return unit_rows(rows_of_one @ _directions(rows_of_one[np.flatnonzero(warm)], size))


def _directions(rows: sparse.csr_array, size: int) -> Floats:
    """The first right singular vectors, (words, W), strongest first."""
    most = min(rows.shape) - 1
    if size > most:  # svds finds fewer than all
        _, strength, right = np.linalg.svd(rows.toarray(), full_matrices=False)
    else:
        _, strength, right = svds(rows, k=size, rng=np.random.default_rng(0))
    order = np.argsort(-strength)[:size]
    return np.asarray(right[order].T, dtype=np.float32)
