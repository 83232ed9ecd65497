r"""Packing: many sessions with their candidate actions in one forward pass of a causal language model.

A row of the batch is a tree. Its root is the prompt; every session hangs from it as a trunk of item tokens; every
candidate action hangs as a leaf from the prefix of its step:

    prompt - x0 - x1 - x2 - x3
                 \    \
                  a1    a2        a1 sees prompt, x0 and itself, at the position that x1 has

A mask lets each slot see the prompt, its own session's earlier trunk, and itself; position ids count depth, not place
in the row. The hidden vector of every slot is then what one prompt per (history, action) would have given, at the
cost of one token each instead of one prompt each. A logged action needs no leaf: its trunk slot is one.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from learec.data.log import Bools, Ints
from learec.data.windows import Windows

PROMPT, EMPTY = -1, -2  # session of a slot that belongs to the prompt, or to nothing


@dataclass(frozen=True)
class Packed:
    """R rows of T slots, and where the answers for W windows of L steps with K candidates lie in them (flat R * T index)."""

    items: Ints  # (R, T) item number, 0 for prompt and empty slots
    positions: Ints  # (R, T) depth in the tree
    mask: Bools  # (R, T, T) who sees whom
    trunk: Ints  # (W, L) slot of the step's own item; 0 where a window has ended
    before: Ints  # (W, L) slot of what came just before the step: its state
    leaves: Ints  # (W, L, K) slots of the candidates; 0 where there is none


def tree_sizes(windows: Windows, candidates: Ints) -> Ints:
    """Slots that each window takes with its candidates (W, L, K), without the prompt."""
    return windows.lengths + (candidates > 0).sum(axis=(1, 2))


def pack(windows: Windows, candidates: Ints, prompt_length: int, row_slots: int) -> Packed:
    """Lay windows and their candidates (W, L, K), 0 for none, into rows of at least `row_slots` slots."""
    sizes = tree_sizes(windows, candidates)
    width = prompt_length + max(int(sizes.max(initial=1)), row_slots - prompt_length)
    row_of, column_of, n_rows = _first_fit(sizes, width - prompt_length)
    width = prompt_length + int((column_of + sizes).max(initial=1))
    session = np.full((n_rows, width), EMPTY)
    depth = np.zeros((n_rows, width), dtype=np.int64)
    is_leaf = np.zeros((n_rows, width), dtype=bool)
    items = np.zeros((n_rows, width), dtype=np.int64)
    session[:, :prompt_length] = PROMPT
    depth[:, :prompt_length] = np.arange(prompt_length)

    real = windows.steps >= 0
    n_windows, n_steps, _ = candidates.shape
    root = row_of * width + prompt_length + column_of  # flat index of a window's first slot
    step = np.broadcast_to(np.arange(n_steps), (n_windows, n_steps))
    trunk = np.where(real, root[:, None] + step, 0)
    before = np.where(step > 0, root[:, None] + step - 1, (row_of * width + prompt_length - 1)[:, None])
    has_leaf = candidates > 0
    order = np.cumsum(has_leaf.reshape(n_windows, -1), axis=1).reshape(has_leaf.shape) - 1
    leaves = np.where(has_leaf, (root + windows.lengths)[:, None, None] + order, 0)

    window = np.broadcast_to(np.arange(n_windows)[:, None], (n_windows, n_steps))
    leaf_window, leaf_step, _ = np.nonzero(has_leaf)
    for flat, of, at, what in (
        (trunk[real], window[real], step[real], windows.items[real]),
        (leaves[has_leaf], leaf_window, leaf_step, candidates[has_leaf]),
    ):
        session.flat[flat] = of
        depth.flat[flat] = prompt_length + at
        items.flat[flat] = what
    is_leaf.flat[leaves[has_leaf]] = True
    return Packed(items, depth, _tree_mask(session, depth, is_leaf), trunk, np.where(real, before, 0), leaves)


def _tree_mask(session: Ints, depth: Ints, is_leaf: Bools) -> Bools:
    """(R, T, T): a slot sees itself, the prompt above it, and the earlier trunk of its own session."""
    query, key = session[:, :, None], session[:, None, :]
    above = depth[:, None, :] < depth[:, :, None]
    prompt = (key == PROMPT) & (query != EMPTY) & above
    trunk = (key == query) & ~is_leaf[:, None, :] & above
    mask: npt.NDArray[np.bool_] = prompt | trunk | np.eye(session.shape[1], dtype=bool)
    return mask


def _first_fit(sizes: Ints, capacity: int) -> tuple[Ints, Ints, int]:
    """Row and column of every tree: largest first, each into the first row with room."""
    row_of, column_of = np.zeros(len(sizes), dtype=np.int64), np.zeros(len(sizes), dtype=np.int64)
    used: list[int] = []
    for tree in np.argsort(-sizes, kind="stable"):
        size = int(sizes[tree])
        row = next((row for row, taken in enumerate(used) if taken + size <= capacity), len(used))
        if row == len(used):
            used.append(0)
        row_of[tree], column_of[tree] = row, used[row]
        used[row] += size
    return row_of, column_of, max(len(used), 1)
