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

EXACT = 3000  # items or words, up to which a factorisation is exact
MARGIN, ROUNDS = 32, 4  # of the randomised one: directions too many, and power iterations
LEAST = 0.05  # share of a text's length that directions must hold: under it they hold none of its words but rounding
_WORD = re.compile(r"\w+")


def tfidf_vectors(texts: Sequence[str], cold_items: Ints, size: int) -> Floats:
    """Vectors of unit length of items 1..N from their texts, (N + 1, W); zeros for padding and items that the directions miss.

    Those have no known word, or words that hardly another has. W is `size`, or less if the texts span less. Rows of
    log(1 + count) * log((1 + n) / (1 + n with the word)), brought to unit length, are projected on their first singular vectors
    (latent semantic analysis). Words, their weights and the projection come from the items that are not cold; cold ones are only
    projected.
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
    rows_of_one = sparse.csr_array(sparse.diags_array(1 / length) @ weighted).astype(np.float32)
    return _held(rows_of_one @ strongest_directions(rows_of_one[np.flatnonzero(warm)], size))


def fewer_directions(vectors: Floats, size: int) -> Floats:
    """The same vectors in their first directions alone, the strongest, (N, at most size)."""
    return vectors if size >= vectors.shape[1] else _held(vectors[:, :size])


def _held(projected: Floats) -> Floats:
    """Of unit length again, and zero where next to nothing is left of rows of length 1."""
    kept = np.linalg.norm(projected, axis=1, keepdims=True) >= LEAST
    return unit_rows(np.where(kept, projected, np.float32(0)))


def strongest_directions(rows: sparse.csr_array, size: int) -> Floats:
    """The first right singular vectors, (words, W), strongest first, W at most size and the rank.

    Exact where there are at most EXACT rows or words, by the eigenvectors of the smaller product; else of random projections
    (Halko, Martinsson & Tropp, SIAM Review 2011), to the precision of ROUNDS iterations.
    """
    if min(rows.shape) <= EXACT:
        few_words = rows.shape[1] <= rows.shape[0]
        precise = rows.astype(np.float64)
        product = (precise.T @ precise if few_words else precise @ precise.T).toarray()
        squares, found = np.linalg.eigh(product)
        squares, found = squares[::-1][:size], found[:, ::-1][:, :size]
        there = squares > 1e-6 * squares[0]
        right = found[:, there] if few_words else rows.T @ (found[:, there] / np.sqrt(squares[there]))
        return np.asarray(right, dtype=np.float32)
    entries = rows.tocoo()
    places, values = torch.from_numpy(np.stack([entries.row, entries.col])), torch.from_numpy(entries.data.astype(np.float32))
    matrix = torch.sparse_coo_tensor(places, values, rows.shape, check_invariants=True)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)  # torch.manual_seed would seed accelerators too, which nothing restores
        _, _, right = torch.svd_lowrank(matrix, q=min(size + MARGIN, *rows.shape), niter=ROUNDS)
    return np.asarray(right[:, :size])
