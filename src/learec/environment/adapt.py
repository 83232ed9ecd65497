"""adapt: item tokens, LoRA adapters, state model and reward model, trained on a share of the users' training steps."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from learec.artifacts import Request, building, request_for
from learec.config import EnvironmentConfig, derived_seed
from learec.data.log import Ints, Log, Sessions
from learec.data.windows import Windows, batches_by_budget, windows_of
from learec.environment.environment import Environment, candidates_of
from learec.environment.item_tokens import make_item_tokens, whitened
from learec.environment.llm import llm_identity, load_llm
from learec.environment.packing import tree_sizes
from learec.environment.reward_model import reward_loss
from learec.environment.state_model import state_loss
from learec.errors import DataError
from learec.fit import Curves, Plan, fit
from learec.progress import Reporter

CALIBRATED_STEPS = 2000
Measure = Callable[[Ints], dict[str, float]]  # ranks of the logged items -> named metrics


def environment_request(config: EnvironmentConfig, seed: int, log_digest: str) -> Request:
    """What adapt is asked for."""
    parents = {"log": log_digest, "language model": llm_identity(config.llm)}
    return request_for("environment", config, parents, seed=seed)


@dataclass(frozen=True)
class Split:
    """Users that the environment learns from, and users it is stopped on; both by their training steps alone."""

    training: Windows
    held_out: Windows


@dataclass(frozen=True)
class _Batch:
    windows: Windows
    negatives: Ints  # (W, L, n_negatives)
    log_popularity: Tensor  # (N + 1,) of training events


def adapt(
    config: EnvironmentConfig, seed: int, log: Log, folder: Path, *, device: str, reporter: Reporter, measure: Measure
) -> None:
    """Make an environment/ folder. `measure` turns the held-out ranks of the state model into named metrics."""
    request = environment_request(config, seed, log.digest)
    split = split_users(log.training, config, seed)
    llm = load_llm(config, device)
    notes: dict[str, Any] = {"users": len(split.training.items), "held_out_users": len(split.held_out.items)}
    with building(folder, request, notes) as partial:
        tokens = make_item_tokens(llm, log.catalog, config, seed, partial, reporter)
        has_text = np.array([False, *(log.catalog.table["text"] != "")])
        vectors = whitened(tokens.cpu().numpy(), has_text, config.whitened_size)
        np.save(partial / "item_tokens.npy", tokens.cpu().numpy(), allow_pickle=False)
        np.save(partial / "item_vectors.npy", vectors, allow_pickle=False)
        environment = Environment(llm, config, tokens, torch.from_numpy(vectors).to(device))
        curves = _train(environment, split, log, seed, partial, reporter, measure)
        notes["curves"] = asdict(curves)
        _save(environment, partial)


def split_users(training: Sessions, config: EnvironmentConfig, seed: int) -> Split:
    """A share of the users at random to learn from; some of the others held out (a fifth of all if the share is everybody)."""
    usable = np.flatnonzero(training.lengths >= 2)
    if len(usable) < 2:
        raise DataError(f"the log has {len(usable)} sessions with two training steps; the environment needs at least 2: lower the filters in [data]")
    order = np.random.default_rng(derived_seed("environment users", seed)).permutation(usable)
    n_held_out = min(config.held_out_users, max(len(order) - round(config.users * len(order)), len(order) // 5, 1))
    n_training = max(min(round(config.users * len(order)), len(order) - n_held_out), 1)
    return Split(
        windows_of(training, np.sort(order[n_held_out : n_held_out + n_training]), config.history),
        windows_of(training, np.sort(order[:n_held_out]), config.history),
    )


class NegativeSampler:
    """Items without an interaction by the user: uniform, or as often as they occur in training sessions."""

    def __init__(self, training: Sessions, n_items: int, config: EnvironmentConfig) -> None:
        counts = np.bincount(training.items, minlength=n_items + 1)[1:].astype(np.float64)
        weights = counts if config.negatives == "popular" else np.ones(n_items)
        self.cumulative = np.cumsum(weights / weights.sum())
        self.n_negatives = config.n_negatives
        self.training = training
        self.log_popularity = torch.tensor(np.log(np.concatenate([[1.0], counts + 1]) / (counts.sum() + n_items)), dtype=torch.float32)

    def sample(self, windows: Windows, seed: int) -> Ints:
        """(W, L, n_negatives) for steps with a history, else 0. A draw that the user has interacted with is left out (0)."""
        shape = (*windows.items.shape, self.n_negatives)
        draws = np.searchsorted(self.cumulative, np.random.default_rng(seed).random(shape)) + 1
        draws = np.minimum(draws, len(self.cumulative))
        session = self.training.session_of[np.maximum(windows.steps, 0)][..., None]
        draws[np.isin(self._key(session, draws), self._interactions)] = 0
        asked = windows.scored & (np.arange(shape[1]) > 0)
        return np.where(asked[..., None], draws, 0)

    @property
    def _interactions(self) -> Ints:
        return self._key(self.training.session_of, self.training.items)

    def _key(self, session: Ints, item: Ints) -> Ints:
        return session * (len(self.cumulative) + 1) + item


def _train(
    environment: Environment, split: Split, log: Log, seed: int, folder: Path, reporter: Reporter, measure: Measure
) -> Curves:
    from peft import LoraConfig, get_peft_model  # noqa: PLC0415 (heavy)

    config = environment.config
    torch.manual_seed(derived_seed("lora", seed))
    lora = LoraConfig(r=config.lora_rank, lora_alpha=2 * config.lora_rank, lora_dropout=config.lora_dropout, target_modules="all-linear")
    environment.decoder = get_peft_model(environment.decoder, lora)
    learner = {name: tensor for name, tensor in environment.named_parameters() if tensor.requires_grad}
    state_model = environment.state_model
    temperature = [state_model.log_temperature, state_model.popularity_weight]
    others = [tensor for name, tensor in learner.items() if not name.endswith(("log_temperature", "popularity_weight"))]
    groups = [{"params": others, "lr": config.learning_rate}, {"params": temperature, "lr": config.temperature_learning_rate, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
    sampler = NegativeSampler(log.training, log.catalog.n_items, config)
    calibrate(environment, _batches(split.training, sampler, config.token_budget, derived_seed("calibrate", seed), shuffle=True))

    def batches(epoch: int) -> list[_Batch]:
        seeds = derived_seed("environment", seed, epoch)
        return _batches(split.training, sampler, config.batch_tokens, seeds, shuffle=True)

    held_out = _batches(split.held_out, sampler, config.token_budget, derived_seed("held out", seed), shuffle=False)

    def losses(batch: _Batch) -> dict[str, Tensor]:
        environment.train()
        return _losses(environment, batch)

    return fit(
        learner, optimizer, batches, losses, lambda: _validate(environment, held_out, measure),
        Plan(config.epochs, config.patience, derived_seed("environment", seed)),
        folder=folder, reporter=reporter, description="environment epochs",
    )  # fmt: skip


def _batches(windows: Windows, sampler: NegativeSampler, budget: int, seed: int, *, shuffle: bool) -> list[_Batch]:
    negatives = sampler.sample(windows, seed)
    sizes = tree_sizes(windows, negatives)
    order = np.random.default_rng(seed).permutation(len(sizes)) if shuffle else np.argsort(-sizes, kind="stable")
    batches = []
    for rows in batches_by_budget(sizes, order, budget):
        batch = windows.take(rows)
        batches.append(_Batch(batch, negatives[rows, : batch.items.shape[1]], sampler.log_popularity))
    return batches


def calibrate(environment: Environment, batches: list[_Batch]) -> None:
    """Fit temperature, popularity weight and reward scale while the state is still the skip connection alone.

    Three numbers, no language model: so epoch 0 is the content rule at its best, and what the epochs gain over it is
    the language model's. Up to CALIBRATED_STEPS steps are enough.
    """
    state_model, reward_model = environment.state_model, environment.reward_model
    scalars = [state_model.log_temperature, state_model.popularity_weight, reward_model.scale]
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    log_popularity = batches[0].log_popularity.to(environment.vectors.device)
    for batch in batches:
        if sum(len(actions) for _, actions, _ in found) >= CALIBRATED_STEPS:
            break
        states = state_model.skip(batch.windows, environment.vectors)
        asked = torch.as_tensor((batch.negatives > 0).all(axis=-1), device=states.device)
        negatives = environment.vectors[torch.as_tensor(batch.negatives, device=states.device)][asked]
        actions = torch.as_tensor(batch.windows.items, device=states.device)[asked]
        found.append((states[asked], actions, negatives))
    states, actions, negatives = (torch.cat(column) for column in zip(*found, strict=True))
    similarity = (states * environment.vectors[actions]).sum(-1)
    of_negatives = torch.einsum("md,mkd->mk", states, negatives)
    optimizer = torch.optim.LBFGS(scalars, max_iter=25, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        logits = state_model.logits(states, environment.vectors, log_popularity)
        loss = state_loss(logits, actions) + reward_loss(reward_model.scale * similarity, reward_model.scale * of_negatives)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    if len(actions):
        optimizer.step(closure)


@dataclass(frozen=True)
class _Scored:
    logits: Tensor  # (M, N + 1) of the steps with a history
    actions: Tensor  # (M,)
    positive: Tensor  # (P,) rewards of logged items in the steps that have every negative
    negative: Tensor  # (P, n_negatives)


def _score(environment: Environment, batch: _Batch) -> _Scored:
    answers = environment.answers(batch.windows, batch.negatives)
    device = answers.rewards.device
    asked = torch.as_tensor(batch.windows.scored & (np.arange(batch.windows.items.shape[1]) > 0), device=device)
    paired = torch.as_tensor((batch.negatives > 0).all(axis=-1), device=device)
    return _Scored(
        environment.state_model.logits(answers.states[asked], environment.vectors, batch.log_popularity.to(device)),
        torch.as_tensor(batch.windows.items, device=device)[asked],
        answers.rewards[paired],
        answers.candidate_rewards[paired],
    )


def _losses(environment: Environment, batch: _Batch) -> dict[str, Tensor]:
    """State loss and weighted reward loss of a batch."""
    scored = _score(environment, batch)
    named = {"state": state_loss(scored.logits, scored.actions)}
    if len(scored.positive):
        named["reward"] = environment.config.reward_weight * reward_loss(scored.positive, scored.negative)
    return named


@torch.inference_mode()
def _validate(environment: Environment, batches: list[_Batch], measure: Measure) -> dict[str, float]:
    """On held-out users: the sum of both losses, negated (it chooses the epoch), the parts, and what they mean."""
    environment.eval()
    scored = [_score(environment, batch) for batch in batches]
    state = torch.cat([torch.nn.functional.cross_entropy(s.logits, s.actions, reduction="none") for s in scored]).mean().item()
    gap = torch.cat([(s.positive[:, None] - s.negative).flatten() for s in scored])
    reward = -torch.nn.functional.logsigmoid(gap).mean().item()
    own = [(s.logits.gather(1, s.actions[:, None]), s.logits) for s in scored]
    ranks = torch.cat([(logits >= mine).sum(1) for mine, logits in own]).cpu().numpy()
    return {
        "score": -(state + environment.config.reward_weight * reward),
        "state loss": state,
        "reward loss": reward,
        "pairwise accuracy": (gap > 0).float().mean().item(),
        **measure(ranks),
    }


def _save(environment: Environment, folder: Path) -> None:
    """Weights as safetensors, LoRA's settings as JSON in peft's own names."""
    from peft import get_peft_model_state_dict  # noqa: PLC0415 (heavy)

    decoder: Any = environment.decoder
    save_file({k: v.contiguous() for k, v in get_peft_model_state_dict(decoder).items()}, folder / "adapter_model.safetensors")
    save_file(environment.state_model.state_dict(), folder / "state_model.safetensors")
    save_file(environment.reward_model.state_dict(), folder / "reward_model.safetensors")
    lora = decoder.peft_config["default"]
    settings = {"r": lora.r, "lora_alpha": lora.lora_alpha, "target_modules": sorted(lora.target_modules)}
    (folder / "adapter_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
