"""Processes that run jobs: so many at once, each with a device, its share of the threads, and a file for what it prints."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

GRACE_SECONDS = 10.0  # for a stopped process to end by itself
TAIL = 8192  # bytes of a log file in which the error is sought
DEVICE = "\0"  # in a job's arguments: the slot's device; no path can be that


@dataclass(frozen=True)
class Ended:
    """How a job's process ended."""

    name: str
    error: str | None  # None: it did what it should
    seconds: float


@dataclass
class Processes:
    """A slot for every process that may run at once; slot i has device i, and so round."""

    n: int
    devices: Sequence[str]
    _running: dict[str, "_Running"] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Jobs at work, oldest first."""
        return list(self._running)

    @property
    def has_room(self) -> bool:
        """Whether another process may start."""
        return len(self._running) < self.n

    def start(self, name: str, arguments: Sequence[str], log: Path) -> None:
        """Start learec.experiment.job; DEVICE among the arguments stands for the slot's device."""
        slot = min(set(range(self.n)) - {running.slot for running in self._running.values()})
        device = self.devices[slot % len(self.devices)]
        command = [sys.executable, "-m", "learec.experiment.job", *(device if one == DEVICE else one for one in arguments)]
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as file:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=self._environment(),
                start_new_session=True,
            )
        self._running[name] = _Running(process, slot, log, time.monotonic())

    def _environment(self) -> Mapping[str, str]:
        threads = str(max((os.cpu_count() or 1) // self.n, 1))
        return {"OMP_NUM_THREADS": threads, **os.environ}

    def ended(self) -> list[Ended]:
        """Jobs whose process has ended since the last call."""
        over = {name: running for name, running in self._running.items() if running.process.poll() is not None}
        for name in over:
            del self._running[name]
        return [Ended(name, running.error(), time.monotonic() - running.began) for name, running in over.items()]

    def stop(self) -> None:
        """End all of them; what they were making stays partial."""
        processes = [running.process for running in self._running.values()]
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + GRACE_SECONDS
        for process in processes:
            try:
                process.wait(max(deadline - time.monotonic(), 0))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()


@dataclass(frozen=True)
class _Running:
    process: "subprocess.Popen[bytes]"
    slot: int
    log: Path
    began: float

    def error(self) -> str | None:
        """The last line that it printed, if it failed; the signal, if one ended it."""
        if self.process.stdin:
            self.process.stdin.close()
        code = self.process.returncode
        if not code:
            return None
        if code < 0:
            hint = "; out of memory? try fewer --jobs" if -code == signal.SIGKILL else ""
            return f"ended by {signal.Signals(-code).name}{hint}"
        return _last_line(self.log) or f"exit code {code}"


def _last_line(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(file.seek(0, os.SEEK_END) - TAIL, 0))
        lines = [line.strip() for line in file.read().decode("utf-8", "replace").splitlines()]
    return next((line for line in reversed(lines) if line), "").removeprefix("error: ")
