"""Artifacts: what is on disk is the old one or the new one, whole, and says what it is and what it was made from."""

import json
import re
import shutil
from contextlib import contextmanager

import numpy as np
import pytest

import learec.artifacts as artifacts
from learec.artifacts import (
    COST,
    MANIFEST,
    SCRATCH,
    building,
    check_files,
    cost_of,
    finish_interrupted,
    is_current,
    load_array,
    partial_folder,
    read_manifest,
    request_for,
    require,
)
from learec.config import SimulateConfig
from learec.errors import ArtifactError

COMMAND = "learec prepare small.toml"
FIRST = request_for("log", {"k": 5}, {"events file": "aa"}, seed=0)
SECOND = request_for("log", {"k": 6}, {"events file": "aa"}, seed=0)


def build(folder, request=FIRST, text="one", notes=None):
    with building(folder, request, notes if notes is not None else {}) as partial:
        (partial / "data.txt").write_text(text)
        (partial / "sub").mkdir(exist_ok=True)
        (partial / "sub/more.txt").write_text("more")
    return read_manifest(folder, request.kind, COMMAND)


@contextmanager
def killed_at(monkeypatch, what):
    """The process dies at a step of `_replace` or `building`: from there on nothing is done."""

    def die(*_arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(artifacts, what, die)
        yield


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run" / "log"


def test_a_built_folder_holds_its_files_and_a_manifest_that_names_them(folder):
    manifest = build(folder, notes={"sessions": 3})
    assert manifest.files.keys() == {"data.txt", "sub/more.txt"}
    assert (manifest.request, manifest.notes) == (FIRST, {"sessions": 3})
    assert {path.name for path in folder.iterdir()} == {"data.txt", "sub", MANIFEST, COST}
    assert [path.name for path in folder.parent.iterdir()] == ["log"], "nothing is left beside it"
    check_files(folder, manifest, COMMAND)


def test_an_exception_leaves_the_old_artifact_and_keeps_the_partial_folder(folder):
    before = build(folder)
    with pytest.raises(RuntimeError), building(folder, SECOND, {}) as partial:
        (partial / "data.txt").write_text("half")
        raise RuntimeError
    assert read_manifest(folder, "log", COMMAND) == before
    assert (folder / "data.txt").read_text() == "one"
    assert (partial_folder(folder) / "data.txt").read_text() == "half"


def test_the_same_request_is_handed_its_partial_folder_again(folder):
    with pytest.raises(RuntimeError), building(folder, FIRST, {}) as partial:
        (partial / SCRATCH).mkdir()
        (partial / SCRATCH / "epoch").write_text("3")
        raise RuntimeError
    with building(folder, FIRST, {}) as partial:
        assert (partial / SCRATCH / "epoch").read_text() == "3"
        (partial / "data.txt").write_text("one")
    assert not (folder / SCRATCH).exists(), "what only a resumed build needs is no part of the artifact"
    assert read_manifest(folder, "log", COMMAND).files.keys() == {"data.txt"}


def test_what_a_killed_build_was_writing_is_no_part_of_the_artifact(folder):
    with pytest.raises(RuntimeError), building(folder, FIRST, {}) as partial:
        (partial / ".tmpHDuLOJ").write_text("safetensors writes here, then renames")
        (partial / "deep").mkdir()
        (partial / "deep" / "half.npy").write_text("ha")
        raise RuntimeError
    build(folder)
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == [
        "cost.json", "data.txt", "manifest.json", "sub/more.txt",
    ]  # fmt: skip


def test_another_request_gets_an_empty_partial_folder(folder):
    with pytest.raises(RuntimeError), building(folder, FIRST, {}) as partial:
        (partial / "data.txt").write_text("of the first")
        raise RuntimeError
    with building(folder, SECOND, {}) as partial:
        assert not (partial / "data.txt").exists()


def test_a_flipped_bit_is_detected_and_named(folder):
    manifest = build(folder)
    data = bytearray((folder / "sub/more.txt").read_bytes())
    data[0] ^= 1
    (folder / "sub/more.txt").write_bytes(data)
    with pytest.raises(ArtifactError, match=rf"sub/more\.txt: damaged .*; delete {re.escape(str(folder))} and run `{COMMAND}`"):
        check_files(folder, manifest, COMMAND)


def test_a_missing_file_is_named(folder):
    manifest = build(folder)
    (folder / "data.txt").unlink()
    with pytest.raises(ArtifactError, match=rf"data\.txt: missing; delete .* and run `{COMMAND}`"):
        check_files(folder, manifest, COMMAND)


@pytest.mark.parametrize("text", ["{", "[]", "3", '{"kind": "log"}', '{"kind": "log", "config": 3}'])
def test_a_damaged_manifest_is_one_sentence_and_never_taken_for_up_to_date(folder, text):
    build(folder)
    (folder / MANIFEST).write_text(text)
    with pytest.raises(ArtifactError, match=rf"manifest\.json: damaged .*; delete the folder and run `{COMMAND}`"):
        read_manifest(folder, "log", COMMAND)
    with pytest.raises(ArtifactError, match=r"manifest\.json: damaged, or not written by learec; delete .* or name another"):
        is_current(folder, FIRST)


def test_a_folder_with_something_else_in_it_is_refused_and_left_alone(folder):
    folder.mkdir(parents=True)
    (folder / "thesis.txt").write_text("years")
    with pytest.raises(ArtifactError, match="holds something that learec did not write; name another folder or empty this one"):
        is_current(folder, FIRST)
    assert (folder / "thesis.txt").read_text() == "years"


def test_only_an_equal_request_is_up_to_date(folder):
    assert not is_current(folder, FIRST)
    folder.mkdir(parents=True)
    assert not is_current(folder, FIRST), "an empty folder may be used"
    build(folder)
    assert is_current(folder, FIRST)
    assert not is_current(folder, SECOND)


def test_an_artifact_of_another_format_is_made_again_and_not_read(folder, monkeypatch):
    monkeypatch.setattr(artifacts, "FORMAT", 0)
    build(folder)
    monkeypatch.undo()
    assert not is_current(folder, FIRST)
    with pytest.raises(
        ArtifactError, match=rf"holds log of format 0, wanted log of format {artifacts.FORMAT}; make it again with `{COMMAND}`"
    ):
        read_manifest(folder, "log", COMMAND)


def test_an_artifact_of_another_kind_or_none_is_refused_with_the_command_that_makes_one(folder):
    with pytest.raises(ArtifactError, match=rf"no log here .*; make it with `{COMMAND}`"):
        read_manifest(folder, "log", COMMAND)
    build(folder)
    with pytest.raises(ArtifactError, match=f"holds log of format {artifacts.FORMAT}, wanted agent of format {artifacts.FORMAT}"):
        read_manifest(folder, "agent", COMMAND)


def test_a_stale_artifact_is_refused_with_what_differs(folder):
    build(folder)
    with pytest.raises(ArtifactError, match=rf"stale: k was 5 and is now 6; refresh it with `{COMMAND}`"):
        require(folder, SECOND, COMMAND)
    with pytest.raises(ArtifactError, match="stale: it was made from another events file"):
        require(folder, request_for("log", {"k": 5}, {"events file": "bb"}, seed=0), COMMAND)
    with pytest.raises(ArtifactError, match="stale: seed was 0 and is now 1"):
        require(folder, request_for("log", {"k": 5}, {"events file": "aa"}, seed=1), COMMAND)
    with pytest.raises(ArtifactError, match="stale: extra was its default and is now 2"):
        require(folder, request_for("log", {"k": 5, "extra": 2}, {"events file": "aa"}, seed=0), COMMAND)
    assert require(folder, FIRST, COMMAND).request == FIRST


def test_a_parent_that_is_not_here_any_more_is_not_compared(folder):
    build(folder)
    assert require(folder, request_for("log", {"k": 5}, {"events file": ""}, seed=0), COMMAND).request == FIRST


def test_a_kill_between_the_two_renames_is_finished_by_the_next_run(folder):
    build(folder, text="old")
    build(folder.with_name("new"), SECOND, "new")
    # What is on disk then: the old artifact is moved away, the new one is whole and still under its partial name.
    folder.rename(folder.with_name(".log.old"))
    folder.with_name("new").rename(partial_folder(folder))
    finish_interrupted(folder)
    assert is_current(folder, SECOND)
    assert (folder / "data.txt").read_text() == "new"
    assert [path.name for path in folder.parent.iterdir()] == ["log"]


def test_a_kill_before_the_first_rename_is_finished_by_the_next_run(folder, monkeypatch):
    build(folder, text="old")
    with killed_at(monkeypatch, "_replace"):
        build(folder, SECOND, "new")
    assert is_current(folder, FIRST), "until then a reader sees the old one"
    finish_interrupted(folder)
    assert is_current(folder, SECOND)


def test_a_partial_folder_without_a_manifest_is_not_put_in_place(folder):
    with pytest.raises(RuntimeError), building(folder, FIRST, {}):
        raise RuntimeError
    finish_interrupted(folder)
    assert not folder.exists()


def test_a_kill_while_the_manifest_is_written_leaves_no_trace_in_the_finished_artifact(folder):
    with pytest.raises(RuntimeError), building(folder, FIRST, {}) as partial:
        (partial / "manifest.json.writing").write_text("{")
        raise RuntimeError
    manifest = build(folder)
    check_files(folder, manifest, COMMAND)
    assert manifest.files.keys() == {"data.txt", "sub/more.txt"}


def test_the_digest_tells_content_and_request_and_neither_notes_nor_cost(tmp_path):
    digest = build(tmp_path / "a", notes={"seconds": 1}).digest
    assert build(tmp_path / "b", notes={"seconds": 2}).digest == digest
    shutil.copytree(tmp_path / "a", tmp_path / "c")
    (tmp_path / "c" / COST).write_text(json.dumps({"seconds": 9.0, "peak_mb": 9}))
    assert read_manifest(tmp_path / "c", "log", COMMAND).digest == digest
    assert build(tmp_path / "d", text="two").digest != digest
    assert build(tmp_path / "e", SECOND).digest != digest


@pytest.mark.parametrize("text", [None, "", "{}", '{"seconds": null, "peak_mb": 3}', "[1]"])
def test_a_lost_or_damaged_cost_is_not_known_and_the_artifact_stays_good(folder, text):
    build(folder)
    assert cost_of(folder).seconds >= 0 and cost_of(folder).peak_mb > 0
    (folder / COST).unlink() if text is None else (folder / COST).write_text(text)
    assert cost_of(folder) is None
    assert is_current(folder, FIRST)


def test_a_request_from_a_record_equals_the_one_read_back(folder):
    request = request_for("raw", SimulateConfig(listeners=7), {}, seed=3)
    assert request.config == {"listeners": 7, "tracks": 1000, "mean_plays": 12, "seed": 3}
    assert build(folder, request).request == request


def test_an_array_with_python_objects_is_never_unpickled(tmp_path):
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="Python objects"):
        load_array(tmp_path / "objects.npy")
