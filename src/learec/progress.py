"""How a long piece of work tells where it is: a bar with the time left on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Advance = Callable[..., None]  # advance(n, "what the last piece told")
PLAIN_SECONDS = 15.0


class Reporter:
    """Says what happens. Stages are given one; tests may give `Reporter(Console(quiet=True))`."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)

    def say(self, text: str) -> None:
        """One line."""
        self.console.print(text, markup=False, soft_wrap=True)

    @contextmanager
    def bar(self, description: str, total: int) -> Iterator[Advance]:
        """Progress over `total` pieces; the function handed out is called with how many are done since the last call."""
        show = self._live if self.console.is_terminal else self._plain
        with show(description, total) as advance:
            yield advance

    @contextmanager
    def _live(self, description: str, total: int) -> Iterator[Advance]:
        columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        left = (TextColumn("left"), TimeRemainingColumn(), TextColumn("[dim]{task.fields[told]}"))
        with Progress(*columns, *left, console=self.console) as progress:
            task = progress.add_task(description, total=total, told="")

            def advance(pieces: int = 1, told: str = "") -> None:
                progress.update(task, advance=pieces, told=told)

            yield advance

    @contextmanager
    def _plain(self, description: str, total: int) -> Iterator[Advance]:
        start = last = time.monotonic()
        done = 0

        def advance(pieces: int = 1, told: str = "") -> None:
            nonlocal done, last
            done += pieces
            now = time.monotonic()
            if now - last >= PLAIN_SECONDS and done < total:
                last = now
                left = (now - start) / max(done, 1) * (total - done)
                self.say(f"  {description}: {done}/{total}, about {left:.0f} s left {told}".rstrip())

        yield advance
        self.say(f"  {description}: {done}/{total} in {time.monotonic() - start:.0f} s")
