"""EASE's weights between items, a linear regression of every item on all others in closed form, and item-kNN by them."""

import numpy as np
from scipy import sparse
from scipy.linalg import lapack

from learec.data.log import Floats, Sessions
from learec.data.neighbours import ItemKNN, counted_together
from learec.errors import ConfigError

MOST_ITEMS = 20_000  # with more, its matrix takes gigabytes and minutes
NEAREST = 200  # neighbours of an item that are kept
MIRRORED = 1024  # rows of a symmetric matrix copied at once


def ease_weights(together: sparse.csr_array, regularisation: float, named: str) -> Floats:
    """The weights B that minimise |X - X B|^2 + regularisation * |B|^2 with a diagonal of zeros, (N + 1, N + 1).

    X is the binary session x item matrix, together X'X; with P = (X'X + regularisation)^-1, B_ij = -P_ij / P_jj (Steck, WWW
    2019, arXiv:1905.03375). Takes one matrix of 4 * (N + 1)^2 bytes and N^3 multiplications. Raises ConfigError, with the
    setting as `named`, where the regularisation is so little that single precision cannot invert.
    """
    gram = together.toarray(order="F")
    largest = float(gram.sum(axis=1).max())  # no eigenvalue is above it
    gram[np.diag_indices_from(gram)] += regularisation
    inverse = inverted(gram) if regularisation > largest * np.finfo(gram.dtype).eps else None
    if inverse is None:
        raise ConfigError(
            f"{named} has {regularisation:g}: so little that the counts of {len(gram) - 1:,} items cannot be inverted in single "
            "precision; raise that value in the recipe"
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


def item_knn_by_ease(training: Sessions, n_items: int, decay: float, regularisation: float) -> ItemKNN:
    """item-kNN with EASE's weights in the place of cosines. Raises ConfigError as ease_weights does.

    Of every item the NEAREST largest weights above 0 are kept. A cosine counts what a neighbour's neighbour says once more;
    a regression weight does not.
    """
    weights = ease_weights(counted_together(training, n_items), regularisation, "an agent's ease_regularisation")
    np.maximum(weights, 0, out=weights)
    if weights.shape[1] > NEAREST:
        for row in weights:  # one after the other: a second matrix would not fit beside it
            row[row < np.partition(row, -NEAREST)[-NEAREST]] = 0
    return ItemKNN(sparse.csr_array(weights), decay)
