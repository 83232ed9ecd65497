"""RecTools' SASRec: windows of 50 padded on the left, softmax over all items at all 50 places.

Its feed-forward part is as wide as the hidden state (ours: four times), which is in its favour.
"""

import pandas as pd
from pytorch_lightning import Callback, Trainer, seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel
from stopwatch import BATCH, BLOCKS, DROPOUT, HEADS, HIDDEN, LEARNING_RATE, LENGTH, LightningHooks, Stopwatch, arguments


class Timer(LightningHooks, Callback):
    pass


def main() -> None:
    options = arguments(__doc__).parse_args()
    seed_everything(0)
    table = pd.read_parquet(options.training)
    table["datetime"], table["weight"] = pd.to_datetime(table.pop("timestamp"), unit="s"), 1.0
    dataset = Dataset.construct(table.rename(columns={"user": Columns.User, "item": Columns.Item}))
    stopwatch = Stopwatch(options)
    timer = Timer(stopwatch, lambda batch: int((batch["y"] != 0).sum()))
    model = SASRecModel(
        n_blocks=BLOCKS, n_heads=HEADS, n_factors=HIDDEN, dropout_rate=DROPOUT, session_max_len=LENGTH, loss="softmax",
        lr=LEARNING_RATE, batch_size=BATCH,
        get_trainer_func=lambda: Trainer(
            max_epochs=100_000, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, callbacks=[timer],
        ),
    )  # fmt: skip
    model.fit(dataset)
    stopwatch.print(int((table["user"].value_counts().clip(upper=LENGTH + 1) - 1).sum()))
    if options.recommend:
        users = table["user"].value_counts().loc[lambda counts: counts >= 2].index.to_numpy()
        found = model.recommend(users=users, dataset=dataset, k=10, filter_viewed=True)
        found.rename(columns={Columns.User: "user", Columns.Item: "item", Columns.Rank: "rank"}).to_parquet(options.recommend)


if __name__ == "__main__":
    main()
