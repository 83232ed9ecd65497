"""Ours: the stage `train` on whole epochs of the log beside `training` (folder log), supervised or SNQN with LEA columns.

It encodes windows cut to the longest of their batch and multiplies only real places with the items. The JSON line also
holds matmul_share: the step's floating point operations (counted by hand, real places alone, see operations_of) a second
over those of the best matrix product measured in the same process.
"""

import argparse
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
import torch
from rich.console import Console
from step_profile import print_profile
from stopwatch import BATCH, BLOCKS, DROPOUT, HEADS, HIDDEN, LEARNING_RATE, LENGTH, Stopwatch, arguments
from torch.profiler import profile

from learec.agents.agent import Agent
from learec.agents.batches import Batches
from learec.agents.train import train
from learec.annotations.table import Annotations
from learec.config import AgentConfig, AgentEntry
from learec.data.log import Log, Part, load_log
from learec.evaluation.metrics import ranks
from learec.progress import Reporter

STATE_SIZE, N_AUGMENTED = 256, 3


class TimeIsOver(Exception):
    """Ends a training that has been timed."""


def config_of(lea: bool) -> AgentConfig:
    return AgentConfig(
        encoder="sasrec", objective="snqn" if lea else "supervised", lea=("state", "reward", "augmented") if lea else (),
        hidden_size=HIDDEN, n_layers=BLOCKS, n_heads=HEADS, dropout=DROPOUT, max_length=LENGTH, batch_size=BATCH,
        learning_rate=LEARNING_RATE, weight_decay=0.0, epochs=100_000, patience=100_000,
    )  # fmt: skip


def invented_annotations(log: Log) -> Annotations:
    """Columns of the shapes that annotate makes; speed does not depend on what they say."""
    rng, n = np.random.default_rng(0), log.training.n_steps
    return Annotations(
        states=rng.standard_normal((n, STATE_SIZE), dtype=np.float32),
        rewards=rng.standard_normal(n, dtype=np.float32),
        augmented=rng.choice(log.training.items, (n, N_AUGMENTED)).astype(np.int64),
        augmented_scores=rng.standard_normal((n, N_AUGMENTED), dtype=np.float32),
        augmented_rewards=rng.standard_normal((n, N_AUGMENTED), dtype=np.float32),
        annotated=log.training.step_of > 0,
        item_vectors=np.zeros((log.catalog.n_items + 1, STATE_SIZE), dtype=np.float32),
        digest="invented",
    )


def operations_of(log: Log, config: AgentConfig) -> float:
    """Floating point operations of a supervised epoch's matrix products: 2 a weight forward, and twice that backward.

    A block has 12 H^2 weights, and attention's two products with the places before; the head has H (N + 1) a target.
    Padding counts as nothing.
    """
    total, hidden = 0.0, config.hidden_size
    for batch in Batches(log.training, None, config, "cpu").epoch(1, 0):
        depth = float(batch.real.cumsum(1)[batch.real].sum())
        encoder = config.n_layers * (24 * hidden**2 * int(batch.real.sum()) + 4 * hidden * depth)
        total += 3 * (encoder + 2 * hidden * (log.catalog.n_items + 1) * len(batch.steps.actions))
    return total


def product_peak() -> float:
    """Floating point operations a second of the best of many square products."""
    best = 0.0
    for size in (1024, 2048):
        a, b, out = torch.randn(size, size), torch.randn(size, size), torch.empty(size, size)
        for _ in range(12):
            start = time.perf_counter()
            torch.mm(a, b, out=out)
            best = max(best, 2 * size**3 / (time.perf_counter() - start))
    return best


class Trained:
    """A training of whole epochs, driven by the stopwatch from train's validation."""

    def __init__(self, options: argparse.Namespace, log: Log) -> None:
        self.stopwatch = Stopwatch(options)
        self.targets = int(np.maximum(log.training.lengths - 1, 0).sum())
        self.agent: Agent | None = None
        self.profiler = profile(record_shapes=True) if options.profile else None
        config = config_of(options.lea)
        annotations = invented_annotations(log) if options.lea else None
        with TemporaryDirectory() as folder, suppress(TimeIsOver):
            train(
                AgentEntry("learec", 0, config), log, annotations, Path(folder) / "agent",
                device="cpu", reporter=Reporter(Console(quiet=True)), validate=self.epoch_is_over,
            )  # fmt: skip

    def epoch_is_over(self, agent: Agent) -> dict[str, float]:
        """Called before the first epoch and after every one; what it returns always rises, so the last weights are best."""
        if self.agent is None:
            self.agent = agent
            return {"epochs": 0.0}
        self.stopwatch.epoch(self.targets)
        done = self.stopwatch.epochs
        if self.profiler and not done:
            self.profiler.start()
        elif self.profiler:
            self.profiler.stop()
        if self.stopwatch.over or (self.profiler and done):
            raise TimeIsOver
        return {"epochs": done + 1.0}


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--lea", action="store_true", help="SNQN with all LEA columns")
    parser.add_argument("--profile", action="store_true", help="print where an epoch's time goes instead of timing")
    options = parser.parse_args()
    log = load_log(options.training.parent / "log")
    trained = Trained(options, log)
    if trained.profiler:
        print_profile(trained.profiler, log.catalog.n_items + 1)
        return
    stopwatch, more = trained.stopwatch, {}
    if not options.lea:
        peak = product_peak()
        epochs = stopwatch.targets / trained.targets
        per_second = operations_of(log, config_of(False)) * epochs / (stopwatch.now - stopwatch.start)
        more = {"matmul_share": round(per_second / peak, 3), "peak_gflops": round(peak / 1e9, 1)}
    stopwatch.print(trained.targets, **more)
    if options.recommend and trained.agent:
        recommend(trained.agent, log, options.recommend)


def recommend(agent: Agent, log: Log, out: Path) -> None:
    """The rank of every user's validation item, which is all that is asked of the ten best."""
    targets = log.targets(Part.VALIDATION)
    rank = ranks(agent, log.sessions, targets, mask_seen=True, max_length=LENGTH)
    columns = {"user": log.sessions.session_of[targets], "item": log.sessions.items[targets], "rank": rank}
    pl.DataFrame(columns).filter(pl.col("rank") <= 10).write_parquet(out)


if __name__ == "__main__":
    main()
