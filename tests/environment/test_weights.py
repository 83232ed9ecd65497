"""Weights: a folder is known by its bytes, a hub id by its commit; what is not there is said in a sentence."""

import shutil

import huggingface_hub.constants
import pytest
import torch
from pydantic import ValidationError

from learec.config import EnvironmentConfig
from learec.environment.llm import load_llm
from learec.environment.weights import find_weights, llm_identity
from learec.errors import ConfigError

OLD, NEW = "a" * 40, "b" * 40


@pytest.fixture
def hub_cache(tmp_path, monkeypatch, family_folder):
    """The hub's cache as a download leaves it: main is at NEW (a GPT-2), the tag v1 at OLD (a Llama). No network."""
    repository = tmp_path / "models--shop--tiny"
    for commit, family in ((OLD, "llama"), (NEW, "gpt2")):
        shutil.copytree(family_folder(family), repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(NEW)
    (repository / "refs" / "v1").write_text(OLD)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return repository


@pytest.mark.parametrize(("revision", "commit"), [(None, NEW), ("main", NEW), ("v1", OLD), (OLD, OLD)])
def test_a_hub_id_is_known_by_the_commit_that_its_revision_stands_for(hub_cache, revision, commit):
    assert llm_identity("shop/tiny", revision) == f"shop/tiny@{commit}"
    assert find_weights("shop/tiny", revision).commit == commit


def test_a_revision_decides_which_weights_are_loaded(hub_cache):
    families = [
        load_llm(EnvironmentConfig(llm="shop/tiny", revision=revision), "cpu").settings.model_type
        for revision in (None, "v1", OLD)
    ]
    assert families == ["gpt2", "llama", "llama"]


def test_a_hub_id_that_cannot_be_found_is_said_in_one_sentence(hub_cache):
    assert llm_identity("shop/other", None) == "shop/other@main (not found)"
    with pytest.raises(ConfigError, match="environment.llm = 'shop/other': not found on the hub nor in its cache"):
        load_llm(EnvironmentConfig(llm="shop/other"), "cpu")
    with pytest.raises(ConfigError, match="not found on the hub at revision 'v9' nor in its cache"):
        load_llm(EnvironmentConfig(llm="shop/tiny", revision="v9"), "cpu")


def test_a_folder_is_known_by_the_bytes_of_weights_settings_and_tokenizer(tmp_path, family_folder):
    folder = tmp_path / "llama"
    shutil.copytree(family_folder("llama"), folder)
    before = llm_identity(str(folder), None)
    assert before == llm_identity(str(family_folder("llama")), None)
    (folder / "README.md").write_text("words")
    assert llm_identity(str(folder), None) == before
    tokenizer = folder / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text() + "\n")
    assert llm_identity(str(folder), None) != before


def test_a_revision_of_a_folder_or_of_the_embedded_model_is_refused(family_folder):
    with pytest.raises(ConfigError, match="environment.revision = 'v1': is for hub ids, and .* is a folder"):
        load_llm(EnvironmentConfig(llm=str(family_folder("llama")), revision="v1"), "cpu")
    with pytest.raises(ValidationError, match="revision 'v1' is for a hub id"):
        EnvironmentConfig(revision="v1")


def test_a_folder_that_is_not_there_or_holds_no_weights_is_said_in_one_sentence(tmp_path, family_folder):
    with pytest.raises(ConfigError, match="no such folder"):
        load_llm(EnvironmentConfig(llm=str(tmp_path / "nowhere")), "cpu")
    shutil.copytree(family_folder("llama"), tmp_path / "bare")
    (tmp_path / "bare" / "model.safetensors").unlink()
    torch.save({}, tmp_path / "bare" / "pytorch_model.bin")  # a pickle is no weights
    with pytest.raises(ConfigError, match="cannot be loaded .*safetensors"):
        load_llm(EnvironmentConfig(llm=str(tmp_path / "bare")), "cpu")
