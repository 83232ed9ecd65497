"""Artifacts: folders that know what they are, what they were made from, and whether they are whole.

A folder is built beside its final place and renamed there when its manifest is written, so a reader sees the old
artifact or the new one, never a half. A stopped build keeps its partial folder: the next build with the same request
goes on in it. Nothing here reads or writes a pickle.
"""

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from learec.errors import ArtifactError

FORMAT = 3
HASHING_THREADS = 4
MANIFEST = "manifest.json"
REQUEST = "request.json"
COST = "cost.json"  # beside the manifest, outside the digest: two runs of one recipe are equal, their minutes are not
UNFINISHED = ".writing"  # a file under this ending is not whole yet
SCRATCH = "checkpoints"  # inside a partial folder: what a resumed build needs and the finished artifact does not


@dataclass(frozen=True)
class Request:
    """What is asked for: the same request gives the same artifact, so an equal one on disk is up to date."""

    kind: str
    config: dict[str, Any]
    parents: dict[str, str]  # name -> digest

    def as_json(self) -> str:
        """Canonical text, equal for equal requests."""
        return _canonical({"kind": self.kind, "format": FORMAT, "config": self.config, "parents": self.parents})

    def difference(self, other: "Request") -> str:
        """The first thing in which another request differs, in words."""
        for name in {**self.parents, **other.parents}:
            if self.parents.get(name) != other.parents.get(name):
                return f"it was made from another {name}"
        for key in {**self.config, **other.config}:
            was, now = (repr(config[key]) if key in config else "its default" for config in (other.config, self.config))
            if was != now:
                return f"{key} was {was} and is now {now}"
        return "its format or kind differs"


@dataclass(frozen=True)
class Manifest:
    """What an artifact is (request), what it holds (sha256 by file), and what its making told (notes)."""

    request: Request
    files: dict[str, str]
    notes: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """Identity of the content; notes (seconds, machine) are no part of it."""
        return hashlib.sha256((self.request.as_json() + _canonical(self.files)).encode()).hexdigest()


def request_for(kind: str, config: BaseModel | Mapping[str, Any], parents: Mapping[str, str], **more: Any) -> Request:
    """A request from a config record, more settings (such as the seed), and parents' digests."""
    settings = config.model_dump(mode="json") if isinstance(config, BaseModel) else dict(config)
    # Through JSON, so that a request compares equal to the one read back from a manifest.
    return Request(kind, json.loads(_canonical({**settings, **more})), dict(parents))


def read_manifest(folder: Path, kind: str, make_with: str) -> Manifest:
    """The manifest of a folder that must hold an artifact of this kind. `make_with` is the command that makes one."""
    try:
        manifest, stored_format = _read(folder)
    except FileNotFoundError:
        raise ArtifactError(f"{folder}: no {kind} here (no {MANIFEST}); make it with `{make_with}`") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{folder / MANIFEST}: damaged ({error!r}); delete the folder and run `{make_with}`") from None
    if manifest.request.kind != kind or stored_format != FORMAT:
        seen = f"{manifest.request.kind} of format {stored_format}"
        raise ArtifactError(f"{folder}: holds {seen}, wanted {kind} of format {FORMAT}; make it again with `{make_with}`")
    return manifest


def _read(folder: Path) -> tuple[Manifest, int]:
    """A folder's manifest and its format number, whatever they are."""
    raw = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    request = Request(raw["kind"], dict(raw["config"]), dict(raw["parents"]))
    return Manifest(request, dict(raw["files"]), dict(raw["notes"])), raw["format"]


def require(folder: Path, wanted: Request, make_with: str, *, any_parents: bool = False) -> Manifest:
    """The manifest of an artifact that answers the wanted request; a stale one is refused with what differs.

    A parent digest of "" in the wanted request stands for "whatever it was": that parent is not here to be compared. With
    any_parents it may have been made from anything.
    """
    manifest = read_manifest(folder, wanted.kind, make_with)
    stored = manifest.request
    parents = {name: digest or stored.parents.get(name, "") for name, digest in wanted.parents.items()}
    parents = stored.parents if any_parents else parents
    if Request(wanted.kind, wanted.config, parents) != stored:
        reason = Request(wanted.kind, wanted.config, parents).difference(stored)
        raise ArtifactError(f"{folder}: stale: {reason}; refresh it with `{make_with}`")
    return manifest


def check_files(folder: Path, manifest: Manifest, make_with: str, names: Set[str] | None = None) -> None:
    """Raise ArtifactError unless every file, or every one of `names`, is there with the sha256 that the manifest names."""
    if unlisted := (names or set()) - manifest.files.keys():
        raise ArtifactError(f"{folder / MANIFEST}: damaged (no {min(unlisted)} in it); delete {folder} and run `{make_with}`")
    wanted = {name: digest for name, digest in manifest.files.items() if names is None or name in names}
    for name in wanted:
        if not (folder / name).is_file():
            raise ArtifactError(f"{folder / name}: missing; delete {folder} and run `{make_with}`")
    # Hashing lets other threads work, and a log of 100 million events is to be open within a second.
    with ThreadPoolExecutor(HASHING_THREADS) as pool:
        for name, digest in zip(wanted, pool.map(lambda name: file_digest(folder / name), wanted), strict=True):
            if digest != wanted[name]:
                raise ArtifactError(
                    f"{folder / name}: damaged (its sha256 is not the manifest's); delete {folder} and run `{make_with}`"
                )


def is_current(folder: Path, request: Request) -> bool:
    """Whether the folder holds exactly what the request asks for. A folder with something else in it is refused."""
    if not folder.exists() or not any(folder.iterdir()):
        return False
    if not (folder / MANIFEST).exists():
        raise ArtifactError(f"{folder}: holds something that learec did not write; name another folder or empty this one")
    try:
        stored, stored_format = _read(folder)
    except (ValueError, KeyError, TypeError):
        raise ArtifactError(
            f"{folder / MANIFEST}: damaged, or not written by learec; delete {folder} if it is a run's, or name another folder"
        ) from None
    return stored_format == FORMAT and stored.request.as_json() == request.as_json()


@dataclass(frozen=True)
class Cost:
    """What it took to make an artifact."""

    seconds: float
    peak_mb: float  # MiB of memory


def cost_of(folder: Path) -> Cost | None:
    """What making an artifact took; None where that is not known, for it is no part of the artifact and may be lost by itself."""
    try:
        found = json.loads((folder / COST).read_text(encoding="utf-8"))
        return Cost(float(found["seconds"]), float(found["peak_mb"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def stored_request(folder: Path) -> Request:
    """The request that the artifact in a folder answered."""
    return _read(folder)[0].request


@contextmanager
def building(folder: Path, request: Request, notes: dict[str, Any]) -> Iterator[Path]:
    """A partial folder to write into; on a normal exit it gets its manifest and takes the place of `folder`.

    A partial folder left by an earlier, stopped build with the same request is handed out again, with its SCRATCH. What else
    it holds is made again: a file there may be a half, or the temporary file of a library that was killed as it wrote.
    On an exception it stays too, and `folder` is untouched. `notes` may be filled while building.
    """
    start = time.monotonic()
    _reset_peak()
    partial = partial_folder(folder)
    same = (partial / REQUEST).exists() and (partial / REQUEST).read_text(encoding="utf-8") == request.as_json()
    if same:
        _keep_only(partial, {REQUEST, SCRATCH})
    else:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        write_text(partial / REQUEST, request.as_json())
    yield partial
    write_text(partial / COST, json.dumps(asdict(Cost(round(time.monotonic() - start, 1), _peak_mb()))))
    own = {REQUEST, MANIFEST, COST, f"{MANIFEST}{UNFINISHED}"}
    paths = [path.relative_to(partial) for path in partial.rglob("*") if path.is_file() and path.name not in own]
    names = sorted(str(path) for path in paths if path.parts[0] != SCRATCH)
    manifest = Manifest(request, {name: file_digest(partial / name) for name in names}, notes)
    for name in names:
        _sync(partial / name)
    body = {**json.loads(request.as_json()), "files": manifest.files, "notes": notes}
    write_text(partial / MANIFEST, json.dumps(body, indent=2, sort_keys=True, allow_nan=False) + "\n")
    finish_interrupted(folder)


def _keep_only(folder: Path, names: Set[str]) -> None:
    for path in folder.iterdir():
        if path.name in names:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def partial_folder(folder: Path) -> Path:
    """Where a folder is built before it takes its place."""
    return folder.with_name(f".{folder.name}.partial")


def finish_interrupted(folder: Path) -> None:
    """Put an artifact in its place whose manifest is written: all its files are, even if the process was killed since."""
    partial = partial_folder(folder)
    if (partial / MANIFEST).exists():
        shutil.rmtree(partial / SCRATCH, ignore_errors=True)
        (partial / REQUEST).unlink(missing_ok=True)
        _replace(partial, folder)


def _replace(partial: Path, folder: Path) -> None:
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    partial.rename(folder)
    _sync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a file so that a reader sees all of it or none."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees all of it or none."""
    beside = path.with_name(path.name + UNFINISHED)
    beside.write_bytes(data)
    _sync(beside)
    beside.rename(path)


def load_array(path: Path) -> npt.NDArray[Any]:
    """A memory-mapped array; object arrays (pickles) are refused by numpy."""
    return np.load(path, mmap_mode="r", allow_pickle=False)


def file_digest(path: Path) -> str:
    """The sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _reset_peak() -> None:
    """Let the kernel measure this process's peak memory anew. Only Linux can; elsewhere the peak is the process's own."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _peak_mb() -> int:
    """Peak resident memory since the last reset, in MiB; 0 where the system does not tell."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    except OSError:
        return 0
    return int(found[1]) // 1024 if found else 0


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
