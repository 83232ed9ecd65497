"""Time and memory of prepare on generated logs of up to 100 million events, 1 million users, 1 million items.

    python benchmarks/prepare.py [--events 1000000 10000000 100000000] [--folder FOLDER]

Generates a folder of Parquet files (unsorted rows, text ids, popularity by Zipf) and an item table, prepares it in a
process of its own with the recipe below, opens the log, and prints one JSON object as its last line:
{events: {"seconds", "peak_mb", "load_seconds", "slope"}}; slope: the exponent between a size and the one before it.
"""

import argparse
import json
import math
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

FILE_ROWS = 5_000_000
USERS, ITEMS = 1_000_000, 1_000_000
CONFIG = {
    "events": "events", "items": "items.parquet", "columns": {"event": "kind"}, "rewards": {"view": 0.2, "purchase": 1.0},
    "title": "{title}", "text": "{title} by {brand}, in {category}", "min_item_events": 5, "min_session_events": 5,
}  # fmt: skip
PREPARE = """
import json, resource, sys, time
from pathlib import Path
from learec.config import DataConfig
from learec.data.prepare import prepare
folder = Path(sys.argv[1])
start = time.perf_counter()
notes = prepare(DataConfig(**json.loads(sys.argv[2])), 0, folder, folder / "log")
seconds = time.perf_counter() - start
print(json.dumps({"seconds": round(seconds, 1), "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
                  "steps": notes["steps"], "items": notes["items"], "sessions": notes["sessions"]}))
"""
LOAD = """
import sys, time
from pathlib import Path
from learec.data.log import load_log
start = time.perf_counter()
log = load_log(Path(sys.argv[1]) / "log")
log.sessions.items[-1], log.catalog.table["title"][-1]
print(time.perf_counter() - start)
"""


def generate(folder: Path, n_events: int) -> None:
    """Files of events in random order, and the item table."""
    rng = np.random.default_rng(0)
    users, items = max(n_events * USERS // 100_000_000, 1000), max(n_events * ITEMS // 100_000_000, 1000)
    (folder / "events").mkdir()
    # Zipf's law by its inverse distribution function, so that every item can occur.
    popularity = np.cumsum(1 / np.arange(10, items + 10))
    activity = np.cumsum(rng.lognormal(0, 1, users))
    for number, start in enumerate(range(0, n_events, FILE_ROWS)):
        n = min(FILE_ROWS, n_events - start)
        user = np.searchsorted(activity, rng.random(n) * activity[-1])
        item = np.searchsorted(popularity, rng.random(n) * popularity[-1])
        frame = pl.DataFrame(
            {"user": user, "item": item, "timestamp": rng.integers(1_700_000_000, 1_731_536_000, n), "kind": rng.random(n) < 0.1}
        ).select(
            pl.format("U{}", "user").alias("user_id"), pl.format("B{}", "item").alias("item_id"), "timestamp",
            pl.when("kind").then(pl.lit("purchase")).otherwise(pl.lit("view")).alias("kind"),
        )  # fmt: skip
        frame.write_parquet(folder / "events" / f"{number:03d}.parquet", compression="lz4")
    pl.DataFrame({"item": np.arange(items)}).select(
        pl.format("B{}", "item").alias("item_id"), pl.format("Thing &amp; {}", "item").alias("title"),
        pl.format("Maker {}", pl.col("item") % 1000).alias("brand"), pl.format("Shelf {}", pl.col("item") % 77).alias("category"),
    ).write_parquet(folder / "items.parquet")  # fmt: skip


def measured(folder: Path, n_events: int) -> dict[str, float]:
    """One size: generate, prepare, load."""
    generate(folder, n_events)
    command = [sys.executable, "-c", PREPARE, str(folder), json.dumps(CONFIG)]
    row: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    loads = [
        float(subprocess.run([sys.executable, "-c", LOAD, str(folder)], check=True, capture_output=True, text=True).stdout)
        for _ in range(3)
    ]
    return {**row, "load_seconds": round(sorted(loads)[1], 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, nargs="+", default=[1_000_000, 10_000_000, 100_000_000])
    parser.add_argument("--folder", type=Path, help="where to generate (default: a temporary folder; 100 million take 6 GB)")
    options = parser.parse_args()
    found: dict[int, dict[str, float]] = {}
    for n_events in options.events:
        folder = Path(tempfile.mkdtemp(dir=options.folder))
        try:
            row = measured(folder, n_events)
        finally:
            shutil.rmtree(folder)
        if found:
            smaller = max(found)
            row["slope"] = round(math.log(row["seconds"] / found[smaller]["seconds"]) / math.log(n_events / smaller), 2)
        found[n_events] = row
        print(n_events, row, flush=True)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
