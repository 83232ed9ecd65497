"""What a recipe may say of its agents, and the presets whose values hold where it says nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from learec.config.records import Count, Positive, Record, Share, first_message
from learec.errors import ConfigError

Encoder = Literal["sasrec", "gru4rec", "caser", "nextitnet"]
Objective = Literal["supervised", "sqn", "sac", "snqn", "sa2c", "eval"]
LeaColumn = Literal["state", "reward", "augmented", "items", "content"]
Placebo = Literal["shuffled", "random", "text"]
OF_STEPS: frozenset[LeaColumn] = frozenset({"state", "reward", "augmented"})  # the others are item vectors

PRESETS: dict[str, dict[str, Any]] = {
    # The defaults below: tied embeddings, full or sampled softmax, dropout and patience tuned on validation.
    "strong": {},
    # The set-up of the SQN, SNQN and SA2C authors. What differs still: a batch holds 64 stretches, not 256 transitions (about as
    # many where sessions are short; a long session's later stretch has one); negatives are items of training steps; gradients are
    # clipped at a norm of 5; the copy that gives values reads without dropout; the state after a full history's last action has
    # read one item more than the others; training stops by validation NDCG@10 and the best epoch is kept; the bootstrap never
    # picks padding or a cold item; encoders differ as their docstrings say; one learning rate for all logs (theirs: .005 on
    # RetailRocket, .01 on RC15). Rewards (0.2 for a click, 1.0 for a purchase) are [data.rewards].
    "published": {
        "hidden_size": 64, "n_layers": 1, "n_heads": 1, "dropout": 0.1, "max_length": 10, "batch_size": 64, "overlap": 0.9,
        "tied": False, "learning_rate": 0.005, "gamma": 0.5, "n_negatives": 10, "q_weight": 1.0, "double_q": "copies",
        "switch_after": 15_000, "second_learning_rate": 0.001,
    },
}  # fmt: skip


class AgentConfig(Record):
    """One recommender: train. `[agent]` in a recipe holds what all of its agents share."""

    came_later: ClassVar[frozenset[str]] = frozenset(
        {
            "item_knn", "evidence_learning_rate", "evidence_weights", "knn_decay", "knn_shrinkage", "knn_similarity",
            "ease_regularisation", "ease_text_weight",
        }
    )  # fmt: skip

    preset: Literal["strong", "published"] = Field("strong", description="values of the settings that are not named")
    encoder: Encoder = "sasrec"
    objective: Objective = Field(
        "supervised", description="agents/objectives.py has the equations; eval is the control without a maximum"
    )
    lea: tuple[LeaColumn, ...] = Field(
        (),
        description="annotation columns used: state, reward, augmented, items (tokens beneath the item embeddings), content "
        "(cosine of an item's text with the history's, added to the logits)",
    )
    item_knn: bool = Field(
        False, description="the logarithm of item-kNN's score is added to the logits; in training by counts of other sessions"
    )
    knn_decay: Share = Field(0.8, description="item_knn, content: weight of the history's items falls by this per step of age")
    knn_shrinkage: Annotated[float, Field(ge=0)] = Field(20.0, description="under item_knn's cosine: few counts, little trust")
    knn_similarity: Literal["cosine", "ease"] = Field(
        "cosine",
        description="item_knn: of two items, the cosine of their sessions, or the largest of EASE's weights (docs/agents.md)",
    )
    ease_regularisation: Positive = Field(200.0, description="of those weights: few counts, little trust")
    ease_text_weight: Annotated[float, Field(ge=0)] = Field(
        0.0, description="above 0 they explain the texts of content too, as CEASE does: of texts beside sessions"
    )
    evidence_weights: tuple[float, float] = Field(
        (4.0, 1.0), description="of content's cosine and of item_knn's logarithm, before training"
    )
    placebo: Placebo | None = Field(
        None, description="a control in place of the columns (annotations/controls.py); true is shuffled"
    )
    placebo_columns: tuple[LeaColumn, ...] = Field((), description="of which columns; empty: of all that lea names")
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0,)
    hidden_size: Count = 64
    n_layers: Count = 2
    n_heads: Count = 1
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    max_length: Annotated[int, Field(ge=2)] = 50
    overlap: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="of the stretches that training cuts long sessions into: share of max_length that is history only"
    )
    batch_size: Count = Field(128, description="sessions, or stretches of long ones, in a batch")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="of matrix products in training; weights, softmax and ranking stay float32"
    )
    tied: bool = Field(True, description="the actor multiplies with the encoder's item embeddings, or has a table of its own")
    cosine_scale: Positive | None = Field(
        None, description="logits are so many times the cosine of hidden and item; by default their product"
    )
    learning_rate: Positive = 1e-3
    evidence_learning_rate: Positive = Field(1e-2, description="of the weights that item_knn and content have in the logits")
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    epochs: Count = 200
    patience: Count = Field(
        6, description="epochs without a better validation NDCG@10, after the first 200 batches, before training stops"
    )
    gamma: Annotated[float, Field(ge=0, lt=1)] = 0.5
    n_negatives: Count = 10
    negative_reward: float = 0.0
    q_weight: Positive = Field(0.1, description="weight of all Q losses; at 1 they drown the cross-entropy for many epochs")
    double_q: Literal["target", "copies"] = Field(
        "target", description="values from a target network, or from a second copy; a coin chooses which of two is trained"
    )
    target_rate: Share = Field(0.01, description="how far the target network moves towards the trained one at each update")
    switch_after: Count = Field(1000, description="batches after which the critic weighs the cross-entropy (sac, sa2c)")
    second_learning_rate: Positive = Field(1e-3, description="from the switch on")
    advantage_clip: Positive = Field(10.0, description="largest weight that sa2c gives a step")
    ips_smooth: Annotated[float, Field(ge=0)] = Field(0.0, description="sa2c: exponent of the inverse propensity; 0 is off")
    full_softmax_items: Count = Field(100_000, description="with more items, softmax and maximum are over a sample")
    n_sampled: Count = Field(2048, description="items drawn per batch then")
    n_recent_best: Count = Field(2048, description="and items that were lately a maximum and are candidates for the next ones")
    reward_mix: Annotated[float, Field(ge=0, le=1)] = Field(0.5, description="LE reward against the event's own reward")
    augmented_weight: Positive = Field(1.0, description="weight of the losses on augmented actions")
    label_temperature: Positive | None = Field(
        None,
        description="augmented actions of a step share their weight as their source's scores say at this; by default equally",
    )

    @property
    def reads_evidence(self) -> bool:
        """Whether counts or texts are added to its logits."""
        return self.item_knn or "content" in self.lea

    @property
    def stride(self) -> int:
        """Steps of a long session that one stretch of it trains on."""
        return max(round(self.max_length * (1 - self.overlap)), 1)

    @model_validator(mode="before")
    @classmethod
    def _laid_over_the_preset(cls, settings: Any) -> Any:
        preset = settings.get("preset") if isinstance(settings, dict) else None
        return {**PRESETS.get(preset, {}), **settings} if isinstance(preset, str) else settings

    @property
    def replaced_columns(self) -> tuple[LeaColumn, ...]:
        """The columns in whose place a control stands."""
        return () if self.placebo is None else self.placebo_columns or self.lea

    def is_placebo_of(self, other: "AgentConfig") -> bool:
        """Whether it is the other one but for what stands in the place of annotations, which the other one reads as they are."""
        if self.placebo is None or other.placebo is not None:
            return False
        same = {"placebo": None, "placebo_columns": (), "seeds": other.seeds, "lea": other.lea}
        return set(self.lea) == set(other.lea) and self.model_copy(update=same) == other

    @field_validator("placebo", mode="before")
    @classmethod
    def _true_is_shuffled(cls, seen: Any) -> Any:
        return {True: "shuffled", False: None}.get(seen, seen) if isinstance(seen, bool) else seen

    @model_validator(mode="after")
    def _parts_have_a_use(self) -> "AgentConfig":
        if self.objective == "supervised" and set(self.lea) & {"state", "reward"}:
            raise ValueError(
                "lea state and reward reach the critic only; with objective supervised use augmented, items and content"
            )
        if self.knn_similarity == "ease" and not self.item_knn:
            raise ValueError("knn_similarity ease says how item_knn counts, and item_knn is off; set it to true")
        if self.ease_text_weight and not (self.knn_similarity == "ease" and "content" in self.lea):
            raise ValueError(
                "ease_text_weight is of the texts that lea content reads and knn_similarity ease explains; name both"
            )
        if self.placebo and not self.lea:
            raise ValueError("placebo replaces the columns that lea names, and lea is empty; name them or drop placebo")
        if set(self.placebo_columns) - set(self.lea if self.placebo else ()):
            raise ValueError("placebo_columns names columns that no placebo replaces; name them in lea and say which placebo")
        if {"items", "content"} <= set(self.lea) and len({"items", "content"} & set(self.replaced_columns)) == 1:
            raise ValueError("items and content read the same item vectors, so a placebo replaces both or neither; name both")
        replaced = set(self.replaced_columns)
        if self.placebo == "text" and "augmented" in self.lea and {"reward", "augmented"} & replaced == {"reward"}:
            raise ValueError(
                "placebo text cannot replace reward without augmented: nobody but the language model has judged its proposals; "
                "name both in placebo_columns"
            )
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds {list(self.seeds)} name one seed twice")
        if self.hidden_size % self.n_heads:
            raise ValueError(f"hidden_size {self.hidden_size} is not a multiple of n_heads {self.n_heads}")
        return self

    def replaced(self, settings: Mapping[str, Any]) -> "AgentConfig":
        """The same agent with other settings, checked as a recipe is. Raises ConfigError."""
        try:
            return AgentConfig(**{**self.model_dump(exclude_unset=True), **settings})
        except ValidationError as error:
            raise ConfigError(first_message(error)) from None


@dataclass(frozen=True)
class AgentEntry:
    """One agent with one seed."""

    name: str
    seed: int
    config: AgentConfig
    mask_seen: bool = True  # whether the validation that stops training ranks items of the history

    @property
    def column(self) -> str:
        """Its name among ranks and on the command line."""
        return f"{self.name}/{self.seed}"
