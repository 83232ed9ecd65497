"""Micro-batching: requests that wait while a pass is computed are answered together in the next one.

A pass runs in one worker thread, the event loop goes on meanwhile. Nothing waits for company: an idle worker starts with
what is there. Without load a request is a pass of its own; under load passes grow by themselves.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from learec.serving.problems import Problem, busy, hung_up

Key = TypeVar("Key", bound=Hashable)
Job = TypeVar("Job")
Result = TypeVar("Result")
Outcome = list[Result] | Exception


@dataclass(frozen=True, eq=False)
class Waiting(Generic[Key, Job, Result]):
    """One request: its jobs are never torn apart."""

    key: Key
    jobs: Sequence[Job]
    future: "asyncio.Future[list[Result]]"
    gone: Callable[[], bool]


class Batcher(Generic[Key, Job, Result]):
    """Collects jobs of concurrent requests into passes. All methods are for the event loop's thread."""

    def __init__(
        self,
        run: Callable[[Key, list[Job]], list[Result]],
        *,
        name: str,
        max_pass: int,
        max_waiting: int,
        seen: Callable[[int], None] = lambda jobs: None,
    ) -> None:
        """`run` gives one result per job, of jobs with one key. `seen` is told the size of every pass."""
        self._run, self._name, self._max_pass, self._max_waiting, self._seen = run, name, max_pass, max_waiting, seen
        self._waiting: deque[Waiting[Key, Job, Result]] = deque()
        self._running = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self.n_waiting = 0  # jobs

    def submit(self, key: Key, jobs: Sequence[Job], gone: Callable[[], bool] = lambda: False) -> "asyncio.Future[list[Result]]":
        """Results of the jobs, in their order. Raises Problem 503 when too many wait already.

        `gone` says whether the client has hung up meanwhile: nothing is computed for it then, and the future raises Problem 499.
        """
        if self.n_waiting + len(jobs) > self._max_waiting:
            raise busy(f"{self.n_waiting} {self._name} wait already, of {self._max_waiting} at most; try again in a second")
        future: asyncio.Future[list[Result]] = asyncio.get_running_loop().create_future()
        self._waiting.append(Waiting(key, jobs, future, gone))
        self.n_waiting += len(jobs)
        self._begin()
        return future

    def close(self) -> None:
        """Wait for the pass that is computed now; for use after the last request."""
        self._thread.shutdown()

    def _begin(self) -> None:
        if not self._running and (taken := self._taken()):
            self._running = True
            self._thread.submit(self._pass, asyncio.get_running_loop(), taken)

    def _taken(self) -> list[Waiting[Key, Job, Result]]:
        """The oldest request that is still wanted, and those after it with the same key, as many as go into one pass."""
        taken: list[Waiting[Key, Job, Result]] = []
        left, size = deque[Waiting[Key, Job, Result]](), 0
        while self._waiting and size < self._max_pass:
            one = self._waiting.popleft()
            if not self._wanted(one):
                self.n_waiting -= len(one.jobs)
            elif taken and (one.key != taken[0].key or size + len(one.jobs) > self._max_pass):
                left.append(one)
            else:
                taken.append(one)
                size += len(one.jobs)
        self._waiting.extendleft(reversed(left))
        self.n_waiting -= size
        if taken:
            self._seen(size)
        return taken

    def _wanted(self, one: Waiting[Key, Job, Result]) -> bool:
        if not one.future.done() and one.gone():
            one.future.set_exception(hung_up())
        return not one.future.done()

    def _pass(self, loop: asyncio.AbstractEventLoop, requests: list[Waiting[Key, Job, Result]]) -> None:
        """In the worker thread. A request that fails in company is tried alone, so that others do not suffer from it."""
        outcomes = self._outcomes(requests)
        loop.call_soon_threadsafe(self._done, requests, outcomes)

    def _outcomes(self, requests: list[Waiting[Key, Job, Result]]) -> list[Outcome[Result]]:
        try:
            results = self._run(requests[0].key, [job for request in requests for job in request.jobs])
        except Problem as problem:  # of the worker, not of a request: trying again would only take longer
            return [problem] * len(requests)
        except Exception as error:  # whatever it is belongs to the request that caused it
            return [error] if len(requests) == 1 else [self._outcomes([request])[0] for request in requests]
        each = iter(results)
        return [[next(each) for _ in request.jobs] for request in requests]

    def _done(self, requests: list[Waiting[Key, Job, Result]], outcomes: list[Outcome[Result]]) -> None:
        self._running = False
        self._begin()  # the next pass is computed while these answers are written
        for request, outcome in zip(requests, outcomes, strict=True):
            if request.future.done():  # cancelled
                continue
            if isinstance(outcome, Exception):
                request.future.set_exception(outcome)
            else:
                request.future.set_result(outcome)
