"""Permutation tests: whether two rows of a table differ by more than users and seeds make two equal ones differ.

Null hypothesis: for every session it is a toss-up which of the two rows its values belong to, and the runs of both rows have the
same mean. Then exchanging both rows' values in any set of sessions (all targets of a session at once, seeds averaged)
is as likely as what was seen. Exchanging whole runs as well would be exact for runs of one distribution, but five seeds a side
allow 126 outcomes and two allow 3: the runs' part is drawn instead, of each side from a normal distribution whose variance its
few runs leave open (seeds.py). docs/evaluation.md says what this does not cover.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from learec.evaluation.compare import BySession, Values
from learec.evaluation.seeds import Pair, SeedLuck, seed_luck

BLOCK = 2**22  # signs drawn at once: bounds the memory


@dataclass(frozen=True)
class Tested:
    """What a test found of a pair."""

    p: float  # two-sided; at least 1 / (permutations + 1)
    effect: float  # mean over sessions of their mean difference, in standard deviations; 0 if all sessions differ alike
    better: float  # share of sessions in which new is ahead
    worse: float
    luck: SeedLuck


def permutation_tests(pairs: Sequence[Pair], by_session: BySession, permutations: int, seed: int) -> list[Tested]:
    """Two-sided tests of differences of means over targets; the same exchanges of sessions serve every pair.

    For one run a side scipy.stats.permutation_test gives the same (a test compares them), but takes 15 s for 8,317 sessions and
    10,000 permutations where this takes 0.1 s. Raises ValueError without targets.
    """
    if not len(by_session.session):
        raise ValueError("no targets: nothing can be tested")
    if not pairs:
        return []
    sums = np.stack([by_session.sums(pair.difference) for pair in pairs], axis=1)  # (S, pairs)
    exchanged = np.concatenate(list(_exchanged(sums, permutations, seed)))
    return [_tested(pair, by_session, exchanged[:, column], seed + 1) for column, pair in enumerate(pairs)]


def _tested(pair: Pair, by_session: BySession, exchanged: Values, seed: int) -> Tested:
    """One pair, from the sums of its differences with sessions exchanged, (permutations,)."""
    sums, n, luck = by_session.sums(pair.difference), len(by_session.session), seed_luck(pair, by_session)
    drawn, seen = luck.added_to(exchanged / n, seed), abs(sums.sum()) / n
    # The same values added up in another order are equal, though their last digits may not be.
    reached = np.abs(drawn) >= seen * (1 - 1e-9) - 1e-15
    means = sums / by_session.targets
    spread = float(means.std())
    return Tested(
        p=(1 + int(reached.sum())) / (len(drawn) + 1),
        effect=float(means.mean()) / spread if spread > 1e-9 * abs(float(means.mean())) else 0.0,
        better=float((means > 0).mean()),
        worse=float((means < 0).mean()),
        luck=luck,
    )


def _exchanged(sums: Values, permutations: int, seed: int) -> Iterator[Values]:
    """Totals of (S, pairs) with every session's sign drawn at random, (block, pairs)."""
    rng, n, total = np.random.default_rng(seed), len(sums), sums.sum(axis=0)
    size = max(min(BLOCK // n, permutations), 1)
    for start in range(0, permutations, size):
        rows = min(size, permutations - start)
        drawn = np.frombuffer(rng.bytes(rows * -(-n // 8)), dtype=np.uint8).reshape(rows, -1)
        yield total - 2 * (np.unpackbits(drawn, axis=1, count=n).astype(np.float64) @ sums)


def holm(p: Sequence[float]) -> list[float]:
    """P values adjusted for their number, in the order given (Holm, Scand. J. Statist. 1979).

    The k-th smallest of m is multiplied by m - k + 1, and none becomes smaller than one before it. Rejecting where these are
    below 0.05 errs in any of the true null hypotheses with probability 0.05 at most, however they depend on each other.
    """
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)), 1)
    found: list[float] = adjusted.tolist()
    return found
