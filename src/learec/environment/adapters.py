"""Adapters: LoRA on the linear maps of the last blocks, found by their type; saved with settings in peft's own names."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from learec.config import EnvironmentConfig, derived_seed
from learec.environment.families import blocks_of
from learec.errors import ConfigError

WEIGHTS, SETTINGS = "adapter_model.safetensors", "adapter_config.json"


def with_adapters(decoder: nn.Module, config: EnvironmentConfig, seed: int) -> Any:
    """The decoder with fresh adapters, which change nothing yet."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(derived_seed("lora", seed))
    targets = lora_targets(decoder, config.lora_layers)
    lora = LoraConfig(
        r=config.lora_rank, lora_alpha=2 * config.lora_rank, lora_dropout=config.lora_dropout, target_modules=targets,
        fan_in_fan_out=_is_transposed(decoder.get_submodule(targets[0])),
    )  # fmt: skip
    return get_peft_model(decoder, lora)


def lora_targets(decoder: Any, n_layers: int) -> list[str]:
    """Names of the linear maps in the last n_layers blocks. The backward pass ends where the adapters do.

    They are known by their type, torch's Linear or transformers' Conv1D (GPT-2), whatever a family calls them. Embeddings and
    language head lie outside the blocks.
    """
    from transformers.pytorch_utils import Conv1D

    name, blocks = blocks_of(decoder)
    targets = [
        f"{name}.{index}.{inner}"
        for index in range(max(len(blocks) - n_layers, 0), len(blocks))
        for inner, part in blocks[index].named_modules()
        if isinstance(part, nn.Linear | Conv1D)
    ]
    if not targets:
        raise ConfigError(
            f"language model {type(decoder).__name__}: its blocks hold no linear map to adapt (torch's Linear, transformers' "
            "Conv1D); use another model family"
        )
    return targets


def _is_transposed(module: nn.Module) -> bool:
    """Conv1D keeps its weight as (in, out)."""
    return not isinstance(module, nn.Linear)


def described_adapters(decoder: Any) -> dict[str, Any]:
    """What was adapted and how, for the manifest."""
    lora = decoder.peft_config["default"]
    return {
        "method": "LoRA",
        "rank": lora.r,
        "alpha": lora.lora_alpha,
        "dropout": lora.lora_dropout,
        "modules": sorted(lora.target_modules),
        "parameters": sum(tensor.numel() for tensor in decoder.parameters() if tensor.requires_grad),
    }


def save_adapters(decoder: Any, folder: Path) -> None:
    """Weights as safetensors, LoRA's settings as JSON."""
    from peft import get_peft_model_state_dict

    save_file({name: tensor.contiguous() for name, tensor in get_peft_model_state_dict(decoder).items()}, folder / WEIGHTS)
    lora = decoder.peft_config["default"]
    settings = {
        "r": lora.r, "lora_alpha": lora.lora_alpha, "target_modules": sorted(lora.target_modules),
        "fan_in_fan_out": lora.fan_in_fan_out,
    }  # fmt: skip
    (folder / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def with_saved_adapters(decoder: nn.Module, folder: Path) -> nn.Module:
    """The decoder with a folder's adapters merged into its weights: no cost per token."""
    from peft import LoraConfig, get_peft_model, set_peft_model_state_dict

    lora: dict[str, Any] = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    adapted = get_peft_model(decoder, LoraConfig(**lora))
    set_peft_model_state_dict(adapted, load_file(folder / WEIGHTS))
    merged: nn.Module = adapted.merge_and_unload()
    return merged
