"""Stopwatch: what every timed script shares: its command line, when the time is over, and the JSON line it prints."""

import argparse
import json
import time
from pathlib import Path
from typing import Any

LENGTH, BATCH, HIDDEN, BLOCKS, HEADS, DROPOUT, LEARNING_RATE = 50, 128, 64, 2, 1, 0.2, 1e-3


def arguments(what: str) -> argparse.ArgumentParser:
    """The command line of a script that trains on `training`; see Stopwatch for the times."""
    parser = argparse.ArgumentParser(description=what, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("training", type=Path, help="Parquet file: user, item, timestamp (whole numbers), sorted")
    parser.add_argument("--warm-up", type=float, default=6.0, help="seconds at most")
    parser.add_argument("--seconds", type=float, default=15.0, help="timed")
    parser.add_argument("--epochs", type=int, help="train so many instead of timing")
    parser.add_argument("--recommend", type=Path, help="then write every user's 10 best unseen items: user, item, rank")
    return parser


class Stopwatch:
    """Counts targets after a warm-up of one epoch, or of `warm_up` seconds where an epoch takes longer.

    The time is over at the first end of an epoch after `seconds`, or in the midst of one after twice as long. With
    `epochs` there is no warm-up, and it is over when they are.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.warm = options.epochs is not None
        self.start = self.now = time.perf_counter()
        self.epochs = self.targets = 0
        self.over = False

    def __deepcopy__(self, memo: dict[int, Any]) -> "Stopwatch":
        return self  # RecTools trains a copy of the trainer that it is given

    def batch(self, targets: int) -> None:
        """A batch is done."""
        self.now = time.perf_counter()
        if self.warm:
            self.targets += targets
            self.over = self.options.epochs is None and self.now - self.start > 2 * self.options.seconds
        elif self.now - self.start > self.options.warm_up:
            self._begin()

    def epoch(self, targets: int = 0) -> None:
        """An epoch is done, with `targets` that no batch told."""
        self.now = time.perf_counter()
        if not self.warm:
            self._begin()
            return
        self.epochs += 1
        self.targets += targets
        wanted = self.options.epochs
        self.over = self.epochs >= wanted if wanted is not None else self.now - self.start > self.options.seconds

    def _begin(self) -> None:
        self.warm, self.start = True, self.now

    def print(self, epoch_targets: int, **more: Any) -> None:
        """The one line: what was counted, and the targets of a whole epoch."""
        seconds = round(self.now - self.start, 3)
        print(json.dumps({"targets": self.targets, "seconds": seconds, "epoch_targets": epoch_targets, **more}))


class LightningHooks:
    """Callback methods for Lightning, under either of its names, that drive a stopwatch; `count` tells a batch's targets."""

    def __init__(self, stopwatch: Stopwatch, count: Any) -> None:
        super().__init__()
        self.stopwatch, self.count = stopwatch, count

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, number: int) -> None:
        self.stopwatch.batch(self.count(batch))
        trainer.should_stop = self.stopwatch.over

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        self.stopwatch.epoch()
        trainer.should_stop = self.stopwatch.over
