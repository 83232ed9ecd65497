"""What an audit says of a split: tables, and sentences with their numbers."""

from datetime import UTC, datetime
from typing import Any

import polars as pl
from rich.table import Table

from learec.data.audit import SHARE, again_in, in_several, limits, novelty_table, part_table, popularity_shift
from learec.data.audited import Split
from learec.data.leaks import copied_sessions, leaks_in
from learec.data.sequential import SHUFFLES, sequentialness
from learec.progress import Reporter


def tell(split: Split, reporter: Reporter) -> list[str]:
    """Print tables and sentences on a split. Returns the log's own leaks, a sentence each."""
    say, log = reporter.say, split.log
    say(f"split {split.name}: {log.sessions.n_steps:,} events, {len(split.by_user):,} users, {log.catalog.n_items:,} items")
    if split.notes.get("cuts"):
        say(f"cut at {' and '.join(_moment(split, cut) for cut in split.notes['cuts'])}")
    _print_table(part_table(split), reporter)
    _print_table(novelty_table(split), reporter)
    again = again_in(split)
    _print_table(again.table(split), reporter)
    copies, n_alike = copied_sessions(split)
    say(f"in more than one part: {in_several(split.by_user):,} users, {in_several(split.by_session):,} sessions")
    say(f"held-out sessions with the items of a training session in the same order: {n_alike:,}")
    shift = popularity_shift(split)
    say(
        f"popularity, training against test: Jensen-Shannon distance {shift.distance:.3f} (base 2; {shift.by_chance:.3f} if "
        f"test were drawn from training), Spearman {shift.spearman:.3f}"
    )
    _tell_order(split, reporter)
    for limit in limits(split, again):
        say(f"not protected: {limit}")
    return [str(leak) for leak in (*leaks_in(split, again), copies) if leak]


def _moment(split: Split, time: float) -> str:
    size = split.clock.seconds_per_unit
    return f"{time:g}" if size is None else f"{datetime.fromtimestamp(time * size, UTC):%Y-%m-%d %H:%M:%S}"


def _tell_order(split: Split, reporter: Reporter) -> None:
    order = sequentialness(split)
    if not order.targets:
        reporter.say("order: no held-out step has two items before it")
        return
    reporter.say(
        f"order: HR@10 of what followed the last item {order.true:.4f}, with histories shuffled {order.shuffled:.4f} (mean of "
        f"{SHUFFLES}), ratio {order.ratio:.2f}, {order.targets:,} held-out steps; {order.meaning}"
    )


def _print_table(frame: pl.DataFrame, reporter: Reporter) -> None:
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0))
    for name in frame.columns:
        table.add_column(name, justify="left" if name == frame.columns[0] else "right")
    for row in frame.iter_rows(named=True):
        table.add_row(*(_cell(name, value) for name, value in row.items()))
    reporter.console.print(table)


def _cell(name: str, value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.1%}" if name.endswith(SHARE) else f"{value:.1f}"
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
