"""The environment: the adapted language model that gives every step its state and every action its reward."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from learec.artifacts import check_files, load_array, read_manifest
from learec.config import EnvironmentConfig
from learec.data.log import Floats, Ints, Sessions
from learec.data.windows import Windows, batches_by_budget, windows_of
from learec.environment.adapters import with_saved_adapters
from learec.environment.item_tokens import TOKENS, VECTORS, WORDS
from learec.environment.llm import LLM, load_llm
from learec.environment.packing import Packed, pack, tree_sizes
from learec.environment.reward_model import RewardModel
from learec.environment.state_model import StateModel
from learec.environment.weights import llm_identity
from learec.errors import ArtifactError

MAKE_WITH = "learec adapt RECIPE"
ROW_SLOTS = 256  # several small sessions share a row; longer rows would only lengthen the masked attention


@dataclass(frozen=True)
class Answers:
    """What the language model says of W windows of L steps with K candidates."""

    states: Tensor  # (W, L, state size)
    rewards: Tensor  # (W, L) of the step's own item
    candidate_rewards: Tensor  # (W, L, K)


@dataclass(frozen=True)
class Read:
    """Hidden vectors where the answers lie, for W windows of L steps with K candidates."""

    before: Tensor  # (W, L, D) just before the step
    trunk: Tensor  # (W, L, D) at the step's own item
    leaves: Tensor  # (W, L, K, D) at the candidates


class Environment(nn.Module):
    """Item tokens, language model, state model and reward model together."""

    def __init__(
        self, llm: LLM, config: EnvironmentConfig, item_tokens: Tensor, item_vectors: Tensor, words: Ints | None = None
    ) -> None:
        """item_tokens (N + 1, D) are what the language model reads; item_vectors (N + 1, W) what states live among.

        words (N + 1, n): ids of vocabulary tokens that it reads before an item's own, -1 where there are no more; None: none.
        """
        super().__init__()
        self.llm, self.config = llm, config
        self.decoder = llm.decoder
        self.item_tokens = nn.Buffer(item_tokens, persistent=False)
        self.vectors = nn.Buffer(item_vectors, persistent=False)
        self.words = np.full((len(item_tokens), 0), -1) if words is None else words
        self.widths = 1 + (self.words >= 0).sum(axis=1)  # (N + 1,) slots of an item in a tree
        self.widths[0] = 0
        prompt = torch.tensor(llm.prompt_ids(config.prompt), dtype=torch.long, device=item_tokens.device)
        self.prompt = nn.Buffer(llm.embed(prompt), persistent=False)  # (P, D)
        self.state_model = StateModel(item_tokens.shape[1], item_vectors.shape[1], config.decay).to(item_tokens.device)
        self.reward_model = RewardModel(item_tokens.shape[1]).to(item_tokens.device)

    @property
    def item_vectors(self) -> Floats:
        """Whitened, of unit length, (N + 1, W)."""
        return self.vectors.cpu().numpy()

    def answers(self, windows: Windows, candidates: Ints) -> Answers:
        """One forward pass: every step's state, its item's reward, and its candidates' (W, L, K; 0 for none) rewards."""
        read = self.read(windows, candidates)
        states = self.state_model(read.before, self.state_model.skip(windows, self.vectors))
        own = self.vectors[torch.as_tensor(windows.items, device=states.device)]
        others = self.vectors[torch.as_tensor(candidates, device=states.device)]
        return Answers(
            states,
            self.reward_model(read.trunk, (states * own).sum(-1)),
            self.reward_model(read.leaves, torch.einsum("wld,wlkd->wlk", states, others)),
        )

    def read(self, windows: Windows, candidates: Ints) -> Read:
        """The language model's hidden vectors for windows and their candidates, from one packed pass."""
        packed = pack(windows, candidates, self.widths, len(self.prompt), ROW_SLOTS)
        hidden = self.hidden(packed)
        before, trunk, leaves = (
            torch.as_tensor(slots, device=hidden.device) for slots in (packed.before, packed.trunk, packed.leaves)
        )
        return Read(hidden[before], hidden[trunk], hidden[leaves])

    def hidden(self, packed: Packed) -> Tensor:
        """Hidden vectors of all slots, (R * T, D), float32."""
        inputs = self.item_tokens[torch.as_tensor(packed.items, device=self.item_tokens.device)].to(self.prompt.dtype)
        inputs[:, : len(self.prompt)] = self.prompt
        if (is_word := packed.to_token > 0).any():
            items = packed.items[is_word]
            ids = torch.as_tensor(self.words[items, self.widths[items] - 1 - packed.to_token[is_word]], device=inputs.device)
            inputs[torch.as_tensor(is_word, device=inputs.device)] = self.llm.embed(ids)
        mask, positions = (torch.as_tensor(array, device=inputs.device) for array in (packed.mask, packed.positions))
        return self.llm.reader.read(self.decoder, inputs, mask, positions).float().flatten(0, 1)

    @torch.inference_mode()
    def annotate(self, sessions: Sessions, candidates: Ints) -> tuple[Floats, Floats, Floats]:
        """States (E, W), rewards of the logged items (E,) and of the candidates (E, K), 0 where there is none.

        A session's first step has no history: its state is what the prompt alone gives.
        """
        self.eval()
        n_steps, n_candidates = candidates.shape
        states = np.zeros((n_steps, self.vectors.shape[1]), dtype=np.float32)
        rewards = np.zeros(n_steps, dtype=np.float32)
        candidate_rewards = np.zeros((n_steps, n_candidates), dtype=np.float32)
        windows = windows_of(sessions, np.flatnonzero(sessions.lengths), self.config.history)
        proposed = candidates_of(windows, candidates)
        sizes = tree_sizes(windows, proposed, self.widths)
        # Trees of like size share a batch, so that the last rows of a batch are as full as the first.
        for rows in batches_by_budget(sizes, np.argsort(-sizes, kind="stable"), self.config.token_budget):
            batch = windows.take(rows)
            some = proposed[rows, : batch.items.shape[1]]
            answers = self.answers(batch, some)
            steps = batch.steps[batch.scored]
            scored = torch.as_tensor(batch.scored)
            states[steps] = answers.states.cpu()[scored].numpy()
            rewards[steps] = answers.rewards.cpu()[scored].numpy()
            candidate_rewards[steps] = np.where(some > 0, answers.candidate_rewards.cpu().numpy(), 0)[batch.scored]
        return states, rewards, candidate_rewards


def candidates_of(windows: Windows, candidates: Ints) -> Ints:
    """Candidates by step (E, K) laid out by window, (W, L, K), for the steps that the window answers for."""
    return np.where(windows.scored[..., None], candidates[np.maximum(windows.steps, 0)], 0)


def load_environment(folder: Path, device: str) -> Environment:
    """Open an environment/ folder after checking it. LoRA weights are merged: no cost per token."""
    manifest = read_manifest(folder, "environment", MAKE_WITH)
    check_files(folder, manifest, MAKE_WITH)
    fields = EnvironmentConfig.model_fields
    config = EnvironmentConfig(**{key: value for key, value in manifest.request.config.items() if key in fields})
    if llm_identity(config.llm, config.revision) != manifest.request.parents["language model"]:
        raise ArtifactError(f"{folder}: was made with another version of {config.llm}; make it again with `{MAKE_WITH}`")
    llm = load_llm(config, device)
    tokens, vectors = (torch.from_numpy(np.array(load_array(folder / name))).to(device) for name in (TOKENS, VECTORS))
    words = np.array(load_array(folder / WORDS)) if config.history_text_tokens else None
    environment = Environment(llm, config, tokens, vectors, words)
    environment.state_model.load_state_dict(load_file(folder / "state_model.safetensors"))
    environment.reward_model.load_state_dict(load_file(folder / "reward_model.safetensors"))
    environment.decoder = with_saved_adapters(environment.decoder, folder)
    return environment.to(device).eval()
