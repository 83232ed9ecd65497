"""What a recipe may say of how agents and floors are measured, and which floors there are."""

from collections.abc import Collection
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from learec.config.records import Count, Positive, Record, Share

FLOORS = frozenset(
    {
        "popularity",
        "recent_popularity",
        "last_item",
        "item_knn",
        "v_sknn",
        "ease",
        "content_knn",
        "rule",
        "cease",
        "tfidf_rule",
        "tfidf_cease",
    }
)


def _as_several(value: Any) -> Any:
    """A recipe may write a single value as it is."""
    if isinstance(value, list | tuple) and not value:
        raise ValueError("has no value")
    return value if isinstance(value, list | tuple) else (value,)


def _all_different(values: tuple[float, ...]) -> tuple[float, ...]:
    if len(set(values)) < len(values):
        raise ValueError("has a value twice")
    return values


SEVERAL = (BeforeValidator(_as_several), AfterValidator(_all_different))
Shares = Annotated[tuple[Share, ...], *SEVERAL]
Counts = Annotated[tuple[Count, ...], *SEVERAL]
Positives = Annotated[tuple[Positive, ...], *SEVERAL]
HYBRID = "-hybrid"  # ending of an agent's name


class EvaluationConfig(Record):
    """How agents and floors are measured: evaluate."""

    mask_seen: bool = Field(True, description="items of the history cannot be recommended")
    cutoffs: Annotated[tuple[Count, ...], Field(min_length=1)] = (5, 10, 20)
    compare: tuple[tuple[str, str], ...] = Field((), description="pairs (new, base) whose difference is tested")
    hybrids: tuple[str, ...] = Field(
        (), description="agents that are also measured, as NAME-hybrid, with item texts and item-kNN beside them"
    )
    # Floors: of several values validation chooses, and the first stands where it cannot tell. docs/evaluation.md says how
    # much that is worth.
    knn_decay: Shares = Field((0.8, 0.6, 0.7, 0.9), description="weight of the history's items falls by this per step of age")
    knn_shrinkage: Annotated[tuple[Annotated[float, Field(ge=0)], ...], *SEVERAL] = Field(
        (20.0, 0.0, 5.0, 50.0), description="under item-kNN's cosine: few counts, little trust"
    )
    text_weight: Positives = Field((4.0, 0.5, 1.0, 2.0, 8.0), description="the rules: of the text's cosine beside log item-kNN")
    tfidf_size: Counts = Field((1024, 256), description="tfidf_rule: directions of TF-IDF at most; tfidf_cease has its choice")
    sknn_neighbours: Counts = Field(
        (100, 50, 200, 500, 1000), description="v_sknn: sessions most like the history whose items are counted"
    )
    sknn_sample: Counts = Field((1000,), description="v_sknn: they are among so many newest sessions that share an item with it")
    ease_regularisation: Positives = Field(
        (50.0, 200.0, 1000.0), description="ease: under the squares of its weights; few counts, little trust"
    )
    ease_decay: Shares = Field(
        (1.0, 0.9, 0.8, 0.7, 0.6), description="ease: weight of the history's items falls by this per step of age; 1 is off"
    )
    ease_text_weight: Positives = Field(
        (3.0, 1.0, 10.0), description="cease, tfidf_cease: of the texts that the regression explains beside sessions"
    )
    ease_items: Count = Field(
        20_000,
        description="ease and both cease are left out with more items: a matrix takes 4 * items^2 bytes, and four are held",
    )
    recency_half_life: Shares = Field(
        (0.05, 0.3, 0.1, 0.03, 0.01),
        description="recent_popularity: share of the training log's span after which an event counts half; order only: of places",
    )
    resamples: Count = Field(2000, description="of sessions, for the intervals")
    permutations: Annotated[int, Field(ge=199)] = Field(
        10_000, description="of each comparison's test: no p value is below 1 / (permutations + 1)"
    )
    list_length: Count = Field(10, description="of the lists that are measured beyond accuracy, and that policies are judged by")
    head_share: Share = Field(0.2, description="head items: this share of the items with training steps, those with most")
    short_history: Count = Field(5, description="a history of at most so many items is short")
    off_policy: bool = Field(False, description="also estimate, from the log, what lists would earn (docs/off_policy.md)")
    clip_weights: Positive | None = Field(
        None, description="off_policy: no weight counts more; by default the square root of the number of test targets"
    )
    rollout_users: Annotated[int, Field(ge=0)] = Field(
        500, description="simulated logs: so many users are shown every policy's lists and choose by their true tastes; 0: none"
    )
    rollout_steps: Count = Field(10, description="simulated logs: lists that each of them is shown")
    judged_targets: Annotated[int, Field(ge=0)] = Field(
        0, description="the environment judges all lists at so many test targets, which takes a language model; 0: none"
    )

    @property
    def hybrid_names(self) -> tuple[str, ...]:
        """Rows of the tables that are hybrids."""
        return tuple(f"{name}{HYBRID}" for name in self.hybrids)

    def among(self, agents: Collection[str], absent: Collection[str] = ()) -> "EvaluationConfig":
        """The same with what concerns these agents alone, and floors that are not absent, where others cannot be measured."""
        kept = self.model_copy(update={"hybrids": tuple(name for name in self.hybrids if name in agents)})
        known = {*agents, *FLOORS.difference(absent), *kept.hybrid_names}
        return kept.model_copy(update={"compare": tuple(pair for pair in self.compare if set(pair) <= known)})
