"""A short load, by the generator of benchmarks/serve.py: answers as one by one, no failure, memory that stays."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from learec.serving.recommender import Query

SECONDS, CLIENTS, HANG_UP = 4, 32, 0.1
MOST_GROWTH = 20  # MiB


@pytest.fixture(scope="module")
def load():
    """benchmarks/load.py."""
    path = Path(__file__).parents[3] / "benchmarks" / "load.py"
    spec = importlib.util.spec_from_file_location("load", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["load"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def resident(process):
    return int(re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())[1]) / 1024


@pytest.mark.parametrize("batch", [1, 64])
def test_answers_under_load_with_clients_that_hang_up_are_those_given_one_by_one(
    exported_run, start, load, onnx_recommender, ids, batch
):
    server = start(exported_run, "--agents", "sasrec")
    rng = np.random.default_rng(0)
    histories = [rng.choice(ids[1:], rng.integers(0, 15)).tolist() for _ in range(50 * batch)]
    wanted = [onnx_recommender.answer([Query(tuple(history), 5)])[0] for history in histories]
    groups = [histories[start : start + batch] for start in range(0, len(histories), batch)]
    requests = [load.post("/recommend", json.dumps({"histories": group, "k": 5}).encode()) for group in groups]
    load.closed_loop(server.port, requests, CLIENTS, 1, HANG_UP)
    before = resident(server.process.pid)
    measured = load.closed_loop(server.port, requests, CLIENTS, SECONDS, HANG_UP)
    assert set(measured.statuses) == {200} and measured.statuses[200] > 20 and measured.cancelled > 0
    for number, body in measured.replies:
        for answer, one in zip(json.loads(body)["answers"], wanted[number * batch :], strict=False):
            assert [item["item_id"] for item in answer["items"]] == [item.item_id for item in one.items]
            assert [item["score"] for item in answer["items"]] == pytest.approx([item.score for item in one.items], abs=1e-4)
    assert resident(server.process.pid) - before < MOST_GROWTH
    assert "Traceback" not in server.log.read_text()
    assert server.stop() == 0
