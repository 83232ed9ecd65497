"""adapt: item tokens, LoRA adapters, state model and reward model, trained on a share of the users' training steps."""

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
from learec.data.filters import repeats_in
from learec.data.log import Ints, Log, Sessions
from learec.data.windows import Windows, windows_of
from learec.environment.adapters import described_adapters, save_adapters, with_adapters
from learec.environment.calibrate import calibrate
from learec.environment.environment import Environment
from learec.environment.examination import examine
from learec.environment.item_tokens import make_item_tokens
from learec.environment.llm import described, load_llm
from learec.environment.negatives import NegativeSampler, Neighbours
from learec.environment.pairs import PairBatch, pair_batches
from learec.environment.reward_model import LOSSES
from learec.environment.state_loss import StateLoss, Teacher
from learec.environment.weights import llm_identity
from learec.errors import DataError
from learec.fit import Plan, Task, fit
from learec.progress import Reporter
from learec.sampled_softmax import ItemSampler
from learec.workers import Workers

EXAMINED_STEPS = 2000  # of held-out users, about: a share of them is known to .011 then, and takes seconds
LOGIT_ROWS = 256  # states ranked at once
Measure = Callable[[Ints], dict[str, float]]  # ranks of the logged items -> named metrics


def environment_request(config: EnvironmentConfig, seed: int, log_digest: str) -> Request:
    """What adapt is asked for."""
    parents = {"log": log_digest, "language model": llm_identity(config.llm, config.revision)}
    return request_for("environment", config, parents, seed=seed)


@dataclass(frozen=True)
class Users:
    """Users that the environment learns from, and users it is stopped on; both by their training steps alone."""

    training: Windows
    held_out: Windows
    training_users: Ints  # session numbers, ascending
    held_out_users: Ints


def adapt(
    config: EnvironmentConfig, seed: int, log: Log, folder: Path, *, device: str | Workers, reporter: Reporter, measure: Measure
) -> None:
    """Make an environment/ folder. `measure` turns the held-out ranks of the state model into named metrics.

    `device` is one's name, or it and the loggers that are told.
    """
    workers = Workers(device) if isinstance(device, str) else device
    request = environment_request(config, seed, log.digest)
    split = split_users(log.training, config, seed)
    llm = load_llm(config, workers.device)
    repeats = int(repeats_in(log.training.session_of, log.training.items, "drop").sum())
    if repeats and config.alternatives == "possible":
        reporter.say(f"  {repeats:,} training steps take an item again, so items of the history stay among the alternatives")
    notes: dict[str, Any] = {"users": len(split.training_users), "held_out_users": len(split.held_out_users), "repeats": repeats}
    notes["language model"] = described(llm, config.llm, request.parents["language model"])
    with building(folder, request, notes) as partial:
        items = make_item_tokens(llm, log, config, seed, partial, reporter)
        items.save(partial)
        vectors = torch.from_numpy(items.vectors).to(workers.device)
        environment = Environment(llm, config, items.tokens, vectors, items.words)
        task, plan = _task(environment, split, log, seed, measure)
        description = "environment epochs, at most"
        with workers.logging("environment", request.config) as told:
            curves = fit(task, plan, folder=partial, reporter=reporter, description=description, workers=workers, log=told)
        notes["curves"] = asdict(curves)
        notes["adapters"] = described_adapters(environment.decoder)
        reporter.say("  examining the rewards on held-out users")
        notes["examination"] = examine(environment, log, split.held_out_users, seed, EXAMINED_STEPS)
        save_adapters(environment.decoder, partial)
        save_file(environment.state_model.state_dict(), partial / "state_model.safetensors")
        save_file(environment.reward_model.state_dict(), partial / "reward_model.safetensors")


def split_users(training: Sessions, config: EnvironmentConfig, seed: int) -> Users:
    """A share of the users at random to learn from; some of the others held out (a fifth of all if the share is everybody)."""
    usable = np.flatnonzero(training.lengths >= 2)
    if len(usable) < 2:
        raise DataError(
            f"the log has {len(usable)} sessions of two training steps or more, and the environment needs 2; "
            "lower min_session_events in [data]"
        )
    order = np.random.default_rng(derived_seed("environment users", seed)).permutation(usable)
    wanted = max(round(config.users * len(order)), 1)
    n_held_out = min(config.held_out_users, max(len(order) - wanted, len(order) // 5, 1))
    n_training = min(wanted, len(order) - n_held_out)
    learnt, held_out = np.sort(order[n_held_out : n_held_out + n_training]), np.sort(order[:n_held_out])
    return Users(windows_of(training, learnt, config.history), windows_of(training, held_out, config.history), learnt, held_out)


def _task(environment: Environment, split: Users, log: Log, seed: int, measure: Measure) -> tuple[Task[PairBatch], Plan]:
    """What is trained, from fresh adapters on, and for how long."""
    config = environment.config
    environment.decoder = with_adapters(environment.decoder, config, seed)
    learner: dict[str, Tensor] = {name: tensor for name, tensor in environment.named_parameters() if tensor.requires_grad}
    optimizer = torch.optim.AdamW(_parameter_groups(learner, config), weight_decay=0.01)
    neighbours = None
    if config.negatives == "neighbours":
        neighbours = Neighbours.of(log.training, environment.item_vectors, config.decay, config.history)
    sampler = NegativeSampler(log.training, log.catalog.n_items, config, neighbours)
    state_loss = _state_loss(environment, split, log, sampler, seed)
    widths, seeds = environment.widths, derived_seed("calibrate", seed)
    calibrate(environment, pair_batches(split.training, sampler, widths, config.token_budget, seeds, shuffle=True), state_loss)

    def batches(epoch: int) -> list[PairBatch]:
        seeds = derived_seed("environment", seed, epoch)
        return pair_batches(split.training, sampler, widths, config.batch_tokens, seeds, shuffle=True)

    seeds = derived_seed("held out", seed)
    held_out = pair_batches(split.held_out, sampler, widths, config.token_budget, seeds, shuffle=False)

    def losses(batch: PairBatch) -> dict[str, Tensor]:
        environment.train()
        return _losses(environment, batch, state_loss)

    task = Task(learner, (optimizer,), batches, losses, lambda: _validate(environment, held_out, state_loss, measure))
    return task, Plan(config.epochs, config.patience, derived_seed("environment", seed))


def _state_loss(environment: Environment, split: Users, log: Log, sampler: NegativeSampler, seed: int) -> StateLoss:
    """Over all items or a sample of them; soft targets are of all users' steps but those of the held-out ones."""
    config, n_items = environment.config, log.catalog.n_items
    items = teacher = None
    if n_items > config.full_softmax_items:
        items = ItemSampler(log.training.items, config.n_sampled_items, environment.vectors.device)
    if config.soft_targets:
        taught = np.setdiff1d(np.arange(log.training.n_sessions), split.held_out_users)
        teacher = Teacher.of(log.training, taught, n_items, config, seed)
    return StateLoss(environment, sampler, items, teacher)


def _parameter_groups(learner: dict[str, Tensor], config: EnvironmentConfig) -> list[dict[str, Any]]:
    """Adapters, heads and scalars each learn at a rate of their own."""
    heads = {name: tensor for name, tensor in learner.items() if not name.startswith("decoder.")}
    return [
        {"params": [tensor for name, tensor in learner.items() if name not in heads], "lr": config.learning_rate},
        {"params": [tensor for tensor in heads.values() if tensor.dim()], "lr": config.head_learning_rate},
        {
            "params": [tensor for tensor in heads.values() if not tensor.dim()],
            "lr": config.temperature_learning_rate,
            "weight_decay": 0.0,
        },
    ]


@dataclass(frozen=True)
class _Scored:
    states: Tensor  # (M, W) of the steps with a history
    actions: Tensor  # (M,)
    positive: Tensor  # (P,) rewards of logged items in the steps that have a negative
    negative: Tensor  # (P, n_negatives)
    present: Tensor  # (P, n_negatives) where there is one


def _score(environment: Environment, batch: PairBatch) -> _Scored:
    answers = environment.answers(batch.windows, batch.negatives)
    device = answers.rewards.device
    asked, paired = (torch.as_tensor(where, device=device) for where in (batch.asked, batch.paired))
    return _Scored(
        answers.states[asked],
        torch.as_tensor(batch.windows.items, device=device)[asked],
        answers.rewards[paired],
        answers.candidate_rewards[paired],
        torch.as_tensor(batch.negatives > 0, device=device)[paired],
    )


def _losses(environment: Environment, batch: PairBatch, state_loss: StateLoss) -> dict[str, Tensor]:
    """State loss and weighted reward loss of a batch."""
    scored, steps = _score(environment, batch), batch.windows.steps[batch.asked]
    named = {"state": state_loss(scored.states, scored.actions, steps, state_loss.draw())}
    if len(scored.positive):
        loss = LOSSES[environment.config.reward_loss](scored.positive, scored.negative, scored.present)
        named["reward"] = environment.config.reward_weight * loss
    return named


@torch.inference_mode()
def _validate(environment: Environment, batches: list[PairBatch], state_loss: StateLoss, measure: Measure) -> dict[str, float]:
    """On held-out users, over the full catalog: both losses' sum, negated (it chooses the epoch), its parts, what they mean."""
    environment.eval()
    scored = [_score(environment, batch) for batch in batches]
    states, actions = (torch.cat([getattr(s, name) for s in scored]) for name in ("states", "actions"))
    steps = np.concatenate([batch.windows.steps[batch.asked] for batch in batches])
    state, ranks = _ranked(state_loss, states, actions, steps)
    positive, negative, present = (torch.cat([getattr(s, name) for s in scored]) for name in ("positive", "negative", "present"))
    gap = (positive[:, None] - negative)[present]
    if not len(gap):
        raise DataError("held-out users have taken every item that was drawn as a negative; raise n_negatives in [environment]")
    reward = LOSSES[environment.config.reward_loss](positive, negative, present).item()
    return {
        "score": -(state + environment.config.reward_weight * reward),
        "state loss": state,
        "reward loss": reward,
        "pairwise accuracy": (gap > 0).float().mean().item(),
        **measure(ranks),
    }


def _ranked(state_loss: StateLoss, states: Tensor, actions: Tensor, steps: Ints) -> tuple[float, Ints]:
    """The mean loss of states (M, W) against the next actions (M,) of the training steps (M,), and the actions' ranks."""
    losses, ranks = [], []
    for start in range(0, len(states), LOGIT_ROWS):
        here = slice(start, start + LOGIT_ROWS)
        own = actions[here]
        logits = state_loss.logits(states[here], steps[here])
        losses.append(torch.nn.functional.cross_entropy(logits, own, reduction="none"))
        ranks.append((logits >= logits.gather(1, own[:, None])).sum(1))
    return torch.cat(losses).mean().item(), torch.cat(ranks).cpu().numpy()
