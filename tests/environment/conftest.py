"""Tiny causal language models with random weights, saved as Hugging Face folders, one for each family that must work."""

import pytest
import torch
import transformers
from rich.console import Console
from tokenizers import Tokenizer, models
from transformers import (
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
)

from learec.config import EnvironmentConfig
from learec.environment.llm import load_llm
from learec.progress import Reporter

CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ,.:'-&()"
VOCABULARY = len(CHARACTERS) + 2
SMALL = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "max_position_embeddings": 128, "bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 0,
}  # fmt: skip
GROUPED = {**SMALL, "num_key_value_heads": 2, "head_dim": 8}
FAMILIES = {
    "llama": LlamaConfig(**GROUPED),
    "qwen3": Qwen3Config(**GROUPED),
    "mistral": MistralConfig(**GROUPED, sliding_window=5),
    "gemma": GemmaConfig(**GROUPED),
    "gemma2": Gemma2Config(**GROUPED, sliding_window=5, attn_logit_softcapping=2.0, query_pre_attn_scalar=8),
    "gemma3_text": Gemma3TextConfig(
        **GROUPED, sliding_window=5, layer_types=["sliding_attention", "full_attention", "sliding_attention"]
    ),
    "gpt_neox": GPTNeoXConfig(**SMALL, rotary_pct=0.5),
    "gpt2": GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=3, n_head=4, n_positions=128, bos_token_id=1, eos_token_id=1),
    "opt": OPTConfig(
        vocab_size=VOCABULARY, hidden_size=32, word_embed_proj_dim=32, ffn_dim=48, num_hidden_layers=3, num_attention_heads=4,
        max_position_embeddings=128, bos_token_id=1, eos_token_id=1, pad_token_id=0,
    ),
}  # fmt: skip


def save_tokenizer(folder):
    """A token for every character."""
    tokens = {"<unk>": 0, "<s>": 1, **{character: place + 2 for place, character in enumerate(CHARACTERS)}}
    plain = Tokenizer(models.BPE(tokens, [], unk_token="<unk>"))
    PreTrainedTokenizerFast(tokenizer_object=plain, bos_token="<s>", unk_token="<unk>").save_pretrained(folder)


def saved(config, folder):
    """Weights far enough from zero that attention, positions and mask all matter."""
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config)
    for tensor in model.parameters():
        if tensor.dim() > 1:
            torch.nn.init.normal_(tensor, std=0.2)
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return folder


@pytest.fixture(scope="session")
def family_folder(tmp_path_factory):
    """A family's name -> a folder with a tiny model of it."""
    made = {}

    def folder_of(family):
        if family not in made:
            made[family] = saved(FAMILIES[family], tmp_path_factory.mktemp(family))
        return made[family]

    return folder_of


@pytest.fixture(scope="session")
def save_model():
    """Writes a model with random weights, of any configuration, into a folder."""
    return saved


@pytest.fixture(params=FAMILIES)
def family(request):
    """Every family in turn."""
    return request.param


@pytest.fixture
def family_llm(family, family_folder):
    """A tiny model of every family in turn, loaded as a recipe would."""
    return load_llm(EnvironmentConfig(llm=str(family_folder(family))), "cpu")


@pytest.fixture
def llama_llm(family_folder):
    """A tiny Llama."""
    return load_llm(EnvironmentConfig(llm=str(family_folder("llama"))), "cpu")


@pytest.fixture(scope="session")
def silent():
    """A reporter that says nothing, for fixtures of a longer life than a test."""
    return Reporter(Console(quiet=True))
