"""An index over a catalog of a million items: recall@10 against the exact product, time of one history, memory.

    python benchmarks/serving_index.py [--items 1000000] [--hidden-size 64] [--queries 1000]

No trained agent of a million items is at hand, so vectors are made up to be as uneven as trained ones: broad topics, narrow
ones within, and items around these; lengths vary (log-normal) and every item has a bias. A history's hidden vector leans
towards a few items of one topic. Times are of one thread. The last line is JSON.
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from learec.serving.index import IndexedRanker, build_index, open_index, recall_of
from learec.serving.ranker import VectorRanker, best_of_rows

TOPICS, NARROW, TASTES = 300, 60, 3
TIMED = 100


class Exact(VectorRanker):
    """A ranker whose histories name their hidden vector; ranks by the whole product."""

    max_length = 1

    def __init__(self, table, bias, queries):
        self.table, self.bias, self.queries, self.n_items = table, bias, queries, len(bias) - 1

    def hidden(self, items):
        return self.queries[items[:, 0]]

    def top(self, items, blocked, k):
        scores = self.hidden(items) @ self.table.T + self.bias
        np.put_along_axis(scores, blocked, -np.inf, axis=1)
        return best_of_rows(scores, k)


def made_up(n_items, size, n_queries, rng):
    """Item vectors (N + 1, H), biases (N + 1,), hidden vectors (Q, H)."""
    topics = rng.normal(size=(TOPICS, size), scale=1.0)
    narrow = topics[rng.integers(TOPICS, size=TOPICS * NARROW)] + rng.normal(size=(TOPICS * NARROW, size), scale=0.7)
    kind = rng.integers(len(narrow), size=n_items + 1)
    table = narrow[kind].astype(np.float32)
    table += rng.standard_normal(size=table.shape, dtype=np.float32) * np.float32(0.7)
    table *= (rng.lognormal(0, 0.25, size=(n_items + 1, 1)) / np.sqrt(2 * size)).astype(np.float32)
    bias = rng.normal(0, 0.1, n_items + 1).astype(np.float32)
    bias[0] = -np.inf
    order = np.argsort(kind, kind="stable")
    places = rng.integers(n_items - TASTES, size=n_queries)[:, None] + np.arange(TASTES)
    leaning = table[np.maximum(order[places], 1)].mean(axis=1) + rng.normal(size=(n_queries, size)) * 0.4 / np.sqrt(size)
    queries = leaning / np.linalg.norm(leaning, axis=1, keepdims=True) * 21  # as long as those of a trained SASRec of size 64
    return table, bias, queries.astype(np.float32)


def ranked(ranker, rows, nothing):
    """The best 10 of every history, a few at a time: exact scores of a million items take 4 MB each."""
    return np.concatenate([ranker.top(rows[n : n + 8], nothing[: len(rows[n : n + 8])], 10)[0] for n in range(0, len(rows), 8)])


def seconds_each(ranker, rows, nothing):
    """Of one history alone; the median."""
    times = []
    for row in rows:
        start = time.perf_counter()
        ranker.top(row[None], nothing[:1], 10)
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--hidden-size", type=int, default=64)
    parser.add_argument(
        "--queries", type=int, default=1000, help="half to choose how many lists are searched, half to measure it"
    )
    options = parser.parse_args()
    table, bias, queries = made_up(options.items, options.hidden_size, options.queries, np.random.default_rng(0))
    exact = Exact(table, bias, queries)
    half = options.queries // 2
    measured, others, nothing = np.arange(half)[:, None], np.arange(half, options.queries)[:, None], np.zeros((half, 1), np.int64)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "items.faiss"
        start = time.perf_counter()
        noted = build_index(exact, measured, nothing, path)
        built, size = time.perf_counter() - start, path.stat().st_size
        indexed = IndexedRanker(exact, open_index(path, exact))
    recall = recall_of(*(ranked(ranker, others, nothing) for ranker in (indexed, exact)))
    times = {name: seconds_each(ranker, others[:TIMED], nothing) for name, ranker in (("index", indexed), ("exact", exact))}
    print(f"{options.items:,} items of {options.hidden_size} numbers: built and measured in {built:.0f} s")
    print(f"one history: {times['index'] * 1e3:.2f} ms by the index, {times['exact'] * 1e3:.2f} ms by the whole product")
    result = {
        "items": options.items, "recall_at_10": round(recall, 4), "recall_when_built": round(noted["recall_at_10"], 4),
        "lists": noted["lists"], "lists_searched": noted["lists_searched"], "build_s": round(built), "index_mb": size // 2**20,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, "index_ms": round(times["index"] * 1e3, 3),
        "exact_ms": round(times["exact"] * 1e3, 3), "speedup": round(times["exact"] / times["index"], 1),
    }  # fmt: skip
    print(json.dumps(result))


if __name__ == "__main__":
    main()
