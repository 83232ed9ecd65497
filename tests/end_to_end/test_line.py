"""The whole line through the command line, with the real language model on a small simulated log."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from learec.artifacts import COST, file_digest
from learec.data.ease import Explained, item_knn_by_ease
from learec.data.log import load_log
from learec.data.tfidf import fewer_directions
from learec.errors import ArtifactError
from learec.evaluation.floors import tfidf_of
from learec.hybrids import beside_for
from learec.serving.choose import choose_agent

COMMAND = [sys.executable, "-c", "from learec.cli import main; main()"]
RECIPE = """
name = "small"
[simulate]
listeners = 80
tracks = 60
mean_plays = 8
[data]
events = "interactions.parquet"
items = "items.parquet"
columns = { user = "listener_id", item = "track_id", time = "time", event = "event" }
title = "{title} - {artist}"
text = "{title} by {artist}, {genre}"
min_item_events = 1
min_session_events = 5
rewards = { skip = 0.0, play = 0.5, like = 1.0 }
[environment]
prompt = "Tracks:"
users = 0.3
epochs = 2
batch_tokens = 128
[annotations]
n_augmented = 2
shard_sessions = 10
[agent]
hidden_size = 16
epochs = 12
batch_size = 16
[agents.sasrec]
[agents.lea]
encoder = "gru4rec"
objective = "snqn"
lea = ["state", "reward", "augmented"]
[evaluation]
ease_decay = 0.8
ease_text_weight = 3.0
resamples = 100
hybrids = ["lea"]
compare = [["lea", "sasrec"], ["lea-hybrid", "lea"]]
"""


def learec(*arguments, cwd, **more):
    environment = {**os.environ, "COLUMNS": "200"}
    return subprocess.run([*COMMAND, *map(str, arguments)], cwd=cwd, env=environment, capture_output=True, text=True, **more)


def contents(folder: Path):
    """Every file of a run but what tells minutes; the report shows minutes, so its page is left out too."""
    files = {p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file() and p.name != COST}
    return {path: data for path, data in files.items() if path.parts[0] != "report"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing disturbed."""
    root = tmp_path_factory.mktemp("whole")
    (root / "small.toml").write_text(RECIPE)
    done = learec("run", "small.toml", cwd=root)
    assert done.returncode == 0, done.stderr
    return root, done.stdout


def test_a_run_makes_every_artifact_and_prints_the_table(whole):
    root, printed = whole
    made = {path.parent.relative_to(root / "runs/small").as_posix() for path in (root / "runs/small").rglob("manifest.json")}
    assert made == {
        "raw",
        "truth",
        "log",
        "environment",
        "annotations",
        "agents/sasrec/seed-0",
        "agents/lea/seed-0",
        "results",
        "report",
    }
    for name in ("popularity", "last_item", "item_knn", "v_sknn", "ease", "content_knn", "rule", "sasrec", "lea"):
        assert name in printed
    assert "seen items masked" in printed
    assert "report.html" in printed


def test_a_second_run_does_nothing_and_says_so(whole):
    root, _ = whole
    before = {path: path.stat().st_mtime_ns for path in (root / "runs").rglob("*")}
    done = learec("run", "small.toml", cwd=root)
    assert "Nothing to do: every stage is up to date." in done.stdout
    assert {path: path.stat().st_mtime_ns for path in (root / "runs").rglob("*")} == before


def test_recommend_works_without_transformers_and_peft(whole):
    root, _ = whole
    import polars as pl

    ids = pl.read_ipc(root / "runs/small/log/catalog.arrow")["item_id"][:2]
    blocked = "import sys; sys.modules.update(dict.fromkeys(['transformers', 'peft', 'accelerate'])); "
    command = [
        sys.executable,
        "-c",
        blocked + COMMAND[2],
        "recommend",
        "runs/small",
        "--history",
        ",".join(ids),
        "-k",
        "3",
        "--json",
    ]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) == 3
    assert not {item["item_id"] for item in found} & set(ids)
    assert [item["score"] for item in found] == sorted((item["score"] for item in found), reverse=True)


def test_one_changed_agent_setting_trains_that_agent_again_and_nothing_before_it(whole, tmp_path):
    root, _ = whole
    shutil.copytree(root, tmp_path / "copy")
    recipe = tmp_path / "copy/small.toml"
    recipe.write_text(RECIPE.replace("[agents.sasrec]", "[agents.sasrec]\ndropout = 0.1"))
    before = contents(tmp_path / "copy/runs/small")
    done = learec("run", "small.toml", cwd=tmp_path / "copy")
    after = contents(tmp_path / "copy/runs/small")
    changed = {
        path.parts[0] if path.parts[0] != "agents" else path.parts[1] for path, data in after.items() if before.get(path) != data
    }
    assert changed == {"sasrec", "results"}
    assert "dropout was 0.5 and is now 0.1" in done.stdout
    assert (tmp_path / "copy/runs/small/agents/sasrec/seed-0/manifest.json").exists()


def test_agents_train_evaluate_and_serve_from_saved_annotations_without_the_environment(whole, tmp_path):
    root, _ = whole
    shutil.copytree(root, tmp_path / "copy")
    for name in ("environment", "raw", "agents", "results"):
        shutil.rmtree(tmp_path / f"copy/runs/small/{name}")
    for stage in ("train", "evaluate"):
        done = learec(stage, "small.toml", cwd=tmp_path / "copy")
        assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "copy/runs/small/results") == contents(root / "runs/small/results")


def test_an_agent_that_reads_item_vectors_alone_is_the_same_without_annotated_steps(whole, tmp_path):
    root, _ = whole
    start, end = RECIPE.split("[agents.sasrec]")
    evidence = "".join(
        f'[agents.{name}]\nitem_knn = true\nlea = ["content"]\nepochs = 2\n{more}' for name, more in
        (("told", ""), ("text", 'placebo = "text"\n'), ("random", 'placebo = "random"\n'))
    )  # fmt: skip
    recipe = start + evidence + "[evaluation]\nresamples = 100\n"
    for name, text in (("steps", recipe), ("none", recipe.replace("[annotations]", "[annotations]\nsteps = false"))):
        shutil.copytree(root / "runs/small", tmp_path / name / "runs/small")
        (tmp_path / name / "small.toml").write_text(text)
        done = learec("run", "small.toml", cwd=tmp_path / name)
        assert done.returncode == 0, done.stderr
        audited = learec("audit", "runs/small", cwd=tmp_path / name)
        assert audited.returncode == 0, audited.stdout
    assert "item vectors alone" in done.stdout
    with_steps, without = (contents(tmp_path / name / "runs/small") for name in ("steps", "none"))
    same = [Path(f"agents/{name}/seed-0/agent.safetensors") for name in ("told", "text", "random")]
    for path in (*same, Path("results/ranks.parquet"), Path("annotations/item_vectors.npy")):
        assert with_steps[path] == without[path]
    fewer = recipe.replace("[annotations]", "[annotations]\nsteps = false\ntfidf_size = 3")
    (tmp_path / "none/small.toml").write_text(fewer)
    done = learec("run", "small.toml", cwd=tmp_path / "none")
    assert done.returncode == 0, done.stderr
    after = contents(tmp_path / "none/runs/small")
    changed = {path.parts[: 2 if path.parts[0] == "agents" else 1] for path, data in after.items() if without.get(path) != data}
    assert changed == {("text-annotations",), ("agents", "text"), ("results",)}, "TF-IDF's size is nothing to the language model"
    assert np.load(tmp_path / "none/runs/small/text-annotations/item_vectors.npy").shape[1] == 3


@pytest.mark.parametrize("stage", ["train", "evaluate", "report"])
def test_a_changed_environment_setting_makes_what_hangs_on_it_stale(whole, tmp_path, stage):
    root, _ = whole
    shutil.copytree(root, tmp_path / "copy")
    (tmp_path / "copy/small.toml").write_text(RECIPE.replace("epochs = 2", "epochs = 3"))
    done = learec(stage, "small.toml", cwd=tmp_path / "copy")
    assert done.returncode == 2
    assert "environment: stale: epochs was 2 and is now 3; refresh it with `learec adapt small.toml`" in done.stderr


KILL_WHEN = {
    "adapt": ".environment.partial/checkpoints/environment.safetensors",
    "annotate": ".annotations.partial/checkpoints/000001.npz",
    "train": "agents/lea/.seed-0.partial/checkpoints/*.safetensors",
    "evaluate": ".results.partial/request.json",
}


def test_a_run_killed_in_every_stage_ends_like_one_that_was_not(whole, tmp_path):
    root, _ = whole
    (tmp_path / "small.toml").write_text(RECIPE)
    for stage, sign in KILL_WHEN.items():
        process = subprocess.Popen(
            [*COMMAND, "run", "small.toml"], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 180
        while not list((tmp_path / "runs/small").glob(sign)) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        assert process.poll() is None, f"the run ended before it could be killed in {stage}"
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = learec("run", "small.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    killed, undisturbed = contents(tmp_path / "runs/small"), contents(root / "runs/small")
    assert killed.keys() == undisturbed.keys()
    assert [path for path in killed if killed[path] != undisturbed[path]] == []


def test_a_hybrid_is_exported_as_it_was_measured(whole, tmp_path):
    from learec.serving.recommender import Recommender

    root = shutil.copytree(whole[0], tmp_path / "copy")
    done = learec("export", "runs/small", "--hybrid", "--agent", "lea/0", cwd=root)
    assert done.returncode == 0, done.stderr
    run = root / "runs/small"
    weights = json.loads((run / "results/hybrids.json").read_text())["lea-hybrid/0"]
    told = f"; logits + {weights['text_weight']:g} x text cosine + {weights['knn_weight']:g} x log counts"
    assert told in " ".join(done.stdout.split())
    settings = json.loads((run / "export/lea/seed-0/manifest.json").read_text())["config"]["hybrid"]
    assert {name: settings[name] for name in ("text_weight", "knn_weight")} == {
        k: weights[k] for k in ("text_weight", "knn_weight")
    }
    example = json.loads((run / "results/examples.json").read_text())[0]
    served = Recommender.load(run, "lea/0", backend="onnx")
    of_title = {title: item_id for item_id, title in zip(served.catalog.ids, served.catalog.titles, strict=True)}
    answer = served.recommend([of_title[title] for title in example["history"]], 5)
    assert [item.title for item in answer.items] == [item["title"] for item in example["recommendations"]["lea-hybrid"]]
    chosen = json.loads((run / "results/floors.json").read_text())
    counted = chosen["item_knn"]["settings"]
    by_ease = "ease_decay" in weights
    of_counts = chosen["tfidf_cease" if "tfidf_size" in weights else "cease"]["settings"] if by_ease else counted
    assert (chosen["item_knn"]["tried"], of_counts) == (16, {name: weights[name] for name in of_counts})
    decay = weights["ease_decay" if by_ease else "knn_decay"]
    assert (settings["decay"], settings["text_decay"]) == (decay, weights["text_decay"])
    rows = {row["name"]: row["description"] for row in json.loads((run / "results/tables.json").read_text())["rows"]}
    assert ("TF-IDF of item texts" in rows["lea-hybrid"]) == ("tfidf_size" in weights)
    assert rows["item_knn"].endswith(
        f" (knn_decay {counted['knn_decay']:g}, knn_shrinkage {counted['knn_shrinkage']:g}, the best of 16 on validation)"
    )

    def choose(**settings):
        (run / "results/hybrids.json").write_text(json.dumps({"lea-hybrid/0": settings}))
        manifest = json.loads((run / "results/manifest.json").read_text())
        manifest["files"]["hybrids.json"] = file_digest(run / "results/hybrids.json")
        (run / "results/manifest.json").write_text(json.dumps(manifest))

    log, vectors = load_log(run / "log"), np.load(run / "annotations/item_vectors.npy").astype(np.float32)
    for of_ease in ({}, {"ease_text_weight": 3.0}):
        choose(**of_ease, ease_regularisation=9.0, ease_decay=0.7, text_decay=0.6, text_weight=2.0, knn_weight=4.0)
        rule = beside_for(choose_agent(run, "lea/0")).rule
        explained = Explained(vectors, 3.0) if of_ease else None
        measured = item_knn_by_ease(log.training, log.catalog.n_items, 0.7, 9.0, explained, named="x")
        assert measured.similarity.nnz
        np.testing.assert_array_equal(rule.knn.similarity.toarray(), measured.similarity.toarray())
        assert (rule.knn.decay, rule.content.decay, rule.text_weight, rule.knn_weight) == (0.7, 0.6, 2.0, 4.0)
    of_words = {**counted, "tfidf_size": 5, "text_decay": 0.6, "text_weight": 2.0, "knn_weight": 4.0}
    choose(**of_words)
    expected = fewer_directions(tfidf_of(log, 1024), 5)
    np.testing.assert_array_equal(beside_for(choose_agent(run, "lea/0")).rule.content.vectors, expected)
    (run / "annotations").rename(run / "elsewhere")  # of the language model nothing is in it
    np.testing.assert_array_equal(beside_for(choose_agent(run, "lea/0")).rule.content.vectors, expected)
    (run / "elsewhere").rename(run / "annotations")
    measured = (run / "results/manifest.json").read_text()
    without_model = json.loads(measured)
    del without_model["parents"]["annotations"]
    (run / "results/manifest.json").write_text(json.dumps(without_model))
    np.testing.assert_array_equal(beside_for(choose_agent(run, "lea/0")).rule.content.vectors, expected)
    choose(**{name: value for name, value in of_words.items() if name != "tfidf_size"})
    with pytest.raises(ArtifactError, match="does not say in how many directions it had TF-IDF; refresh it with"):
        beside_for(choose_agent(run, "lea/0"))
    (run / "results/manifest.json").write_text(measured)
    choose(**{name: value for name, value in weights.items() if name not in of_counts})
    again = learec("export", "runs/small", "--hybrid", "--agent", "lea/0", cwd=root)
    assert again.returncode != 0
    assert "runs/small/results: stale: made by an earlier version" in " ".join(again.stderr.split())
    again = learec("export", "runs/small", "--hybrid", "--agent", "sasrec/0", cwd=root)
    assert again.returncode != 0
    assert 'write hybrids = ["sasrec"] under [evaluation]' in " ".join(again.stderr.split())
