"""What an attacker may try: files that pretend to be models, paths that lead outside, no token, HTML in titles."""

import base64
import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
import zipfile

import httpx
import numpy as np
import polars as pl
import pytest

from learec.artifacts import read_manifest
from learec.serving.door import permits

TOKEN = "correct-horse-battery-staple"


class Exploit:
    """Unpickled, it makes a file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def archive(kind, marker):
    """Bytes of a pickle, a zip as torch.save writes it, a tar, or a numpy file of objects."""
    payload, file = pickle.dumps(Exploit(marker)), io.BytesIO()
    if kind == "pickle":
        return payload
    if kind == "npy":
        np.save(file, np.array([Exploit(marker)], dtype=object), allow_pickle=True)
    elif kind == "zip":
        with zipfile.ZipFile(file, "w") as out:
            out.writestr("archive/data.pkl", payload)
            out.writestr("../../evil", "x")
    else:
        with tarfile.open(fileobj=file, mode="w") as out:
            out.addfile(tarfile.TarInfo("../../evil"), io.BytesIO())
            info = tarfile.TarInfo("data.pkl")
            info.size = len(payload)
            out.addfile(info, io.BytesIO(payload))
    return file.getvalue()


def test_the_exploit_works_where_it_is_let(tmp_path):
    pickle.loads(archive("pickle", tmp_path / "marker"))
    assert (tmp_path / "marker").exists()


def refuses(run, *options):
    """What `learec serve` says before it exits with 2."""
    command = [sys.executable, "-m", "learec", "serve", str(run), "--port", "0", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("error: ")
    return done.stderr


@pytest.mark.parametrize("kind", ["pickle", "zip", "tar", "npy"])
def test_an_archive_that_pretends_to_be_trained_weights_is_refused_and_nothing_of_it_runs(trained_copy, forge, tmp_path, kind):
    forge(trained_copy / "agents/sasrec/seed-0", "agent.safetensors", archive(kind, tmp_path / "marker"))
    assert "holds no weights of this agent" in refuses(trained_copy, "--agents", "sasrec")
    assert not (tmp_path / "marker").exists() and not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize("name", ["model.onnx", "table.npy", "bias.npy", "counts.npy"])
@pytest.mark.parametrize("kind", ["pickle", "zip", "tar", "npy"])
def test_an_archive_that_pretends_to_be_part_of_an_export_is_refused_and_nothing_of_it_runs(
    run_copy, forge, tmp_path, name, kind
):
    from learec.serving.models import Models

    forge(run_copy / "export/sasrec/seed-0", name, archive(kind, tmp_path / "marker"))
    found = Models(run_copy).now
    assert list(found.models) == ["untied/0"]
    assert [refused.name for refused in found.refused] == ["sasrec/0"]
    assert not (tmp_path / "marker").exists() and not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize("kind", ["pickle", "zip", "tar"])
def test_an_archive_that_comes_later_is_refused_and_the_old_model_goes_on(run_copy, start, forge, tmp_path, ids, kind):
    server = start(run_copy, "--agents", "sasrec", "--reload-seconds", "0.1")
    before = server.recommend(ids[1:4])
    forge(run_copy / "export/sasrec/seed-0", "model.onnx", archive(kind, tmp_path / "marker"))
    assert "is no ONNX graph" in server.eventually(lambda ready: ready["refused"])["refused"][0]["reason"]
    assert server.recommend(ids[1:4]) == before
    assert not (tmp_path / "marker").exists()


def test_a_link_that_leads_out_of_the_run_folder_is_not_followed(run_copy, tmp_path):
    weights = run_copy / "export/sasrec/seed-0/model.onnx"
    outside = tmp_path / "outside.onnx"
    weights.rename(outside)
    weights.symlink_to(outside)
    assert "leads out of" in refuses(run_copy, "--agents", "sasrec")


def test_a_folder_that_is_a_link_out_of_the_run_is_not_followed(run_copy, tmp_path):
    (run_copy / "agents/sasrec").rename(tmp_path / "sasrec")
    (run_copy / "export/sasrec").rename(tmp_path / "exported")
    (run_copy / "agents/sasrec").symlink_to(tmp_path / "sasrec")
    (run_copy / "export/sasrec").symlink_to(tmp_path / "exported")
    assert "leads out of" in refuses(run_copy, "--agents", "sasrec")


def test_a_name_in_a_manifest_that_leads_out_of_the_run_folder_is_not_opened(trained_copy, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("nobody's business")
    path = trained_copy / "agents/sasrec/seed-0/manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"]["../../../../secret"] = "0" * 64
    path.write_text(json.dumps(manifest))
    assert "leads out of" in refuses(trained_copy, "--agents", "sasrec")


@pytest.mark.parametrize("name", ["../../../etc/passwd", "/etc/passwd", "..", "sasrec/../untied/0", "sasrec/0/../0", "%2e%2e"])
def test_a_model_is_a_name_and_never_a_path(server, ids, name):
    reply = server.post("/recommend", {"history": ids[1:2], "model": name})
    assert reply.status_code == 404 and "is not served" in reply.json()["error"]


@pytest.mark.parametrize(
    "path",
    ["/../../../../etc/passwd", "/docs/../../../etc/passwd", "/docs/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc/passwd",
     "//etc/passwd", "/docs/start.js/../../app.py", "/server.py", "/page/../server.py", "/.%00/etc/passwd"],
)  # fmt: skip
def test_no_url_is_a_path_on_disk(server, path):
    with server.send(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()) as connection:
        reply = b"".join(iter(lambda: connection.recv(65536), b""))
    assert reply.split(b" ")[1] in (b"404", b"400"), reply[:200]
    assert b"root:" not in reply and b"import" not in reply


@pytest.fixture(scope="module")
def guarded(exported_run, tmp_path_factory, start_once):
    """A server that asks for a token."""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "token").write_text(f"{TOKEN}\n")
    return start_once(exported_run, folder / "log", "--token-file", str(folder / "token"))


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": ""}, {"Authorization": "Bearer"}, {"Authorization": "Bearer x"}, {"Authorization": f"Bearer {TOKEN}x"},
     {"Authorization": f"Bearer {TOKEN[:-1]}"}, {"Authorization": TOKEN}, {"Authorization": f"Token {TOKEN}"},
     {"Authorization": "Basic !!"}, {"Authorization": f"Basic {base64.b64encode(TOKEN.encode()).decode()}"}],
)  # fmt: skip
def test_without_the_token_nothing_but_health_answers(guarded, headers):
    assert guarded.get("/health", headers=headers).status_code == 200
    for method, path in [
        ("GET", "/"), ("GET", "/items"), ("GET", "/models"), ("GET", "/sessions/random"), ("POST", "/recommend"),
        ("POST", "/events"), ("GET", "/users/a/recommendations"), ("DELETE", "/users/a"), ("GET", "/ready"), ("GET", "/metrics"),
        ("GET", "/docs"), ("GET", "/docs/start.js"), ("GET", "/openapi.json"), ("GET", "/nothing"), ("GET", "/health/"),
        ("GET", "//health"), ("OPTIONS", "/recommend"), ("HEAD", "/items"),
    ]:  # fmt: skip
        reply = guarded.client.request(method, path, headers=headers)
        assert reply.status_code == 401, (method, path)
        assert reply.headers["WWW-Authenticate"].startswith("Bearer")
        assert method == "HEAD" or list(reply.json()) == ["error"]


def test_with_the_token_everything_answers_also_as_a_browser_sends_it(guarded, ids):
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert guarded.post("/recommend", {"history": ids[1:2]}, headers=bearer).status_code == 200
    assert guarded.get("/items", headers=bearer).status_code == 200
    assert guarded.get("/models", auth=httpx.BasicAuth("anyone", TOKEN)).status_code == 200
    described = guarded.get("/openapi.json", headers=bearer).json()
    assert described["components"]["securitySchemes"] == {"token": {"type": "http", "scheme": "bearer"}}


def test_the_token_may_come_from_the_environment_and_is_not_in_the_log(exported_run, start):
    server = start(exported_run, "--agents", "sasrec", environment={**os.environ, "LEAREC_TOKEN": TOKEN})
    assert server.get("/models").status_code == 401
    assert server.get("/models", headers={"Authorization": f"bearer {TOKEN}"}).status_code == 200
    assert TOKEN not in server.log.read_text()


@pytest.mark.parametrize("content", ["", "two words", "two\nlines", "ü"])
def test_a_token_that_no_header_can_carry_is_refused_at_the_start(exported_run, tmp_path, content):
    (tmp_path / "token").write_text(content)
    assert "wanted one line" in refuses(exported_run, "--token-file", str(tmp_path / "token"))


def test_bytes_that_are_no_text_are_no_token():
    assert not permits(b"Bearer \xff\xfe", TOKEN.encode())
    assert permits(b"BEARER   " + TOKEN.encode(), TOKEN.encode())


TITLE = '<script>alert(1)</script><img src=x onerror=alert(2)> & "quotes" </title>'


@pytest.fixture
def html_run(trained_copy, forge):
    """A run whose third item has HTML as its title."""
    log, agent = trained_copy / "log", trained_copy / "agents/sasrec/seed-0"
    titles = pl.when(pl.int_range(pl.len()) == 2).then(pl.lit(TITLE)).otherwise("title").alias("title")
    file = io.BytesIO()
    pl.read_ipc((log / "catalog.arrow").read_bytes()).with_columns(titles).write_ipc(file)
    forge(log, "catalog.arrow", file.getvalue())
    manifest = json.loads((agent / "manifest.json").read_text())
    manifest["parents"]["log"] = read_manifest(log, "log", "").digest
    (agent / "manifest.json").write_text(json.dumps(manifest))
    return trained_copy


def test_html_in_a_title_is_text_in_json_that_no_browser_takes_for_a_page(html_run, start, ids):
    server = start(html_run, "--agents", "sasrec")
    replies = [
        server.get("/items", params={"query": "<script>"}),
        server.post("/recommend", {"history": ids[1:2], "allow": [ids[3]]}),
        server.get("/items?query=<img src=x onerror=alert(2)>"),
        server.post("/recommend", {"history": ["<script>alert(1)</script>"], "allow": [ids[3]]}),
        server.get("/<script>alert(1)</script>"),
    ]
    assert replies[0].json()["items"][0]["title"] == TITLE
    assert replies[1].json()["answers"][0]["items"][0]["title"] == TITLE
    assert replies[3].json()["answers"][0]["unknown"] == ["<script>alert(1)</script>"]
    for reply in replies:
        assert reply.headers["Content-Type"] == "application/json"
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert reply.headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"


def test_pages_may_load_nothing_from_elsewhere_and_run_no_script_of_their_text(server):
    for path in ("/", "/docs"):
        reply = server.get(path)
        policy = dict(part.strip().split(" ", 1) for part in reply.headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == "'none'" and policy["script-src"] == "'self'" and policy["connect-src"] == "'self'"
        assert policy["frame-ancestors"] == "'none'"
