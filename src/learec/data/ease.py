"""EASE's weights between items, a linear regression of every item on all others in closed form, and item-kNN by them."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.linalg import blas, lapack

from learec.data.log import Floats, Ints, Sessions
from learec.data.neighbours import ItemKNN, counted_together
from learec.errors import ConfigError

MOST_ITEMS = 20_000  # with more, its matrix takes gigabytes and minutes
NEAREST = 200  # neighbours of an item that are kept
GRID = 1e6  # weights are rounded to one part of it
MIRRORED = 1024  # rows of a symmetric matrix copied at once


@dataclass(frozen=True)
class Explained:
    """Item texts that the regression explains beside sessions: those of items that a session has."""

    vectors: Floats  # (N + 1, W)
    weight: float


def ease_weights(together: sparse.csr_array, regularisation: float, named: str, texts: Explained | None = None) -> Floats:
    """The weights B that minimise |X - X B|^2 + w * |V' - V' B|^2 + regularisation * |B|^2 with a diagonal of zeros.

    X is the binary session x item matrix, together X'X, V the vectors and w the weight of texts. With P = (X'X + w * V V' +
    regularisation)^-1, B_ij = -P_ij / P_jj (N + 1, N + 1): without texts EASE (Steck, WWW 2019, arXiv:1905.03375), with them
    CEASE (Jeunen, Van Balen & Goethals, RecSys 2020, doi:10.1145/3383313.3418480). Takes one matrix of 4 * (N + 1)^2 bytes and
    N^3 multiplications. Raises ConfigError, with the setting as `named`, where the regularisation is so little that single
    precision cannot invert.
    """
    gram = together.toarray(order="F")
    largest = float(gram.sum(axis=1).max())  # no eigenvalue is above it
    if texts is not None:
        known = together.diagonal() > 0  # what a held-out item's text says must not reach the others' weights
        vectors = np.where(known[:, None], texts.vectors, np.float32(0))
        gram = blas.ssyrk(texts.weight, vectors.T, beta=1.0, c=gram, trans=1, lower=1, overwrite_c=1)  # the lower half
        largest += texts.weight * float(np.square(vectors).sum())
    gram[np.diag_indices_from(gram)] += regularisation
    inverse = inverted(gram) if regularisation > largest * np.finfo(gram.dtype).eps else None
    if inverse is None:
        raise ConfigError(
            f"{named} has {regularisation:g}: so little that the counts of {len(gram) - 1:,} items cannot be inverted in single "
            f"precision; raise that value in the recipe{'' if texts is None else ', or lower ease_text_weight'}"
        )
    inverse /= -inverse.diagonal()
    np.fill_diagonal(inverse, 0)
    return inverse


def inverted(matrix: Floats) -> Floats | None:
    """Inverse, in rows, of a symmetric positive definite matrix in columns, in its place; None if it is not definite."""
    factor, failed = lapack.spotrf(matrix, lower=1, clean=0, overwrite_a=1)
    if failed:
        return None
    inverse: Floats = lapack.spotri(factor, lower=1, overwrite_c=1)[0].T  # its upper half is filled now
    for start in range(0, len(inverse), MIRRORED):
        stop = start + MIRRORED
        inverse[stop:, start:stop] = inverse[start:stop, stop:].T
        corner = inverse[start:stop, start:stop]
        corner[:] = np.triu(corner) + np.triu(corner, 1).T
    return inverse


def item_knn_by_ease(
    training: Sessions, n_items: int, decay: float, regularisation: float, texts: Explained | None = None, *, named: str
) -> ItemKNN:
    """item-kNN with EASE's weights in the place of cosines. Raises ConfigError as ease_weights does.

    A cosine counts what a neighbour's neighbour says once more; a regression weight does not.
    """
    return item_knn_by(ease_weights(counted_together(training, n_items), regularisation, named, texts), decay)


def item_knn_by(weights: Floats, decay: float) -> ItemKNN:
    """item-kNN whose neighbours of an item are those of its NEAREST largest weights (N + 1, N + 1) above 0, on a grid.

    Between items that the same sessions have, rounding would decide who is a neighbour, and another number of threads rounds
    otherwise: on the grid they are level, and of level ones the lower number is nearer.
    """
    kept = [_largest(np.rint(row * GRID)) for row in weights]
    neighbours, starts = np.concatenate(kept), np.cumsum([0, *map(len, kept)])
    items = np.repeat(np.arange(len(weights)), np.diff(starts))
    rounded = np.rint(weights[items, neighbours] * GRID) / np.float32(GRID)
    return ItemKNN(sparse.csr_array((rounded, neighbours, starts), shape=weights.shape), decay)


def _largest(row: Floats) -> Ints:
    """Places of the NEAREST largest numbers above 0 of a row, ascending."""
    found = np.flatnonzero(row > 0)
    if len(found) > NEAREST:
        cut = np.partition(row[found], -NEAREST)[-NEAREST]
        above, level = found[row[found] > cut], found[row[found] == cut]
        found = np.sort(np.concatenate([above, level[: NEAREST - len(above)]]))
    return found
