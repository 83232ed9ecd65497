"""A small run with trained agents, for all tests of serving."""

import shutil

import pytest
from rich.console import Console

from learec.agents.train import train
from learec.artifacts import stored_request
from learec.config import AgentConfig, AgentEntry, DataConfig
from learec.data.log import load_log
from learec.data.prepare import prepare
from learec.line import validation_of
from learec.progress import Reporter
from learec.serving.choose import choose_agent
from learec.serving.export import export
from learec.serving.recommender import Recommender

AGENTS = {"sasrec": {"encoder": "sasrec"}, "untied": {"encoder": "gru4rec", "tied": False}}


@pytest.fixture(scope="session")
def served_run(small_log_folder, raw_folder, tmp_path_factory):
    """A run folder: a log with categories (genres), and two trained agents. Not to be written to."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    settings = {key: value for key, value in stored_request(small_log_folder).config.items() if key != "seed"}
    prepare(DataConfig(**settings, category_column="genre"), 0, raw_folder, folder / "log")
    log, quiet = load_log(folder / "log"), Reporter(Console(quiet=True))
    for name, own in AGENTS.items():
        config = AgentConfig(hidden_size=16, epochs=5, batch_size=16, max_length=12, **own)
        train(
            AgentEntry(name, 0, config), log, None, folder / f"agents/{name}/seed-0", device="cpu", reporter=quiet,
            validate=validation_of(log, True),
        )  # fmt: skip
    return folder


@pytest.fixture(scope="session")
def exported_run(served_run, tmp_path_factory):
    """The same run, with both agents exported. Not to be written to."""
    folder = tmp_path_factory.mktemp("exported") / "small"
    shutil.copytree(served_run, folder)
    for name in AGENTS:
        export(choose_agent(folder, name), Reporter(Console(quiet=True)))
    return folder


@pytest.fixture
def run_copy(exported_run, tmp_path):
    """The exported run, to be damaged."""
    return shutil.copytree(exported_run, tmp_path / "run")


@pytest.fixture(scope="session")
def torch_recommender(served_run):
    """An agent as it was trained."""
    return Recommender.load(served_run, "sasrec", backend="torch")


@pytest.fixture(scope="session")
def onnx_recommender(exported_run):
    """The same agent, exported."""
    return Recommender.load(exported_run, "sasrec", backend="onnx")


@pytest.fixture(params=["torch", "onnx"])
def recommender(request):
    """The same agent either way."""
    return request.getfixturevalue(f"{request.param}_recommender")
