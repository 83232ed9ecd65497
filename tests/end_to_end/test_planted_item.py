"""Nothing of the held-out parts reaches what is learnt: an item planted after the cut leaves no trace in any stage."""

import json

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from learec.agents.train import train
from learec.annotations.annotate import annotate
from learec.annotations.table import load_annotations
from learec.config import AgentConfig, AgentEntry, AnnotationsConfig, DataConfig, EnvironmentConfig
from learec.data.log import load_log
from learec.data.prepare import prepare
from learec.environment.adapt import adapt
from learec.environment.environment import load_environment
from learec.evaluation.baselines import Popularity
from learec.evaluation.evaluate import mean_metrics

DAY, START = 86_400, 1_700_000_000
N_ITEMS, PLANTED = 12, "planted"
WORDS = ["red", "blue", "drill", "saw", "lamp", "cup", "pan", "zebra"]


def write_log(folder, planted_title, planted_user):
    """Forty users over ten days; the planted item, last of the table, is chosen on the last day only."""
    rng = np.random.default_rng(0)
    pairs = [(user, step) for user in range(40) for step in range(10)]
    rows = [(f"u{user}", f"i{(user * 7 + step * 5) % N_ITEMS}", START + step * DAY + user) for user, step in pairs]
    rows.append((planted_user, PLANTED, START + 10 * DAY))
    pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row").write_parquet(folder / "log.parquet")
    titles = [f"{WORDS[rng.integers(5)]} {WORDS[2 + rng.integers(5)]}" for _ in range(N_ITEMS)]
    items = pl.DataFrame({"item_id": [*(f"i{n}" for n in range(N_ITEMS)), PLANTED], "title": [*titles, planted_title]})
    items.write_parquet(folder / "items.parquet")


@pytest.fixture(scope="module")
def llm_folder(tmp_path_factory):
    """A language model of random weights that knows eight words."""
    folder = tmp_path_factory.mktemp("llm")
    torch.manual_seed(0)
    vocabulary = {word: number for number, word in enumerate(["<s>", "[UNK]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", unk_token="[UNK]").save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=["mean", "trained"])
def two_runs(request, tmp_path_factory, llm_folder):
    """The whole line twice; only the planted item's title and who chose it differ."""
    from rich.console import Console

    from learec.progress import Reporter

    quiet = Reporter(Console(quiet=True))
    folders = []
    for title, user in (("red drill", "u3"), ("zebra zebra", "u17")):
        folder = tmp_path_factory.mktemp("run")
        write_log(folder, title, user)
        prepare(DataConfig(events="log.parquet", items="items.parquet", min_item_events=1), 0, folder, folder / "log")
        log = load_log(folder / "log")
        assert log.cold_items.tolist() == [N_ITEMS + 1]
        settings = {"llm": str(llm_folder), "users": 0.5, "epochs": 2, "batch_tokens": 128, "item_tokens": request.param}
        settings |= {"negatives": "uniform", "n_negatives": 3, "lora_layers": 1}
        measure = {"device": "cpu", "reporter": quiet, "measure": mean_metrics}
        adapt(EnvironmentConfig(**settings), 0, log, folder / "environment", **measure)
        environment = load_environment(folder / "environment", "cpu")
        annotate(AnnotationsConfig(candidates="item_tokens"), log, environment, "digest", folder / "annotations", reporter=quiet)
        annotations = load_annotations(folder / "annotations")
        config = AgentConfig(objective="snqn", lea=("state", "reward", "augmented"), hidden_size=8, epochs=3)
        entry = AgentEntry("lea", 0, config)
        validate = {"device": "cpu", "reporter": quiet, "validate": lambda agent: {"none": 0.0}}
        train(entry, log, annotations, folder / "agent", **validate)
        told = {"item_knn": True, "knn_similarity": "ease", "ease_regularisation": 5.0, "ease_text_weight": 3.0}
        entry = AgentEntry("told", 0, AgentConfig(lea=("content",), hidden_size=8, epochs=1, **told))
        train(entry, log, annotations, folder / "told", **validate)
        folders.append(folder)
    return folders


def test_the_default_split_of_real_times_is_by_global_time(two_runs):
    for folder in two_runs:
        notes = json.loads((folder / "log/manifest.json").read_text())["notes"]
        assert notes["split"] == "global_time"
        assert any("1 items have no training step" in caveat for caveat in notes["caveats"])


def test_training_steps_counts_and_popularity_do_not_hold_it(two_runs):
    for folder in two_runs:
        log = load_log(folder / "log")
        assert N_ITEMS + 1 not in log.training.items
        assert Popularity.fit(log.training, log.catalog.n_items).counts[N_ITEMS + 1] == 0


@pytest.mark.parametrize("name", ["item_tokens", "item_vectors"])
def test_tokens_and_vectors_of_all_other_items_are_the_same_bytes(two_runs, name):
    first, second = (np.load(folder / f"environment/{name}.npy") for folder in two_runs)
    assert first[:-1].tobytes() == second[:-1].tobytes()
    assert first[-1].tobytes() != second[-1].tobytes()


@pytest.mark.parametrize("name", ["adapter_model", "state_model", "reward_model"])
def test_the_environment_is_the_same_bytes(two_runs, name):
    first, second = ((folder / f"environment/{name}.safetensors").read_bytes() for folder in two_runs)
    assert first == second


@pytest.mark.parametrize("name", ["states", "rewards", "augmented", "augmented_scores", "augmented_rewards", "annotated"])
def test_annotations_are_the_same_bytes_and_never_propose_it(two_runs, name):
    first, second = ((folder / f"annotations/{name}.npy").read_bytes() for folder in two_runs)
    assert first == second
    assert N_ITEMS + 1 not in np.load(two_runs[0] / "annotations/augmented.npy")


def test_the_agent_is_the_same_tensors_and_never_recommends_it(two_runs):
    first, second = (load_file(folder / "agent/agent.safetensors") for folder in two_runs)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not first["encoder.items.weight"][N_ITEMS + 1].any()
    assert first["cold_items"].tolist() == [N_ITEMS + 1]


def test_an_agent_that_reads_all_texts_has_but_the_planted_items_own_from_it(two_runs):
    first, second = (load_file(folder / "told/agent.safetensors") for folder in two_runs)
    vectors = [agent.pop("evidence.vectors") for agent in (first, second)]
    assert torch.equal(vectors[0][:-1], vectors[1][:-1])
    assert not torch.equal(vectors[0][-1], vectors[1][-1])
    assert len(first["evidence.neighbours"])
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
