"""Item space: what the tokens and vectors of all items share, kept so that an item can join later."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from learec.data.log import Bools, Floats
from learec.environment.texts import Texts
from learec.environment.token_network import TokenNetwork
from learec.environment.whitening import Whitening
from learec.errors import ArtifactError

SPACE, NETWORK = "item_space.safetensors", "token_network.safetensors"


@dataclass(frozen=True)
class TokenSpace:
    """Where means of text embeddings are placed. Fitted to the items of training steps, the same for every item.

    Means of many embeddings point in much the same direction for every item and are shorter than an embedding; what tells
    items apart is the remainder. Without centring and scaling the language model hardly sees it: see
    docs/environment.md.
    """

    centre: Tensor  # (D,)
    scale: Tensor  # ()
    length: Tensor  # () of a vocabulary embedding
    deviation: Tensor  # () of the coordinates of placed means

    @classmethod
    def fit(cls, means: Tensor, texts: Texts, length: Tensor) -> "TokenSpace":
        """To means (N + 1, D) of text embeddings, whose remainders get the length of a vocabulary embedding."""
        if not texts.shaping.any():
            return cls(torch.zeros(means.shape[1]), torch.ones(()), length, torch.zeros(()))
        centre = means[texts.shaping].mean(0)
        remainders = means[texts.shaping] - centre
        scale = length / remainders.norm(dim=1).mean().clamp(min=1e-6)
        return cls(centre, scale, length, (remainders * scale).std())

    def placed(self, means: Tensor, present: Bools, seed: int) -> Tensor:
        """Means (n, D) centred and scaled. An item without text gets a random direction: it can be told from others, no more."""
        tokens = (means - self.centre) * self.scale
        without = np.flatnonzero(~present)
        directions = torch.randn(len(without), means.shape[1], generator=torch.Generator().manual_seed(seed))
        tokens[without] = functional.normalize(directions, dim=1) * self.length
        return tokens


@dataclass(frozen=True)
class ItemSpace:
    """All that a new item's token and vector are made with."""

    tokens: TokenSpace
    network: TokenNetwork | None  # from a placed mean to the token, where a sample was trained
    whitening: Whitening

    def vectors(self, sources: Tensor, present: Bools) -> Floats:
        """Whitened (n, W): tokens, or what the language model reads in the texts, (n, D)."""
        return self.whitening.vectors(sources.cpu().numpy(), present)

    def save(self, folder: Path) -> None:
        """Write it into an environment's folder."""
        whitening = {name: torch.from_numpy(array.copy()) for name, array in vars(self.whitening).items()}
        tensors = {f"tokens/{name}": tensor.contiguous() for name, tensor in vars(self.tokens).items()}
        save_file({**tensors, **{f"whitening/{name}": tensor for name, tensor in whitening.items()}}, folder / SPACE)
        if self.network is not None:
            save_file(self.network.state_dict(), folder / NETWORK)


def load_item_space(folder: Path, make_with: str) -> ItemSpace:
    """The space of an environment's folder."""
    if not (folder / SPACE).exists():
        raise ArtifactError(f"{folder}: has no {SPACE}, it was made by an earlier learec; make it again with `{make_with}`")
    tensors = load_file(folder / SPACE)
    parts: dict[str, dict[str, Tensor]] = {"tokens": {}, "whitening": {}}
    for name, tensor in tensors.items():
        part, _, field = name.partition("/")
        parts[part][field] = tensor
    space = TokenSpace(**parts["tokens"])
    network = None
    if (folder / NETWORK).exists():
        network = TokenNetwork(len(space.centre))
        network.load_state_dict(load_file(folder / NETWORK))
    return ItemSpace(space, network, Whitening(**{name: tensor.numpy() for name, tensor in parts["whitening"].items()}))
