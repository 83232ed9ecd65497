"""The door: what every request passes before a route sees it. Token, size, headers, metrics, and the short way to the model.

POST /recommend is answered here without FastAPI, whose routing, checking and writing of JSON take 0.2 ms of a request where
this takes 0.02, and the model 0.15 (per history of amazon_beauty in a pass of 64). The route in app.py does the same by the
same function, but for the Content-Type, which is not looked at here; it is what /openapi.json describes.
"""

import base64
import binascii
import hmac
import logging
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus

import orjson
from pydantic import ValidationError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from learec.serving import messages
from learec.serving.limits import MAX_BODY
from learec.serving.messages import RECOMMEND_BODY, Model
from learec.serving.problems import Problem, unfit
from learec.serving.protocol import GONE
from learec.serving.service import Service

log = logging.getLogger("learec.serving")
OPEN = "/health"  # needs no token
OF_USERS = b"/users/"
JSON = b"application/json"
MODEL_HEADER = messages.MODEL_HEADER.lower().encode()
# Replies are data: a browser that opens one must not run or embed anything of it.
SAFE = {
    b"x-content-type-options": b"nosniff",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
}
NOT_KEPT = (b"cache-control", b"no-store")


class Door:
    """An ASGI application around another."""

    def __init__(self, app: ASGIApp, service: Service, token: str | None) -> None:
        """With a token, every path but /health needs it: as a bearer, or as the password of HTTP Basic, for browsers."""
        self._app, self._service = app, service
        self._token = None if token is None else token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the lifespan."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, reply = time.perf_counter(), Reply(send, self._service)
        try:
            await self._answer(scope, receive, reply)
        except Problem as problem:
            await reply.problem(problem)
        except Exception:
            log.exception("%s %s", scope["method"], scope["path"])
            if reply.status:  # the client sees that it is cut off
                raise
            await reply.problem(Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "the server failed at this; its log says why"))
        finally:
            route = reply.route or getattr(scope.get("route"), "path", "other")
            self._service.metrics.answered(route, reply.status, time.perf_counter() - start)

    async def _answer(self, scope: Scope, receive: Receive, reply: "Reply") -> None:
        headers = dict(scope["headers"])
        if self._token is not None and scope["path"] != OPEN and not permits(headers.get(b"authorization"), self._token):
            # A browser that opens the page asks its user for a password; the page's own requests do so in a dialog of theirs.
            scheme = "Basic" if b"text/html" in headers.get(b"accept", b"") else "Bearer"
            raise Problem(
                HTTPStatus.UNAUTHORIZED, "this service needs a token; send the header Authorization: Bearer TOKEN",
                {"WWW-Authenticate": f'{scheme} realm="learec"'},
            )  # fmt: skip
        body = await read_body(headers, receive)
        if scope["path"] == "/recommend" and scope["method"] == "POST":
            reply.route = "/recommend"
            await self._recommend(body, scope.get("extensions", {}).get(GONE, _never), reply)
        else:
            if scope["raw_path"].startswith(OF_USERS):
                scope["path"] = scope["raw_path"].decode("ascii")
            await self._app(scope, _replayed(body, receive), reply.forward)

    async def _recommend(self, body: bytes, gone: Callable[[], bool], reply: "Reply") -> None:
        try:
            asked = RECOMMEND_BODY.validate_json(body)
        except ValidationError as error:
            raise unfit(error) from None
        answered = await self._service.recommend(asked, gone)
        reply.model = answered.model
        await reply.send(HTTPStatus.OK, orjson.dumps(answered))


class Reply:
    """What goes back: headers that every reply has, once."""

    def __init__(self, send: Send, service: Service) -> None:
        self._send, self._service = send, service
        self.model: Model | None = None  # who answered, if not the default one
        self.route = ""
        self.status = 0

    async def send(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """A whole reply of JSON."""
        await self._start(status, body, headers)
        await self._send({"type": "http.response.body", "body": body})

    async def problem(self, problem: Problem) -> None:
        """One sentence."""
        await self.send(problem.status, orjson.dumps({"error": problem.sentence}), problem.headers)

    async def forward(self, message: Message) -> None:
        """A message of the application, with what it lacks of the headers."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            own = {name for name, _ in message["headers"]}
            added = [pair for pair in (*self._common(), NOT_KEPT) if pair[0] not in own]
            message["headers"] = [*message["headers"], *added]
        await self._send(message)

    async def _start(self, status: int, body: bytes, headers: Mapping[str, str] | None) -> None:
        self.status = int(status)
        own = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
        length = (b"content-length", b"%d" % len(body))
        await self._send(
            {
                "type": "http.response.start",
                "status": self.status,
                "headers": [(b"content-type", JSON), length, *self._common(), *own],
            }
        )

    def _common(self) -> list[tuple[bytes, bytes]]:
        model = self.model or self._service.models.now.listed[0]
        return [*SAFE.items(), (MODEL_HEADER, model.header.encode())]


def permits(authorization: bytes | None, token: bytes) -> bool:
    """Whether a header shows the token. Takes as long for a wrong one whatever it shares with the right one."""
    kind, _, shown = (authorization or b"").partition(b" ")
    shown = shown.strip()
    if kind.lower() == b"basic":
        try:
            shown = base64.b64decode(shown, validate=True).partition(b":")[2]
        except binascii.Error:
            return False
    elif kind.lower() != b"bearer":
        return False
    return hmac.compare_digest(shown, token)


async def read_body(headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
    """The whole body. Raises Problem 413 before any of a body that says it is larger than MAX_BODY is read."""
    length = headers.get(b"content-length", b"0")
    if length == b"0" and b"transfer-encoding" not in headers:
        return b""
    if len(length) > len(str(MAX_BODY)) or int(length) > MAX_BODY:
        raise _too_large()
    parts, size, more = [], 0, True
    while more and size <= MAX_BODY:
        message = await receive()
        parts.append(message.get("body", b""))
        size, more = size + len(parts[-1]), message.get("more_body", False)
    if size > MAX_BODY:
        raise _too_large()
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _never() -> bool:
    return False


def _too_large() -> Problem:
    sentence = f"the body is larger than {MAX_BODY:,} bytes; send fewer histories at a time"
    return Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, sentence, {"Connection": "close"})


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Receive as an application knows it, of a body that was read."""
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return left.pop() if left else await receive()

    return replay
