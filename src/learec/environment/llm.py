"""The language model: loaded frozen and without any pickle, refused by name if it cannot read trees."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from learec.config import EnvironmentConfig
from learec.environment.families import attention_of, model_class_of, refusal
from learec.environment.tree_check import N_INPUTS, TOLERANCE, text_error, tree_error
from learec.environment.tree_mask import TreeReader, tree_reader
from learec.environment.weights import EMBEDDED, find_weights
from learec.errors import ConfigError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
LONGEST_PROMPT = 10_000
OTHER = f"give a decoder-only model such as Llama, Qwen, Gemma, GPT-NeoX or GPT-2, or {EMBEDDED!r}"


@dataclass(frozen=True)
class LLM:
    """A causal language model that reads vectors: `decoder` gives hidden vectors, `causal` also next-token logits."""

    causal: Any  # a transformers PreTrainedModel
    tokenizer: Any

    @property
    def settings(self) -> Any:
        """The decoder's configuration; of a model that also sees images, that of its text part."""
        return self.causal.config.get_text_config()

    @property
    def decoder(self) -> nn.Module:
        """The model below the language head."""
        composite = self.settings is not self.causal.config
        module: nn.Module = self.causal.get_decoder() if composite else self.causal.base_model
        return module

    @cached_property
    def reader(self) -> TreeReader:
        """How the decoder reads trees."""
        return tree_reader(self.causal.config)

    @property
    def dtype(self) -> torch.dtype:
        """Of weights and hidden vectors."""
        dtype: torch.dtype = self.causal.dtype
        return dtype

    @property
    def embeddings(self) -> Tensor:
        """Input vectors of the vocabulary, (V, D), as the decoder reads them. Where it scales its table (Gemma), a copy."""
        table = self.causal.get_input_embeddings()
        weight: Tensor = table.weight.detach()
        return weight if type(table) is nn.Embedding else self.embed(torch.arange(len(weight), device=weight.device))

    @torch.no_grad()
    def embed(self, ids: Tensor) -> Tensor:
        """Input vectors of vocabulary tokens, (...) -> (..., D), as the decoder reads them: what `inputs_embeds` must be."""
        vectors: Tensor = self.causal.get_input_embeddings()(ids)
        return vectors

    def token_ids(self, texts: list[str], max_tokens: int, *, special: bool = False) -> list[list[int]]:
        """Each text as token ids, cut to max_tokens. Unless `special`, no text can spell one of the model's own marks."""
        if not texts:
            return []
        encoded = self.tokenizer(
            texts, add_special_tokens=False, truncation=True, max_length=max_tokens, split_special_tokens=not special
        )
        ids: list[list[int]] = encoded["input_ids"]
        return ids

    def prompt_ids(self, prompt: str) -> list[int]:
        """The prompt before every history; first the mark that starts a text, where the model has one."""
        ids, start = self.token_ids([prompt], LONGEST_PROMPT, special=True)[0], self.tokenizer.bos_token_id
        return ids if start is None else [start, *ids]


def load_llm(config: EnvironmentConfig, device: str) -> LLM:
    """Load the model that the config names, frozen, and see that it reads trees.

    Raises ConfigError if it or transformers is not there, or if its family cannot take a tree's mask and positions.
    """
    transformers = _transformers()
    weights, where = find_weights(config.llm, config.revision), f"environment.llm = {config.llm!r}"
    options = {"revision": weights.commit, "trust_remote_code": False}
    with _told(where):
        settings = transformers.AutoConfig.from_pretrained(weights.place, **options)
    model_class = model_class_of(settings)
    if reason := refusal(settings, model_class):
        raise ConfigError(f"{where}: {settings.model_type} {reason}; {OTHER}")
    with _told(where):
        tokenizer = transformers.AutoTokenizer.from_pretrained(weights.place, **options)
        causal = transformers.AutoModelForCausalLM.from_pretrained(
            weights.place, dtype=DTYPES[config.dtype], attn_implementation=attention_of(settings, model_class),
            use_safetensors=True, **options,
        )  # fmt: skip
    causal.requires_grad_(False)
    causal.config.use_cache = False
    llm = LLM(causal.to(device).eval(), tokenizer)
    check_positions(llm, config)
    if config.text_layers > llm.settings.num_hidden_layers:
        raise ConfigError(
            f"environment.text_layers = {config.text_layers}: {llm.settings.model_type} has "
            f"{llm.settings.num_hidden_layers} layers; lower it"
        )
    check_reads_trees(llm, where)
    return llm


@contextmanager
def _told(where: str) -> Iterator[None]:
    """What transformers says of a model that it cannot load, as one sentence."""
    try:
        yield
    except (OSError, ValueError, KeyError, ImportError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        if "trust_remote_code" in str(error):
            first = "it brings code of its own, which learec does not run"
        raise ConfigError(f"{where}: cannot be loaded ({first}); give a model folder, a hub id, or {EMBEDDED!r}") from None


def check_positions(llm: LLM, config: EnvironmentConfig) -> None:
    """Raise ConfigError if the model has fewer positions than the settings need."""
    limit = getattr(llm.settings, "max_position_embeddings", None)
    family = llm.settings.model_type
    depth = len(llm.prompt_ids(config.prompt)) + config.history * (1 + config.history_text_tokens)
    if limit is not None and depth > limit:
        words = f" and history_text_tokens = {config.history_text_tokens}" if config.history_text_tokens else ""
        raise ConfigError(
            f"environment.history = {config.history}{words}: with the prompt that takes {depth} positions, and {family} has "
            f"{limit}; lower {'one of them' if words else 'it'}"
        )
    if limit is not None and config.item_tokens == "trained" and config.max_text_tokens >= limit:
        raise ConfigError(
            f"environment.max_text_tokens = {config.max_text_tokens}: with the item's token that takes "
            f"{config.max_text_tokens + 1} positions, and {family} has {limit}; lower it"
        )
    if limit is not None and config.text_layers and config.max_text_tokens > limit:
        raise ConfigError(
            f"environment.max_text_tokens = {config.max_text_tokens}: texts are read for item vectors (text_layers), and "
            f"{family} has {limit} positions; lower it"
        )


@torch.inference_mode()
def check_reads_trees(llm: LLM, where: str) -> None:
    """Raise ConfigError unless a tree gets the hidden vectors of one prompt at a time, and vectors those of their tokens."""
    family, allowed = llm.settings.model_type, TOLERANCE[llm.dtype]
    vocabulary = len(llm.causal.get_input_embeddings().weight)
    ids = torch.linspace(0, vocabulary - 1, N_INPUTS, device=llm.causal.device).long()
    vectors = llm.embed(ids)
    try:
        text = text_error(llm.decoder, ids, vectors)
        tree = tree_error(llm.decoder, llm.reader, (vectors + vectors.roll(1, 0)) / 2)  # items are no words: vectors of no token
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, TypeError, ValueError, AttributeError, LookupError, AssertionError) as problem:
        first = (str(problem).strip() or type(problem).__name__).splitlines()[0]
        raise ConfigError(f"{where}: {family} cannot read a tree ({first}); {OTHER}") from None
    if math.isnan(text + tree):
        raise ConfigError(f"{where}: {family} gives what is no number in {llm.dtype}; set another dtype in [environment]")
    if text > allowed:
        raise ConfigError(
            f"{where}: {family} reads more of a token than its vector ({text:.2g} apart, allowed {allowed:g}); {OTHER}"
        )
    if tree > allowed:
        raise ConfigError(
            f"{where}: {family} does not heed the mask and the positions of a tree: what it says of one and of one prompt at a "
            f"time is {tree:.2g} of the distance between unlike slots apart (allowed {allowed:g}); {OTHER}"
        )


def described(llm: LLM, name: str, identity: str) -> dict[str, Any]:
    """The base model, for the manifest."""
    return {
        "name": name,
        "version": identity,
        "family": llm.settings.model_type,
        "class": type(llm.causal).__name__,
        "dtype": str(llm.dtype).removeprefix("torch."),
        "attention": llm.settings._attn_implementation,
        "sliding_window": next((window for window in llm.reader.windows.values() if window), None),
        "layers": llm.settings.num_hidden_layers,
        "hidden_size": llm.settings.hidden_size,
        "parameters": sum(tensor.numel() for tensor in llm.causal.parameters()),
    }


def _transformers() -> Any:
    try:
        import transformers
    except ImportError:
        raise ConfigError(
            "adapt and annotate need transformers, which is not installed; run `pip install 'learec[adapt]'`"
        ) from None
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers
