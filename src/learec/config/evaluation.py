"""What a recipe may say of how agents and floors are measured, and which floors there are."""

from typing import Annotated

from pydantic import Field

from learec.config.records import Count, Positive, Record, Share

FLOORS = frozenset({"popularity", "last_item", "item_knn", "v_sknn", "ease", "content_knn", "rule"})


class EvaluationConfig(Record):
    """How agents and floors are measured: evaluate."""

    mask_seen: bool = Field(True, description="items of the history cannot be recommended")
    cutoffs: Annotated[tuple[Count, ...], Field(min_length=1)] = (5, 10, 20)
    compare: tuple[tuple[str, str], ...] = Field((), description="pairs (new, base) whose difference gets an interval")
    knn_decay: Share = 0.8
    knn_shrinkage: Annotated[float, Field(ge=0)] = Field(20.0, description="under item-kNN's cosine: few counts, little trust")
    text_weight: Positive = 4.0
    sknn_neighbours: Count = Field(100, description="v_sknn: sessions most like the history whose items are counted")
    sknn_sample: Count = Field(1000, description="v_sknn: they are among so many newest sessions that share an item with it")
    ease_regularisation: Positive = Field(50.0, description="ease: under the squares of its weights; few counts, little trust")
    ease_decay: Share = Field(1.0, description="ease: weight of the history's items falls by this per step of age; 1 is off")
    ease_items: Count = Field(20_000, description="ease is left out with more items: its matrix takes 4 * items^2 bytes")
    resamples: Count = 2000
