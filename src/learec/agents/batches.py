"""Batches: sessions as the agent reads them, with logged rewards and the annotation columns that a recipe chooses."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import expit
from torch import Tensor

from learec.annotations.table import Annotations
from learec.config import AgentConfig, derived_seed
from learec.data.log import Floats, Ints, Sessions
from learec.data.windows import Windows, stretches_of
from learec.errors import ArtifactError, DataError

POOL = 32  # batches' worth of sessions sorted by length together: little padding, still shuffled


@dataclass(frozen=True)
class Steps:
    """M recorded steps in which an action was taken, M over all sessions of a batch; what objectives are told."""

    actions: Tensor  # (M,) item numbers
    rewards: Tensor  # (M,) logged, or mixed with the environment's
    terminal: Tensor  # (M,) whether nothing after this action may be known: the last training step of the session
    next_actions: Tensor  # (M,) what was really chosen next; 0 on a terminal step
    popularity: Tensor  # (M,) share of the training events that the action's item has
    augmented: Tensor  # (M, K) further positive actions, 0 for none; K is 0 without annotations
    augmented_weights: Tensor  # (M, K) shares of a step's label among them, 0 for none; sums to 1 where there is any
    augmented_rewards: Tensor  # (M, K)

    def __post_init__(self) -> None:
        """Refuse columns of different lengths: (M,) - (M, 1) would broadcast silently."""
        m = len(self.actions)
        shapes = {name: tuple(getattr(self, name).shape) for name in ("rewards", "terminal", "next_actions", "popularity")}
        if (
            any(shape != (m,) for shape in shapes.values())
            or not self.augmented.shape == self.augmented_rewards.shape == self.augmented_weights.shape
            or len(self.augmented) != m
        ):
            raise ValueError(f"Steps of {m} actions with {shapes}, augmented {tuple(self.augmented.shape)}")


@dataclass(frozen=True)
class Batch:
    """B windows of sessions. Row i of the flattened real places is followed by row i + 1 of the same window."""

    items: Tensor  # (B, L) padded on the right with 0
    real: Tensor  # (B, L) places that hold an item; R of them
    acted: Tensor  # (R,) of the real places: is the next item known and this window's to learn from? M of them
    states: Tensor | None  # (R, W) the environment's state after the item, if the critic reads it
    steps: Steps
    numbers: Ints  # (M,) of the steps, among the training steps

    def seen(self) -> Tensor:
        """The items of each real place's window up to the place itself: (R, L), 0 for none."""
        return self.items[:, None, :].expand(-1, self.items.shape[1], -1).tril()[self.real]

    def part(self, process: int, n: int) -> "Batch":
        """Every nth window from that of `process` on, with all that belongs to it; as wide as the whole batch."""
        mine = self.real.nonzero()[:, 0] % n == process  # (R,)
        taken = mine[self.acted]  # (M,)
        return replace(
            self,
            items=self.items[process::n],
            real=self.real[process::n],
            acted=self.acted[mine],
            states=None if self.states is None else self.states[mine],
            steps=Steps(**{field.name: getattr(self.steps, field.name)[taken] for field in fields(Steps)}),
            numbers=self.numbers[taken.cpu().numpy()],
        )


class Batches:
    """All training windows of a log with their columns, cut anew into shuffled batches for every epoch."""

    def __init__(self, training: Sessions, annotations: Annotations | None, config: AgentConfig, device: str) -> None:
        """Annotations may be None if the config's `lea` is empty."""
        if annotations is not None and len(annotations.rewards) != training.n_steps:
            raise ArtifactError(
                f"annotations have {len(annotations.rewards)} rows for {training.n_steps} training steps; "
                "they were made from another log: run `learec annotate RECIPE`"
            )
        self.training, self.config, self.device = training, config, device
        usable = np.flatnonzero(training.lengths >= 2)
        if not len(usable):
            raise DataError("no session has two training steps, so nothing to learn from; raise min_session_events in [data]")
        self.usable = usable
        self.has_next = config.objective != "supervised"  # the supervised loss asks for no state after the last action
        self.rewards, self.augmented, self.augmented_rewards = _columns(training, annotations, config)
        self.augmented_weights = _weights(self.augmented, annotations, config.label_temperature)
        self.popularity = (np.bincount(training.items) / training.n_steps).astype(np.float32)
        self.states = annotations.states if annotations is not None and "state" in config.lea else None

    @property
    def state_size(self) -> int:
        """W if the critic reads the environment's states, else 0."""
        return 0 if self.states is None else int(self.states.shape[1])

    @property
    def per_epoch(self) -> int:
        """Batches in an epoch, at least: an epoch's cuts can make a few more stretches of long sessions."""
        beyond = self.training.lengths[self.usable] - 1 - self.config.max_length
        n_stretches = len(self.usable) + int(np.maximum(-(-beyond // self.config.stride), 0).sum())
        return -(-n_stretches // self.config.batch_size)

    def epoch(self, number: int, seed: int) -> list["Batch"]:
        """The batches of an epoch: a function of its number and the seed alone."""
        return list(self._epoch(number, seed))

    def _epoch(self, number: int, seed: int) -> Iterator["Batch"]:
        # One place more than a history: the last one is only the next state of the action before it.
        cuts = np.random.default_rng(derived_seed("stretches", seed, number))
        windows = stretches_of(self.training, self.usable, self.config.max_length + 1, self.config.stride, cuts)
        rng = np.random.default_rng(derived_seed("batches", seed, number))
        order = rng.permutation(len(windows.items))
        pool = np.arange(len(order)) // (POOL * self.config.batch_size)
        order = order[np.lexsort((windows.lengths[order], pool))]
        starts = np.arange(0, len(order), self.config.batch_size)
        for start in rng.permutation(starts):
            yield self._batch(windows.take(order[start : start + self.config.batch_size]))

    def _batch(self, windows: Windows) -> Batch:
        follows = np.zeros_like(windows.scored)
        follows[:, :-1] = windows.scored[:, 1:]
        real = windows.steps >= 0
        if not self.has_next:  # nothing reads the place of a stretch's last action
            real = np.pad(real[:, 1:], ((0, 0), (0, 1)))
        items = np.where(real, windows.items, 0)[:, : real.sum(1).max()]
        step = windows.steps[real]  # (R,) step that each place has just read
        acted = follows[real]
        action = step[acted] + 1  # the step whose item was chosen next
        terminal = action == self.training.offsets[1:][self.training.session_of[action]] - 1
        following = np.minimum(action + 1, self.training.n_steps - 1)
        states = None
        if self.states is not None:
            after = np.minimum(step + 1, self.training.n_steps - 1)
            same = self.training.session_of[after] == self.training.session_of[step]
            states = np.where((same & (after > step))[:, None], self.states[after], 0)

        def tensor(array: npt.NDArray[Any]) -> Tensor:
            return torch.as_tensor(array, device=self.device)

        return Batch(
            items=tensor(items),
            real=tensor(real[:, : items.shape[1]]),
            acted=tensor(acted),
            states=None if states is None else tensor(states),
            steps=Steps(
                actions=tensor(self.training.items[action].astype(np.int64)),
                rewards=tensor(self.rewards[action]),
                terminal=tensor(terminal),
                next_actions=tensor(np.where(terminal, 0, self.training.items[following]).astype(np.int64)),
                popularity=tensor(self.popularity[self.training.items[action]]),
                augmented=tensor(self.augmented[action].astype(np.int64)),
                augmented_weights=tensor(self.augmented_weights[action]),
                augmented_rewards=tensor(self.augmented_rewards[action]),
            ),
            numbers=action,
        )


def _columns(training: Sessions, annotations: Annotations | None, config: AgentConfig) -> tuple[Floats, Ints, Floats]:
    """Rewards (E,), augmented actions (E, K) and their rewards (E, K), as the config's `lea` chooses them.

    The environment's rewards are standardised; a sigmoid brings them to 0..1, the range of usual event rewards, and
    reward_mix weighs them against the event's own. Without "reward", an augmented action is worth what the logged
    event was.
    """
    rewards: Floats = training.rewards
    if annotations is None:
        nothing = np.zeros((training.n_steps, 0), dtype=np.float32)
        return rewards, nothing.astype(np.int64), nothing
    augmented = annotations.augmented if "augmented" in config.lea else annotations.augmented[:, :0]
    augmented_rewards: Floats = np.repeat(rewards[:, None], augmented.shape[1], axis=1)
    if "reward" in config.lea:
        mix = config.reward_mix
        theirs = expit(annotations.augmented_rewards[:, : augmented.shape[1]])
        augmented_rewards = ((1 - mix) * augmented_rewards + mix * theirs).astype(np.float32)
        mixed = (1 - mix) * rewards + mix * expit(annotations.rewards)
        rewards = np.where(annotations.annotated, mixed, rewards).astype(np.float32)
    return rewards, augmented, augmented_rewards


def _weights(augmented: Ints, annotations: Annotations | None, temperature: float | None) -> Floats:
    """Shares (E, K) of the augmented actions in a step's label: equal, or softmax(their source's score / temperature)."""
    present = augmented > 0
    if annotations is None or temperature is None or not augmented.shape[1]:
        return (present / np.maximum(present.sum(1, keepdims=True), 1)).astype(np.float32)
    scores = np.where(present, np.asarray(annotations.augmented_scores) / temperature, -1e30)
    shares = np.where(present, np.exp(scores - scores.max(1, keepdims=True)), 0)
    return (shares / np.maximum(shares.sum(1, keepdims=True), 1e-30)).astype(np.float32)
