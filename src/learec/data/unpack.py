"""Unpacking an archive safely: checked as a whole before anything is written, in its place in one rename."""

import gzip
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from learec.errors import DataError

ENDINGS = (".tar.gz", ".tgz", ".tar", ".zip")  # a plain .gz is one file: readers take it as it is
MAX_RATIO = 100
ALWAYS_FINE = 1_000_000_000  # bytes; text of a few repeated lines packs better than MAX_RATIO, a log of this size does not
Archive = zipfile.ZipFile | tarfile.TarFile
# The last three: a member stands in the archive both as a file and as a folder.
DAMAGED = (
    zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, NotImplementedError,
    FileExistsError, NotADirectoryError, IsADirectoryError,
)  # fmt: skip


@dataclass(frozen=True)
class Member:
    """What an archive says that it holds, before any of it is read."""

    name: str
    size: int  # bytes, unpacked
    fault: str  # what it is, if it is neither a file nor a folder, or cannot be read


def folder_name(archive: str) -> str | None:
    """The folder that an archive of this name is unpacked into (ml-100k.zip: ml-100k); None if it is no archive."""
    ending = next((ending for ending in ENDINGS if archive.lower().endswith(ending)), None)
    return archive[: -len(ending)] if ending else None


def unpack(archive: Path, target: Path) -> None:
    """Unpack into the folder `target`, which is not there yet; an archive's only folder at the top becomes `target` itself.

    DataError, and nothing written, if a member would leave the folder or is no plain file, if it is beyond the free disk
    or grows like a bomb, or if the archive is damaged. A stopped call leaves nothing but a hidden folder beside, which the
    next one clears.
    """
    if target.exists():
        raise DataError(f"{target}: is there already; delete it to unpack {archive} again")
    partial = target.with_name(f".{target.name}.unpacking")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with _open(archive) as opened:
            _check(archive, opened, shutil.disk_usage(target.parent).free)
            partial.mkdir()
            _extract(opened, partial)
        _content(partial).rename(target)
    except DAMAGED as error:
        seen = f"{type(error).__name__}: {error}"
        raise DataError(f"{archive}: cannot be unpacked ({seen}), wanted a whole archive; delete it and get it again") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _open(archive: Path) -> Archive:
    if archive.name.lower().endswith(".zip"):
        return zipfile.ZipFile(archive)
    return tarfile.open(archive, "r:" if archive.name.lower().endswith(".tar") else "r:gz")


def _check(archive: Path, opened: Archive, free: int) -> None:
    """Refuse an archive for its first bad member. Members are read one by one: a bomb is seen before it is unpacked."""
    packed, size = archive.stat().st_size, 0
    for member in _members(opened):
        if fault := member.fault or _escape(member.name):
            raise DataError(
                f"{archive}: member {member.name!r} {fault}, wanted plain files and folders that stay inside; "
                "nothing was unpacked, get the archive from its own host"
            )
        size += member.size
        if size > ALWAYS_FINE and size > MAX_RATIO * packed:
            raise DataError(
                f"{archive}: member {member.name!r} brings the unpacked size to {size:,} bytes, over {MAX_RATIO} times "
                f"the archive's {packed:,}; nothing was unpacked, get the archive from its own host"
            )
        if size > free:
            raise DataError(
                f"{archive}: needs {size:,} bytes up to member {member.name!r}, {free:,} are free in {archive.parent}; "
                "nothing was unpacked, make room or name another folder"
            )


def _members(opened: Archive) -> Iterator[Member]:
    if isinstance(opened, tarfile.TarFile):
        for info in opened:
            yield Member(info.name, info.size, _tar_fault(info))
    else:
        for entry in opened.infolist():
            yield Member(entry.filename, entry.file_size, _zip_fault(entry))


def _tar_fault(info: tarfile.TarInfo) -> str:
    if info.issym() or info.islnk():
        return f"is a link to {info.linkname!r}"
    return "" if info.isfile() or info.isdir() else "is a device or a pipe"


def _zip_fault(entry: zipfile.ZipInfo) -> str:
    kind = stat.S_IFMT(entry.external_attr >> 16)  # what Unix packers write; 0 from others
    if kind == stat.S_IFLNK:
        return "is a link"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a device or a pipe"
    return "wants a password" if entry.flag_bits & 1 else ""


def _escape(name: str) -> str:
    """How a member's name leads out of the folder, on this or another system; empty if it does not."""
    if name.startswith("/"):
        return "has an absolute path"
    if re.match(r"[A-Za-z]:", name):
        return "names a drive"
    if "\\" in name:
        return "has a backslash in its path"
    return "leads out of the folder" if ".." in name.split("/") else ""


def _extract(opened: Archive, folder: Path) -> None:
    if isinstance(opened, tarfile.TarFile):
        opened.extractall(folder, filter="data")
    else:
        opened.extractall(folder)


def _content(partial: Path) -> Path:
    """The folder with the files: the only folder at the top, or all of it."""
    entries = list(partial.iterdir())
    return entries[0] if len(entries) == 1 and entries[0].is_dir() else partial
