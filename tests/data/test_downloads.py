"""Downloads from a real server on this machine that can be told to misbehave, request by request."""

import gzip
import hashlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import get_args
from urllib.parse import urlsplit

import pytest
from rich.console import Console
from typer.testing import CliRunner

from learec.cli import data as commands
from learec.config import DataConfig
from learec.data import fetch
from learec.data.downloads import DATASETS, Dataset, download
from learec.data.fetch import RemoteFile
from learec.data.unpack import folder_name
from learec.errors import ConfigError, DataError
from learec.progress import Reporter

NOISE = os.urandom(2_500_000)
CONTENT = gzip.compress(NOISE, 0)
HALF = len(CONTENT) // 2


class Handler(BaseHTTPRequestHandler):
    """Serves one file with ranges, unless the host has another behaviour in line for this request."""

    server: "Host"
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.seen.append(dict(self.headers))
        behave = self.server.behaviours.pop(0) if self.server.behaviours else serve
        behave(self)
        self.close_connection = True

    def log_message(self, *_arguments: object) -> None:
        pass

    def head(self, code: int, length: int, **headers: str) -> None:
        self.send_response(code)
        for name, value in {"Content-Length": str(length), "ETag": self.server.etag, **headers}.items():
            if value:
                self.send_header(name.replace("_", "-"), value)
        self.end_headers()


class Host(ThreadingHTTPServer):
    """The server, what it serves, and what it was asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.etag = CONTENT, '"one"'
        self.behaviours: list[Callable[[Handler], None]] = []
        self.seen: list[dict[str, str]] = []

    def handle_error(self, *_arguments: object) -> None:
        pass  # a client that goes away is what the tests are about

    def url(self, name: str = "log.json.gz") -> str:
        return f"http://127.0.0.1:{self.server_port}/files/{name}"


def serve(handler: Handler, upto: int | None = None, heeds_if_range: bool = True) -> None:
    """The file, or the piece asked for; only `upto` bytes of it, then the connection ends."""
    content, asked = handler.server.content, handler.headers.get("Range")
    same = handler.headers.get("If-Range") == handler.server.etag or not heeds_if_range
    if not asked or not same:
        handler.head(200, len(content))
        handler.wfile.write(content[:upto])
        return
    start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
    if start >= len(content):
        handler.head(416, 0, Content_Range=f"bytes */{len(content)}")
        return
    handler.head(206, len(content) - start, Content_Range=f"bytes {start}-{len(content) - 1}/{len(content)}")
    handler.wfile.write(content[start:][:upto])


def ignores_range(handler: Handler) -> None:
    handler.head(200, len(handler.server.content))
    handler.wfile.write(handler.server.content)


def ignores_if_range(handler: Handler) -> None:
    serve(handler, heeds_if_range=False)


def cut(handler: Handler) -> None:
    serve(handler, upto=HALF)


def stalls(handler: Handler) -> None:
    cut(handler)
    handler.wfile.flush()
    time.sleep(30)


def hangs_up(handler: Handler) -> None:
    handler.connection.close()


def status(code: int) -> Callable[[Handler], None]:
    return lambda handler: handler.head(code, 0)


def redirect(target: str) -> Callable[[Handler], None]:
    return lambda handler: handler.head(302, 0, Location=target)


@pytest.fixture
def host(monkeypatch) -> Iterator[Host]:
    monkeypatch.setattr(fetch, "WAITS", (0.0, 0.0, 0.0))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Host()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


class Told(Reporter):
    """A reporter whose words can be read."""

    def __init__(self) -> None:
        self.file = io.StringIO()
        super().__init__(Console(file=self.file, width=500))

    @property
    def words(self) -> str:
        return self.file.getvalue()


@pytest.fixture
def told() -> Told:
    return Told()


def log_of(*files: RemoteFile) -> Dataset:
    return Dataset("a-log", "a log", None, "none", "https://example.org", "table", files)


def md5(content: bytes) -> str:
    return f"md5:{hashlib.md5(content).hexdigest()}"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("log/u.data", "1\t2\t3\n")
    return buffer.getvalue()


def test_an_archive_comes_checked_and_unpacked_and_the_folder_to_read_is_handed_back(host, told, tmp_path):
    host.content = zipped()
    place = download(log_of(RemoteFile(host.url("log.zip"), md5(host.content))), tmp_path / "data" / "a-log", told)
    assert place == tmp_path / "data" / "a-log" / "log"
    assert (place / "u.data").read_text() == "1\t2\t3\n"
    assert names(place.parent) == ["log", "log.zip"]
    assert f"{md5(host.content)[4:]}, as published" in told.words


def test_a_gz_is_left_as_it_is(host, told, tmp_path):
    assert download(log_of(RemoteFile(host.url(), md5(CONTENT))), tmp_path, told) == tmp_path
    assert (tmp_path / "log.json.gz").read_bytes() == CONTENT
    assert names(tmp_path) == ["log.json.gz"]


def test_progress_is_counted_in_mib_and_ends_full(host, told, tmp_path):
    host.behaviours = [cut]
    download(log_of(RemoteFile(host.url())), tmp_path, told)
    assert "log.json.gz (MiB): 3/3 in" in told.words


def test_a_cut_connection_goes_on_where_it_was(host, told, tmp_path):
    host.behaviours = [cut]
    download(log_of(RemoteFile(host.url(), md5(CONTENT))), tmp_path, told)
    assert "Range" not in host.seen[0]
    assert (host.seen[1]["Range"], host.seen[1]["If-Range"]) == (f"bytes={HALF}-", '"one"')
    assert len(host.seen) == 2
    assert f"the connection ended after {HALF:,} of {len(CONTENT):,} bytes; again in 0 s" in told.words


def test_three_further_attempts_are_made_then_the_part_is_kept_and_the_next_call_goes_on(host, told, tmp_path):
    host.behaviours = [cut, hangs_up, hangs_up, hangs_up]
    file = RemoteFile(host.url(), md5(CONTENT))
    with pytest.raises(DataError) as error:
        download(log_of(file), tmp_path, told)
    assert len(host.seen) == 4
    assert f"the {HALF:,} bytes that came are kept in {tmp_path / 'log.json.gz.part'}" in str(error.value)
    assert "the same command goes on from there" in str(error.value)
    assert (tmp_path / "log.json.gz.part").read_bytes() == CONTENT[:HALF]
    assert not (tmp_path / "log.json.gz").exists()
    download(log_of(file), tmp_path, told)
    assert host.seen[4]["Range"] == f"bytes={HALF}-"
    assert names(tmp_path) == ["log.json.gz"]
    assert (tmp_path / "log.json.gz").read_bytes() == CONTENT


def test_a_server_that_ignores_ranges_starts_again_from_the_beginning(host, told, tmp_path):
    host.behaviours = [cut, ignores_range]
    download(log_of(RemoteFile(host.url(), md5(CONTENT))), tmp_path, told)
    assert (tmp_path / "log.json.gz").read_bytes() == CONTENT
    assert "the server starts again from the beginning" in told.words


@pytest.mark.parametrize("behaviours", [[], [ignores_if_range]], ids=["server heeds If-Range", "server does not"])
def test_a_piece_of_a_newer_file_is_never_put_behind_a_piece_of_an_older(host, told, tmp_path, behaviours):
    host.behaviours = [cut, hangs_up, hangs_up, hangs_up]
    with pytest.raises(DataError):
        download(log_of(RemoteFile(host.url())), tmp_path, told)
    host.content, host.etag, host.behaviours = gzip.compress(NOISE[::-1], 0), '"two"', behaviours
    download(log_of(RemoteFile(host.url())), tmp_path, told)
    assert (tmp_path / "log.json.gz").read_bytes() == host.content


@pytest.mark.parametrize("etag", ["", 'W/"weak"'])
def test_without_a_strong_version_a_part_is_not_gone_on_with(host, told, tmp_path, etag):
    host.etag, host.behaviours = etag, [cut]
    download(log_of(RemoteFile(host.url())), tmp_path, told)
    assert "Range" not in host.seen[1]
    assert (tmp_path / "log.json.gz").read_bytes() == CONTENT


def test_a_part_of_another_url_is_not_gone_on_with(host, told, tmp_path):
    (tmp_path / "log.json.gz.part").write_bytes(b"other")
    (tmp_path / "log.json.gz.part.from").write_text('https://example.org/log.json.gz\n"one"\n')
    download(log_of(RemoteFile(host.url(), md5(CONTENT))), tmp_path, told)
    assert "Range" not in host.seen[0]
    assert (tmp_path / "log.json.gz").read_bytes() == CONTENT


def test_a_part_that_was_whole_is_only_checked_and_renamed(host, told, tmp_path):
    (tmp_path / "log.json.gz.part").write_bytes(CONTENT)
    (tmp_path / "log.json.gz.part.from").write_text(f'{host.url()}\n"one"\n')
    download(log_of(RemoteFile(host.url(), md5(CONTENT))), tmp_path, told)
    assert names(tmp_path) == ["log.json.gz"]
    assert len(host.seen) == 1


def test_a_part_longer_than_the_file_is_thrown_away(host, told, tmp_path):
    (tmp_path / "log.json.gz.part").write_bytes(CONTENT + b"more")
    (tmp_path / "log.json.gz.part.from").write_text(f'{host.url()}\n"one"\n')
    download(log_of(RemoteFile(host.url())), tmp_path, told)
    assert (tmp_path / "log.json.gz").read_bytes() == CONTENT


def test_a_server_out_of_order_is_asked_again(host, told, tmp_path):
    host.behaviours = [status(500), status(503)]
    download(log_of(RemoteFile(host.url(), md5(CONTENT))), tmp_path, told)
    assert len(host.seen) == 3
    assert told.words.count("answers 50") == 2


def test_what_is_not_there_is_one_sentence_after_one_request_and_leaves_nothing(host, told, tmp_path):
    host.behaviours = [status(404)]
    with pytest.raises(DataError) as error:
        download(log_of(RemoteFile(host.url())), tmp_path, told)
    assert str(error.value) == (
        f"127.0.0.1:{host.server_port}: answers 404 Not Found; run the same command again later, "
        f"or download {host.url()} by hand into the folder {tmp_path}"
    )
    assert (len(host.seen), names(tmp_path)) == (1, [])


def test_a_host_that_cannot_be_reached_is_one_sentence_with_the_url_and_the_folder(host, told, tmp_path):
    host.server_close()
    with pytest.raises(DataError, match=r"cannot be reached \(Connection refused\)") as error:
        download(log_of(RemoteFile(host.url())), tmp_path, told)
    assert f"download {host.url()} by hand into the folder {tmp_path}" in str(error.value)
    assert names(tmp_path) == []


@pytest.mark.parametrize("kind", ["md5", "sha256"])
def test_another_content_than_published_is_refused_with_both_digests_and_removed(host, told, tmp_path, kind):
    wanted, seen = hashlib.new(kind, b"published").hexdigest(), hashlib.new(kind, CONTENT).hexdigest()
    with pytest.raises(DataError, match=f"its {kind} is {seen}, its host publishes {wanted}; what came is removed"):
        download(log_of(RemoteFile(host.url(), f"{kind}:{wanted}")), tmp_path, told)
    assert names(tmp_path) == []


def test_a_page_in_place_of_the_file_is_refused_and_removed(host, told, tmp_path):
    host.content = b"<html>Please sign in</html>"
    with pytest.raises(DataError, match=r"sends something that is no \.gz file \(it begins with b'<html>"):
        download(log_of(RemoteFile(host.url())), tmp_path, told)
    assert names(tmp_path) == []


def test_a_digest_that_is_not_published_is_told_noted_and_held_to(host, told, tmp_path):
    seen = hashlib.sha256(CONTENT).hexdigest()
    download(log_of(RemoteFile(host.url())), tmp_path, told)
    assert f"sha256 {seen}, no checksum is published" in told.words
    assert (tmp_path / "log.json.gz.sha256").read_text() == f"{seen}  log.json.gz\n"
    download(log_of(RemoteFile(host.url())), tmp_path, told)
    assert f"already here, sha256 {seen}, as before" in told.words
    (tmp_path / "log.json.gz").write_bytes(CONTENT[:-1])
    with pytest.raises(DataError, match=f"log.json.gz.sha256 says {seen}; delete it"):
        download(log_of(RemoteFile(host.url())), tmp_path, told)
    assert (tmp_path / "log.json.gz").exists(), "the user's file is not deleted for him"
    assert len(host.seen) == 1


def test_a_file_that_its_host_replaced_is_not_taken_for_the_noted_one(host, told, tmp_path):
    download(log_of(RemoteFile(host.url())), tmp_path, told)
    (tmp_path / "log.json.gz").unlink()
    host.content = gzip.compress(NOISE[::-1], 0)
    with pytest.raises(DataError, match=r"log\.json\.gz\.part: its sha256 is \w+, log\.json\.gz\.sha256 says .* delete"):
        download(log_of(RemoteFile(host.url())), tmp_path, told)
    assert names(tmp_path) == ["log.json.gz.sha256"]


def test_a_folder_that_is_unpacked_is_left_alone_and_that_is_said(host, told, tmp_path):
    host.content = zipped()
    file = RemoteFile(host.url("log.zip"), md5(host.content))
    download(log_of(file), tmp_path, told)
    (tmp_path / "log" / "note.txt").write_text("mine")
    assert download(log_of(file), tmp_path, told) == tmp_path / "log"
    assert len(host.seen) == 1
    assert f"{tmp_path / 'log'}: already unpacked" in told.words
    assert (tmp_path / "log" / "note.txt").read_text() == "mine"


def test_a_gz_that_is_whole_is_left_alone_and_that_is_said(host, told, tmp_path):
    file = RemoteFile(host.url(), md5(CONTENT))
    download(log_of(file), tmp_path, told)
    download(log_of(file), tmp_path, told)
    assert len(host.seen) == 1
    assert f"log.json.gz: already here, md5 {md5(CONTENT)[4:]}, as published" in told.words


def test_an_archive_is_not_fetched_again_for_a_folder_that_it_has_made(host, told, tmp_path):
    host.content = zipped()
    file = RemoteFile(host.url("log.zip"), md5(host.content))
    download(log_of(file), tmp_path, told)
    (tmp_path / "log.zip").unlink()
    assert download(log_of(file), tmp_path, told) == tmp_path / "log"
    assert len(host.seen) == 1
    shutil.rmtree(tmp_path / "log")
    download(log_of(file), tmp_path, told)
    assert names(tmp_path) == ["log", "log.zip"]


def test_a_damaged_file_put_there_by_hand_is_refused_and_stays(host, told, tmp_path):
    (tmp_path / "log.zip").write_bytes(b"PK damaged")
    with pytest.raises(DataError, match="log.zip: its md5 is .* publishes .*; delete it and run the same command again"):
        download(log_of(RemoteFile(host.url("log.zip"), md5(zipped()))), tmp_path, told)
    assert names(tmp_path) == ["log.zip"]


def test_a_file_put_there_by_hand_is_checked_and_unpacked_without_the_host(host, told, tmp_path):
    (tmp_path / "log.zip").write_bytes(zipped())
    download(log_of(RemoteFile(host.url("log.zip"), md5(zipped()))), tmp_path, told)
    assert (tmp_path / "log" / "u.data").exists()
    assert host.seen == []


@pytest.mark.parametrize("target", ["file://{secret}", "ftp://127.0.0.1/secret", "data:text/plain,secret"])
def test_a_redirect_that_leaves_the_web_is_refused(host, told, tmp_path, target):
    secret = tmp_path / "secret.gz"
    secret.write_bytes(CONTENT)
    host.behaviours = [redirect(target.format(secret=secret))]
    with pytest.raises(DataError, match="answers 302 .*(not allowed|refused)"):
        download(log_of(RemoteFile(host.url())), tmp_path / "data", told)
    assert names(tmp_path / "data") == []


def test_a_redirect_on_the_web_is_followed(host, told, tmp_path):
    host.behaviours = [redirect("/files/moved.gz")]
    download(log_of(RemoteFile(host.url(), md5(CONTENT))), tmp_path, told)
    assert names(tmp_path) == ["log.json.gz"]


def test_a_redirect_from_https_to_http_is_refused():
    request = fetch.urllib.request.Request("https://example.org/log.gz")
    with pytest.raises(fetch.urllib.error.HTTPError, match="refused"):
        fetch._WebOnly().redirect_request(request, io.BytesIO(), 302, "Found", {}, "http://example.org/log.gz")


def test_a_url_of_this_machine_is_not_opened(told, tmp_path):
    (tmp_path / "secret.gz").write_bytes(CONTENT)
    with pytest.raises(DataError, match="unknown url type: file"):
        download(log_of(RemoteFile(f"file://{tmp_path}/secret.gz")), tmp_path / "data", told)


def test_a_file_beyond_the_free_disk_is_not_begun(host, told, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    with pytest.raises(DataError, match=f"needs {len(CONTENT):,} bytes more, 1,000 are free; make room"):
        download(log_of(RemoteFile(host.url())), tmp_path, told)
    assert names(tmp_path) == []


def test_a_file_in_place_of_the_folder_is_refused(told, tmp_path):
    (tmp_path / "data").write_text("")
    with pytest.raises(ConfigError, match="data: is a file, wanted a folder for a-log"):
        download(log_of(), tmp_path / "data", told)


def test_ctrl_c_keeps_the_part_says_so_and_the_next_call_goes_on(host, told, tmp_path):
    host.behaviours = [stalls]
    code = (
        "import sys; from pathlib import Path; from learec.data.downloads import *\n"
        "file = RemoteFile(sys.argv[1]); log = Dataset('a-log', '', None, '', '', 'table', (file,))\n"
        "download(log, Path(sys.argv[2]), Reporter())"
    )
    command = [sys.executable, "-c", code, host.url(), str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    part = tmp_path / "log.json.gz.part"
    deadline = time.monotonic() + 30
    while not (part.exists() and part.stat().st_size > HALF // 2) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    kept = part.stat().st_size
    assert err.splitlines()[-1] == "KeyboardInterrupt"
    assert f"log.json.gz: stopped; the {kept:,} bytes that came are kept in {part}, the same command goes on from there" in out
    download(log_of(RemoteFile(host.url(), md5(CONTENT))), tmp_path, told)
    assert host.seen[1]["Range"] == f"bytes={kept}-"


def test_a_host_that_wants_a_login_is_one_sentence_of_what_to_do(told, tmp_path):
    (tmp_path / "yoochoose-buys.dat").write_text("")
    with pytest.raises(DataError) as error:
        download(DATASETS["yoochoose"], tmp_path, told)
    assert str(error.value) == (
        "yoochoose: its host wants a login, so it cannot be fetched; sign in at "
        "https://www.kaggle.com/datasets/chadgostopp/recsys-challenge-2015, download yoochoose-clicks.dat "
        f"and put it, unpacked, into the folder {tmp_path}"
    )
    (tmp_path / "yoochoose-clicks.dat").write_text("")
    assert download(DATASETS["yoochoose"], tmp_path, told) == tmp_path


def test_the_table_names_formats_that_a_recipe_knows_and_files_that_can_be_fetched_or_are_put_by_hand():
    formats = set(get_args(DataConfig.model_fields["format"].annotation))
    for dataset in DATASETS.values():
        assert dataset.format in formats
        assert bool(dataset.files) != bool(dataset.by_hand)
        assert dataset.licence and dataset.about and dataset.page.startswith("https://")
        for file in dataset.files:
            assert urlsplit(file.url).scheme == "https"
            assert folder_name(file.name) or file.name.endswith(".gz")
            assert file.digest is None or re.fullmatch(r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}", file.digest)


def test_the_list_has_a_line_for_each_with_all_that_is_known():
    lines = CliRunner().invoke(commands.app, ["list"]).output.splitlines()
    assert [line.split("\t")[0] for line in lines] == list(DATASETS)
    assert [len(line.split("\t")) for line in lines] == [8] * len(DATASETS)
    found = dict(line.split("\t", 1) for line in lines)
    assert "4.9 MB\tresearch only" in found["ml-100k"]
    assert found["ml-100k"].endswith("ml-100k.zip\tmovielens\tmd5\tlearec data get ml-100k")
    assert "\tnot published\tnone stated" in found["amazon-beauty-2014"]
    assert found["retailrocket"].endswith("category_tree.csv") and "wants a login" in found["retailrocket"]


def test_the_list_of_a_narrow_terminal_still_has_every_name_and_page(monkeypatch):
    narrow = Told()
    narrow.console = Console(file=narrow.file, force_terminal=True, color_system=None, width=70)
    monkeypatch.setattr(commands, "Console", lambda **_options: narrow.console)
    commands.list_datasets()
    unfolded = re.sub(r"\s", "", narrow.words)
    for dataset in DATASETS.values():
        assert dataset.name in narrow.words
        assert dataset.page in unfolded


def test_an_unknown_name_is_answered_with_the_nearest():
    error = CliRunner().invoke(commands.app, ["get", "ml100k"]).exception
    assert isinstance(error, ConfigError)
    assert str(error) == "unknown data set 'ml100k'; did you mean ml-100k?"


def test_get_fetches_into_the_folder_named_and_says_how_to_read_it(host, tmp_path, monkeypatch):
    host.content = zipped()
    monkeypatch.setitem(DATASETS, "a-log", log_of(RemoteFile(host.url("log.zip"))))
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(commands.app, ["get", "a-log", "--to", "here"])
    assert done.exit_code == 0
    assert 'a-log is ready: in [data] of a recipe format = "table" and events = ".", run with --data here/log' in done.output
    assert CliRunner().invoke(commands.app, ["get", "a-log"]).exit_code == 0
    assert (tmp_path / "data" / "a-log" / "log" / "u.data").exists()


def test_a_refusal_is_one_line_on_standard_error_and_exit_code_2(tmp_path):
    code = "from learec import cli; cli.main()"
    command = [sys.executable, "-c", code, "data", "get", "retailrocket"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("error: retailrocket: its host wants a login")
    assert names(tmp_path) == []
