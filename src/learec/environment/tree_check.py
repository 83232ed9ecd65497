"""Tree check: a loaded model must say of a small tree what it says of one prompt at a time, and of vectors what of tokens.

A few forward passes at loading tell for any family, also one that nobody has looked at, whether mask and position ids
reach its attention, and whether a token is all in its vector.
"""

import numpy as np
import torch
from torch import Tensor, nn

from learec.data.log import Ints
from learec.data.windows import Windows
from learec.environment.packing import Packed, pack
from learec.environment.tree_mask import TreeReader

PROMPT, LONG, SHORT, BRANCHES = 3, 4, 3, 300  # the row is wider than local attention that counts columns (GPT-Neo) reaches
N_INPUTS = 16
# How far hidden vectors may be apart, in distances between different slots. docs/environment.md has what rounding and
# errors give.
TOLERANCE = {torch.float32: 1e-3, torch.float16: 0.05, torch.bfloat16: 0.15}


def text_error(decoder: nn.Module, ids: Tensor, vectors: Tensor) -> float:
    """How far what is said of tokens `ids` (L,) and of their vectors (L, D) is apart, in distances between unlike slots."""
    wanted = decoder(input_ids=ids[None], use_cache=False).last_hidden_state[0].float()
    return _apart(_alone(decoder, vectors), wanted)


def tree_error(decoder: nn.Module, reader: TreeReader, vectors: Tensor) -> float:
    """How far what is said of a slot in a tree and in a prompt of its own is apart, in distances between unlike slots.

    `vectors` (N_INPUTS, D) are what the model reads in the place of items. NaN if it answers with numbers that are none.
    Raises what the model raises, and ValueError if its hidden vectors are not as wide as what it reads.
    """
    rng = np.random.default_rng(0)
    prompt, sessions = rng.integers(0, N_INPUTS, PROMPT), rng.integers(0, N_INPUTS, (2, LONG))
    branches = rng.integers(0, N_INPUTS, BRANCHES)
    packed = _packed(branches)
    slots = np.zeros(packed.items.size, dtype=np.int64)
    slots[:PROMPT], slots[packed.trunk[0]], slots[packed.trunk[1, :SHORT]] = prompt, sessions[0], sessions[1, :SHORT]
    slots[packed.leaves[0, 1]] = branches
    device = vectors.device
    mask, positions = (torch.as_tensor(array, device=device) for array in (packed.mask, packed.positions))
    read = reader.read(decoder, vectors[torch.as_tensor(slots, device=device)][None], mask, positions)[0].float()
    found, wanted = [read[packed.trunk[0]], read[packed.trunk[1, :SHORT]]], []
    for session in (sessions[0], sessions[1, :SHORT]):
        wanted.append(_alone(decoder, vectors[np.concatenate([prompt, session])])[PROMPT:])
    for branch in (0, -1):
        found.append(read[packed.leaves[0, 1, branch]][None])
        wanted.append(_alone(decoder, vectors[[*prompt, sessions[0, 0], branches[branch]]])[-1:])
    ours, theirs = torch.cat(found), torch.cat(wanted)
    if ours.shape[1] != vectors.shape[1]:
        raise ValueError(f"its hidden vectors have {ours.shape[1]} dimensions, and what it reads {vectors.shape[1]}")
    return _apart(ours, theirs)


def _apart(ours: Tensor, theirs: Tensor) -> float:
    """The largest distance between rows that should be equal, over the median distance of rows that should not."""
    return float((ours - theirs).norm(dim=1).max() / torch.pdist(theirs).median())


def _packed(branches: Ints) -> Packed:
    """Two sessions in one row; all branches hang from the first step of the long one."""
    steps = np.arange(2 * LONG).reshape(2, LONG)
    steps[1, SHORT:] = -1
    windows = Windows(np.where(steps >= 0, 1, 0), steps, steps >= 0)
    candidates = np.zeros((2, LONG, len(branches)), dtype=np.int64)
    candidates[0, 1] = 1
    return pack(windows, candidates, np.array([0, 1]), PROMPT, PROMPT + LONG + SHORT + len(branches))


def _alone(decoder: nn.Module, vectors: Tensor) -> Tensor:
    """Hidden vectors (L, D) of one prompt, without mask or position ids."""
    hidden: Tensor = decoder(inputs_embeds=vectors[None], use_cache=False).last_hidden_state[0].float()
    return hidden
