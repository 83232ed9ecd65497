"""What all records of a recipe are made of: the frozen base, kinds of values, and words for what is wrong with one."""

import difflib
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

Share = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
Name = Annotated[str, Field(pattern=r"^[^./\\][^/\\]*$")]  # also the name of a folder


class Record(BaseModel):
    """A frozen record that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    # Fields that were added when artifacts had been made without them. At its default such a field asks for what was made
    # before there was one, so it is left out of the request and makes nothing anew.
    came_later: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _as_asked(self, dump: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        settings: dict[str, Any] = dump(self)
        if info.exclude_unset:  # what a recipe says, which may be a default that an outer section had changed
            return settings
        fields = type(self).model_fields
        same = {key for key in self.came_later & settings.keys() if getattr(self, key) == fields[key].default}
        return {key: value for key, value in settings.items() if key not in same}


def written_place(location: Sequence[int | str], file: Any) -> list[str]:
    """Where in a TOML file a pydantic location is, which counts places in lists that the file need not have."""
    place, at = [], file
    for part in location:
        if isinstance(part, int) and not isinstance(at, list):
            break  # one value, which stands for a list of it
        try:
            at = at[part]
        except (KeyError, IndexError, TypeError):
            at = None
        place.append(str(part))
    return [part for part in place if part != "[key]"]


def first_message(error: ValidationError) -> str:
    """What pydantic says of the first thing wrong, as part of a sentence."""
    message = error.errors()[0]["msg"].removeprefix("Value error, ")
    return f"{message[0].lower()}{message[1:]}"


def suggest(seen: str, known: set[str] | frozenset[str]) -> str:
    """The known name that is meant, or all of them."""
    close = difflib.get_close_matches(seen, known, n=1)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(sorted(known))}"
