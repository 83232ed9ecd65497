"""What is answered instead of a result: a status and one sentence."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from pydantic import ValidationError

SHOWN = 60  # characters of what was seen


class Problem(Exception):
    """A reply of 4xx or 5xx: {"error": sentence}."""

    def __init__(self, status: int, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.headers = int(status), sentence, dict(headers or {})


def busy(sentence: str) -> Problem:
    """Too much is waiting already, or what keeps histories does not answer: the same request may be sent again."""
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, sentence, {"Retry-After": "1"})


def hung_up() -> Problem:
    """The client is gone: nobody reads this, metrics count it. 499 is nginx's number for it, HTTP has none."""
    return Problem(499, "the client hung up")


def unfit(errors: list[Any] | ValidationError) -> Problem:
    """The first thing that pydantic finds wrong with a request, as one sentence: 400 for what is no JSON, 422 for the rest."""
    found = errors.errors(include_url=False) if isinstance(errors, ValidationError) else errors
    first, ours = found[0], {"body", "query", "path", "one", "many"}
    if first["type"] == "json_invalid":
        reason = str(first["ctx"]["error"])
        return Problem(HTTPStatus.BAD_REQUEST, f"the body is not JSON ({reason}); send an object as /docs shows it")
    where = ".".join(str(part) for part in first["loc"] if part not in ours) or "the body"
    message = f"{first['msg'][0].lower()}{first['msg'][1:]}"
    seen = "" if first["type"] in ("missing", "extra_forbidden") else f", not {shown(first['input'])}"
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"{where}: {message}{seen}; /docs shows what may be sent")


def shown(value: Any) -> str:
    """A value as it may stand in a sentence: on one line and short."""
    if isinstance(value, (list, tuple, dict)):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    text = repr(value[: SHOWN + 1] if isinstance(value, str) else value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
