"""What lets the environment's heads learn: item tokens raw or centred, hidden vectors through LayerNorm or standardised.

The language model stays frozen and reads every user once; both heads are then trained on the hidden vectors alone, which
takes seconds a variant. Users are those that adapt would train on and hold out.

    python benchmarks/heads.py RUN_FOLDER        (a run with log/, such as runs/industrial)

Last line: JSON {variant: {"state_loss", "reward_loss", "pairwise_accuracy", "ndcg@10"}} of the best of three epochs.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from learec.config import EnvironmentConfig
from learec.data.log import Log, load_log
from learec.data.windows import Windows
from learec.environment.adapt import split_users
from learec.environment.environment import Environment
from learec.environment.item_tokens import make_item_tokens
from learec.environment.llm import LLM, load_llm
from learec.environment.negatives import NegativeSampler
from learec.environment.pairs import pair_batches
from learec.environment.reward_model import RewardModel, reward_loss
from learec.environment.state_model import StateModel
from learec.environment.texts import Texts
from learec.environment.whitening import whitened
from learec.evaluation.evaluate import mean_metrics
from learec.progress import Reporter

EPOCHS, BATCH, LEARNING_RATE = 3, 128, 2e-3


@dataclass(frozen=True)
class Hidden:
    """Frozen hidden vectors and what belongs to them, M steps."""

    before: Tensor  # (M, D)
    action: Tensor  # (M, D)
    negative: Tensor  # (M, D)
    skip: Tensor  # (M, W)
    actions: Tensor  # (M,)
    negatives: Tensor  # (M,)

    def rows(self, index: Tensor) -> "Hidden":
        return Hidden(**{name: column[index] for name, column in vars(self).items()})


class Normed(nn.LayerNorm):
    """LayerNorm at unit length, in the place of Standardise."""

    def measure(self, hidden: Tensor) -> None:
        pass

    def forward(self, hidden: Tensor) -> Tensor:
        return super().forward(hidden) * hidden.shape[-1] ** -0.5


@torch.inference_mode()
def read(environment: Environment, windows: Windows, sampler: NegativeSampler, seed: int) -> Hidden:
    columns = []
    for batch in pair_batches(windows, sampler, environment.widths, 2048, seed, shuffle=False):
        hidden = environment.read(batch.windows, batch.negatives)
        at = torch.as_tensor(batch.paired)
        skip = environment.state_model.skip(batch.windows, environment.vectors)
        items, negatives = torch.as_tensor(batch.windows.items), torch.as_tensor(batch.negatives)
        row = (hidden.before[at], hidden.trunk[at], hidden.leaves[at][:, 0], skip[at], items[at], negatives[at][:, 0])
        columns.append(row)
    return Hidden(*(torch.cat(column) for column in zip(*columns, strict=True)))


def train_heads(training: Hidden, held_out: Hidden, vectors: Tensor, sampler: NegativeSampler, norm: str) -> dict[str, float]:
    torch.manual_seed(0)
    size = training.before.shape[1]
    state_model, reward_model = StateModel(size, vectors.shape[1], 0.8), RewardModel(size)
    if norm == "layernorm":
        state_model.standardise, reward_model.standardise = Normed(size), Normed(size)
    state_model.standardise.measure(training.before)
    reward_model.standardise.measure(training.action)
    parameters = [*state_model.parameters(), *reward_model.parameters()]
    groups = [
        {"params": [p for p in parameters if p.dim()], "lr": LEARNING_RATE},
        {"params": [p for p in parameters if not p.dim()], "lr": 1e-2, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01)

    def score(part: Hidden) -> tuple[Tensor, Tensor, Tensor]:
        states = state_model(part.before, part.skip)
        positive = reward_model(part.action, (states * vectors[part.actions]).sum(-1))
        negative = reward_model(part.negative, (states * vectors[part.negatives]).sum(-1))
        return state_model.logits(states, vectors, sampler.log_popularity, sampler.impossible), positive, negative

    @torch.no_grad()
    def measure() -> dict[str, float]:
        logits, positive, negative = score(held_out)
        rank = (logits >= logits.gather(1, held_out.actions[:, None])).sum(1).numpy()
        return {
            "state_loss": round(functional.cross_entropy(logits, held_out.actions).item(), 4),
            "reward_loss": round(
                reward_loss(positive, negative[:, None], torch.ones(len(positive), 1, dtype=torch.bool)).item(), 4
            ),
            "pairwise_accuracy": round((positive > negative).float().mean().item(), 4),
            "ndcg@10": round(mean_metrics(rank)["NDCG@10"], 4),
        }

    found = []
    for _ in range(EPOCHS):
        for index in torch.randperm(len(training.actions)).split(BATCH):
            part = training.rows(index)
            logits, positive, negative = score(part)
            loss = functional.cross_entropy(logits, part.actions) + reward_loss(
                positive, negative[:, None], torch.ones(len(positive), 1, dtype=torch.bool)
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        found.append(measure())
    return min(found, key=lambda m: m["state_loss"] + m["reward_loss"])


def token_variants(llm: LLM, log: Log, config: EnvironmentConfig) -> tuple[dict[str, Tensor], Texts]:
    ids = llm.token_ids(log.catalog.table["text"].to_list(), config.max_text_tokens)
    raw = torch.stack([torch.zeros(llm.embeddings.shape[1]), *(llm.embeddings[text].float().mean(0) for text in ids)])
    raw *= llm.embeddings.norm(dim=1).mean() / raw[1:].norm(dim=1).mean()
    made = make_item_tokens(llm, log, config, 0, Path(), Reporter())
    return {"raw": raw, "centred": made.tokens}, made.texts


def main() -> None:
    log, config = load_log(Path(sys.argv[1]) / "log"), EnvironmentConfig()
    llm = load_llm(config, "cpu")
    split = split_users(log.training, config, 0)
    sampler = NegativeSampler(log.training, log.catalog.n_items, config)
    variants, texts = token_variants(llm, log, config)
    results = {}
    for name, tokens in variants.items():
        vectors = torch.from_numpy(whitened(tokens.numpy(), texts, config.whitened_size))
        environment = Environment(llm, config, tokens, vectors).eval()
        training, held_out = read(environment, split.training, sampler, 1), read(environment, split.held_out, sampler, 2)
        for norm in ("layernorm", "standardised"):
            results[f"{name} tokens, {norm}"] = train_heads(training, held_out, vectors, sampler, norm)
            print(f"{name} tokens, {norm}: {results[f'{name} tokens, {norm}']}", flush=True)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
