"""Real server processes on free ports, and a real Redis."""

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from safetensors.numpy import load, save

from learec.artifacts import file_digest, write_text

STARTS = 60.0  # seconds


class Served:
    """A running `learec serve`, asked over one kept connection."""

    def __init__(self, process, port, log):
        self.process, self.port, self.log = process, port, log
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20)

    def get(self, path, **options):
        return self.client.get(path, **options)

    def post(self, path, body, **options):
        return self.client.post(path, json=body, **options)

    def recommend(self, history, **more):
        """The first answer to one history, which must be one."""
        reply = self.post("/recommend", {"history": list(history), **more})
        assert reply.status_code == 200, reply.text
        return reply.json()["answers"][0]

    def send(self, raw):
        """A connection on which these bytes were sent."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        connection.sendall(raw)
        return connection

    def stop(self):
        """SIGTERM; the exit code."""
        self.client.close()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def kill(self):
        """kill -9."""
        self.client.close()
        self.process.kill()
        self.process.wait(30)

    def eventually(self, holds, seconds=20):
        """Wait for a condition on GET /ready."""
        end = time.monotonic() + seconds
        while not holds(found := self.get("/ready").json()):
            assert time.monotonic() < end, f"waited {seconds} s: {json.dumps(found)}\n{self.log.read_text()}"
            time.sleep(0.05)
        return found


def start_server(run, log, *options, environment=None):
    """A server that is ready."""
    command = [sys.executable, "-m", "learec", "serve", str(run), "--port", "0", *options]
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment)
    end = time.monotonic() + STARTS
    while not (found := re.search(r"at http://[^ ]+:(\d+) ", log.read_text())):
        assert process.poll() is None and time.monotonic() < end, log.read_text()
        time.sleep(0.05)
    served = Served(process, int(found[1]), log)
    while True:
        try:
            assert served.get("/health").status_code == 200
            return served
        except httpx.TransportError:
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.05)


@pytest.fixture
def start(tmp_path):
    """Start servers that are killed at the end of the test."""
    started = []

    def one(run, *options, environment=None):
        served = start_server(run, tmp_path / f"server-{len(started)}.log", *options, environment=environment)
        started.append(served)
        return served

    yield one
    for served in started:
        served.kill()


@pytest.fixture(scope="session")
def start_once():
    """Start servers that serve many tests."""
    started = []

    def one(run, log, *options):
        started.append(start_server(run, log, *options))
        return started[-1]

    yield one
    for served in started:
        served.kill()


@pytest.fixture(scope="session")
def server(exported_run, tmp_path_factory, start_once):
    """One server for all tests that only ask."""
    folder = tmp_path_factory.mktemp("server")
    return start_once(exported_run, folder / "log", "--histories", str(folder / "histories.db"))


class Redis:
    """A Redis server of our own, which writes every command to disk before it answers."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.folder, self.url = folder, f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self):
        settings = {"port": self.port, "dir": self.folder, "appendonly": "yes", "appendfsync": "always", "save": ""}
        command = ["redis-server", *(part for key, value in settings.items() for part in (f"--{key}", str(value)))]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        end = time.monotonic() + STARTS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                assert self.process.poll() is None and time.monotonic() < end
                time.sleep(0.02)

    def kill(self):
        self.process.kill()
        self.process.wait(30)


@pytest.fixture
def redis(tmp_path):
    """A Redis server."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed: apt-get install redis-server")
    folder = tmp_path / "redis"
    folder.mkdir()
    server = Redis(folder)
    yield server
    server.kill()


@pytest.fixture(scope="session")
def ids(exported_run):
    """Item ids of the run's catalog, by number."""
    from learec.data.log import load_log

    return load_log(exported_run / "log").catalog.ids


def rewrite(folder, name, content):
    """Replace a file of an artifact, and its digest in the manifest: what somebody does who wants it to be loaded."""
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = file_digest(folder / name)
    write_text(folder / "manifest.json", json.dumps(manifest))


@pytest.fixture
def forge():
    """`rewrite`, for tests."""
    return rewrite


@pytest.fixture
def retrain():
    """Put other weights into a trained agent's folder, as if it had been trained again; NaN instead of numbers if asked."""

    def train(folder, seed=1, nan=False):
        rng = np.random.default_rng(seed)
        weights = load((folder / "agent.safetensors").read_bytes())
        for name, values in weights.items():
            if values.dtype == np.float32:
                noise = np.full(values.shape, np.nan) if nan else rng.normal(0, 0.3, values.shape)
                weights[name] = (values + noise).astype(np.float32)
        rewrite(folder, "agent.safetensors", save(weights))

    return train


@pytest.fixture
def trained_copy(served_run, tmp_path):
    """The run as it was trained, to be changed. Served with torch."""
    return shutil.copytree(served_run, tmp_path / "run")
