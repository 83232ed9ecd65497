"""What a recipe may say of the annotations that the environment gives to training steps."""

from typing import Annotated, Literal

from pydantic import Field

from learec.config.records import Count, Positive, Record, Share


class AnnotationsConfig(Record):
    """One row per training step: annotate."""

    candidates: Literal["rule", "state", "item_tokens", "item_knn"] = Field(
        "rule", description="who proposes actions; rule = item text x item-kNN"
    )
    n_augmented: Count = Field(3, description="K, actions proposed per step")
    margin: float = Field(
        1.0, description="kept if the reward is at most this (in standard deviations) below the logged action's"
    )
    knn_decay: Share = 0.8
    knn_shrinkage: Annotated[float, Field(ge=0)] = Field(20.0, description="under item-kNN's cosine: few counts, little trust")
    text_weight: Positive = 4.0
    shard_sessions: Count = Field(1000, description="sessions per shard; a stopped run loses one shard at most")
