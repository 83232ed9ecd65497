"""What a recipe may say of the search for an agent's settings."""

from typing import Annotated, Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from learec.config.agents import AgentConfig
from learec.config.records import Count, Record

SEARCHABLE = frozenset(AgentConfig.model_fields.keys() - {"preset", "seeds"})


class Search(Record):
    """Where one setting is sought: `[0.2, 0.5]` are choices, `{ low = 1e-4, high = 1e-2, log = true }` is a range."""

    choices: Annotated[tuple[Any, ...], Field(min_length=1)] | None = None
    low: Annotated[float, Field(strict=True)] | None = None
    high: Annotated[float, Field(strict=True)] | None = None
    log: bool = Field(False, description="every factor is as likely as every other, not every difference")

    @property
    def values(self) -> tuple[Any, ...]:
        """All choices, or both ends; whole numbers as such."""
        ends = [int(end) if end.is_integer() else end for end in (self.low, self.high) if end is not None]
        return tuple(ends) if self.choices is None else self.choices

    @model_validator(mode="before")
    @classmethod
    def _a_list_is_choices(cls, seen: Any) -> Any:
        if not isinstance(seen, (list, tuple, dict)):
            raise ValueError("wanted a list of choices or a range such as { low = 1, high = 3 }")
        return {"choices": seen} if isinstance(seen, (list, tuple)) else seen

    @model_validator(mode="after")
    def _is_one_or_the_other(self) -> "Search":
        if self.choices is not None and self.model_fields_set != {"choices"}:
            raise ValueError("holds choices and a range; wanted one of them")
        if twice := [value for place, value in enumerate(self.choices or ()) if value in (self.choices or ())[:place]]:
            raise ValueError(f"{twice[0]!r} stands twice among the choices")
        if self.choices is None and (self.low is None or self.high is None):
            raise ValueError("a range needs low and high")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        if self.log and (self.low or 0) <= 0:
            raise ValueError(f"log = true needs low above 0, and it is {self.low:g}")
        return self

    @model_serializer
    def _as_written(self) -> Any:
        if self.choices is not None:
            return list(self.choices)
        return {**dict(zip(("low", "high"), self.values, strict=True)), **({"log": True} if self.log else {})}


class TuneConfig(Record):
    """Which settings of an agent are sought, and how long: tune. In a recipe they stand beside `trials`, without `search`."""

    trials: Count = 30
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] | None = Field(
        None, description="a trial trains one agent each and counts their mean; by default the agent's first seed alone"
    )
    startup_trials: Count = Field(10, description="trials drawn at random and trained to their end; the others learn from them")
    warmup_epochs: Annotated[int, Field(ge=0)] = Field(5, description="epochs of a trial that are not yet compared with others")
    search: dict[str, Search] = Field({}, description="by setting of the agent")

    @model_validator(mode="before")
    @classmethod
    def _settings_of_agents_are_searched(cls, seen: Any) -> Any:
        if not isinstance(seen, dict) or "search" in seen:
            return seen
        own = {key: value for key, value in seen.items() if key not in SEARCHABLE}
        return {**own, "search": {key: value for key, value in seen.items() if key in SEARCHABLE}}

    @model_validator(mode="after")
    def _something_is_sought(self) -> "TuneConfig":
        if not self.search:
            raise ValueError("no setting is sought; add one of the agent's, such as dropout = [0.2, 0.5]")
        return self

    @model_serializer(mode="wrap")
    def _as_written(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        settings: dict[str, Any] = dump(self)
        search = settings.pop("search")
        return {**settings, **search}
