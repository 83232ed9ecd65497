"""What a recipe may say of the annotations that the environment gives to training steps."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from learec.config.records import Count, Positive, Record, Share


class AnnotationsConfig(Record):
    """annotate: one row per training step, and a vector per item."""

    came_later: ClassVar[frozenset[str]] = frozenset({"keep", "n_proposed", "steps", "tfidf_size"})

    steps: bool = Field(
        True, description="false: item vectors alone, within seconds, which is all that agents with lea items and content read"
    )
    candidates: Literal["rule", "state", "item_tokens", "item_knn"] = Field(
        "rule", description="who proposes actions; rule = item text x item-kNN"
    )
    n_augmented: Count = Field(3, description="K, actions proposed per step; with keep best, actions kept of n_proposed")
    keep: Literal["margin", "best", "all"] = Field(
        "margin",
        description="what the rewards decide: margin drops proposals far below the logged action, best takes the K highest",
    )
    margin: float = Field(
        1.0, description="with keep margin: how far below the logged action's the reward may be, in standard deviations"
    )
    n_proposed: Count = Field(12, description="with keep best: actions proposed per step, of which K are kept")
    knn_decay: Share = 0.8
    knn_shrinkage: Annotated[float, Field(ge=0)] = Field(20.0, description="under item-kNN's cosine: few counts, little trust")
    text_weight: Positive = 4.0
    tfidf_size: Count = Field(
        1024,
        description="of the placebo text: directions of TF-IDF at most; fewer say less of texts than the language model does",
    )
    shard_sessions: Count = Field(1000, description="sessions per shard; a stopped run loses one shard at most")

    @property
    def asked(self) -> int:
        """Actions proposed per step."""
        return self.n_proposed if self.keep == "best" else self.n_augmented

    @property
    def without_words(self) -> "AnnotationsConfig":
        """As annotations are asked for: the size of TF-IDF is nothing to the language model, and a part of the other's name."""
        return self.model_copy(update={"tfidf_size": type(self).model_fields["tfidf_size"].default})

    @property
    def text_environment(self) -> str:
        """What stands for an environment's digest where no language model was asked."""
        return f"TF-IDF in {self.tfidf_size} directions"
