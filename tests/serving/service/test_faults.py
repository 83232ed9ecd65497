"""Bad requests are refused at once in one sentence, and the server lives; it drains when asked to stop."""

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from learec.serving.limits import MAX_BODY, MAX_HEADERS

AT_ONCE = 0.1  # seconds
DEEP = 100_000
POST = "POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def read_reply(connection):
    """Status, headers and body of the next reply."""
    found = b""
    while b"\r\n\r\n" not in found:
        part = connection.recv(65536)
        assert part, f"closed after {found!r}"
        found += part
    head, _, body = found.partition(b"\r\n\r\n")
    length = int(re.search(rb"content-length: (\d+)", head)[1])
    while len(body) < length:
        body += connection.recv(65536)
    return int(head.split(b" ")[1]), head.lower(), body


def timed(server, raw):
    """Status, error and seconds of a request sent as these bytes."""
    with server.send(b"") as connection:
        start = time.perf_counter()
        connection.sendall(raw)
        status, _, body = read_reply(connection)
        return status, json.loads(body)["error"], time.perf_counter() - start


def posted(body):
    return f"{POST}Content-Length: {len(body)}\r\n\r\n".encode() + body


BODIES = {
    "k = 10^9": (b'{"history": [], "k": 1000000000}', 422, "k: input should be less than or equal to 1000, not 1000000000"),
    "k = 0": (b'{"history": [], "k": 0}', 422, "k: input should be greater than or equal to 1, not 0"),
    "k negative": (b'{"history": [], "k": -5}', 422, "k: input should be greater than or equal to 1, not -5"),
    "k not whole": (b'{"history": [], "k": 2.5}', 422, "k: input should be a valid integer"),
    "k as text": (b'{"history": [], "k": "10"}', 422, "k: input should be a valid integer, not '10'"),
    "k true": (b'{"history": [], "k": true}', 422, "k: input should be a valid integer, not True"),
    "k null": (b'{"history": [], "k": null}', 422, "k: input should be a valid integer, not None"),
    "k NaN": (b'{"history": [], "k": NaN}', 422, "k: input should be a valid integer, not nan"),
    "k infinite": (b'{"history": [], "k": 1e999}', 422, "k: input should be a valid integer, not inf"),
    "k of 5,000 digits": (b'{"history": [], "k": 1%s}' % (b"0" * 5000), 400, "the body is not JSON (number out of range"),
    "NaN as an item": (b'{"history": [NaN]}', 422, "history.0: input should be a valid string, not nan"),
    "a number as an item": (b'{"history": ["a", 7]}', 422, "history.1: input should be a valid string, not 7"),
    "a negative number as an item": (b'{"history": [-1]}', 422, "history.0: input should be a valid string, not -1"),
    "null as an item": (b'{"history": [null]}', 422, "history.0: input should be a valid string, not None"),
    "an empty id": (b'{"history": [""]}', 422, "history.0: string should have at least 1 character"),
    "an endless id": (b'{"history": ["%s"]}' % (b"x" * 257), 422, "history.0: string should have at most 256 characters"),
    "history as text": (b'{"history": "abc"}', 422, "history: input should be a valid array, not 'abc'"),
    "history null": (b'{"history": null}', 422, "history: input should be a valid array, not None"),
    "no history": (b'{"k": 3}', 422, "history: field required"),
    "both": (b'{"history": [], "histories": [[]]}', 422, "history: extra inputs are not permitted"),
    "an unknown key": (b'{"history": [], "user": 3}', 422, "user: extra inputs are not permitted"),
    "no histories": (b'{"histories": []}', 422, "histories: list should have at least 1 item"),
    "257 histories": (b'{"histories": [%s[]]}' % (b"[]," * 256), 422, "histories: list should have at most 256 items"),
    "10,001 items": (b'{"history": [%s"a"]}' % (b'"a",' * 10_000), 422, "history: list should have at most 10000 items"),
    "10,001 excluded": (b'{"history": [], "exclude": [%s"a"]}' % (b'"a",' * 10_000), 422, "exclude: list should have at most"),
    "much of everything": (b'{"histories": [%s[]], "k": 1000}' % (b"[]," * 255), 422, "histories times (k + exclude + allow) is"),
    "a history of 10^6": (b'{"history": [%s"a"]}' % (b'"a",' * 999_999), 413, "the body is larger than 1,048,576 bytes"),
    "deep arrays": (b'{"history": %s' % (b"[" * DEEP), 400, "the body is not JSON (recursion limit exceeded"),
    "deep objects": (b'{"a":' * DEEP, 400, "the body is not JSON (recursion limit exceeded"),
    "a list": (b"[]", 422, "the body: input should be an object, not a list of 0"),
    "text": (b'"history"', 422, "the body: input should be an object, not 'history'"),
    "no JSON": (b"history=a", 400, "the body is not JSON (expected value at line 1 column 1)"),
    "half of it": (b'{"history": ["a"', 400, "the body is not JSON (EOF while parsing"),
    "nothing": (b"", 400, "the body is not JSON (EOF while parsing"),
    "no UTF-8": (b'{"history": ["\xff"]}', 400, "the body is not JSON"),
    "half a character": (b'{"history": ["\\ud800"]}', 400, "the body is not JSON"),
    "a null byte outside": (b"\0" * 100, 400, "the body is not JSON"),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_bad_body_is_refused_at_once_in_one_sentence(server, name):
    body, status, sentence = BODIES[name]
    for _ in range(3):  # the machine may be busy with something else
        found, error, seconds = timed(server, posted(body))
        if seconds < AT_ONCE:
            break
    assert (found, error[: len(sentence)]) == (status, sentence)
    assert len(error) < 300 and "\n" not in error and "Traceback" not in error
    assert seconds < AT_ONCE, f"{seconds:.3f} s"
    assert server.get("/health").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/recommend", 405), ("PUT", "/recommend", 405), ("DELETE", "/items", 405), ("POST", "/health", 405),
        ("BREW", "/recommend", 400), ("PATCH", "/events", 405), ("GET", "/recommend/", 404), ("GET", "/nothing", 404),
        ("GET", "/items?limit=0", 422), ("GET", "/items?limit=-1", 422), ("GET", "/items?limit=1e9", 422),
        ("GET", "/items?limit=1000000000", 422), ("GET", "/items?limit=NaN", 422), ("GET", f"/items?query={'x' * 300}", 422),
        ("GET", "/users/a/recommendations?k=-1", 422), ("GET", "/users/a/recommendations?k=1000000000", 422),
        ("GET", "/users//recommendations", 404), ("DELETE", f"/users/{'x' * 300}", 422),
        ("DELETE", "/users/a/recommendations", 405), ("DELETE", "/users/a/b", 404),
        ("GET", "/users/a/recommendations?model=nobody", 404),
    ],
)  # fmt: skip
def test_a_wrong_method_path_or_parameter_is_refused_at_once(server, method, path, status):
    for _ in range(3):
        with server.send(b"") as connection:
            start = time.perf_counter()
            connection.sendall(f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            found, head, body = read_reply(connection)
            seconds = time.perf_counter() - start
        if seconds < AT_ONCE:
            break
    assert found == status
    assert method == "BREW" or list(json.loads(body)) == ["error"]
    assert found != 405 or b"\r\nallow: " in head
    assert seconds < AT_ONCE


def test_a_body_of_100_mb_is_refused_before_it_is_sent(server):
    with server.send(b"") as connection:
        start = time.perf_counter()
        connection.sendall(f"{POST}Content-Length: 100000000\r\n\r\n".encode() + b" " * 1000)
        status, head, _ = read_reply(connection)
        assert status == 413 and b"connection: close" in head
        assert time.perf_counter() - start < AT_ONCE


def test_a_client_that_sends_100_mb_before_it_reads_still_gets_the_answer(server):
    for path in ("/recommend", "/events"):
        reply = httpx.post(f"http://127.0.0.1:{server.port}{path}", content=b" " * 100_000_000)
        assert reply.status_code == 413
    assert server.get("/health").status_code == 200


def test_a_body_whose_length_is_not_said_is_cut_off_at_the_limit(server):
    def chunks():
        for _ in range(1000):
            yield b" " * 100_000

    reply = httpx.post(f"http://127.0.0.1:{server.port}/recommend", content=chunks())
    assert reply.status_code == 413


def test_a_body_as_large_as_the_limit_is_read(server):
    reply = server.client.post("/recommend", content=b'{"history": []%s}' % (b" " * (MAX_BODY - 15)))
    assert reply.status_code == 200


def test_a_body_that_comes_in_pieces_is_put_together(server, ids):
    body = json.dumps({"history": ids[1:4]}).encode()
    with server.send(f"{POST}Content-Length: {len(body)}\r\n\r\n".encode()) as connection:
        for place in range(0, len(body), 7):
            connection.sendall(body[place : place + 7])
            time.sleep(0.005)
        status, _, reply = read_reply(connection)
    assert status == 200
    assert json.loads(reply)["answers"] == [server.recommend(ids[1:4])]


def test_endless_headers_end_the_connection(server):
    with server.send(b"GET /health HTTP/1.1\r\n") as connection:
        for number in range(MAX_HEADERS // 100 + 1):
            connection.sendall(b"X-%d: %s\r\n" % (number, b"x" * 100))
        assert connection.recv(100).startswith(b"HTTP/1.1 400")
    assert server.get("/health").status_code == 200


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01\x02\x00\x01\x00", b"\0" * 1000, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"])
def test_what_is_no_http_is_refused(server, garbage):
    with server.send(garbage + b"\r\n\r\n") as connection:
        assert connection.recv(1000).startswith(b"HTTP/1.1 400")
    assert server.get("/health").status_code == 200


def test_requests_one_behind_the_other_on_a_connection_are_answered_in_their_order(server, ids):
    bodies = [json.dumps({"history": ids[1 + number : 4 + number], "k": 1 + number}).encode() for number in range(10)]
    wanted = [server.recommend(ids[1 + number : 4 + number], k=1 + number) for number in range(10)]
    with server.send(b"".join(map(posted, bodies))) as connection:
        found = b""
        while found.count(b"HTTP/1.1 200 OK") < 10 or not found.endswith(b"}]}"):
            found += connection.recv(65536)
    replies = re.findall(rb"\r\n\r\n(\{.*?\}\]\})", found)
    assert [json.loads(reply)["answers"][0]["items"] for reply in replies] == [answer["items"] for answer in wanted]


def test_more_than_may_wait_is_answered_with_503_and_when_to_come_back(exported_run, start, ids):
    server = start(exported_run, "--agents", "sasrec", "--max-waiting", "256")
    statuses, body = [], {"histories": [ids[1:20]] * 200, "k": 40}

    def ask():
        with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=30) as client:
            for _ in range(8):
                reply = client.post("/recommend", json=body)
                statuses.append(reply.status_code)
                if reply.status_code == 503:
                    assert reply.headers["Retry-After"] == "1"
                    assert reply.json()["error"].endswith("histories wait already, of 256 at most; try again in a second")

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(statuses) == 64 and set(statuses) == {200, 503}
    assert server.get("/health").status_code == 200
    assert len(server.recommend(ids[1:3])["items"]) == 10


def test_sigterm_lets_a_request_that_is_under_way_be_answered_and_takes_no_more(exported_run, start, ids):
    server = start(exported_run, "--agents", "sasrec")
    wanted = server.recommend(ids[1:4])
    body = json.dumps({"history": ids[1:4]}).encode()
    with server.send(f"{POST}Content-Length: {len(body)}\r\n\r\n".encode() + body[:5]) as connection:
        time.sleep(0.2)  # its head has arrived
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert server.process.poll() is None
        with pytest.raises(ConnectionError):
            socket.create_connection(("127.0.0.1", server.port))
        connection.sendall(body[5:])
        status, _, reply = read_reply(connection)
    assert (status, json.loads(reply)["answers"]) == (200, [wanted])
    assert server.process.wait(10) == 0


def test_sigterm_under_load_fails_no_request_that_was_taken(exported_run, start, ids):
    server = start(exported_run, "--agents", "sasrec")
    statuses, cut_off = [], []

    def ask():
        with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=30) as client:
            while True:
                try:
                    statuses.append(client.post("/recommend", json={"histories": [ids[1:9]] * 50}).status_code)
                except httpx.ReadError as error:  # cut off within a reply
                    cut_off.append(error)
                    return
                except httpx.TransportError:  # not taken any more
                    return

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    server.process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join()
    assert server.process.wait(10) == 0
    assert set(statuses) == {200} and cut_off == []


def test_a_port_that_is_taken_is_named(exported_run, server):
    command = [sys.executable, "-m", "learec", "serve", str(exported_run), "--port", str(server.port)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: --host 127.0.0.1 --port {server.port}: cannot listen there")


def test_the_described_requests_and_others_made_from_the_description_break_nothing(server, tmp_path):
    """Schemathesis: values at and beyond every limit, random ones, and sequences of requests."""
    program = Path(sys.executable).parent / "schemathesis"
    (tmp_path / "schemathesis.toml").write_text(
        "[checks.negative_data_rejection]\nexpected-statuses = [400, 401, 404, 405, 413, 415, 422, 503]\n"
        "[checks.positive_data_acceptance]\nexpected-statuses = [200, 201, 404, 413, 503]\n"
    )
    command = [
        str(program), "run", f"http://127.0.0.1:{server.port}/openapi.json", "--checks", "all", "--max-examples", "40",
        "--seed", "1", "--max-time", "30", "--request-timeout", "10", "--no-color", "--generation-database", "none",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-6000:]
    assert "10 selected / 10 total" in done.stdout
    assert "Exception in ASGI application" not in server.log.read_text()
