"""Tree mask: the mask of packing.py in the form that a model's attention takes, for every kind of its layers."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from learec.environment.families import FULL, SLIDING, kinds_of_layers

Mask = Tensor | dict[str, Tensor]


@dataclass(frozen=True)
class TreeReader:
    """How one model reads trees.

    A layer with a sliding window sees its last `window` positions. A model counts them by columns of the row when it makes
    the mask itself; in a tree they are counted by depth, which gives what a prompt of its own would see.
    """

    additive: bool  # eager attention adds the mask to its logits, scaled dot-product attention reads booleans
    windows: dict[str, int | None]  # by kind of layer, how many positions back it sees with its own; None: all

    def read(self, decoder: nn.Module, inputs: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
        """Hidden vectors (R, T, D) of inputs (R, T, D) under a tree's mask (R, T, T) and positions (R, T)."""
        output = decoder(
            inputs_embeds=inputs,
            attention_mask=self.masks(mask, positions, inputs.dtype),
            position_ids=positions,
            use_cache=False,
        )
        hidden: Tensor = output.last_hidden_state
        return hidden

    def masks(self, mask: Tensor, positions: Tensor, dtype: torch.dtype) -> Mask:
        """What the model takes as attention_mask: (R, 1, T, T), or that by kind of layer."""
        by_window = {window: self._form(_within(mask, positions, window), dtype) for window in set(self.windows.values())}
        if len(self.windows) == 1:
            return next(iter(by_window.values()))
        return {kind: by_window[window] for kind, window in self.windows.items()}

    def _form(self, mask: Tensor, dtype: torch.dtype) -> Tensor:
        mask = mask[:, None]
        if not self.additive:
            return mask
        return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, torch.finfo(dtype).min)


def _within(mask: Tensor, positions: Tensor, window: int | None) -> Tensor:
    """The mask without what lies `window` positions back or more."""
    if window is None or int(positions.max()) < window:
        return mask
    return mask & (positions[:, :, None] - positions[:, None, :] < window)


def tree_reader(config: Any) -> TreeReader:
    """The reader for a loaded model's configuration."""
    text = config.get_text_config()
    window = getattr(text, "sliding_window", None)
    window = None if getattr(text, "use_sliding_window", True) is False else window
    # A family without kinds of layers (Mistral, Phi-3) slides in all of them, if it has a window.
    kinds = kinds_of_layers(text) & {FULL, SLIDING} or {SLIDING if window else FULL}
    windows = {kind: window if kind == SLIDING else None for kind in sorted(kinds)}
    return TreeReader(text._attn_implementation == "eager", windows)
