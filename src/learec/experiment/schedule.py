"""The order of work: which job may start, which never will because one before it failed, and how long the rest may take."""

import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from learec.errors import LearecError
from learec.experiment.jobs import Job
from learec.experiment.processes import Ended, Processes

State = Literal["waiting", "running", "made", "kept", "failed", "left out", "not asked for"]
OVER: frozenset[State] = frozenset({"made", "kept", "failed", "left out", "not asked for"})
DONE: frozenset[State] = frozenset({"made", "kept"})
POLL_SECONDS = 0.1


@dataclass
class Progress:
    """Where every job is."""

    jobs: Mapping[str, Job]
    states: dict[str, State] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)  # of a failed job its error, of one left out who failed
    cell_seconds: dict[str, float] = field(default_factory=dict)  # of cells that are there, as far as known
    began: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.states = {name: "waiting" for name in self.jobs}

    @property
    def failed(self) -> dict[str, str]:
        """Jobs that failed, and why."""
        return {name: self.errors[name] for name, state in self.states.items() if state == "failed"}

    def left_out(self, failed: str) -> list[str]:
        """Jobs that cannot be done because that one failed."""
        return [name for name, state in self.states.items() if state == "left out" and self.errors[name] == failed]

    @property
    def missing(self) -> dict[str, str]:
        """Jobs that failed, why, and what is left out with each."""
        return {name: why + _named(self.left_out(name)) for name, why in self.failed.items()}

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to be done."""
        return all(state in OVER for state in self.states.values())

    def cells(self, log: str | None = None) -> Counter[State]:
        """How many cells are in which state, of one log or of all; of those that nobody asked for, the ones that are there."""
        chosen = (name for name, job in self.jobs.items() if job.stage == "train" and log in (None, job.run.log))
        return Counter(self.states[name] for name in chosen if self.jobs[name].asked or self.states[name] in DONE)

    def ready(self) -> Job | None:
        """The first job that may start. Marks those on the way that never can."""
        for name, job in self.jobs.items():
            if self.states[name] != "waiting" or not all(self.states[one] in OVER for one in (*job.needs, *job.after)):
                continue
            broken = self._broken(job)
            if broken is None:
                return job
            if not job.asked:
                self.states[name] = "not asked for"
                continue
            self.states[name], self.errors[name] = "left out", self._cause(broken)
        return None

    def _broken(self, job: Job) -> str | None:
        """A job without which this one is not possible; an evaluation needs any cell."""
        broken = next((one for one in job.needs if self.states[one] not in DONE), None)
        cells = [one for one in job.after if self.jobs[one].stage == "train"]
        if broken is None and cells and not any(self.states[one] in DONE for one in cells):
            return cells[0]
        return broken

    def _cause(self, broken: str) -> str:
        """The job that failed and because of which this one, failed or left out, is not there."""
        return self.errors[broken] if self.states[broken] == "left out" else broken

    def seconds_left(self, processes: int) -> float | None:
        """By the median cell of each log, or of all logs where one has none yet; None as long as no cell has ended."""
        by_log: dict[str, list[float]] = {}
        for name, seconds in self.cell_seconds.items():
            by_log.setdefault(self.jobs[name].run.log, []).append(seconds)
        if not by_log:
            return None
        medians = {log: statistics.median(values) for log, values in by_log.items()}
        typical, left, now = statistics.median(self.cell_seconds.values()), 0.0, time.monotonic()
        for name, job in self.jobs.items():
            if job.stage == "train" and job.asked and self.states[name] in ("waiting", "running"):
                passed = now - self.began[name] if name in self.began else 0.0
                left += max(medians.get(job.run.log, typical) - passed, 0.0)
        return left / processes

    def end(self, ended: Ended) -> None:
        """Note how a job ended."""
        self.states[ended.name] = "failed" if ended.error else "made"
        if ended.error:
            self.errors[ended.name] = ended.error
        elif self.jobs[ended.name].stage == "train":
            self.cell_seconds[ended.name] = ended.seconds


def _named(left_out: list[str]) -> str:
    return f"; left out with it: {', '.join(left_out)}" if left_out else ""


class Hands(Protocol):
    """Who does the jobs."""

    processes: Processes

    def kept(self, job: Job) -> float | None:
        """Seconds that it took to make what is there and up to date (0: not known), or None if a process has to make it.

        Raises LearecError.
        """
        ...

    def start(self, job: Job) -> None:
        """Start its process. Raises LearecError."""
        ...


def work_off(progress: Progress, hands: Hands, told: Callable[[str], None]) -> None:
    """Run all jobs; one that fails is noted and the rest goes on. `told` hears the name of each job that is over, and "" between.

    However this ends, its processes end too.
    """
    try:
        while not progress.is_over:
            _start_what_can(progress, hands, told)
            ended = hands.processes.ended()
            for one in ended:
                progress.end(one)
                told(one.name)
            if not ended and not progress.is_over:
                told("")
                time.sleep(POLL_SECONDS)
    finally:
        hands.processes.stop()


def _start_what_can(progress: Progress, hands: Hands, told: Callable[[str], None]) -> None:
    while hands.processes.has_room and (job := progress.ready()):
        try:
            seconds = hands.kept(job)
            if seconds is None and job.asked:
                hands.start(job)
        except LearecError as error:
            if job.asked:
                progress.end(Ended(job.name, str(error), 0.0))
                told(job.name)
            else:
                progress.states[job.name] = "not asked for"
            continue
        if seconds is None and not job.asked:
            progress.states[job.name] = "not asked for"
            continue
        progress.states[job.name] = "running" if seconds is None else "kept"
        if seconds is None:
            progress.began[job.name] = time.monotonic()
            continue
        if job.stage == "train" and seconds:  # 0 where it is not known
            progress.cell_seconds[job.name] = seconds
        told(job.name)
