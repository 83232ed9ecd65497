"""Fetching one file: resumed, checked against its checksum, whole or not at all under its name."""

import hashlib
import http.client
import os
import re
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from learec.errors import DataError
from learec.progress import Reporter

WAITS = (1.0, 3.0, 9.0)  # seconds before each further attempt
TIMEOUT = 30.0  # seconds without a byte after which a connection counts as broken
CHUNK = 1 << 18
MIB = 1 << 20
MAGIC = {".gz": b"\x1f\x8b", ".tgz": b"\x1f\x8b", ".zip": b"PK"}
BROKEN = (ConnectionResetError, ConnectionAbortedError, BrokenPipeError, TimeoutError, http.client.HTTPException, ssl.SSLError)


@dataclass(frozen=True)
class RemoteFile:
    """A file on a host, with the digest that the host publishes (md5:... or sha256:...), if it does."""

    url: str
    digest: str | None = None

    @property
    def name(self) -> str:
        """What it is called on disk."""
        return urlsplit(self.url).path.rsplit("/", 1)[1]

    @property
    def host(self) -> str:
        """Who has it."""
        return urlsplit(self.url).netloc


class _Broken(Exception):
    """The connection broke or the server is out of order for now: worth another attempt."""


class Fetch:
    """One file on its way into a folder."""

    def __init__(self, file: RemoteFile, folder: Path, reporter: Reporter) -> None:
        self.file, self.folder, self.reporter = file, folder, reporter
        self.path = folder / file.name
        self.part = folder / f"{file.name}.part"
        self.origin = folder / f"{file.name}.part.from"  # which version of which file the part is of
        self.noted = folder / f"{file.name}.sha256"

    def run(self) -> Path:
        """The file in its place, whole and checked."""
        if self.path.exists():
            self.reporter.say(f"{self.path}: already here, {self._verify(self.path)}")
            return self.path
        try:
            self._attempts()
        except KeyboardInterrupt:
            self.reporter.say(f"{self.file.name}: stopped{self._kept()}")
            raise
        self._look_at_first_bytes()
        try:
            told = self._verify(self.part)
        except DataError:
            self._discard()
            raise
        self.part.rename(self.path)
        self.origin.unlink(missing_ok=True)
        self.reporter.say(f"{self.path}: {told}")
        return self.path

    def _attempts(self) -> None:
        for wait in WAITS:
            try:
                return self._receive()
            except _Broken as broken:
                self.reporter.say(f"{self.file.name}: {broken}; again in {wait:g} s")
                time.sleep(wait)
        try:
            return self._receive()
        except _Broken as broken:
            raise self._failed(str(broken)) from None

    def _receive(self) -> None:
        """One connection, appending to the part. Returns when the part is as long as the server says the file is."""
        start, version = self._part_so_far()
        headers = {"User-Agent": "learec"} | ({"Range": f"bytes={start}-", "If-Range": version} if start else {})
        try:
            response = self._ask(urllib.request.Request(self.file.url, headers=headers))
        except urllib.error.HTTPError as error:
            if error.code != 416 or not start:
                raise self._failed(f"answers {error.code} {error.reason}") from None
            if error.headers.get("Content-Range", "") == f"bytes */{start}":
                return  # the part was whole; only the check and the renaming were missing
            self._discard()
            raise _Broken("the part on disk is longer than the file") from None
        with response:
            start, total = self._extent(response, start, version)
            free = shutil.disk_usage(self.folder).free
            if total and total - start > free:
                wanted = f"{total - start:,} bytes more"
                raise DataError(f"{self.part}: needs {wanted}, {free:,} are free; make room or name another folder")
            with self.part.open("ab" if start else "wb") as out:
                if not start:
                    version = _version(response)
                    self.origin.write_text(f"{self.file.url}\n{version}\n", encoding="utf-8")
                self._copy(response, out, start, total)
        if total is not None and (seen := self.part.stat().st_size) != total:
            raise _Broken(f"the connection ended after {seen:,} of {total:,} bytes")

    def _part_so_far(self) -> tuple[int, str]:
        """How many bytes are there and of which version of the file; 0 if that is not known."""
        with suppress(OSError, ValueError):
            url, version = self.origin.read_text(encoding="utf-8").splitlines()
            if url == self.file.url and version:
                return self.part.stat().st_size, version
        return 0, ""

    def _ask(self, request: urllib.request.Request) -> Any:
        try:
            return _opener().open(request, timeout=TIMEOUT)
        except urllib.error.HTTPError as error:
            if error.code >= 500 or error.code == 429:
                raise _Broken(f"{self.file.host} answers {error.code} {error.reason}") from None
            raise
        except urllib.error.URLError as error:
            reason = error.reason
            if isinstance(reason, BROKEN) and not isinstance(reason, ssl.SSLCertVerificationError):
                raise _Broken(f"{self.file.host}: {_words(reason)}") from None
            raise self._failed(f"cannot be reached ({_words(reason)})") from None
        except BROKEN as error:
            raise _Broken(f"{self.file.host}: {_words(error)}") from None

    def _extent(self, response: Any, asked: int, version: str) -> tuple[int, int | None]:
        """Where in the file the answer starts and how long the file is, if the server says."""
        if response.status == 206:
            found = re.fullmatch(r"bytes (\d+)-(\d+)/\d+", response.headers.get("Content-Range", ""))
            # Some servers heed Range and not If-Range: a piece of a newer file must not be put behind an older one's.
            if not found or int(found[1]) != asked or _version(response) not in ("", version):
                self._discard()
                raise _Broken(f"{self.file.host} sent a piece of another file than it was asked for")
            return asked, int(found[2]) + 1
        if response.status != 200:
            raise self._failed(f"answers {response.status} {response.reason}")
        if asked:
            self.reporter.say(f"{self.file.name}: the server starts again from the beginning")
        length = response.headers.get("Content-Length")
        return 0, int(length) if length else None

    def _copy(self, response: Any, out: IO[bytes], start: int, total: int | None) -> None:
        with self.reporter.bar(f"{self.file.name} (MiB)", -(-(total or 0) // MIB)) as advance:
            done = start
            advance(done // MIB)
            for chunk in self._chunks(response):
                out.write(chunk)
                advance((done + len(chunk)) // MIB - done // MIB)
                done += len(chunk)
            if done == total:
                advance(-(-done // MIB) - done // MIB)
            out.flush()
            os.fsync(out.fileno())

    def _chunks(self, response: Any) -> Iterator[bytes]:
        try:
            while chunk := response.read(CHUNK):
                yield chunk
        except BROKEN as error:
            raise _Broken(f"the connection broke ({_words(error)})") from None

    def _look_at_first_bytes(self) -> None:
        """A page of a login or of a hotel's network comes with status 200 too."""
        wanted = MAGIC.get(self.path.suffix, b"")
        with self.part.open("rb") as part:
            seen = part.read(64)
        if not seen.startswith(wanted):
            self._discard()
            raise self._failed(f"sends something that is no {self.path.suffix} file (it begins with {seen[:16]!r})")

    def _verify(self, path: Path) -> str:
        """How the file was checked, in words. The sha256 of a file without a published digest is noted for later calls."""
        if self.file.digest:
            kind, wanted = self.file.digest.split(":")
            by, new = f"its host publishes {wanted}", "run the same command again, or ask the host what changed"
        else:
            kind = "sha256"
            wanted = self.noted.read_text(encoding="utf-8").split(" ")[0] if self.noted.exists() else ""
            by, new = f"{self.noted.name} says {wanted}", f"delete {self.noted} if you want the file that the host has now"
        with path.open("rb") as file:
            seen = hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()
        if wanted and seen != wanted:
            old = "delete it and run the same command again"
            next_step = f"what came is removed; {new}" if path == self.part else old
            raise DataError(f"{path}: its {kind} is {seen}, {by}; {next_step}")
        if self.file.digest:
            return f"{kind} {seen}, as published"
        if not wanted:
            self.noted.write_text(f"{seen}  {self.file.name}\n", encoding="utf-8")
        return f"sha256 {seen}, " + ("as before" if wanted else f"no checksum is published, noted in {self.noted.name}")

    def _discard(self) -> None:
        self.part.unlink(missing_ok=True)
        self.origin.unlink(missing_ok=True)

    def _kept(self) -> str:
        size = self.part.stat().st_size if self.part.exists() else 0
        return f"; the {size:,} bytes that came are kept in {self.part}, the same command goes on from there" if size else ""

    def _failed(self, what: str) -> DataError:
        again = self._kept() or "; run the same command again later"
        by_hand = f"or download {self.file.url} by hand into the folder {self.folder}"
        return DataError(f"{self.file.host}: {what}{again}, {by_hand}")


class _WebOnly(urllib.request.HTTPRedirectHandler):
    """Follows a redirect to the web only, and from https to https only."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: http.client.HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        allowed = ("https",) if req.type == "https" else ("http", "https")
        if urlsplit(newurl).scheme not in allowed:
            raise urllib.error.HTTPError(req.full_url, code, f"with a redirect to {newurl!r}, which is refused", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """Unlike urllib's own, it has no hands for file:, ftp: and data:."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler, urllib.request.HTTPHandler, urllib.request.HTTPSHandler, urllib.request.UnknownHandler,
        urllib.request.HTTPDefaultErrorHandler, urllib.request.HTTPErrorProcessor, _WebOnly,
    ):  # fmt: skip
        opener.add_handler(handler())
    return opener


def _version(response: Any) -> str:
    """What If-Range compares: an ETag, unless it is a weak one, or the date; empty if there is neither."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


def _words(error: object) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
