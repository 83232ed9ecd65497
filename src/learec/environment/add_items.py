"""adapt --add-items: tokens for the new items of an extended log; all that was learnt stays as it is, byte for byte."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from learec.artifacts import (
    REQUEST,
    SCRATCH,
    Manifest,
    building,
    check_files,
    file_digest,
    finish_interrupted,
    load_array,
    read_manifest,
    require,
)  # fmt: skip
from learec.config import DataConfig, EnvironmentConfig
from learec.data.catalog import catalog_of, item_table
from learec.data.columns import shown
from learec.data.log import Log
from learec.data.raw import Events, Raw
from learec.data.tables import column_names, missing_column, scan
from learec.environment.adapt import environment_request
from learec.environment.environment import MAKE_WITH
from learec.environment.item_space import load_item_space
from learec.environment.item_tokens import TOKENS, VECTORS, WORDS, new_item_tokens
from learec.environment.llm import load_llm
from learec.environment.token_training import TokenTraining
from learec.errors import ArtifactError, DataError
from learec.progress import Reporter


@dataclass(frozen=True)
class NewItems:
    """The table that `--add-items` names, and what it is to be read with."""

    table: Path
    data: DataConfig

    def check(self, log: Log, n_before: int) -> int:
        """Refuse a table that does not hold the log's new items as the log has them; how many of its items the log lacks."""
        wanted = log.catalog.table[n_before:]
        frame, item = scan(self.table, self.data.delimiter), self.data.columns.item
        if item not in column_names(frame):
            raise missing_column(self.table, item, "the item's id", frame)
        named = frame.with_columns(pl.col(item).alias("item_id"))
        held = item_table(Raw((Events("log/", frame, {}),), named, str(self.table), {}), wanted["item_id"], item)
        ours = catalog_of(held, wanted["item_id"], self.data, str(self.table)).join(wanted, on="item_id", suffix="_in_log")
        other = ours.filter(pl.col("text") != pl.col("text_in_log"))
        if len(other):
            raise DataError(
                f"{self.table}: item {shown(other['item_id'][0])} has another text than in log/ "
                f"({shown(other['text_in_log'][0])}); name the table that `learec prepare --append-items` was given"
            )
        unknown = held.filter(~pl.col("item_id").is_in(log.catalog.table["item_id"].implode()))
        if not len(wanted) and len(unknown):
            raise DataError(
                f"{self.table}: none of its items is new in log/, and {len(unknown)} are not there at all, first "
                f"{shown(unknown['item_id'][0])}; append their events first with `learec prepare RECIPE --append FILE`"
            )
        return len(unknown)


def add_items(
    config: EnvironmentConfig, seed: int, log: Log, new: NewItems, folder: Path, *, device: str, reporter: Reporter
) -> dict[str, Any]:
    """Give the items that `log` has beyond those of the environment in `folder` a token and a vector. Returns what was added.

    The artifact then answers the request that adapt would get for the extended log, so later stages take it; its manifest
    lists under "added" what came from where. Adapters, state model, reward model and all old rows are copied.
    """
    finish_interrupted(folder)
    manifest = read_manifest(folder, "environment", MAKE_WITH)
    check_files(folder, manifest, MAKE_WITH)
    _check_ancestry(manifest, config, seed, log, folder)
    n_before = len(load_array(folder / TOKENS)) - 1
    added = {
        "items": log.catalog.n_items - n_before, "first_item_number": n_before + 1, "file": new.table.name,
        "sha256": file_digest(new.table) if new.table.is_file() else "", "items_not_in_the_log": new.check(log, n_before),
        "environment_before": manifest.digest, "log_before": manifest.request.parents["log"],
    }  # fmt: skip
    if manifest.request.parents["log"] == log.digest:
        return added
    notes = {**manifest.notes, "added": [*manifest.notes.get("added", []), added]}
    space, llm = load_item_space(folder, MAKE_WITH), load_llm(config, device)
    # It is what environment_request asks for the extended log, without reading the language model's files once more.
    request = replace(manifest.request, parents={**manifest.request.parents, "log": log.digest})
    with building(folder, request, notes) as partial:
        _clear(partial)
        for name in manifest.files.keys() - {TOKENS, VECTORS, WORDS}:
            shutil.copyfile(folder / name, partial / name)
        training = TokenTraining(llm, config, seed, partial, reporter)
        cold = np.isin(np.arange(n_before + 1, log.catalog.n_items + 1), log.cold_items)
        found = new_item_tokens(training, log.catalog.table["text"][n_before:].to_list(), space, n_before, cold)
        for name, rows in found.items():
            np.save(partial / name, np.concatenate([load_array(folder / name), rows]), allow_pickle=False)
    return added


def _check_ancestry(manifest: Manifest, config: EnvironmentConfig, seed: int, log: Log, folder: Path) -> None:
    """Refuse an environment of another recipe, language model or log."""
    before = manifest.request.parents["log"]
    require(folder, environment_request(config, seed, before), MAKE_WITH)
    if before != log.digest and before not in log.ancestors:
        raise ArtifactError(
            f"{folder}: was made from another log, which log/ does not extend, so its items have other numbers; "
            f"make it again with `{MAKE_WITH}`"
        )


def _clear(partial: Path) -> None:
    """Drop what a stopped `learec adapt` of the same request left here; checkpoints stay, a stopped run of ours goes on."""
    for path in partial.iterdir():
        if path.name not in (REQUEST, SCRATCH):
            path.unlink()
