"""The product of hidden vectors with every item's row, in blocks that never leave the cache.

(M, N + 1) logits of one batch are tens of megabytes; writing and reading them several times takes longer than computing
them. Losses need a log sum of each row and a maximum of each row, so each block is reduced while it is at hand.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

BLOCK = 2**19  # numbers computed at once: 2 MB stay in a core's cache
ByRows = Callable[[slice], Sequence[Tensor]]  # rows of (M, N + 1) matrices that are never whole in memory
LANE = 16  # floats in a cache line; where rows begin elsewhere, products run at half their speed


def in_blocks(hidden: Tensor) -> bool:
    """Whether blocks pay: on a CPU in float32. Elsewhere one product of all rows is best, and autocast chooses its precision."""
    return hidden.device.type == "cpu" and not torch.is_autocast_enabled("cpu")


def blocks(hidden: Tensor, table: Tensor, bias: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Rows of (M, H), and their logits by table (N + 1, H) and bias (N + 1,): (rows, aligned(N + 1)), -inf beyond N.

    A block is valid until the next one.
    """
    n, width = len(hidden), len(table)
    size = max(BLOCK // width, 1)
    logits = hidden.new_full((min(size, n), aligned(width)), -torch.inf)
    for start in range(0, n, size):
        rows = slice(start, min(start + size, n))
        block = logits[: rows.stop - start]
        torch.addmm(bias, hidden[rows], table.T, out=block[:, :width])
        yield rows, block


@torch.no_grad()
def best_items(hidden: Tensor, table: Tensor, bias: Tensor, blocked: Tensor | None = None) -> Tensor:
    """argmax_b h . table_b + bias_b of every row, the lower number of two equal ones: (M, H) -> (M,).

    Blocked numbers (M, P) are none of a row's; 0 where nothing is possible, if bias_0 is -inf.
    """
    if not in_blocks(hidden):
        logits = torch.addmm(bias, hidden, table.T)
        return (logits if blocked is None else logits.scatter_(1, blocked, -torch.inf)).argmax(1)
    found = torch.empty(len(hidden), dtype=torch.long)
    for rows, logits in blocks(hidden, table, bias):
        if blocked is not None:
            logits.scatter_(1, blocked[rows], -torch.inf)
        found[rows] = _argmax(logits)
    return found


def _argmax(values: Tensor) -> Tensor:
    """Argmax looks at one number at a time, amax at a whole vector of them: the group with the maximum is found first."""
    groups = values.view(len(values), LANE, -1)
    group = groups.amax(2).argmax(1)
    return group * groups.shape[2] + groups[torch.arange(len(values)), group].argmax(1)


class Scratch:
    """Memory for one batch's probabilities, kept from batch to batch: fresh pages cost as much as filling them."""

    def __init__(self) -> None:
        self._kept = torch.empty(0)
        self.uses = 0

    def rows(self, n: int, width: int) -> Tensor:
        """(n, width) floats. What was there before is lost."""
        self.uses += 1
        if self._kept.numel() < n * width:
            self._kept = torch.empty(n * width)
        return self._kept[: n * width].view(n, width)


@dataclass(frozen=True)
class Extra:
    """What else decides on the logits of M rows."""

    evidence: ByRows | None = None  # of which a weighted sum is added to them
    blocked: Tensor | None = None  # (M, P) items that do not count, 0 for none


NOTHING = Extra()


class LogSumExp(torch.autograd.Function):
    """log sum_b exp(h . table_b + bias_b) on a CPU; of all the numbers in between, only probabilities go to memory, once.

    With evidence beside, its weighted sum stands under the exponent too; blocked items do not count.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, table: Tensor, bias: Tensor, scratch: Scratch,
        weights: Tensor | None = None, extra: Extra = NOTHING,
    ) -> Tensor:  # fmt: skip
        """Hidden (M, H), table (N + 1, H), bias (N + 1,), weights of the evidence (E,) -> (M,)."""
        whole = scratch.rows(len(hidden), aligned(len(table)))
        probabilities = whole[:, : len(table)]
        log_sums, mean_rows = hidden.new_empty(len(hidden)), torch.empty_like(hidden)
        means = hidden.new_empty(len(hidden), 0 if weights is None else len(weights))
        for rows, logits in blocks(hidden, table, bias):
            told = () if weights is None or extra.evidence is None else extra.evidence(rows)
            for weight, said in zip([] if weights is None else weights.tolist(), told, strict=True):
                logits[:, : len(table)].add_(said, alpha=weight)
            if extra.blocked is not None:
                logits.scatter_(1, extra.blocked[rows], -torch.inf)
            share = torch.softmax(logits, dim=1, out=whole[rows])
            log_sums[rows] = logits.amax(1) - share.amax(1).log()  # log p = logit - log sum, at the likeliest item
            torch.mm(probabilities[rows], table, out=mean_rows[rows])
            for column, said in enumerate(told):
                means[rows, column] = torch.linalg.vecdot(probabilities[rows], said)
        ctx.save_for_backward(hidden, mean_rows, means)
        ctx.probabilities, ctx.scratch, ctx.use, ctx.weighted = probabilities, scratch, scratch.uses, weights is not None
        return log_sums

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """(M,) -> gradients of hidden, table, bias and weights."""
        if ctx.use != ctx.scratch.uses:
            raise RuntimeError("another batch's probabilities are in the scratch by now; go backward before the next forward")
        hidden, mean_rows, means = ctx.saved_tensors
        weighted = hidden * grad[:, None]
        of_weights = grad @ means if ctx.weighted else None
        return mean_rows * grad[:, None], ctx.probabilities.T @ weighted, grad @ ctx.probabilities, None, of_weights, None


def aligned(width: int) -> int:
    """The next multiple of a cache line."""
    return -(-width // LANE) * LANE
