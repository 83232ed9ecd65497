"""Text reading: what the language model has made of a text after some of its layers, a vector for every text."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from learec.environment.families import blocks_of
from learec.environment.llm import LLM
from learec.environment.texts import TokenIds


class _Reached(Exception):  # noqa: N818  (no error: the layer that was asked for has answered, and those above need not)
    def __init__(self, hidden: Tensor) -> None:
        self.hidden = hidden


@torch.no_grad()
def read_texts(llm: LLM, ids: TokenIds, n_layers: int, slots: int, advance: Callable[[int], None] = lambda n: None) -> Tensor:
    """The mean of each text's hidden vectors after n_layers layers, (n, D) float32 on the CPU; zero for an empty text.

    Texts of like length are read together, at most `slots` tokens at once (one text at least). They are padded at the end,
    which a causal model never sees from before it. `advance` hears how many were read. A model that gives the first token of
    any text a large vector of its own (SmolLM2 does, from the twelfth layer on) makes these means tell how long a text is.
    """
    means = torch.zeros(len(ids), llm.settings.hidden_size)
    lengths = np.array([len(text) for text in ids], dtype=np.int64)
    order = np.argsort(-lengths, kind="stable")
    order = order[lengths[order] > 0]
    while len(order):
        rows, order = np.split(order, [max(slots // lengths[order[0]], 1)])
        padded = np.zeros((len(rows), lengths[rows[0]]), dtype=np.int64)
        real = np.arange(padded.shape[1]) < lengths[rows, None]
        padded[real] = np.concatenate([ids[row] for row in rows])
        device = llm.causal.device
        hidden = _hidden(llm, torch.as_tensor(padded, device=device), n_layers).float()
        kept = torch.as_tensor(real, device=device)[..., None]
        means[rows] = ((hidden * kept).sum(1) / kept.sum(1)).cpu()
        advance(len(rows))
    return means


def _hidden(llm: LLM, ids: Tensor, n_layers: int) -> Tensor:
    """Hidden vectors (B, L, D) of tokens (B, L) as the n_layers-th layer hands them on, before any final norm."""

    def reached(block: Any, inputs: Any, output: Any) -> None:
        raise _Reached(output if isinstance(output, Tensor) else output[0])

    handle = blocks_of(llm.decoder)[1][n_layers - 1].register_forward_hook(reached)
    try:
        llm.decoder(input_ids=ids, use_cache=False)
    except _Reached as reading:
        return reading.hidden
    finally:
        handle.remove()
    raise AssertionError("a layer of the language model was not run")
