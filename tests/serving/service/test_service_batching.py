"""Micro-batching: who is computed with whom, and what happens when it fails or is too much."""

import asyncio
import threading

import pytest

from learec.serving.batching import Batcher
from learec.serving.problems import Problem, busy


class Gate:
    """Doubles its jobs; the first pass waits until it is opened. Remembers what came in one pass."""

    def __init__(self):
        self.opened, self.passes = threading.Event(), []

    def __call__(self, key, jobs):
        self.passes.append((key, list(jobs)))
        assert self.opened.wait(10)
        if "bad" in jobs:
            raise ValueError("bad")
        if "down" in jobs:
            raise busy("down")
        return [job * 2 for job in jobs]


def run(steps, gate, **limits):
    """Run an async function of a batcher over the gate."""

    async def main():
        batcher = Batcher(gate, name="jobs", **{"max_pass": 4, "max_waiting": 100, **limits})
        try:
            return await asyncio.wait_for(steps(batcher), 10)
        finally:
            gate.opened.set()
            batcher.close()

    return asyncio.run(main())


def test_requests_that_wait_while_a_pass_runs_are_computed_together_in_the_next():
    gate = Gate()

    async def steps(batcher):
        futures = [batcher.submit("a", [number]) for number in range(4)]
        gate.opened.set()
        return await asyncio.gather(*futures)

    assert run(steps, gate) == [[0], [2], [4], [6]]
    assert gate.passes == [("a", [0]), ("a", [1, 2, 3])]


def test_a_request_is_never_torn_apart_and_a_pass_has_one_key():
    gate = Gate()

    async def steps(batcher):
        jobs = [("a", [1]), ("a", [2, 3, 4]), ("b", [5]), ("a", [6, 7]), ("a", [8])]
        futures = [batcher.submit(key, job) for key, job in jobs]
        gate.opened.set()
        return await asyncio.gather(*futures)

    assert run(steps, gate) == [[2], [4, 6, 8], [10], [12, 14], [16]]
    assert gate.passes == [("a", [1]), ("a", [2, 3, 4, 8]), ("b", [5]), ("a", [6, 7])]


def test_one_that_fails_does_not_fail_the_others_of_its_pass():
    gate = Gate()

    async def steps(batcher):
        futures = [batcher.submit("a", [job]) for job in ("x", "y", "bad", "z")]
        gate.opened.set()
        return await asyncio.gather(*futures, return_exceptions=True)

    found = run(steps, gate)
    assert found[:2] + found[3:] == [["xx"], ["yy"], ["zz"]]
    assert isinstance(found[2], ValueError)


def test_a_worker_that_is_down_is_not_asked_again_for_every_request():
    gate = Gate()

    async def steps(batcher):
        futures = [batcher.submit("a", [job]) for job in ("x", "down", "y", "z")]
        gate.opened.set()
        return await asyncio.gather(*futures, return_exceptions=True)

    assert [getattr(one, "status", one) for one in run(steps, gate)] == [["xx"], 503, 503, 503]
    assert len(gate.passes) == 2


def test_more_than_may_wait_is_refused_at_once_and_room_is_made_as_passes_begin():
    gate = Gate()

    async def steps(batcher):
        first = batcher.submit("a", ["x"])  # computed, so not waiting
        waiting = batcher.submit("a", ["y", "z"])
        with pytest.raises(Problem, match="2 jobs wait already, of 3 at most") as refused:
            batcher.submit("a", ["1", "2"])
        assert (refused.value.status, refused.value.headers) == (503, {"Retry-After": "1"})
        last = batcher.submit("a", ["1"])
        gate.opened.set()
        return await asyncio.gather(first, waiting, last), batcher.n_waiting

    assert run(steps, gate, max_waiting=3) == ([["xx"], ["yy", "zz"], ["11"]], 0)


def test_a_cancelled_request_leaves_the_others_alone():
    gate = Gate()

    async def steps(batcher):
        first, second, third = (batcher.submit("a", [job]) for job in "xyz")
        second.cancel()
        gate.opened.set()
        return await first, await third

    assert run(steps, gate) == (["xx"], ["zz"])


def test_nothing_is_computed_for_a_client_that_has_hung_up_while_it_waited():
    gate = Gate()

    async def steps(batcher):
        clients = {"x": False, "y": True, "z": False}
        futures = [batcher.submit("a", [job], lambda gone=gone: gone) for job, gone in clients.items()]
        gate.opened.set()
        return await asyncio.gather(*futures, return_exceptions=True), batcher.n_waiting

    (first, second, third), waiting = run(steps, gate)
    assert (first, second.status, third, waiting) == (["xx"], 499, ["zz"], 0)
    assert gate.passes == [("a", ["x"]), ("a", ["z"])]
