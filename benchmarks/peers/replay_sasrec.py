"""RePlay's SASRec: windows of 50 padded on the left, softmax over all items at all 50 places.

Its feed-forward part is as wide as the hidden state (ours: four times), which is in its favour. It also learns the first item
from padding alone; that is not counted as a target.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lightning
import pandas as pd
from replay.data import FeatureHint, FeatureSource, FeatureType
from replay.data.nn import ParquetModule, TensorFeatureInfo, TensorFeatureSource, TensorSchema
from replay.nn.lightning import LightningModule
from replay.nn.lightning.callback import PandasTopItemsCallback
from replay.nn.lightning.optimizer import OptimizerFactory
from replay.nn.lightning.postprocessor import SeenItemsFilter
from replay.nn.sequential import SasRec
from replay.nn.transform.template import make_default_sasrec_transforms
from stopwatch import BATCH, BLOCKS, DROPOUT, HEADS, HIDDEN, LEARNING_RATE, LENGTH, LightningHooks, Stopwatch, arguments


class Timer(LightningHooks, lightning.Callback):
    pass


def schema_of(n_items: int) -> TensorSchema:
    source = [TensorFeatureSource(FeatureSource.INTERACTIONS, "item_id")]
    return TensorSchema([
        TensorFeatureInfo(
            "item_id", is_seq=True, feature_type=FeatureType.CATEGORICAL, embedding_dim=HIDDEN, padding_value=n_items,
            cardinality=n_items, feature_hint=FeatureHint.ITEM_ID, feature_sources=source,
        )
    ])  # fmt: skip


def real_targets(batch: dict[str, Any]) -> int:
    return int((batch["padding_mask"] & batch["target_padding_mask"][..., 0]).sum())


def recommend(model: LightningModule, sequences: Path, transforms: Any, items: Any, out: Path) -> None:
    n_items = len(items)
    seen = {"shape": 1000, "padding": n_items}
    metadata = {"predict": {"query_id": {}, "item_id": {"shape": LENGTH, "padding": n_items}, "seen_ids": seen}}
    data = ParquetModule(BATCH, metadata, {"predict": transforms["predict"]}, predict_path=str(sequences))
    best = PandasTopItemsCallback(10, "query_id", "item", "score", [SeenItemsFilter(n_items, "seen_ids")])
    trainer = lightning.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, callbacks=[best])
    trainer.predict(model, datamodule=data, return_predictions=False)
    found = best.get_result().rename(columns={"query_id": "user"}).sort_values(["user", "score"], ascending=[True, False])
    found["rank"], found["item"] = found.groupby("user").cumcount() + 1, items[found["item"].to_numpy(dtype=int)]
    found[["user", "item", "rank"]].to_parquet(out)


def main() -> None:
    options = arguments(__doc__).parse_args()
    lightning.seed_everything(0)
    table = pd.read_parquet(options.training)
    table["item"], items = pd.factorize(table["item"], sort=True)
    sequences = table.groupby("user")["item"].agg(list).loc[lambda lists: lists.map(len) >= 2].rename("item_id")
    frame = sequences.rename_axis("query_id").reset_index()
    frame["seen_ids"] = frame["item_id"]
    transforms, stopwatch = make_default_sasrec_transforms(schema_of(len(items))), Stopwatch(options)
    model = LightningModule(
        SasRec.from_params(
            schema_of(len(items)), embedding_dim=HIDDEN, num_heads=HEADS, num_blocks=BLOCKS, max_sequence_length=LENGTH,
            dropout=DROPOUT,
        ),
        OptimizerFactory("adam", LEARNING_RATE),
    )  # fmt: skip
    with TemporaryDirectory() as folder:
        path = Path(folder) / "sequences.parquet"
        frame.to_parquet(path)
        metadata = {"train": {"item_id": {"shape": LENGTH + 1, "padding": len(items)}}}
        data = ParquetModule(BATCH, metadata, {"train": transforms["train"]}, train_path=str(path))
        trainer = lightning.Trainer(
            max_epochs=100_000, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, limit_val_batches=0, callbacks=[Timer(stopwatch, real_targets)],
        )  # fmt: skip
        trainer.fit(model, datamodule=data)
        stopwatch.print(int((sequences.map(len).clip(upper=LENGTH + 1) - 1).sum()))
        if options.recommend:
            recommend(model, path, transforms, items, options.recommend)


if __name__ == "__main__":
    main()
