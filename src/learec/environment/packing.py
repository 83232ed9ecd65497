r"""Packing: many sessions with their candidate actions in one forward pass of a causal language model.

A row of the batch is a tree. Its root is the prompt; every session hangs from it as a trunk of item tokens; every
candidate action hangs as a leaf from the prefix of its step:

    prompt - x0 - x1 - x2 - x3
                 \    \
                  a1    a2        a1 sees prompt, x0 and itself, at the position that x1 has

A mask lets each slot see the prompt, its own session's earlier trunk, and itself; position ids count depth, not place
in the row. The hidden vector of every slot is then what one prompt per (history, action) would have given, at the
cost of one token each instead of one prompt each. A logged action needs no leaf: its trunk slot is one.

Where items are read with words of their text, an item is a span of slots, words first and its token last, where the answer
lies; a leaf is then a span too, whose slots see those before them. `widths` says how many slots each item takes.
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
    to_token: Ints  # (R, T) slots until the item's token: 0 is the token itself, others are words of its text
    positions: Ints  # (R, T) depth in the tree
    mask: Bools  # (R, T, T) who sees whom
    trunk: Ints  # (W, L) slot of the step's own item; 0 where a window has ended
    before: Ints  # (W, L) slot of what came just before the step: its state
    leaves: Ints  # (W, L, K) slots of the candidates; 0 where there is none


@dataclass
class _Slots:
    """What is known of each of R x T slots; filled span by span."""

    session: Ints
    depth: Ints
    branch: Ints  # depth from which on the session's trunk is not above the slot
    leaf: Ints  # which one, -1 of a trunk
    items: Ints
    to_token: Ints

    @classmethod
    def empty(cls, n_rows: int, width: int, prompt_length: int) -> "_Slots":
        shape = (n_rows, width)
        zeros = [np.zeros(shape, dtype=np.int64) for _ in range(4)]
        slots = cls(np.full(shape, EMPTY), zeros[0], zeros[1], np.full(shape, -1), zeros[2], zeros[3])
        slots.session[:, :prompt_length] = PROMPT
        slots.depth[:, :prompt_length] = slots.branch[:, :prompt_length] = np.arange(prompt_length)
        return slots

    def fill(self, last: Ints, widths: Ints, depth: Ints, session: Ints, items: Ints, is_leaf: bool) -> None:
        """Spans of `widths` slots that end at the flat slots `last` and start at `depth`, all (M,)."""
        within = np.arange(widths.sum()) - np.repeat(np.cumsum(widths) - widths, widths)
        to_token = np.repeat(widths - 1, widths) - within
        slots, start = np.repeat(last, widths) - to_token, np.repeat(depth, widths)
        self.session.flat[slots] = np.repeat(session, widths)
        self.depth.flat[slots] = start + within
        self.branch.flat[slots] = start if is_leaf else start + within
        self.leaf.flat[slots] = np.repeat(last, widths) if is_leaf else -1
        self.items.flat[slots] = np.repeat(items, widths)
        self.to_token.flat[slots] = to_token

    def mask(self) -> Bools:
        """(R, T, T): a slot sees itself, the prompt, its session's earlier trunk, and what is before it in its span."""
        query, key = self.session[:, :, None], self.session[:, None, :]
        is_leaf, depth = self.leaf >= 0, self.depth[:, None, :]
        above = depth < self.branch[:, :, None]
        seen: npt.NDArray[np.bool_] = (key == PROMPT) & (query != EMPTY) & above
        seen |= (key == query) & ~is_leaf[:, None, :] & above
        if self.to_token.any():
            own = is_leaf[:, :, None] & (self.leaf[:, :, None] == self.leaf[:, None, :])
            seen |= own & (depth < self.depth[:, :, None])
        seen |= np.eye(self.session.shape[1], dtype=bool)
        return seen


def tree_sizes(windows: Windows, candidates: Ints, widths: Ints) -> Ints:
    """Slots that each window takes with its candidates (W, L, K), without the prompt; widths (N + 1,), 0 for padding."""
    sizes: Ints = widths[windows.items].sum(axis=1) + widths[candidates].sum(axis=(1, 2))
    return sizes


def pack(windows: Windows, candidates: Ints, widths: Ints, prompt_length: int, row_slots: int) -> Packed:
    """Lay windows and their candidates (W, L, K), 0 for none, into rows of at least `row_slots` slots.

    widths (N + 1,): slots of each item, 0 for padding.
    """
    sizes = tree_sizes(windows, candidates, widths)
    width = prompt_length + max(int(sizes.max(initial=1)), row_slots - prompt_length)
    row_of, column_of, n_rows = _first_fit(sizes, width - prompt_length)
    width = prompt_length + int((column_of + sizes).max(initial=1))
    slots = _Slots.empty(n_rows, width, prompt_length)

    real, has_leaf = windows.steps >= 0, candidates > 0
    n_windows = len(candidates)
    root = row_of * width + prompt_length + column_of  # flat index of a window's first slot
    taken, of_leaves = widths[windows.items], widths[candidates]
    ends = np.cumsum(taken, axis=1)
    starts = ends - taken  # of each step's span, from the window's first slot on
    trunk = np.where(real, root[:, None] + ends - 1, 0)
    before = np.where(starts > 0, root[:, None] + starts - 1, (row_of * width + prompt_length - 1)[:, None])
    leaf_ends = np.cumsum(of_leaves.reshape(n_windows, -1), axis=1).reshape(of_leaves.shape)
    leaves = np.where(has_leaf, (root + taken.sum(axis=1))[:, None, None] + leaf_ends - 1, 0)

    window = np.broadcast_to(np.arange(n_windows)[:, None], real.shape)
    slots.fill(trunk[real], taken[real], prompt_length + starts[real], window[real], windows.items[real], is_leaf=False)
    leaf_window, leaf_step, _ = np.nonzero(has_leaf)
    depth = prompt_length + starts[leaf_window, leaf_step]
    slots.fill(leaves[has_leaf], of_leaves[has_leaf], depth, leaf_window, candidates[has_leaf], is_leaf=True)
    return Packed(slots.items, slots.to_token, slots.depth, slots.mask(), trunk, np.where(real, before, 0), leaves)


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
