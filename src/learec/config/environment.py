"""What a recipe may say of the adapted language model."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from learec.config.records import Count, Positive, Record, Share


class EnvironmentConfig(Record):
    """The adapted language model: adapt."""

    came_later: ClassVar[frozenset[str]] = frozenset(
        {"history_text_tokens", "soft_targets", "full_softmax_items", "n_sampled_items", "text_layers"}
    )

    llm: str = Field("smollm2", description="smollm2, a local Hugging Face folder, or a hub id")
    revision: str | None = Field(
        None, description="of a hub id: a branch, a tag or a commit; by default main as it is in the cache, else as it is now"
    )
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    prompt: Annotated[str, Field(min_length=1)] = Field(
        "One customer's choices, in order:", description="read before every history"
    )
    max_text_tokens: Count = Field(64, description="an item's text is cut to so many tokens")
    item_tokens: Literal["mean", "trained"] = Field(
        "mean", description="mean of the text's token embeddings, or trained from there to generate the text"
    )
    item_token_epochs: Count = 2
    trained_token_items: Count = Field(
        100_000, description="with more items, trained tokens come from a small network over the means, learnt on a sample"
    )
    token_sample: Annotated[int, Field(ge=100)] = Field(10_000, description="items whose tokens are trained then")
    history_text_tokens: Annotated[int, Field(ge=0)] = Field(
        0,
        description="first tokens of its text that are read before an item's own, in histories and candidates; each costs a slot",
    )
    text_layers: Annotated[int, Field(ge=0)] = Field(
        0,
        description="item vectors come from the texts as so many first layers of the language model read them (a few are best); "
        "0: from item tokens",
    )
    whitened_size: Count = Field(256, description="principal directions kept when item vectors are whitened")
    history: Annotated[int, Field(ge=2)] = Field(50, description="a state sees this many items at most, half at least")
    users: Share = Field(0.2, description="share of the users that the environment is trained on")
    lora_rank: Count = 8
    lora_layers: Count = Field(10, description="how many of the last layers are adapted; fewer are faster")
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    learning_rate: Positive = Field(2e-4, description="of the LoRA adapters")
    head_learning_rate: Positive = Field(2e-3, description="of the state projection and the reward head")
    temperature_learning_rate: Positive = Field(1e-2, description="of temperature, popularity weight and reward scale")
    n_negatives: Count = Field(1, description="sampled actions against each logged one, for the reward loss")
    negatives: Literal["uniform", "popular", "neighbours"] = Field(
        "popular", description="how they are sampled; neighbours: a third each popular, item-kNN's and the text's nearest"
    )
    reward_loss: Literal["pairwise", "listwise"] = Field(
        "pairwise", description="the logged action against each sampled one, or among all of them"
    )
    soft_targets: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="share of the state loss that is towards what item-kNN says of the history, instead of the next action"
    )
    alternatives: Literal["possible", "all"] = Field(
        "possible", description="to the next action: possible leaves out the history, in a log where nobody takes an item twice"
    )
    full_softmax_items: Count = Field(
        100_000, description="with more items, the state loss is against a sample of them, drawn for each batch"
    )
    n_sampled_items: Count = Field(4096, description="items drawn then")
    reward_weight: Positive = Field(1.0, description="reward loss beside the state loss")
    decay: Share = Field(0.8, description="weight of an item in the skip connection falls by this per step of age")
    epochs: Count = 4
    patience: Count = 1
    held_out_users: Count = Field(1000, description="users at most that the epoch is chosen on; never trained on")
    batch_tokens: Annotated[int, Field(ge=64)] = Field(512, description="tokens in one training step")
    token_budget: Annotated[int, Field(ge=64)] = Field(2048, description="tokens in one pass without gradients; sets the memory")

    @model_validator(mode="after")
    def _texts_have_as_many_tokens(self) -> "EnvironmentConfig":
        if self.history_text_tokens > self.max_text_tokens:
            raise ValueError(
                f"history_text_tokens {self.history_text_tokens} is more than the {self.max_text_tokens} that texts are cut to; "
                "raise max_text_tokens"
            )
        return self

    @model_validator(mode="after")
    def _the_embedded_model_has_one_version(self) -> "EnvironmentConfig":
        if self.llm == "smollm2" and self.revision is not None:
            raise ValueError(f"revision {self.revision!r} is for a hub id, and smollm2 comes with its package; drop it")
        return self
