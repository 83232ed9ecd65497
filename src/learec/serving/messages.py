"""What is said over HTTP: requests, which are checked, and replies."""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated, Any
from urllib.parse import quote

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, TypeAdapter

from learec.serving.limits import MAX_EVENTS, MAX_FILTER, MAX_HISTORIES, MAX_HISTORY, MAX_K, MAX_NAME
from learec.serving.recommender import Answer, Recommendation

Text = Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
History = Annotated[list[Text], Field(max_length=MAX_HISTORY)]
Filter = Annotated[list[Text], Field(max_length=MAX_FILTER)]


def _whole(value: Any) -> Any:
    """10.0 is a whole number in JSON."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


K = Annotated[int, Field(ge=1, le=MAX_K, description="how many items"), BeforeValidator(_whole)]


class Message(BaseModel):
    """A request's body: unknown keys and values of another type are refused."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Filters(Message):
    """What one and many histories share."""

    k: K = 10
    exclude: Filter = Field([], description="never these items")
    allow: Filter | None = Field(None, description="only these items")
    within: Text | None = Field(None, description="only items of this category")
    model: Text | None = Field(None, description="NAME/SEED or NAME of a served agent; without it the default one")


class OneHistory(Filters):
    """One history."""

    history: History = Field(description="item ids, oldest first; empty: the most popular items", examples=[["B0009"]])


class ManyHistories(Filters):
    """Many histories, answered in their order."""

    histories: Annotated[list[History], Field(min_length=1, max_length=MAX_HISTORIES)]


class Event(Message):
    """One thing that a user did."""

    user_id: Text
    item_id: Text
    event: Text | None = Field(None, description="kind of event: view, purchase, ...")


class Events(Message):
    """Many events, in their order."""

    events: Annotated[list[Event], Field(min_length=1, max_length=MAX_EVENTS)]


def _one_or_many(key: str) -> Discriminator:
    return Discriminator(lambda body: "many" if isinstance(body, dict) and key in body else "one")


RecommendBody = Annotated[Annotated[OneHistory, Tag("one")] | Annotated[ManyHistories, Tag("many")], _one_or_many("histories")]
EventsBody = Annotated[Annotated[Event, Tag("one")] | Annotated[Events, Tag("many")], _one_or_many("events")]
MODEL_HEADER = "X-Learec-Model"
RECOMMEND_BODY: TypeAdapter[OneHistory | ManyHistories] = TypeAdapter(RecommendBody)


@lru_cache
def _header(name: str, version: str) -> str:
    return f"{quote(name)}@{version}"


@dataclass(frozen=True)
class Model:
    """Which model answered; its version changes when it does."""

    name: str
    version: str

    @property
    def header(self) -> str:
        """As the header X-Learec-Model has it; a name may hold anything."""
        return _header(self.name, self.version)


@dataclass(frozen=True)
class ListedModel(Model):
    """A served model."""

    default: bool


@dataclass(frozen=True)
class ListedModels:
    """The served models, the default one first."""

    models: list[ListedModel]


@dataclass(frozen=True)
class Recommended:
    """Answers in the order of the histories."""

    model: Model
    answers: list[Answer]


@dataclass(frozen=True)
class UserRecommended:
    """An answer from the events that the service has kept of a user."""

    model: Model
    items: tuple[Recommendation, ...]
    unknown: tuple[str, ...]
    fallback: bool
    history: int = field(metadata={"description": "how many of the user's events were read"})


@dataclass(frozen=True)
class Item:
    """An item of the catalog."""

    item_id: str
    title: str
    category: str | None


@dataclass(frozen=True)
class FoundItems:
    """What a search found, best first."""

    items: list[Item]


@dataclass(frozen=True)
class TestSession:
    """A real session: what is shown to a model, and what came next."""

    __test__ = False  # pytest takes it for a test by its name

    session: str
    history: list[Item]
    next: list[Item]


@dataclass(frozen=True)
class Stored:
    """How many events are on disk now."""

    stored: int


@dataclass(frozen=True)
class Forgotten:
    """How many events of the user there were."""

    forgotten: int


@dataclass(frozen=True)
class Health:
    """The process answers."""

    status: str = "ok"


@dataclass(frozen=True)
class Refused:
    """A model that could not be loaded; the one before it, if there was one, still serves."""

    name: str
    reason: str


@dataclass(frozen=True)
class Ready:
    """Whether requests should come here, and what was refused."""

    ready: bool
    models: list[ListedModel]
    refused: list[Refused]


@dataclass(frozen=True)
class Error:
    """One sentence: what, where, seen, wanted."""

    error: str


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """These replies as OpenAPI has them."""
    return {status: {"model": Error} for status in statuses}
