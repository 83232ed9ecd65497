"""RecBole's SASRec: every prefix of a sequence is a row of its own, padded to 50, with one target.

128 prefixes would be a much smaller step than 128 sequences, so its batch is as many prefixes as 128 sequences have on
average, but 2,048 (its default) at most.
"""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.trainer import Trainer
from recbole.utils import get_model, init_seed
from stopwatch import BATCH, BLOCKS, DROPOUT, HEADS, HIDDEN, LEARNING_RATE, LENGTH, Stopwatch, arguments

LARGEST_BATCH = 2048


class Timed:
    """A data loader that tells a stopwatch when a batch has been trained on, and ends when the time is over."""

    def __init__(self, loader: Any, stopwatch: Stopwatch) -> None:
        self.loader, self.stopwatch = loader, stopwatch

    def __iter__(self) -> Iterator[Any]:
        for batch in self.loader:
            yield batch
            self.stopwatch.batch(len(batch))
            if self.stopwatch.over:
                return
        self.stopwatch.epoch()


def settings_of(folder: Path, batch: int) -> dict[str, Any]:
    return {
        "data_path": str(folder), "checkpoint_dir": str(folder), "use_gpu": False, "state": "ERROR", "show_progress": False,
        "seed": 0, "USER_ID_FIELD": "user_id", "ITEM_ID_FIELD": "item_id", "TIME_FIELD": "timestamp",
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]}, "MAX_ITEM_LIST_LENGTH": LENGTH,
        "train_neg_sample_args": None, "loss_type": "CE", "n_layers": BLOCKS, "n_heads": HEADS, "hidden_size": HIDDEN,
        "hidden_dropout_prob": DROPOUT, "attn_dropout_prob": DROPOUT, "learning_rate": LEARNING_RATE,
        "train_batch_size": batch, "eval_args": {"split": {"RS": [1.0, 0.0, 0.0]}, "order": "TO", "group_by": "user"},
    }  # fmt: skip


def main() -> None:
    options = arguments(__doc__).parse_args()
    table = pd.read_parquet(options.training)
    counts = table["user"].value_counts()
    targets, learning = len(table) - len(counts), int((counts >= 2).sum())
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "log").mkdir()
        heads = {"user": "user_id:token", "item": "item_id:token", "timestamp": "timestamp:float"}
        table.rename(columns=heads).to_csv(folder / "log" / "log.inter", sep="\t", index=False)
        settings = settings_of(folder, min(round(BATCH * targets / learning), LARGEST_BATCH))
        config = Config(model="SASRec", dataset="log", config_dict=settings)
        init_seed(config["seed"], config["reproducibility"])
        dataset = create_dataset(config)
        loader = data_preparation(config, dataset)[0]
        trainer = Trainer(config, get_model("SASRec")(config, loader.dataset))
        stopwatch, epoch = Stopwatch(options), 0
        timed = Timed(loader, stopwatch)
        while not stopwatch.over:
            trainer._train_epoch(timed, epoch)
            epoch += 1
        stopwatch.print(targets, batch=config["train_batch_size"])


if __name__ == "__main__":
    main()
