"""Model families: which causal language models can read a tree, with which attention, and why the others cannot.

What a configuration tells is refused here, before any weight is read. What it does not tell, `tree_check.py` finds out.
"""

import inspect
from typing import Any

from torch import nn

from learec.errors import ConfigError

FULL, SLIDING = "full_attention", "sliding_attention"
KINDS_OF_LAYERS = ("layer_types", "layers_block_type", "block_types")  # a family names its layers' kinds under one of these
ATTENDS = {FULL, SLIDING, "attention"}  # kinds that see other slots through the mask alone
READS = ("inputs_embeds", "attention_mask", "position_ids")


def model_class_of(config: Any) -> Any:
    """The class that transformers loads as a causal language model for a configuration; None if it has none."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    found = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    return found[0] if isinstance(found, tuple) else found


def refusal(config: Any, model_class: Any) -> str | None:
    """Why a model of this configuration cannot read a tree, as the end of a sentence; None if nothing speaks against it.

    `model_class` is the class that transformers loads for it, None if it has no causal one.
    """
    if config.is_encoder_decoder:
        return "is an encoder-decoder, and a state is read from a decoder alone"
    if model_class is None:
        return "is no causal language model that transformers knows"
    text, parameters = config.get_text_config(), inspect.signature(model_class.forward).parameters
    others = sorted(kinds_of_layers(text) - ATTENDS)
    missing = [name for name in READS if name not in parameters]
    reasons = {
        f"has layers of kind {', '.join(others)}, and what those see is not the mask's alone to say": others,
        "takes distances from the row (ALiBi) and no position ids": getattr(text, "alibi", False),
        f"takes no {' and no '.join(missing)}": missing,
        "is quantized, and adapters are merged into plain weights": getattr(config, "quantization_config", None),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def kinds_of_layers(config: Any) -> set[str]:
    """The kinds of layers that a configuration names; empty if all are alike."""
    found: set[str] = set()
    for name in KINDS_OF_LAYERS:
        found |= set(getattr(config, name, None) or ())
    return found


def attention_of(config: Any, model_class: Any) -> str:
    """The attention to load a model with: sdpa, which reads a boolean mask, or eager, which adds one.

    Eager only where the family has nothing else: scaled dot-product attention cannot cap its logits (Gemma 2) nor hold
    sinks (GPT-OSS), and would leave them out. Flash attention takes no mask of a tree at all.
    """
    capped = getattr(config.get_text_config(), "attn_logit_softcapping", None) is not None
    return "sdpa" if getattr(model_class, "_supports_sdpa", False) and not capped else "eager"


def blocks_of(decoder: Any) -> tuple[str, nn.ModuleList]:
    """The name and the modules of a decoder's layers, whatever a family calls them."""
    depth = decoder.config.get_text_config().num_hidden_layers
    for name, part in decoder.named_modules():
        if isinstance(part, nn.ModuleList) and len(part) == depth:
            return name, part
    raise ConfigError(f"language model {type(decoder).__name__}: its {depth} blocks were not found; use another model family")
