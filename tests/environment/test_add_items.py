"""adapt --add-items: new items join the environment of an extended log, and nothing that was learnt moves."""

import shutil

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from learec.annotations.annotate import annotate
from learec.annotations.table import load_annotations
from learec.artifacts import file_digest, is_current, partial_folder, read_manifest
from learec.cli import app
from learec.config import AnnotationsConfig, Columns, DataConfig, EnvironmentConfig
from learec.data.append import append
from learec.data.log import load_log
from learec.data.prepare import prepare
from learec.environment.adapt import adapt, environment_request
from learec.environment.add_items import NewItems, add_items
from learec.environment.environment import load_environment
from learec.errors import ArtifactError, DataError

START = 1_700_000_000
DATA = DataConfig(
    events="log.csv", items="items.csv", min_item_events=1, min_session_events=2, split="leave_one_out", title="{title}",
    text="{title} in {place}",
)  # fmt: skip
N_USERS, N_ITEMS = 24, 20
NEW_ITEMS = {"new-a": ("Big kite 2", "shops"), "new-b": ("Blue boat", "ponds"), "new-c": (None, None)}


def titled(place):
    words = ["drill", "saw", "kite", "boat", "lamp", "cup"]
    return f"{['Old', 'New', 'Big'][place % 3]} {words[place % 6]} {place}", ["shops", "parks"][place % 2]


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """A log, its item table, events on new items, and the table of those."""
    folder, rng = tmp_path_factory.mktemp("raw"), np.random.default_rng(0)
    rows = [
        (f"user-{user}", f"item-{item}", START + 60 * step)
        for user in range(N_USERS)
        for step, item in enumerate(rng.permutation(N_ITEMS)[:7])
    ]
    items = [(f"item-{number}", *titled(number)) for number in range(N_ITEMS)]
    more = [(f"user-{user}", item, START + 9000 + place) for user in range(9) for place, item in enumerate(NEW_ITEMS)]
    schema = ["user_id", "item_id", "timestamp"]
    pl.DataFrame(rows, schema, orient="row").write_csv(folder / "log.csv")
    pl.DataFrame(more, schema, orient="row").write_csv(folder / "more.csv")
    pl.DataFrame(items, ["item_id", "title", "place"], orient="row").write_csv(folder / "items.csv")
    table = [(name, *fields) for name, fields in NEW_ITEMS.items()]
    pl.DataFrame(table, ["item_id", "title", "place"], orient="row").write_parquet(folder / "new.parquet")
    return folder


def config_of(family_folder, **settings):
    small = {"history": 8, "epochs": 1, "lora_rank": 2, "lora_layers": 1, "max_text_tokens": 24, "whitened_size": 8}
    return EnvironmentConfig(**{**small, "llm": str(family_folder("llama")), "token_sample": 100, **settings})


WAYS = {
    "mean": {},
    "words": {"history_text_tokens": 3},
    "read": {"text_layers": 2},
    "trained": {"item_tokens": "trained"},
    "network": {"item_tokens": "trained", "trained_token_items": 5},
}


@pytest.fixture(scope="module", params=WAYS)
def adapted(request, raw, tmp_path_factory, family_folder, silent):
    """A run's folder whose log was extended after its environment was made, for each way to make tokens; and the config."""
    folder, config = tmp_path_factory.mktemp(request.param), config_of(family_folder, **WAYS[request.param])
    prepare(DATA, 0, raw, folder / "log")
    adapt(config, 0, load_log(folder / "log"), folder / "environment", device="cpu", reporter=silent, measure=lambda ranks: {})
    append(DATA, 0, raw / "more.csv", raw / "new.parquet", folder / "log")
    return folder, config


@pytest.fixture
def run(adapted, tmp_path):
    """A copy of it to change."""
    shutil.copytree(adapted[0], tmp_path / "run")
    return tmp_path / "run", adapted[1]


def add(run, raw, silent, table="new.parquet", data=DATA):
    folder, config = run
    new = NewItems(raw / table, data)
    return add_items(config, 0, load_log(folder / "log"), new, folder / "environment", device="cpu", reporter=silent)


def files(folder):
    return {path.name: path.read_bytes() for path in (folder / "environment").iterdir()}


def arrays(folder):
    """Tokens, vectors and, if histories are read with them, words."""
    return [np.load(path) for path in sorted((folder / "environment").glob("item_*.npy"))]


def test_old_rows_adapters_and_models_keep_their_bytes_and_new_items_get_rows(run, raw, silent):
    folder, _ = run
    before, old = files(folder), arrays(folder)
    add(run, raw, silent)
    after, new = files(folder), arrays(folder)
    assert after.keys() == before.keys()
    changed = {name for name in before if after[name] != before[name]}
    assert changed <= {"item_tokens.npy", "item_vectors.npy", "item_words.npy", "manifest.json", "cost.json"}
    for rows, more in zip(old, new, strict=True):
        assert more[: N_ITEMS + 1].tobytes() == rows.tobytes()
        assert len(more) == N_ITEMS + 1 + len(NEW_ITEMS)
    lengths = np.linalg.norm(new[1][-3:], axis=1)
    np.testing.assert_allclose(lengths, [1, 1, 0], atol=1e-5)  # new-c has no text, and a token all the same
    assert (np.linalg.norm(new[0][-3:], axis=1) > 0).all()


def test_a_new_item_with_the_text_of_an_old_one_gets_its_vector(run, raw, silent):
    folder, config = run
    add(run, raw, silent)
    tokens, vectors = arrays(folder)[:2]
    ids = load_log(folder / "log").catalog.numbers
    twin, other = ids["new-a"], ids["item-2"]
    if config.item_tokens == "mean" or config.trained_token_items < N_ITEMS:
        np.testing.assert_allclose(tokens[twin], tokens[other], atol=1e-5)
    assert vectors[twin] @ vectors[other] > 0.9


def test_the_manifest_says_what_was_added_from_what(run, raw, silent):
    folder, config = run
    before = read_manifest(folder / "environment", "environment", "x")
    add(run, raw, silent)
    after = read_manifest(folder / "environment", "environment", "x")
    (added,) = after.notes.pop("added")
    assert after.notes == before.notes
    assert added.pop("sha256") == file_digest(raw / "new.parquet")
    assert added == {
        "items": 3, "first_item_number": 21, "file": "new.parquet", "items_not_in_the_log": 0,
        "environment_before": before.digest, "log_before": before.request.parents["log"],
    }  # fmt: skip
    log = load_log(folder / "log")
    assert is_current(folder / "environment", environment_request(config, 0, log.digest))
    assert after.digest != before.digest


def test_the_environment_annotates_the_extended_log(run, raw, silent):
    folder, _ = run
    add(run, raw, silent)
    log, environment = load_log(folder / "log"), load_environment(folder / "environment", "cpu")
    settings = AnnotationsConfig(n_augmented=2)
    annotate(settings, log, environment, "digest", folder / "annotations", reporter=silent)
    found = load_annotations(folder / "annotations")
    assert len(found.rewards) == log.training.n_steps
    assert len(found.item_vectors) == log.catalog.n_items + 1
    new = log.training.items > N_ITEMS
    assert new.any() and np.isfinite(found.rewards[new]).all() and found.rewards[new].any()


def test_a_second_time_changes_nothing(run, raw, silent):
    add(run, raw, silent)
    before = files(run[0])
    assert add(run, raw, silent)["items"] == 0
    assert files(run[0]) == before


def test_a_stopped_addition_goes_on_and_ends_the_same(run, raw, silent, monkeypatch, tmp_path):
    folder, _ = run
    shutil.copytree(folder, tmp_path / "whole")
    add((tmp_path / "whole", run[1]), raw, silent)
    before = files(folder)
    with monkeypatch.context() as patch:
        patch.setattr("learec.environment.add_items.new_item_tokens", stop)
        with pytest.raises(KeyboardInterrupt):
            add(run, raw, silent)
    assert files(folder) == before
    (partial_folder(folder / "environment") / "foreign.npy").write_bytes(b"left by a stopped adapt")
    add(run, raw, silent)
    different = {name for name, data in files(tmp_path / "whole").items() if files(folder)[name] != data}
    assert different <= {"cost.json"}
    assert not (folder / "environment" / "foreign.npy").exists()


def stop(*_):
    raise KeyboardInterrupt


def test_a_table_without_the_new_items_or_with_other_texts_is_refused(run, raw, silent, tmp_path):
    table = pl.read_parquet(raw / "new.parquet")
    table.head(1).write_parquet(tmp_path / "short.parquet")
    with pytest.raises(DataError, match="log/: 2 items have no row in .*short.parquet, first 'new-b'"):
        add(run, raw, silent, tmp_path / "short.parquet")
    table.with_columns(pl.lit("Other").alias("title")).write_parquet(tmp_path / "other.parquet")
    with pytest.raises(DataError, match="item 'new-a' has another text than in log/ .*Big kite 2 in shops"):
        add(run, raw, silent, tmp_path / "other.parquet")
    with pytest.raises(DataError, match="no column 'sku'"):
        add(run, raw, silent, data=DATA.model_copy(update={"columns": Columns(item="sku")}))


def test_items_without_an_event_are_counted_and_get_no_token(run, raw, silent, tmp_path):
    table = pl.read_parquet(raw / "new.parquet")
    extra = pl.DataFrame({"item_id": ["unseen"], "title": ["Green hat"], "place": ["parks"]})
    pl.concat([table, extra]).write_parquet(tmp_path / "more.parquet")
    assert add(run, raw, silent, tmp_path / "more.parquet")["items_not_in_the_log"] == 1
    assert len(arrays(run[0])[0]) == N_ITEMS + 1 + len(NEW_ITEMS)
    extra.write_parquet(tmp_path / "only.parquet")
    with pytest.raises(DataError, match="none of its items is new in log/.*first 'unseen'; append their events first"):
        add(run, raw, silent, tmp_path / "only.parquet")


def test_an_environment_of_another_recipe_or_of_another_log_is_refused(run, raw, silent, tmp_path):
    folder, config = run
    with pytest.raises(ArtifactError, match="stale: history was 8 and is now 9"):
        add((folder, config.model_copy(update={"history": 9})), raw, silent)
    prepare(DATA.model_copy(update={"min_session_events": 3}), 0, raw, folder / "log")
    with pytest.raises(ArtifactError, match="was made from another log, which log/ does not extend"):
        add(run, raw, silent)


RECIPE = """
name = "tiny"
[data]
events = "log.csv"
items = "items.csv"
text = "{title} in {place}"
min_item_events = 1
min_session_events = 2
split = "leave_one_out"
[environment]
llm = "LLM"
history = 8
epochs = 1
lora_rank = 2
max_text_tokens = 24
[annotations]
n_augmented = 2
[agents.sasrec]
"""


def test_the_command_line_extends_a_run_and_later_stages_go_on_from_there(raw, tmp_path, family_folder):
    recipe, folder = tmp_path / "tiny.toml", tmp_path / "run"
    recipe.write_text(RECIPE.replace("LLM", str(family_folder("qwen3"))))

    def learec(verb, *options):
        done = CliRunner().invoke(app, [verb, str(recipe), "--folder", str(folder), "--data", str(raw), *map(str, options)])
        assert done.exit_code == 0, done.exception
        return done.output

    learec("prepare")
    learec("adapt")
    learec("prepare", "--append", raw / "more.csv", "--append-items", raw / "new.parquet")
    told = learec("adapt", "--add-items", raw / "new.parquet")
    assert "3 items got a token and a vector" in told
    assert "adapt: up to date" in learec("adapt")
    assert "annotate" not in learec("annotate")
    notes = read_manifest(folder / "environment", "environment", "x").notes
    assert notes["language model"]["family"] == "qwen3" and notes["adapters"]["rank"] == 2
    assert len(load_annotations(folder / "annotations").item_vectors) == N_ITEMS + 3 + 1
