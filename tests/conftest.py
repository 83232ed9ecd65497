"""Small logs and models that several tests share."""

import shutil

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


@pytest.fixture(scope="module")
def browser():
    """Debian's Chromium. Of one module only: as long as it runs, no other test of its process can run an event loop."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
    playwright.expect.set_options(timeout=15_000)  # of a page on a busy machine
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser):
    """Open an address in a context of its own. No page may fail in a script, break its policy or ask beyond `home`."""
    contexts, wrong = [], []

    def opened(address, home, prepared=lambda page: None, expected="no such words", **options):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        context.set_default_timeout(15_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: None if expected in said.text else wrong.append(said.text))
        page.on("request", lambda request: None if request.url.startswith(home) else wrong.append(request.url))
        prepared(page)
        page.goto(address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert wrong == []
