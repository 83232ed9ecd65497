"""What an experiment shows while it works: a live table on a terminal, a line for every job that is over elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.live import Live
from rich.table import Table

from learec.experiment.schedule import Progress
from learec.progress import Reporter

SHOWN_JOBS = 6


class Board:
    """Told of every job that is over; asks the progress for all else."""

    def __init__(self, progress: Progress, processes: int, reporter: Reporter) -> None:
        self._progress, self._processes, self._reporter = progress, processes, reporter
        self._live: Live | None = None
        self._refreshed = 0.0

    @contextmanager
    def shown(self) -> Iterator[None]:
        """The table while work goes on, where there is a terminal."""
        if not self._reporter.console.is_terminal:
            yield
            return
        with Live(self.table(), console=self._reporter.console, auto_refresh=False) as self._live:
            yield
            self._live.update(self.table(), refresh=True)

    def told(self, name: str) -> None:
        """A job is over, or "": time has passed."""
        if name and (self._live is None or self._progress.states[name] == "failed"):
            self._reporter.say(self.line(name))
        if self._live is not None and time.monotonic() - self._refreshed > 0.5:
            self._refreshed = time.monotonic()
            self._live.update(self.table(), refresh=True)

    def line(self, name: str) -> str:
        """What became of a job, how far all cells are, and the time left."""
        state, cells = self._progress.states[name], self._progress.cells()
        took = f" in {self._progress.cell_seconds[name]:.0f} s" if state == "made" and name in self._progress.cell_seconds else ""
        error = f": {self._progress.errors[name]}" if state == "failed" else ""
        word = ("shared" if self._progress.jobs[name].stage == "share" else "up to date") if state == "kept" else state
        over = cells.total() - cells["waiting"] - cells["running"]
        return f"{name}: {word}{took}{error} [{over} of {cells.total()} cells{self._left()}]"

    def table(self) -> Table:
        """Cells of every log by state, and who is at work."""
        table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0), caption=self._at_work(), caption_justify="left")
        for heading in ("log", "cells", "done", "running", "waiting", "failed", "left out"):
            table.add_column(heading, justify="left" if heading == "log" else "right", no_wrap=True)
        logs = list(dict.fromkeys(job.run.log for job in self._progress.jobs.values()))
        for log in [*logs, None] if len(logs) > 1 else logs:
            cells = self._progress.cells(log)
            done = cells["made"] + cells["kept"]
            counts = cells.total(), done, cells["running"], cells["waiting"], cells["failed"], cells["left out"]
            table.add_row(log or "all", *map(str, counts))
        return table

    def _at_work(self) -> str:
        running = [name for name, state in self._progress.states.items() if state == "running"]
        more = f" and {len(running) - SHOWN_JOBS} more" if len(running) > SHOWN_JOBS else ""
        return f"now: {', '.join(running[:SHOWN_JOBS]) or 'nothing'}{more}{self._left()}".replace("[", r"\[")

    def _left(self) -> str:
        seconds = self._progress.seconds_left(self._processes)
        return f", about {told_seconds(seconds)} left" if seconds else ""


def told_seconds(seconds: float) -> str:
    """In the unit that people would use."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
