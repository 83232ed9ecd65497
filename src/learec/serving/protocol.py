"""HTTP connections with bounds that uvicorn leaves to others: size of headers, and how long a request may take to come."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from learec.serving.limits import ARRIVAL_SECONDS, LINGER_BYTES, LINGER_SECONDS, MAX_HEADERS

HEAD = b"HTTP/1.1 "
GONE = "learec.gone"  # the scope's extension that says whether the client has hung up: a Callable[[], bool]


class HeadersTooLarge(Exception):
    """Ends the parser, which answers 400 and closes the connection."""


class BoundedProtocol(HttpToolsProtocol):
    """Closes connections that send nothing, dawdle over a request, or send too many headers."""

    _wire: "Wire"
    _size = 0  # bytes of headers so far
    arriving = False  # a request has begun and is not whole yet
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """The first request must begin in time, as every later one."""
        self._wire = Wire(transport, self)
        super().connection_made(self._wire)  # type: ignore[arg-type]
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is to happen to it any more."""
        self.arriving = False
        self._set_deadline()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """The server is about to stop: a request may be on its way even here where none has begun."""
        self._wire.may_hear_more = True
        super().shutdown()

    def data_received(self, data: bytes) -> None:
        """Most requests are whole now and need no clock."""
        if self._wire.lingering:
            self._wire.throw_away(len(data))
            return
        super().data_received(data)
        self._set_deadline()

    def on_message_begin(self) -> None:
        """A request begins."""
        self._size, self.arriving = 0, True
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Part of the request's line."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """What reads the request can ask whether its client is still there, without waiting for a message."""
        super().on_headers_complete()
        cycle = self.cycle
        self.scope["extensions"] = {GONE: lambda: cycle.disconnected}  # type: ignore[dict-item]

    def on_message_complete(self) -> None:
        """Its body is here."""
        self.arriving = False
        super().on_message_complete()

    def _count(self, size: int) -> None:
        self._size += size
        if self._size > MAX_HEADERS:
            raise HeadersTooLarge

    def _set_deadline(self) -> None:
        if self.arriving and self._deadline is None:
            self._deadline = self.loop.call_later(ARRIVAL_SECONDS, self.transport.abort)
        elif not self.arriving and self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class Wire:
    """uvicorn's transport, with one write per reply, and with a close that does not take the reply back.

    The head of a reply is held back until its body comes: one system call and one packet instead of two. A socket that is
    closed while its client still sends is reset, and the client may never see the reply: so first only our side is closed,
    and what comes is thrown away for a while.
    """

    def __init__(self, transport: asyncio.Transport, protocol: "BoundedProtocol") -> None:
        self._transport, self._protocol, self._loop, self._head = transport, protocol, protocol.loop, b""
        self.lingering, self._left = False, LINGER_BYTES
        self.may_hear_more = False  # though no request has begun

    def write(self, data: bytes) -> None:
        """A head waits for what comes next, but no longer than until the loop's next turn."""
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head + data)
        elif data.startswith(HEAD):
            self._head = data
            self._loop.call_soon(self._flush)
        else:
            self._transport.write(data)

    def close(self) -> None:
        """After what is held back; at once if nothing is under way to us."""
        self._flush()
        more = self._protocol.arriving or self.may_hear_more
        if self.lingering or not more or self._transport.is_closing():
            self._transport.close()
            return
        self.lingering = True
        self._transport.write_eof()
        self._protocol.flow.resume_reading()
        self._loop.call_later(LINGER_SECONDS, self._transport.close)

    def is_closing(self) -> bool:
        """Also while it lingers."""
        return self.lingering or self._transport.is_closing()

    def throw_away(self, size: int) -> None:
        """So many bytes came after the reply."""
        self._left -= size
        if self._left < 0:
            self._transport.close()

    def _flush(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head)

    def __getattr__(self, name: str) -> Any:
        """Everything else is the transport's."""
        return getattr(self._transport, name)
