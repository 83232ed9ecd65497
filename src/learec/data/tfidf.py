"""TF-IDF of item texts in few dimensions: the plainest thing that words alone can say.

How few matters. Where the language model's vectors say all they have in 256 numbers, these go on to gain to a thousand and more
(docs/environment.md), so that is what a control and a floor are given.
"""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from scipy import sparse

from learec.data.log import Floats, Ints
from learec.data.neighbours import unit_rows

MARGIN, ROUNDS = 32, 4  # of the randomised factorisation: directions too many, and power iterations
_WORD = re.compile(r"\w+")


def tfidf_vectors(texts: Sequence[str], cold_items: Ints, size: int) -> Floats:
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
    return unit_rows(rows_of_one @ strongest_directions(rows_of_one[np.flatnonzero(warm)], size))


def fewer_directions(vectors: Floats, size: int) -> Floats:
    """What tfidf_vectors had given with a smaller size, (N + 1, at most size)."""
    return vectors if size >= vectors.shape[1] else unit_rows(vectors[:, :size])


def strongest_directions(rows: sparse.csr_array, size: int) -> Floats:
    """The first right singular vectors, (words, W), strongest first; of large matrices to the precision of ROUNDS iterations."""
    if size + MARGIN > min(rows.shape):
        _, strength, right = np.linalg.svd(rows.toarray(), full_matrices=False)
        return np.asarray(right[np.argsort(-strength)[:size]].T, dtype=np.float32)
    entries = rows.tocoo()
    places, values = torch.from_numpy(np.stack([entries.row, entries.col])), torch.from_numpy(entries.data.astype(np.float32))
    matrix = torch.sparse_coo_tensor(places, values, rows.shape, check_invariants=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        found = torch.svd_lowrank(matrix, q=size + MARGIN, niter=ROUNDS)
    return np.asarray(found[2][:, :size])
