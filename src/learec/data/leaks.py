"""Leaks: what makes a split worthless and can be seen in the log alone."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from learec.data.audit import Again
from learec.data.audited import Split, chunks_of, steps_of
from learec.data.log import Bools, Ints, Part

MAKE_AGAIN = "make the log again with `learec prepare RECIPE`"
SHORTEST_COPY = 3  # two sessions may share two items by chance


@dataclass(frozen=True)
class Leak:
    """One way in which a held-out part is known to what is learnt."""

    what: str  # with its number
    first: str  # the first example, "" where it is said already
    remedy: str

    def __str__(self) -> str:
        """One sentence."""
        first = f", first {self.first}" if self.first else ""
        return f"{self.what}{first}; {self.remedy}"


def leaks_in(split: Split, again: Again) -> list[Leak]:
    """Leaks of single events; those of whole sessions are `copied_sessions`."""
    found = [*_out_of_order(split), *_after_the_cut(split)]
    if again.first_copied is not None:
        what = f"{again.copied:,} held-out events are training events too (same user, item, time and kind)"
        remedy = "remove the doubled rows of the events file and prepare again"
        found.append(Leak(what, split.event(again.first_copied), remedy))
    return found


def _out_of_order(split: Split) -> list[Leak]:
    """Steps that come after a step of a later part in their session."""
    total, first = 0, split.log.sessions.n_steps
    for chunk in chunks_of(split):
        # The highest part so far: sessions ascend in a chunk, so that each begins anew.
        highest = np.maximum.accumulate(chunk.session_of * len(Part) + chunk.parts) % len(Part)
        late = chunk.steps[highest > chunk.parts]
        total += len(late)
        first = min(first, int(late.min(initial=first)))
    if not total:
        return []
    what = f"{total:,} steps come after a step of a later part in their session (training after validation after test)"
    remedy = "correct the column that gives the split or name another split in [data], and prepare again"
    return [Leak(what, split.event(first), remedy)]


def _after_the_cut(split: Split) -> list[Leak]:
    """Events of a split by time that are not before the parts after theirs."""
    if split.name != "global_time" and not split.notes.get("cuts"):
        return []
    found = []
    for part, later in ((Part.TRAIN, "held-out"), (Part.VALIDATION, "test")):
        theirs = split.times[split.log.parts > part]
        late = np.flatnonzero((split.log.parts == part) & (split.times >= theirs.min())) if len(theirs) else theirs
        if len(late):
            name = "training" if part == Part.TRAIN else "validation"
            what = f"{len(late):,} {name} events are not before the first {later} event, which the split by time promises"
            found.append(Leak(what, split.event(int(late[0])), MAKE_AGAIN))
    return found


def copied_sessions(split: Split) -> tuple[Leak | None, int]:
    """Held-out sessions that are training sessions once more, as a leak; and how many more have the same items alone.

    Only whole sessions of one part are compared. Where times are an order, every session has the same ones, and
    nothing is called a copy.
    """
    counts = split.by_session
    lengths = counts.sum(axis=1)
    training = np.flatnonzero((counts[:, Part.TRAIN] == lengths) & (lengths >= SHORTEST_COPY))
    held_out = np.flatnonzero((counts[:, Part.TRAIN] == 0) & (lengths >= SHORTEST_COPY))
    if not len(training) or not len(held_out):
        return None, 0
    alike = _copies(split, held_out, training, times=False)
    copies = _copies(split, held_out, training, times=True) if split.clock.is_real else alike[:0]
    if not len(copies):
        return None, len(alike)
    what = f"{len(copies):,} held-out sessions are copies of training sessions (same items and times)"
    remedy = "remove one of each pair from the events file or put both into one part, and prepare again"
    return Leak(what, split.event(int(split.log.sessions.offsets[copies[0]])), remedy), len(alike) - len(copies)


def _copies(split: Split, held_out: Ints, training: Ints, times: bool) -> Ints:
    """Those of the held-out sessions that equal a training session, ascending."""
    hashes = _hashes(split, times)
    order = training[np.argsort(hashes[training], kind="stable")]
    at = np.minimum(np.searchsorted(hashes[order], hashes[held_out]), len(order) - 1)
    alike = hashes[order[at]] == hashes[held_out]
    candidates, other = held_out[alike], order[at[alike]]
    return candidates[_are_equal(split, candidates, other, times)]


def _hashes(split: Split, times: bool) -> Ints:
    """A number for what every session holds, (S,): the sum, modulo 2 ** 64, over its events' hashes."""
    hashes = np.zeros(split.log.sessions.n_sessions, dtype=np.uint64)
    for chunk in chunks_of(split):
        columns = {"place": chunk.place_of, "item": chunk.items, **({"time": chunk.times} if times else {})}
        total = np.append(np.uint64(0), np.cumsum(pl.DataFrame(columns).hash_rows(seed=0).to_numpy()))
        ends = np.append(0, np.cumsum(split.log.sessions.lengths[chunk.sessions]))
        hashes[chunk.sessions] = total[ends[1:]] - total[ends[:-1]]
    return hashes


def _are_equal(split: Split, some: Ints, others: Ints, times: bool) -> Bools:
    """Whether pairs of filled sessions hold the same, (P,): equal hashes are no proof."""
    offsets, lengths = split.log.sessions.offsets, split.log.sessions.lengths
    equal = lengths[some] == lengths[others]
    some, others = some[equal], others[equal]
    if len(some):
        left, right = steps_of(offsets, some), steps_of(offsets, others)
        same = split.log.sessions.items[left] == split.log.sessions.items[right]
        if times:
            same &= split.times[left] == split.times[right]
        ends = np.cumsum(lengths[some])
        equal[equal] = np.logical_and.reduceat(same, ends - lengths[some])
    return equal
