"""Small logs and models that several tests share."""

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from learec.config import DataConfig, SimulateConfig
from learec.data.log import load_log
from learec.data.prepare import prepare
from learec.data.simulate import simulate
from learec.progress import Reporter

SIMULATED = {
    "events": "interactions.parquet",
    "items": "items.parquet",
    "columns": {"user": "listener_id", "item": "track_id", "time": "time", "event": "event"},
    "title": "{title} - {artist}",
    "text": "{title} by {artist}, {genre}",
    "min_item_events": 1,
    "min_session_events": 5,
    "rewards": {"skip": 0.0, "play": 0.5, "like": 1.0},
}


@pytest.fixture
def quiet():
    return Reporter(Console(quiet=True))


@pytest.fixture(scope="session")
def raw_folder(tmp_path_factory):
    """A small simulated log as files."""
    folder = tmp_path_factory.mktemp("raw")
    made = simulate(SimulateConfig(listeners=60, tracks=40, mean_plays=8), seed=0)
    made.events.write_parquet(folder / "interactions.parquet")
    made.items.write_parquet(folder / "items.parquet")
    return folder


@pytest.fixture(scope="session")
def small_log_folder(raw_folder, tmp_path_factory):
    """The small log, prepared."""
    folder = tmp_path_factory.mktemp("run") / "log"
    prepare(DataConfig(**SIMULATED), 0, raw_folder, folder)
    return folder


@pytest.fixture(scope="session")
def small_log(small_log_folder):
    """The small log, opened."""
    return load_log(small_log_folder)


@pytest.fixture
def tiny_items():
    """Three items with text and one without."""
    return pl.DataFrame({"item_id": list("abcd"), "title": ["Red drill", "Blue drill", "Green tea", ""]})


@pytest.fixture
def rng():
    return np.random.default_rng(0)
