"""Controls of the columns they replace: what gain is left under one is not the language model's.

Those of shuffled and random are as large as the columns, and so are the states of text; its item vectors have the size that
words need.

shuffled   columns of another step: items keep their popularity, rewards their spread; only the tie to the step is cut
random     noise: normal states and rewards with the columns' own mean and deviation, actions uniform over training items
text       what TF-IDF says in place of the language model (text_environment.py): a gain that is left is that of text as such
"""

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from learec.annotations.table import Annotations
from learec.data.log import Bools, Floats, Ints
from learec.data.neighbours import unit_rows

# Arrays with a row per step that a column stands for; "items" and "content" have the one with a row per item.
BY_STEP = {"state": ("states",), "reward": ("rewards",), "augmented": ("augmented", "augmented_scores", "augmented_rewards")}
BY_ITEM = {"items", "content"}


def shuffled(annotations: Annotations, columns: Collection[str], items: Ints, seed: int) -> Annotations:
    """Every annotated step gets the named columns of another one, the same for all columns; training `items` swap tokens."""
    rng = np.random.default_rng(seed)
    rows = np.flatnonzero(annotations.annotated)
    other = np.arange(len(annotations.rewards))
    other[rows] = rng.permutation(rows)
    placebo = replace(annotations, **{name: getattr(annotations, name)[other] for name in _arrays_of(columns)})
    if BY_ITEM & set(columns):
        placebo = replace(placebo, item_vectors=_items_permuted(annotations.item_vectors, items, rng))
    return _rewards_redrawn(placebo, rng) if "reward" in columns and "augmented" not in columns else placebo


def random(annotations: Annotations, columns: Collection[str], items: Ints, seed: int) -> Annotations:
    """The named columns as noise; actions are drawn from `items`, those of training steps, and stay as many as they were."""
    rng, asked = np.random.default_rng(seed), annotations.annotated
    placebo = annotations
    if "augmented" in columns:
        drawn = rng.choice(np.unique(items), annotations.augmented.shape)
        placebo = replace(placebo, augmented=np.where(annotations.augmented > 0, drawn, 0))
    if "state" in columns:
        placebo = replace(placebo, states=_noise_like(annotations.states, asked, rng))
    if BY_ITEM & set(columns):
        known = np.isin(np.arange(len(annotations.item_vectors)), items) & annotations.item_vectors.any(1)
        placebo = replace(placebo, item_vectors=unit_rows(_noise_like(annotations.item_vectors, known, rng)))
    if "reward" in columns:
        placebo = replace(placebo, rewards=_noise_like(annotations.rewards, asked, rng))
    return _rewards_redrawn(placebo, rng) if {"reward", "augmented"} & set(columns) else placebo


def replaced(annotations: Annotations, columns: Collection[str], other: Annotations) -> Annotations:
    """The named columns of other annotations of the same steps; an action keeps the rewards of those who proposed it."""
    vectors = other.item_vectors if BY_ITEM & set(columns) else annotations.item_vectors
    return replace(annotations, item_vectors=vectors, **{name: getattr(other, name) for name in _arrays_of(columns)})


def _arrays_of(columns: Collection[str]) -> list[str]:
    return [name for column in columns for name in BY_STEP.get(column, ())]


def _items_permuted(vectors: Floats, items: Ints, rng: np.random.Generator) -> Floats:
    """Every one of the items that has a vector gets that of another one: cold items' texts reach nobody."""
    known = np.unique(items)[vectors[np.unique(items)].any(1)]
    permuted = np.array(vectors)
    permuted[known] = vectors[rng.permutation(known)]
    return permuted


def _noise_like(column: Floats, asked: Bools, rng: np.random.Generator) -> Floats:
    mean, deviation = column[asked].mean(0), column[asked].std(0)
    noise = rng.standard_normal(column.shape, dtype=np.float32) * deviation + mean
    return np.where(asked.reshape(-1, *[1] * (column.ndim - 1)), noise, column).astype(np.float32)


def _rewards_redrawn(annotations: Annotations, rng: np.random.Generator) -> Annotations:
    """Every augmented action gets the reward of one drawn from all."""
    present = annotations.augmented > 0
    rewards = np.zeros_like(annotations.augmented_rewards)
    rewards[present] = rng.permutation(annotations.augmented_rewards[present])
    return replace(annotations, augmented_rewards=rewards)
