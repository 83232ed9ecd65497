"""Every family of language models: read as text would be, adapted where it has linear maps, or refused by its name."""

import json

import pytest
import torch
from transformers import (
    BertConfig,
    BloomConfig,
    FalconConfig,
    Gemma4TextConfig,
    GPTNeoConfig,
    JambaConfig,
    Llama4TextConfig,
    LlamaConfig,
    MambaConfig,
    MptConfig,
    Qwen3NextConfig,
    T5Config,
)

from learec.config import EnvironmentConfig
from learec.environment.adapters import lora_targets, save_adapters, with_adapters, with_saved_adapters
from learec.environment.environment import Environment
from learec.environment.llm import LLM, described, load_llm
from learec.environment.tree_mask import TreeReader
from learec.errors import ConfigError

ATTENTION_AND_MLP = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
LINEAR_MAPS = {
    "gpt_neox": {"query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"},
    "gpt2": {"c_attn", "c_proj", "c_fc"},
    "opt": {"q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"},
}
REFUSED = {
    "bloom": (BloomConfig(), "takes no position_ids"),
    "mpt": (MptConfig(), "takes no position_ids"),
    "falcon": (FalconConfig(alibi=True), "ALiBi"),
    "mamba": (MambaConfig(), "layers of kind linear_attention"),
    "jamba": (JambaConfig(), "layers of kind .*mamba"),
    "qwen3_next": (Qwen3NextConfig(), "layers of kind linear_attention"),
    "llama4_text": (Llama4TextConfig(), "layers of kind chunked_attention"),
    "t5": (T5Config(), "encoder-decoder"),
}


def load(folder, **settings):
    return load_llm(EnvironmentConfig(llm=str(folder), **settings), "cpu")


def test_vectors_are_read_as_the_text_they_stand_for(family_llm):
    ids = torch.tensor([[7, 3, 11, 2, 40]])
    with torch.no_grad():
        wanted = family_llm.decoder(input_ids=ids).last_hidden_state
        found = family_llm.decoder(inputs_embeds=family_llm.embed(ids)).last_hidden_state
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(family_llm.embeddings[ids], family_llm.embed(ids))


def test_gemma_scales_its_embeddings_by_the_root_of_their_size(family_folder):
    llm = load(family_folder("gemma"))
    table = llm.causal.get_input_embeddings().weight.detach()
    torch.testing.assert_close(llm.embeddings, table * 32**0.5)


def test_the_prompt_is_read_as_its_text_after_the_starting_mark(family_llm):
    size = family_llm.embeddings.shape[1]
    environment = Environment(family_llm, EnvironmentConfig(prompt="ab"), torch.zeros(2, size), torch.zeros(2, 4))
    assert family_llm.prompt_ids("ab") == [1, 2, 3]
    torch.testing.assert_close(environment.prompt, family_llm.embed(torch.tensor([1, 2, 3])))


def test_the_attention_is_the_one_that_takes_the_mask_and_leaves_nothing_out(family, family_llm):
    assert described(family_llm, "x", "y")["attention"] == ("eager" if family == "gemma2" else "sdpa")
    assert family_llm.reader.additive == (family == "gemma2")


def test_windows_are_counted_by_depth_in_the_layers_that_slide(family_folder):
    assert load(family_folder("mistral")).reader.windows == {"sliding_attention": 5}
    assert load(family_folder("gemma3_text")).reader.windows == {"full_attention": None, "sliding_attention": 5}
    assert load(family_folder("llama")).reader.windows == {"full_attention": None}
    mask, depth = torch.ones(1, 4, 4, dtype=torch.bool).tril(), torch.tensor([[0, 1, 1, 2]])
    seen = TreeReader(False, {"sliding_attention": 2}).masks(mask, depth, torch.float32)
    assert seen[0, 0].int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 1]]


def test_an_additive_mask_is_zero_where_a_slot_is_seen_and_huge_elsewhere():
    mask = torch.tensor([[[True, False], [True, True]]])
    found = TreeReader(True, {"full_attention": None}).masks(mask, torch.tensor([[0, 1]]), torch.float16)
    assert found.shape == (1, 1, 2, 2)
    assert found[0, 0].tolist() == [[0, -65504], [0, 0]]


def test_adapters_sit_on_the_linear_maps_of_the_last_blocks_and_nowhere_else(family, family_llm):
    found = lora_targets(family_llm.decoder, 2)
    assert {name.split(".")[-1] for name in found} == LINEAR_MAPS.get(family, ATTENTION_AND_MLP)
    assert {next(part for part in name.split(".") if part.isdigit()) for name in found} == {"1", "2"}
    assert not any("embed" in name or "lm_head" in name or "wte" in name for name in found)


def test_saved_adapters_say_what_the_trained_ones_said(family_llm, family, family_folder, tmp_path):
    config, ids = EnvironmentConfig(lora_layers=2, lora_rank=4), torch.tensor([[7, 3, 11]])
    adapted = with_adapters(family_llm.decoder, config, 0)
    trained = [tensor for tensor in adapted.parameters() if tensor.requires_grad]
    assert len(trained) == 2 * len(lora_targets(load(family_folder(family)).decoder, 2))
    for tensor in trained:
        torch.nn.init.normal_(tensor, std=0.1)
    with torch.no_grad():
        wanted = adapted(input_ids=ids).last_hidden_state
        plain = load(family_folder(family)).decoder(input_ids=ids).last_hidden_state
        save_adapters(adapted, tmp_path)
        merged = with_saved_adapters(load(family_folder(family)).decoder, tmp_path)(input_ids=ids).last_hidden_state
    torch.testing.assert_close(merged, wanted, atol=1e-4, rtol=1e-4)
    assert (wanted - plain).abs().max() > 1e-2


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_every_family_reads_trees_in_half_precision(family, family_folder, dtype):
    llm = load(family_folder(family), dtype=dtype)
    assert described(llm, "x", "y")["dtype"] == dtype
    assert llm.embeddings.dtype == llm.dtype == getattr(torch, dtype)


def test_the_manifest_says_which_model_it_was(family_folder):
    found = described(load(family_folder("gemma2")), "here", "digest")
    assert found["parameters"] > 3 * 32 * 48
    del found["parameters"]
    assert found == {
        "name": "here", "version": "digest", "family": "gemma2", "class": "Gemma2ForCausalLM", "dtype": "float32",
        "attention": "eager", "sliding_window": 5, "layers": 3, "hidden_size": 32,
    }  # fmt: skip


@pytest.mark.parametrize("family", REFUSED)
def test_a_family_that_cannot_read_a_tree_is_refused_by_name_before_its_weights_are_looked_for(family, tmp_path):
    config, reason = REFUSED[family]
    config.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=f"{family} .*{reason}.*give a decoder-only model"):
        load(tmp_path)


SMALL = {"vocab_size": 80, "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48}
UNHEEDING = {
    "bert": BertConfig(**SMALL, num_hidden_layers=2),  # looks at what comes after
    "gpt_neo": GPTNeoConfig(**SMALL, num_layers=2, attention_types=[[["global", "local"], 1]]),  # slides by columns of the row
}


@pytest.mark.parametrize("family", UNHEEDING)
def test_a_family_that_does_not_heed_the_mask_is_found_out_by_a_small_tree(family, tmp_path, save_model):
    save_model(UNHEEDING[family], tmp_path)
    with pytest.raises(ConfigError, match=f"{family} does not heed the mask and the positions of a tree"):
        load(tmp_path)


def test_a_family_that_takes_only_vectors_of_its_vocabulary_is_refused(tmp_path, save_model):
    config = Gemma4TextConfig(
        **SMALL,
        num_hidden_layers=2,
        num_key_value_heads=2,
        head_dim=8,
        hidden_size_per_layer_input=8,
        vocab_size_per_layer_input=80,
    )
    save_model(config, tmp_path)
    with pytest.raises(ConfigError, match="gemma4_text cannot read a tree"):
        load(tmp_path)


def test_a_quantized_model_is_refused(tmp_path):
    LlamaConfig(quantization_config={"quant_method": "gptq", "bits": 4}).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="llama is quantized"):
        load(tmp_path)


def test_a_model_with_code_of_its_own_is_refused(tmp_path):
    settings = {"model_type": "novel", "auto_map": {"AutoConfig": "code.NovelConfig"}}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ConfigError, match="code of its own, which learec does not run"):
        load(tmp_path)


def test_a_history_longer_than_the_learned_positions_is_refused(family_folder):
    with pytest.raises(ConfigError, match="environment.history = 120: .* takes 154 positions, and gpt2 has 128"):
        load(family_folder("gpt2"), history=120)
    with pytest.raises(ConfigError, match="max_text_tokens = 128: with the item's token that takes 129 positions"):
        load(family_folder("gpt2"), item_tokens="trained", max_text_tokens=128)


def test_values_that_are_no_numbers_are_refused(family_folder, tmp_path, monkeypatch):
    def without_numbers(self, decoder, inputs, mask, positions):
        return torch.full_like(inputs, torch.nan)

    monkeypatch.setattr(TreeReader, "read", without_numbers)
    with pytest.raises(ConfigError, match="llama gives what is no number in torch.float32"):
        load(family_folder("llama"))


def test_the_language_model_stays_frozen(family_llm):
    assert isinstance(family_llm, LLM)
    assert not any(tensor.requires_grad for tensor in family_llm.causal.parameters())
