"""Archives, good and malicious, made on the fly."""

import io
import os
import shutil
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from learec.data import unpack as module
from learec.data.unpack import folder_name, unpack
from learec.errors import DataError

FILES = {"log/u.data": b"1\t2\t3\n", "log/deep/u.item": b"film\n"}
ENDINGS = (".zip", ".tar", ".tar.gz")


def make(path: Path, members: dict[str, bytes | tarfile.TarInfo | zipfile.ZipInfo]) -> Path:
    """An archive by its ending; a member is its bytes, or the record to write in its place."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(*((name, content) if isinstance(content, bytes) else (content, b"/etc/passwd")))
        return path
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name, content in members.items():
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return path


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def special(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def zipped_link(name: str, kind: int = stat.S_IFLNK) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (kind | 0o777) << 16
    return info


def refused(archive: Path, words: str) -> None:
    """Refused with these words, and nothing is written anywhere beside the archive."""
    before = sorted(archive.parent.parent.rglob("*"))
    with pytest.raises(DataError, match=words) as error:
        unpack(archive, archive.parent / "log")
    assert str(archive) in str(error.value)
    assert sorted(archive.parent.parent.rglob("*")) == before


@pytest.fixture
def folder(tmp_path) -> Path:
    """Inside another folder, so that a member that leaves it is seen."""
    (tmp_path / "inner").mkdir()
    return tmp_path / "inner"


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_archive_is_unpacked_and_its_only_folder_becomes_the_target(folder, ending):
    unpack(make(folder / f"log{ending}", FILES), folder / "log")
    assert tree(folder / "log") == {"u.data": b"1\t2\t3\n", "deep/u.item": b"film\n"}
    assert sorted(path.name for path in folder.iterdir()) == ["log", f"log{ending}"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_archive_with_several_things_at_the_top_keeps_them(folder, ending):
    unpack(make(folder / f"flat{ending}", {"a.csv": b"a", "b/c.csv": b"c"}), folder / "flat")
    assert tree(folder / "flat") == {"a.csv": b"a", "b/c.csv": b"c"}


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("ml-100k.zip", "ml-100k"), ("lastfm-dataset-1K.tar.gz", "lastfm-dataset-1K"), ("a.tgz", "a"), ("a.tar", "a"),
     ("meta_Beauty.json.gz", None), ("u.data", None)],
)  # fmt: skip
def test_only_archives_have_a_folder_and_a_plain_gz_is_none(name, wanted):
    assert folder_name(name) == wanted


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../evil", "leads out of the folder"),
        ("log/../../evil", "leads out of the folder"),
        ("/tmp/evil", "has an absolute path"),
        ("C:/evil", "names a drive"),
        ("c:evil", "names a drive"),
        ("..\\evil", "has a backslash"),
        ("log\\evil", "has a backslash"),
    ],
)
def test_a_member_that_would_leave_the_folder_is_named_and_nothing_is_written(folder, ending, name, words):
    refused(make(folder / f"log{ending}", {**FILES, name: b"evil"}), f"member {name!r} {words}".replace("\\", "\\\\"))


@pytest.mark.parametrize(
    ("member", "words"),
    [
        (special("log/link", tarfile.SYMTYPE, "/etc/passwd"), "is a link to '/etc/passwd'"),
        (special("log/link", tarfile.SYMTYPE, "../../evil"), "is a link to"),
        (special("log/link", tarfile.LNKTYPE, "../../evil"), "is a link to"),
        (special("log/null", tarfile.CHRTYPE), "is a device or a pipe"),
        (special("log/disk", tarfile.BLKTYPE), "is a device or a pipe"),
        (special("log/pipe", tarfile.FIFOTYPE), "is a device or a pipe"),
    ],
    ids=lambda value: value.replace("/", "") if isinstance(value, str) else value.type.decode(),
)
def test_links_and_devices_of_a_tar_are_refused(folder, member, words):
    refused(make(folder / "log.tar.gz", {**FILES, member.name: member}), f"member '{member.name}' {words}")


@pytest.mark.parametrize(("kind", "words"), [(stat.S_IFLNK, "is a link"), (stat.S_IFIFO, "is a device or a pipe")])
def test_links_and_devices_of_a_zip_are_refused(folder, kind, words):
    refused(make(folder / "log.zip", {**FILES, "log/x": zipped_link("log/x", kind)}), f"member 'log/x' {words}")


def test_a_zip_with_a_password_is_refused(folder):
    archive = make(folder / "log.zip", {"u.data": b"1"})
    data = bytearray(archive.read_bytes())
    data[data.index(b"PK\x03\x04") + 6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(data)
    refused(archive, "member 'u.data' wants a password")


def test_a_member_that_is_file_and_folder_at_once_is_refused(folder):
    refused(make(folder / "log.zip", {"log": b"a", "log/b": b"b"}), "cannot be unpacked")


def test_an_archive_beyond_the_free_disk_is_refused(folder, monkeypatch):
    archive = make(folder / "log.zip", {"a": bytes(600), "b": bytes(600)})
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    refused(archive, "needs 1,200 bytes up to member 'b', 1,000 are free")


def test_a_bomb_is_refused_from_its_header_before_its_bytes_are_read(folder):
    info = tarfile.TarInfo("log/huge")
    info.size = 2_000_000_000
    refused(make(folder / "log.tar.gz", {**FILES, "huge": info}), "member 'log/huge' brings .* over 100 times")


def test_a_bomb_of_many_members_is_seen_in_their_sum(folder, monkeypatch):
    monkeypatch.setattr(module, "ALWAYS_FINE", 1_000_000)
    refused(make(folder / "log.zip", {f"{part}": bytes(300_000) for part in range(4)}), "member '3' brings")


def test_a_small_archive_may_be_packed_as_tightly_as_it_likes(folder):
    archive = make(folder / "log.zip", {"zeros": bytes(5_000_000)})
    assert archive.stat().st_size * module.MAX_RATIO < 5_000_000
    unpack(archive, folder / "log")
    assert (folder / "log" / "zeros").stat().st_size == 5_000_000


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_truncated_archive_is_refused_and_leaves_nothing(folder, ending):
    archive = make(folder / f"log{ending}", {"log/noise": os.urandom(50_000)})
    archive.write_bytes(archive.read_bytes()[:30_000])
    refused(archive, "cannot be unpacked .* wanted a whole archive; delete it and get it again")


def test_a_zip_with_a_changed_byte_is_refused_and_leaves_nothing(folder):
    archive = make(folder / "log.zip", {"log/first": b"fine", "log/noise": os.urandom(50_000)})
    data = bytearray(archive.read_bytes())
    data[30_000] ^= 1
    archive.write_bytes(data)
    refused(archive, "cannot be unpacked")


def test_a_stopped_extraction_leaves_nothing_half_and_the_next_call_does_it_all(folder, monkeypatch):
    archive = make(folder / "log.zip", FILES)

    def stopped(_opened, partial):
        (partial / "half").write_text("half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "_extract", stopped)
        unpack(archive, folder / "log")
    assert [path.name for path in folder.iterdir()] == ["log.zip"]
    unpack(archive, folder / "log")
    assert tree(folder / "log") == {"u.data": b"1\t2\t3\n", "deep/u.item": b"film\n"}


def test_what_a_killed_process_left_is_cleared(folder):
    (folder / ".log.unpacking").mkdir()
    (folder / ".log.unpacking" / "half").write_text("half")
    unpack(make(folder / "log.zip", FILES), folder / "log")
    assert sorted(path.name for path in folder.iterdir()) == ["log", "log.zip"]
    assert "half" not in tree(folder / "log")


def test_a_folder_that_is_there_is_not_touched(folder):
    (folder / "log").mkdir()
    (folder / "log" / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="is there already; delete it to unpack"):
        unpack(make(folder / "log.zip", FILES), folder / "log")
    assert tree(folder / "log") == {"thesis.txt": b"years of work"}
