"""A light load generator for benchmarks/serve.py: one thread, epoll, keep-alive, bytes made beforehand."""

import random
import re
import selectors
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

HEAD_END = b"\r\n\r\n"
LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
KEPT_REPLIES = 2000  # for the comparison afterwards


@dataclass
class Measured:
    """What came back."""

    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    cancelled: int = 0
    latencies: list[float] = field(default_factory=list)
    replies: deque[tuple[int, bytes]] = field(default_factory=lambda: deque(maxlen=KEPT_REPLIES))  # request number, body

    def add(self, other: "Measured") -> None:
        """A further round."""
        self.seconds += other.seconds
        self.statuses += other.statuses
        self.cancelled += other.cancelled
        self.latencies += other.latencies
        self.replies += other.replies

    @property
    def per_second(self) -> float:
        """Answered with 200."""
        return self.statuses[200] / self.seconds

    def milliseconds(self, percentile: float) -> float:
        """A percentile of the time until the whole reply."""
        return float(np.percentile(self.latencies, percentile) * 1000)


def post(path: str, body: bytes) -> bytes:
    """A request as it goes over the wire."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Client:
    """One connection, and the request that is under way on it."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.number, self.sent, self._reply, self._needed = 0, 0.0, b"", 0

    def send(self, number: int, request: bytes, since: float | None = None) -> None:
        """Requests are smaller than the socket's buffer: this does not block. Time counts from `since`, else from now."""
        self.number, self.sent, self._reply, self._needed = number, since or time.perf_counter(), b"", 0
        self.socket.sendall(request)

    def received(self) -> tuple[int, bytes] | None:
        """Status and body if the reply is whole now."""
        found = self.socket.recv(1 << 18)
        if not found:
            raise ConnectionError("the server closed a connection with a request under way")
        self._reply += found
        if not self._needed:
            head = self._reply.find(HEAD_END)
            if head < 0:
                return None
            length = LENGTH.search(self._reply, 0, head)
            if length is None:
                raise ValueError(f"a reply without content-length: {self._reply[:head]!r}")
            self._needed = head + len(HEAD_END) + int(length[1])
        if len(self._reply) < self._needed:
            return None
        return int(self._reply[9:12]), self._reply[self._reply.find(HEAD_END) + len(HEAD_END) :]


class Loop:
    """Clients of which each sends the next request as soon as it has its reply; a share hangs up right after sending."""

    def __init__(self, port: int, requests: Sequence[bytes], cancelled: float) -> None:
        self._port, self._requests, self._cancelled = port, requests, cancelled
        self._chance, self._next = random.Random(0), 0
        self.selector, self.measured = selectors.EpollSelector(), Measured()

    def start(self, client: Client) -> None:
        """Send on a client that no event is waited for."""
        self._send(client)
        while self._chance.random() < self._cancelled:
            client.socket.close()
            self.measured.cancelled += 1
            client = Client(self._port)
            self._send(client)
        self.selector.register(client.socket, selectors.EVENT_READ, client)

    def receive(self, client: Client) -> None:
        """Some of a reply has come."""
        reply = client.received()
        if reply is None:
            return
        _count(self.measured, client, reply)
        if self._cancelled:
            self.selector.unregister(client.socket)
            self.start(client)
        else:
            self._send(client)

    def _send(self, client: Client) -> None:
        number = self._next % len(self._requests)
        client.send(number, self._requests[number])
        self._next += 1


def closed_loop(
    port: int, requests: Sequence[bytes], clients: int, seconds: float, cancelled: float = 0.0,
    each_second: Callable[[], None] = lambda: None,
) -> Measured:  # fmt: skip
    """As many requests as are answered in that time."""
    loop = Loop(port, requests, cancelled)
    for _ in range(clients):
        loop.start(Client(port))
    start = time.perf_counter()
    tick, end = start + 1, start + seconds
    while (now := time.perf_counter()) < end:
        if now >= tick:
            tick += 1
            each_second()
        for key, _ in loop.selector.select(0.1):
            loop.receive(key.data)
    loop.measured.seconds = time.perf_counter() - start
    _close(loop.selector)
    return loop.measured


def paced(port: int, requests: Sequence[bytes], per_second: float, seconds: float) -> Measured:
    """Requests at fixed times, whatever the server does; the time to a reply counts from when it should have been sent."""
    selector, measured, idle = selectors.EpollSelector(), Measured(), deque[Client]()
    start, sent, total = time.perf_counter(), 0, int(per_second * seconds)
    while sum(measured.statuses.values()) < total:
        now = time.perf_counter()
        while sent < total and start + sent / per_second <= now:
            client = idle.popleft() if idle else Client(port)
            client.send(sent % len(requests), requests[sent % len(requests)], start + sent / per_second)
            if client.socket not in selector.get_map():
                selector.register(client.socket, selectors.EVENT_READ, client)
            sent += 1
        wait = start + sent / per_second - time.perf_counter() if sent < total else 1.0
        for key, _ in selector.select(max(wait, 0)):
            reply = key.data.received()
            if reply is not None:
                _count(measured, key.data, reply)
                idle.append(key.data)
    measured.seconds = time.perf_counter() - start
    _close(selector)
    return measured


def _close(selector: selectors.BaseSelector) -> None:
    for key in list(selector.get_map().values()):
        key.data.socket.close()
    selector.close()


def _count(measured: Measured, client: Client, reply: tuple[int, bytes]) -> None:
    measured.latencies.append(time.perf_counter() - client.sent)
    measured.statuses[reply[0]] += 1
    if reply[0] == 200:
        measured.replies.append((client.number, reply[1]))
