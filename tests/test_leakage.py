"""audit: a log of every split is clean, and a leak that is planted in a log, or in what was made from it, is named."""

import shutil
from functools import partial
from io import StringIO
from typing import Any

import numpy as np
import polars as pl
import pytest
from rich.console import Console
from safetensors.numpy import load_file, save_file

from learec.agents.agent import WEIGHTS
from learec.agents.train import train
from learec.annotations.annotate import annotate
from learec.annotations.table import load_annotations
from learec.artifacts import building, file_digest, read_manifest, request_for
from learec.config import AgentConfig, AgentEntry, AnnotationsConfig, Columns, DataConfig
from learec.data.ease import Explained, item_knn_by_ease
from learec.data.log import MAKE_WITH, Part, load_log
from learec.data.neighbours import SHRINKAGE, ItemKNN, unit_rows
from learec.data.prepare import prepare
from learec.data.sources import Frames
from learec.errors import ArtifactError
from learec.leakage import audit
from learec.progress import Reporter

CONFIG = {"min_item_events": 1, "columns": Columns(event="kind", session="visit", split="part")}
DAY = 86_400


@pytest.fixture(scope="module")
def frames():
    """Sixty visits of twenty users, six events each; a user's last visit is for test, the two before are for training."""
    rng = np.random.default_rng(0)
    rows = [
        (f"u{visit % 20}", f"v{visit}", f"i{item}", 10_000 * DAY + visit * DAY + step, kind, "test" if visit >= 40 else "train")
        for visit in range(60)
        for step, (item, kind) in enumerate(zip(rng.integers(0, 12, 6), rng.choice(["view", "buy"], 6), strict=True))
    ]
    return Frames(pl.DataFrame(rows, ["user_id", "visit", "item_id", "timestamp", "kind", "part"], orient="row"))


def prepared(frames, folder, split, **config):
    prepare(DataConfig(events="events", split=split, **{**CONFIG, **config}), 0, frames, folder)
    return folder


def audited(folder):
    """What audit returns and all that it prints."""
    page = StringIO()
    clean = audit(folder, Reporter(Console(file=page, width=100)))
    return clean, page.getvalue()


def leaks(folder):
    """The sentences of an audit that fails."""
    clean, printed = audited(folder)
    found = [line.removeprefix("LEAK: ") for line in printed.splitlines() if line.startswith("LEAK: ")]
    assert clean == (not found)
    return found


def rewrite(folder, notes=None, parents=None, **arrays):
    """The artifact with other arrays, and with the checksums that they have."""
    kind = folder.name if folder.parent.parent.name != "agents" else "agent"
    manifest = read_manifest(folder, kind, MAKE_WITH)
    request = request_for(kind, manifest.request.config, {**manifest.request.parents, **(parents or {})})
    with building(folder, request, {**manifest.notes, **(notes or {})}) as partial:
        for name in manifest.files:
            shutil.copy(folder / name, partial / name)
        for name, array in arrays.items():
            np.save(partial / f"{name}.npy", array)


def arrays_of(folder, *names):
    """Arrays that may be changed."""
    return [np.load(folder / f"{name}.npy").copy() for name in names]


@pytest.mark.parametrize("split", ["global_time", "leave_one_out", "by_session", "column"])
def test_a_log_as_prepare_makes_it_is_clean(frames, tmp_path, split):
    clean, printed = audited(prepared(frames, tmp_path / "log", split))
    assert clean
    assert "No leak in log/." in printed
    assert f"split {split}: 360 events, 20 users, 12 items" in printed


@pytest.mark.parametrize("split", ["global_time", "leave_one_out", "by_session", "column"])
def test_a_log_of_sessions_cut_by_gaps_is_clean_too(frames, tmp_path, split):
    columns = Columns(event="kind", split="part")
    assert leaks(prepared(frames, tmp_path / "log", split, columns=columns, session_gap=3600.0)) == []


def test_a_training_step_after_a_test_step_of_its_session_is_named(frames, tmp_path):
    folder = prepared(frames, tmp_path / "log", "leave_one_out")
    (parts,) = arrays_of(folder, "parts")
    parts[6:12] = [0, 2, 0, 1, 0, 2]  # second session: a validation step and two training steps after a test step
    rewrite(folder, parts=parts)
    log = load_log(folder)
    (found,) = leaks(folder)
    assert found.startswith("3 steps come after a step of a later part in their session")
    assert f"first session {log.session_ids[1]!r} step 2 item {log.catalog.ids[log.sessions.items[8]]!r}; correct" in found


def test_a_training_event_at_the_first_held_out_time_breaks_a_split_by_time(frames, tmp_path):
    folder = prepared(frames, tmp_path / "log", "global_time")
    times, parts = arrays_of(folder, "times", "parts")
    step = int(np.flatnonzero(parts == Part.TRAIN)[-1])
    times[step] = times[parts != Part.TRAIN].min()
    rewrite(folder, times=times)
    (found,) = leaks(folder)
    assert found.startswith("1 training events are not before the first held-out event, which the split by time promises, first")
    times[step] -= 1
    rewrite(folder, times=times)
    assert leaks(folder) == []


def test_a_validation_event_after_the_first_test_event_breaks_a_split_by_time_as_well(frames, tmp_path):
    folder = prepared(frames, tmp_path / "log", "global_time")
    times, parts = arrays_of(folder, "times", "parts")
    times[np.flatnonzero(parts == Part.VALIDATION)[-1]] = times.max()
    rewrite(folder, times=times)
    assert leaks(folder)[0].startswith("1 validation events are not before the first test event")


def test_other_splits_promise_nothing_about_time_unless_their_notes_name_cuts(frames, tmp_path):
    folder = prepared(frames, tmp_path / "log", "leave_one_out")
    clean, printed = audited(folder)
    assert clean
    assert "not protected: leave_one_out leaks the future across users: " in printed
    rewrite(folder, notes={"cuts": [10_000.0 * DAY]})
    assert "training events are not before the first held-out event" in leaks(folder)[0]


def test_an_event_that_stands_in_training_and_in_test_is_named(frames, tmp_path):
    folder = prepared(frames, tmp_path / "log", "column")
    items, times, kinds, parts = arrays_of(folder, "items", "times", "events", "parts")
    users = np.repeat(pl.read_ipc(folder / "sessions.arrow")["user"].to_numpy(), 6)
    test = int(np.flatnonzero(parts == Part.TEST)[3])
    train = int(np.flatnonzero((parts == Part.TRAIN) & (users == users[test]))[0])
    for array in (items, times, kinds):
        array[test] = array[train]
    rewrite(folder, items=items, times=times, events=kinds)
    log = load_log(folder)
    (found,) = leaks(folder)
    assert found.startswith("1 held-out events are training events too (same user, item, time and kind)")
    assert f"first session {log.session_ids[test // 6]!r} step {test % 6} item " in found
    kinds[test] = 1 - kinds[test]
    rewrite(folder, events=kinds)
    assert leaks(folder) == []


@pytest.mark.parametrize("split", ["by_session", "column"])
def test_a_test_session_that_is_a_training_session_once_more_is_named_even_under_another_user(frames, tmp_path, split):
    folder = prepared(frames, tmp_path / "log", split)
    items, times, parts = arrays_of(folder, "items", "times", "parts")
    users = np.repeat(pl.read_ipc(folder / "sessions.arrow")["user"].to_numpy(), 6)
    test = int(np.flatnonzero(parts == Part.TEST)[0])
    train = int(np.flatnonzero((parts == Part.TRAIN) & (users != users[test]))[0])
    items[test : test + 6] = items[train : train + 6]
    rewrite(folder, items=items)
    clean, printed = audited(folder)
    assert clean
    assert "held-out sessions with the items of a training session in the same order: 1" in printed
    times[test : test + 6] = times[train : train + 6]
    rewrite(folder, times=times)
    session = load_log(folder).session_ids[test // 6]
    (found,) = leaks(folder)
    assert found.startswith(
        f"1 held-out sessions are copies of training sessions (same items and times), first session {session!r}"
    )
    rewrite(folder, notes={"time_unit": "order"})
    assert leaks(folder) == [], "every session has the times 0, 1, 2 where they are an order"


def test_a_file_that_was_changed_since_it_was_written_ends_the_audit(frames, tmp_path):
    for name in ("times.npy", "items.npy", "sessions.arrow"):
        folder = prepared(frames, tmp_path / name / "log", "global_time")
        data = bytearray((folder / name).read_bytes())
        data[len(data) // 2] ^= 1
        (folder / name).write_bytes(data)
        (found,) = leaks(folder)
        assert f"{name}: damaged" in found
        assert found.endswith("nothing else was looked at")


def test_a_folder_without_a_log_is_refused(tmp_path, quiet):
    with pytest.raises(ArtifactError, match=r"no log here .*make it with `learec prepare RECIPE`"):
        audit(tmp_path, quiet)


class Arithmetic:
    """An environment whose rewards are a function of the item."""

    def __init__(self, n_items):
        vectors = unit_rows(np.random.default_rng(0).normal(size=(n_items, 4)))
        self.item_vectors = np.vstack([np.zeros(4), vectors]).astype(np.float32)

    def annotate(self, sessions, candidates):
        def worth(items):
            return (items * 7 % 11).astype(np.float32)

        return self.item_vectors[sessions.items], worth(sessions.items), np.where(candidates > 0, worth(candidates), 0)


@pytest.fixture(scope="module")
def whole_run(frames, tmp_path_factory):
    """A run with everything in it: a log with one cold item, environment, annotations, an agent."""
    folder, quiet = tmp_path_factory.mktemp("run"), Reporter(Console(quiet=True))
    last = pl.col("visit") == "v59"  # a test visit
    events = frames.events.with_columns(pl.when(last).then(pl.lit("new")).otherwise("item_id").alias("item_id"))
    log = load_log(prepared(Frames(events), folder / "log", "column"))
    assert log.cold_items.tolist() == [log.catalog.numbers["new"]]
    environment = Arithmetic(log.catalog.n_items)
    with building(folder / "environment", request_for("environment", {}, {"log": log.digest}), {}) as partial:
        for name in ("item_tokens", "item_vectors"):
            np.save(partial / f"{name}.npy", environment.item_vectors)
    digest = read_manifest(folder / "environment", "environment", MAKE_WITH).digest
    config = AnnotationsConfig(n_augmented=2, margin=100.0)
    annotate(config, log, environment, digest, folder / "annotations", reporter=quiet)
    ease: dict[str, Any] = {"item_knn": True, "knn_similarity": "ease"}
    cease = {**ease, "lea": ("content",), "ease_text_weight": 3.0}
    for name, settings in {"plain": {}, "told": {"item_knn": True}, "ease": ease, "cease": cease}.items():
        entry = AgentEntry(name, 0, AgentConfig(hidden_size=4, epochs=1, **settings))
        agent = folder / "agents" / name / "seed-0"
        annotations = load_annotations(folder / "annotations") if entry.config.lea else None
        train(entry, log, annotations, agent, device="cpu", reporter=quiet, validate=lambda agent: {"NDCG@10": 0.0})
    return folder


@pytest.fixture
def run(whole_run, tmp_path):
    """A copy that a leak may be planted in: 36 of 40 training visits are left for training, 216 steps, 180 not the first."""
    return shutil.copytree(whole_run, tmp_path / "run")


def test_a_run_as_the_line_makes_it_is_clean_and_everything_in_it_was_looked_at(run):
    clean, printed = audited(run)
    assert clean
    assert (
        printed.splitlines()[-1]
        == "No leak in log/, environment/, annotations/, cease/seed-0, ease/seed-0, plain/seed-0, told/seed-0."
    )
    assert "note:" not in printed


@pytest.mark.parametrize("name", ["item_tokens", "item_vectors"])
def test_item_vectors_of_another_number_of_items_are_named(run, name):
    (array,) = arrays_of(run / "environment", name)
    rewrite(run / "environment", **{name: array[:-1]})
    assert any(f"{name}.npy: has 13 rows, wanted 14 (items and padding)" in leak for leak in leaks(run))


def test_annotations_over_other_vectors_than_the_environments_are_named(run):
    (vectors,) = arrays_of(run / "annotations", "item_vectors")
    rewrite(run / "annotations", item_vectors=-vectors)
    (found,) = leaks(run)
    assert "item_vectors.npy: differs from the environment's" in found
    shutil.rmtree(run / "environment")
    assert leaks(run) == []


def test_annotations_of_more_steps_than_training_has_are_named(run):
    (rewards,) = arrays_of(run / "annotations", "rewards")
    rewrite(run / "annotations", rewards=np.append(rewards, np.float32(0)))
    (found,) = leaks(run)
    assert "rewards.npy: has 217 rows, wanted 216 (training steps)" in found


@pytest.mark.parametrize(
    ("change", "seen"),
    [(lambda r: r + 0.01, "mean 0.0100"), (lambda r: r * 1.01, "deviation 1.0100"), (lambda r: r * np.nan, "nan")],
)
def test_rewards_that_were_scaled_over_other_steps_are_named(run, change, seen):
    (rewards,) = arrays_of(run / "annotations", "rewards")
    rewrite(run / "annotations", rewards=change(rewards))
    (found,) = leaks(run)
    assert "rewards.npy: 180 annotated steps have mean" in found
    assert seen in found


def planted_action(run, item_of):
    """An augmented action in the third step of the second training session."""
    log = load_log(run / "log")
    (augmented,) = arrays_of(run / "annotations", "augmented")
    step = int(log.training.offsets[np.flatnonzero(log.training.lengths)[1]]) + 2
    augmented[step] = [item_of(log, step), 0]
    rewrite(run / "annotations", augmented=augmented)
    where = f"session {log.session_ids[int(log.training.session_of[step])]!r} step 2 item "
    (found,) = leaks(run)
    return found, where


def test_an_augmented_action_that_training_does_not_know_is_named(run):
    found, where = planted_action(run, lambda log, step: log.cold_items[0])
    assert (
        f"augmented.npy: 1 augmented actions have no training step, so only held-out steps can tell of them, first {where}"
        in found
    )
    assert "'new'" in found


def test_an_augmented_action_that_is_no_item_is_named(run):
    found, where = planted_action(run, lambda log, step: 99)
    assert f"have no training step, so only held-out steps can tell of them, first {where}number 99" in found


def test_an_augmented_action_that_is_the_logged_one_is_named(run):
    def logged(log, step):
        items = log.training.items
        assert items[step] not in items[step - 2 : step], "or it would be in the history too"
        return items[step]

    found, where = planted_action(run, logged)
    assert f"1 augmented actions are their step's own logged one, first {where}" in found


def test_an_augmented_action_that_the_history_had_is_named(run):
    found, where = planted_action(run, lambda log, step: log.training.items[step - 2])
    assert f"1 augmented actions are in their step's history, first {where}" in found


def test_an_augmented_action_that_the_session_takes_later_is_none_of_a_leak(run):
    log = load_log(run / "log")
    (augmented,) = arrays_of(run / "annotations", "augmented")
    step = int(log.training.offsets[np.flatnonzero(log.training.lengths)[1]])
    later = [item for item in log.training.items[step + 2 : step + 6] if item not in log.training.items[step : step + 2]]
    augmented[step + 1] = [later[0], 0]
    rewrite(run / "annotations", augmented=augmented)
    assert leaks(run) == []


@pytest.mark.parametrize("name", ["environment", "annotations", "agents/plain/seed-0"])
def test_what_was_made_from_another_log_is_named_unless_this_log_extends_it(run, name):
    rewrite(run / name, parents={"log": "another"})
    (found,) = leaks(run)
    assert "was made from another log, which may train on these held-out steps" in found
    digest = read_manifest(run / "log", "log", MAKE_WITH).digest
    rewrite(run / "log", notes={"ancestors": ["another"]})
    assert read_manifest(run / "log", "log", MAKE_WITH).digest == digest
    clean, printed = audited(run)
    assert clean
    assert "was made before events were appended to the log" in printed


def planted_weights(run, cold_items):
    agent = run / "agents" / "plain" / "seed-0"
    weights = load_file(agent / WEIGHTS)
    assert weights.pop("cold_items").tolist() == load_log(run / "log").cold_items.tolist()
    save_file({**weights, **({} if cold_items is None else {"cold_items": cold_items})}, agent / WEIGHTS)
    rewrite(agent)
    assert read_manifest(agent, "agent", MAKE_WITH).files[WEIGHTS] == file_digest(agent / WEIGHTS)


def test_an_agent_that_knew_an_item_of_the_held_out_parts_is_named(run):
    planted_weights(run, np.zeros(0, dtype=np.int64))
    number = load_log(run / "log").cold_items[0]
    (found,) = leaks(run)
    assert f"was trained without 0 items and the training steps lack 1, first difference item number {number};" in found


def test_an_agent_that_does_not_say_which_items_it_knew_is_noted(run):
    planted_weights(run, None)
    clean, printed = audited(run)
    assert clean
    assert "does not say which items it was trained without; train it again" in printed


BY_COSINE = partial(ItemKNN.fit, decay=0.8, shrinkage=SHRINKAGE)
BY_EASE = partial(item_knn_by_ease, decay=0.8, regularisation=200.0, named="x")


def by_cease(sessions, n_items):
    vectors = np.array(Arithmetic(n_items).item_vectors, dtype=np.float32)
    return item_knn_by_ease(sessions, n_items, 0.8, 200.0, Explained(vectors, 3.0), named="x")


@pytest.mark.parametrize(("name", "fit"), [("told", BY_COSINE), ("ease", BY_EASE), ("cease", by_cease)])
def test_an_agent_whose_counts_know_a_held_out_step_is_named(run, name, fit):
    agent, log = run / "agents" / name / "seed-0", load_log(run / "log")
    weights = load_file(agent / WEIGHTS)
    everything = fit(log.sessions, log.catalog.n_items).similarity
    parts = {"starts": everything.indptr, "neighbours": everything.indices, "cosines": everything.data}
    save_file({**weights, **{f"evidence.{name}": part for name, part in parts.items()}}, agent / WEIGHTS)
    rewrite(agent)
    (found,) = leaks(run)
    assert f"{name}/seed-0: its item-kNN is not that of the training steps, so it may know held-out ones;" in found


def test_damaged_weights_are_named(run):
    path = run / "agents" / "plain" / "seed-0" / WEIGHTS
    path.write_bytes(path.read_bytes()[:-1])
    (found,) = leaks(run)
    assert f"{WEIGHTS}: damaged" in found


def test_a_log_folder_alone_is_audited_without_what_was_made_from_it(run):
    rewrite(run / "environment", parents={"log": "another"})
    assert leaks(run / "log") == []
