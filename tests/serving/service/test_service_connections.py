"""Connections: what dawdles is closed, and a reply is one write."""

import asyncio
import socket
import time

import pytest
import uvicorn

from learec.serving import protocol
from learec.serving.limits import LINGER_SECONDS, MAX_HEADERS
from learec.serving.protocol import BoundedProtocol, Wire

ARRIVAL, IDLE = 0.3, 1  # seconds


async def listening(app):
    """A server in this process, and its connections."""
    config = uvicorn.Config(app, http=BoundedProtocol, lifespan="off", timeout_keep_alive=IDLE, log_config=None)
    config.load()
    state = uvicorn.Server(config).server_state
    server = await asyncio.get_running_loop().create_server(
        lambda: BoundedProtocol(config=config, server_state=state, app_state={}), "127.0.0.1", 0
    )
    return server, state.connections


@pytest.fixture
def ask(monkeypatch):
    """Send pieces with pauses to a server in this process: what comes back until it closes, and after how many seconds."""
    monkeypatch.setattr(protocol, "ARRIVAL_SECONDS", ARRIVAL)

    async def app(scope, receive, send):
        if scope["type"] != "http":
            return
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message["body"]
            if not message["more_body"]:
                break
        else:
            return
        await asyncio.sleep(2 * ARRIVAL if scope["path"] == "/slow" else 0)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})

    async def exchange(pieces):
        server, _ = await listening(app)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        start = time.perf_counter()
        try:
            for piece, pause in pieces:
                writer.write(piece)
                await asyncio.sleep(pause)
            found = await asyncio.wait_for(reader.read(), 10)
        except ConnectionError:  # closed while we wrote
            found = b""
        seconds = time.perf_counter() - start
        server.close()
        return found, seconds

    return lambda *pieces: asyncio.run(exchange(pieces))


HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"


def test_a_body_that_comes_in_time_is_answered(ask):
    found, _ = ask((HEAD + b"ab", ARRIVAL / 3), (b"cd", 0))
    assert found.endswith(b"\r\n\r\nabcd")


def test_a_connection_that_dawdles_over_its_body_is_closed(ask):
    found, seconds = ask((HEAD + b"abc", 0))
    assert (found, ARRIVAL <= seconds < IDLE) == (b"", True)


def test_a_connection_that_dawdles_over_its_headers_is_closed_however_steadily_it_sends(ask):
    drips = [(b"X-%d: x\r\n" % number, ARRIVAL / 10) for number in range(20)]
    found, seconds = ask((b"GET / HTTP/1.1\r\n", 0), *drips)
    assert found == b"" and seconds < 10 * ARRIVAL


def test_a_connection_that_sends_nothing_is_closed_and_so_is_one_that_sends_no_more(ask):
    found, seconds = ask((b"", 0))
    assert found == b"" and IDLE <= seconds < 3 * IDLE
    found, seconds = ask((b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 0))
    assert found.startswith(b"HTTP/1.1 200 OK") and IDLE <= seconds < 3 * IDLE


def test_the_time_of_the_answer_is_not_counted(ask):
    found, _ = ask((HEAD.replace(b" / ", b" /slow ") + b"abcd", 0))
    assert found.endswith(b"abcd")


def test_a_client_that_sends_on_after_it_was_refused_gets_the_reply_and_then_the_end(ask, monkeypatch):
    monkeypatch.setattr(protocol, "LINGER_BYTES", 1000)
    too_many = b"GET / HTTP/1.1\r\n" + b"X: %s\r\n" % (b"x" * MAX_HEADERS)
    found, seconds = ask((too_many, 0.1), (b"y" * 900, 0.1))
    assert found.startswith(b"HTTP/1.1 400") and seconds < IDLE


class Written:
    """A transport that remembers."""

    def __init__(self):
        self.did, self.closed = [], False

    def write(self, data):
        self.did.append(data)

    def write_eof(self):
        self.did.append("eof")

    def close(self):
        self.did.append("close")
        self.closed = True

    def is_closing(self):
        return self.closed


class Arriving:
    """What a Wire knows of its protocol."""

    def __init__(self, arriving):
        self.loop, self.arriving, self.flow = asyncio.get_running_loop(), arriving, self

    def resume_reading(self):
        pass


def test_head_and_body_are_one_write_and_a_head_alone_does_not_wait_long():
    async def main():
        under = Written()
        wire = Wire(under, Arriving(False))
        wire.write(b"HTTP/1.1 200 OK\r\n\r\n")
        assert under.did == []
        wire.write(b"body")
        wire.write(b" and more")
        assert under.did == [b"HTTP/1.1 200 OK\r\n\r\nbody", b" and more"]
        wire.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await asyncio.sleep(0)
        assert under.did[2:] == [b"HTTP/1.1 204 No Content\r\n\r\n"]
        wire.write(b"HTTP/1.1 304 Not Modified\r\n\r\n")
        wire.close()
        assert under.did[3:] == [b"HTTP/1.1 304 Not Modified\r\n\r\n", "close"] and wire.is_closing()

    asyncio.run(main())


def test_a_wire_with_a_request_under_way_closes_its_own_side_first(monkeypatch):
    monkeypatch.setattr(protocol, "LINGER_BYTES", 100)

    async def main():
        under = Written()
        wire = Wire(under, Arriving(True))
        wire.write(b"HTTP/1.1 413 Too Large\r\n\r\n")
        wire.close()
        assert under.did == [b"HTTP/1.1 413 Too Large\r\n\r\n", "eof"] and wire.is_closing()
        wire.throw_away(60)
        assert not under.closed
        wire.throw_away(60)
        assert under.closed

    async def waiting():
        under = Written()
        Wire(under, Arriving(True)).close()
        assert not under.closed
        await asyncio.sleep(0.1)
        assert under.closed

    monkeypatch.setattr(protocol, "LINGER_SECONDS", 0.05)
    asyncio.run(waiting())
    asyncio.run(main())


def test_a_request_that_crosses_the_servers_end_sees_an_end_and_no_reset():
    async def crossing():
        server, connections = await listening(None)
        with socket.create_connection(server.sockets[0].getsockname(), timeout=5) as client:
            while not connections:
                await asyncio.sleep(0.01)
            client.sendall(HEAD + b"abcd")
            for connection in list(connections):  # before the loop has read what was sent
                connection.shutdown()
            found = await asyncio.to_thread(client.recv, 1000)
        while connections:  # the client is gone: nobody waits until the time to linger is over
            await asyncio.sleep(0.01)
        server.close()
        return found

    start = time.perf_counter()
    assert asyncio.run(crossing()) == b""
    assert time.perf_counter() - start < LINGER_SECONDS
