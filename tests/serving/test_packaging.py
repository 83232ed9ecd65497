"""The serving image without Docker: what its Dockerfile installs, in an environment of its own, serves an export."""

import contextlib
import json
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "docker/serving.Dockerfile"
REQUIREMENTS = ROOT / "docker/serving-requirements.txt"
CONSTRAINTS = ROOT / "constraints.txt"
LARGEST_MB = 400  # of site-packages; 349 when it was measured, half of it polars
NOT_IN_THE_IMAGE = {"torch", "transformers", "accelerate", "safetensors", "scipy", "onnx", "peft", "gguf", "optuna", "pip"}


def pins(path):
    lines = (line for line in path.read_text().splitlines() if line and not line.startswith("#"))
    return {name.lower().replace("_", "-"): found for name, found in (line.split("==") for line in lines)}


def installing_commands():
    """The commands of the Dockerfile that call pip or make an environment."""
    text = DOCKERFILE.read_text().replace("\\\n", " ")
    lines = [line.removeprefix("RUN ") for line in text.splitlines() if line.startswith("RUN ")]
    return [command.strip() for line in lines for command in line.split("&&") if re.search(r"\bpip\b|venv", command)]


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """The folder /venv of the image, made by the very commands of the Dockerfile."""
    folder = tmp_path_factory.mktemp("image")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    shutil.copy(REQUIREMENTS, folder)
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    pip = f"{sys.executable} -m pip"
    for command in installing_commands():
        here = command.replace("/venv", f"{folder}/venv").replace("/wheels", f"{folder}/wheels").replace("$INDEX", "")
        here = re.sub(r"^pip\b", pip, re.sub(r"^python\b", sys.executable, here))
        done = subprocess.run(["bash", "-c", here], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, f"{here}\n{done.stderr}"
    return folder / "venv"


def run(image, *command, **options):
    return subprocess.run([image / "bin/learec", *map(str, command)], capture_output=True, text=True, **options)


def installed(image):
    return {path.name.split("-")[0].lower().replace("_", "-") for path in image.glob("lib/*/site-packages/*.dist-info")}


def test_requirements_are_pinned_to_the_versions_that_the_tests_pass_with():
    constraints = pins(CONSTRAINTS)
    assert {name: constraints.get(name) for name in pins(REQUIREMENTS)} == pins(REQUIREMENTS)


@pytest.mark.slow
def test_the_image_holds_what_its_requirements_name_and_neither_torch_nor_transformers(image):
    assert installed(image) == pins(REQUIREMENTS).keys() | {"learec"}
    assert installed(image) & NOT_IN_THE_IMAGE == set()


@pytest.mark.slow
def test_the_image_is_small(image):
    packages = next(image.glob("lib/*/site-packages"))
    size = int(subprocess.run(["du", "-sm", packages], capture_output=True, text=True, check=True).stdout.split()[0])
    assert size < LARGEST_MB


def asked(url, body=None):
    request = urllib.request.Request(url, body and json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.load(reply)


def wait_until_ready(url, server):
    while server.poll() is None:
        with contextlib.suppress(OSError):
            return asked(f"{url}/ready")
        time.sleep(0.05)
    raise AssertionError(f"the server ended with {server.returncode}")


@pytest.mark.slow
def test_the_image_serves_an_export_over_http(image, run_copy, onnx_recommender):
    shutil.rmtree(run_copy / "agents")
    command = [image / "bin/learec", "serve", run_copy, "--agents", "sasrec", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        said = next(line for line in server.stdout if line.startswith("serving "))
        url = re.search(r"http://[\d.:]+", said)[0]
        wait_until_ready(url, server)
        history = onnx_recommender.catalog.ids[1:4]
        answer = asked(f"{url}/recommend", {"history": history, "k": 5})["answers"][0]
        server.terminate()
        assert server.wait(30) == 0
    wanted = onnx_recommender.recommend(history, 5)
    assert [item["item_id"] for item in answer["items"]] == [item.item_id for item in wanted.items]


@pytest.mark.slow
def test_the_doctor_of_the_image_says_what_training_would_need(image):
    done = run(image, "doctor")
    assert done.returncode == 0, done.stderr
    assert "[serve]: complete" in done.stdout
    assert re.search(r"learec: missing .*torch.*; pip install learec", done.stdout)


@pytest.mark.slow
def test_an_agent_that_was_not_exported_is_refused_in_a_sentence_without_torch(image, served_run):
    done = run(image, "recommend", served_run, "--history", "x")
    assert done.returncode == 2
    assert "which is not installed; run `pip install" in done.stderr
    assert "Traceback" not in done.stderr
