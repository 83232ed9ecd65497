"""adapt: every family goes from a log to rewards of its steps, in every precision, and the manifest says how it was adapted."""

import numpy as np
import pytest

from learec.artifacts import read_manifest
from learec.config import EnvironmentConfig
from learec.environment.adapt import adapt
from learec.environment.environment import load_environment

SMALL = {
    "history": 6,
    "epochs": 1,
    "lora_rank": 2,
    "lora_layers": 1,
    "max_text_tokens": 16,
    "whitened_size": 8,
    "batch_tokens": 256,
}


def adapted(log, folder, quiet, **settings):
    config = EnvironmentConfig(**SMALL, **settings)
    adapt(config, 0, log, folder, device="cpu", reporter=quiet, measure=lambda ranks: {"mean rank": float(ranks.mean())})
    return read_manifest(folder, "environment", "x").notes


def rewards_of(log, folder):
    training = log.training
    candidates = np.full((training.n_steps, 1), 3)
    states, rewards, others = load_environment(folder, "cpu").annotate(training, candidates)
    return np.column_stack([states, rewards, others])[training.step_of > 0]


def test_every_family_is_adapted_and_annotates(family, family_folder, small_log, tmp_path, quiet):
    notes = adapted(small_log, tmp_path / "environment", quiet, llm=str(family_folder(family)))
    assert notes["language model"]["family"] == family
    assert len(notes["curves"]["losses"]) == 2
    found = rewards_of(small_log, tmp_path / "environment")
    assert np.isfinite(found).all()
    assert found[:, -2].std() > 0


def test_hard_negatives_and_the_listwise_loss_teach_another_reward(family_folder, small_log, tmp_path, quiet):
    llm = str(family_folder("llama"))
    adapted(small_log, tmp_path / "plain", quiet, llm=llm)
    notes = adapted(small_log, tmp_path / "hard", quiet, llm=llm, negatives="neighbours", n_negatives=3, reward_loss="listwise")
    assert np.isfinite([measures["reward loss"] for measures in notes["curves"]["measures"]]).all()
    assert set(notes["examination"]["accuracy"]) == {"uniform", "popular", "item_knn", "text"}
    assert not np.allclose(rewards_of(small_log, tmp_path / "plain")[:, -2], rewards_of(small_log, tmp_path / "hard")[:, -2])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_adapted_and_close_to_the_full_one(dtype, family_folder, small_log, tmp_path, quiet):
    llm = str(family_folder("llama"))
    for name in ("float32", dtype):
        notes = adapted(small_log, tmp_path / name, quiet, llm=llm, dtype=name)
        assert notes["language model"]["dtype"] == name
    full, half = (rewards_of(small_log, tmp_path / name) for name in ("float32", dtype))
    assert np.corrcoef(full[:, -2], half[:, -2])[0, 1] > 0.95
    assert not np.array_equal(full, half)


def test_the_manifest_says_what_was_adapted(family_folder, small_log, tmp_path, quiet):
    notes = adapted(small_log, tmp_path / "environment", quiet, llm=str(family_folder("gpt2")))
    assert notes["adapters"] == {
        "method": "LoRA", "rank": 2, "alpha": 4, "dropout": 0.0,
        "modules": ["h.2.attn.c_attn", "h.2.attn.c_proj", "h.2.mlp.c_fc", "h.2.mlp.c_proj"],
        # (in + out) * rank of c_attn 32 -> 96, c_proj 32 -> 32, c_fc 32 -> 128, c_proj 128 -> 32
        "parameters": 2 * ((32 + 96) + (32 + 32) + (32 + 128) + (128 + 32)),
    }  # fmt: skip
    assert notes["language model"]["class"] == "GPT2LMHeadModel"
    assert len(notes["language model"]["version"]) == 64
