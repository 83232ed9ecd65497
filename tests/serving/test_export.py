"""The export: ranks as the agent does, is served without it, and nothing that only looks like one is run."""

import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import onnx
import pytest
import torch
from onnx.external_data_helper import set_external_data
from rich.console import Console
from typer.testing import CliRunner

from learec.agents.agent import Agent, save_agent
from learec.artifacts import file_digest
from learec.cli import app
from learec.config import AgentConfig
from learec.errors import ArtifactError, ConfigError
from learec.models import ENCODERS
from learec.progress import Reporter
from learec.serving.choose import choose_agent
from learec.serving.export import export
from learec.serving.graph import onnx_model
from learec.serving.onnx_ranker import OnnxRanker, groups_of_like_length, open_graph
from learec.serving.ranker import padded
from learec.serving.recommender import Query, Recommender
from learec.serving.torch_ranker import TorchRanker

N_ITEMS, COLD, MAX_LENGTH = 300, (7, 300), 15


def an_agent(encoder="sasrec", **settings):
    """As after training: every weight has a value of its own, padding and cold items none."""
    torch.manual_seed(0)
    config = AgentConfig(encoder=encoder, hidden_size=16, n_heads=2, max_length=MAX_LENGTH, **settings)
    agent = Agent(config, N_ITEMS, 0, torch.tensor(COLD)).eval()
    with torch.no_grad():
        for weight in agent.parameters():
            weight += 0.1 * torch.randn(weight.shape)
        agent.encoder.items.weight[[0, *COLD]] = 0
    return agent


def onnx_ranker(agent, folder):
    (folder / "model.onnx").write_bytes(onnx_model(agent).SerializeToString())
    ranker = TorchRanker(agent)
    np.save(folder / "table.npy", ranker.table)
    np.save(folder / "bias.npy", ranker.bias)
    return OnnxRanker(folder, MAX_LENGTH)


def histories(n, rng):
    return padded([rng.integers(1, N_ITEMS + 1, rng.integers(1, MAX_LENGTH + 1)) for _ in range(n)])


def assert_same_ranking(seen, wanted):
    """Same ids and scores; where two scores are as good as equal, either order."""
    np.testing.assert_allclose(seen[1], wanted[1], atol=1e-4, rtol=0)
    swapped = seen[0] != wanted[0]
    assert swapped.mean() < 1e-3
    rows, columns = np.nonzero(swapped)
    neighbours = [wanted[1][rows, np.clip(columns + step, 0, wanted[1].shape[1] - 1)] for step in (-1, 1)]
    gaps = np.abs(np.array(neighbours) - wanted[1][rows, columns])
    assert (gaps.min(axis=0) < 1e-4).all()


@pytest.mark.parametrize("head", [{"tied": True}, {"tied": False}, {"cosine_scale": 9.0}], ids=["tied", "untied", "cosine"])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_thousand_histories_are_ranked_as_torch_ranks_them(encoder, head, tmp_path, rng):
    agent = an_agent(encoder, **head)
    exported, trained = onnx_ranker(agent, tmp_path), TorchRanker(agent)
    items, blocked = histories(1000, rng), histories(1000, rng)
    for rows in (slice(0, 1), slice(1, 65), slice(65, 1000)):  # one graph for any number of rows and any length
        seen, wanted = (ranker.top(items[rows], blocked[rows], 10) for ranker in (exported, trained))
        assert_same_ranking(seen, wanted)
        np.testing.assert_allclose(exported.hidden(items[rows]), trained.hidden(items[rows]), atol=1e-4)
    everything = exported.top(items[:20], blocked[:20], N_ITEMS)
    never = np.concatenate([blocked[:20], np.tile(COLD, (20, 1))], axis=1)
    reached = [set(row[score > -np.inf]) for row, score in zip(*everything, strict=True)]
    assert reached == [set(range(1, N_ITEMS + 1)) - set(row) for row in never.tolist()]


def test_a_thousand_queries_with_filters_get_the_same_answers_from_torch_and_onnx(torch_recommender, onnx_recommender, rng):
    names, genres = np.array(onnx_recommender.catalog.ids[1:]), list(onnx_recommender.catalog.members)

    def query(number):
        history = tuple(rng.choice(names, rng.integers(0, 20)))
        filters = [{}, {"exclude": tuple(names[:5])}, {"allow": tuple(names[::3])}, {"within": genres[number % len(genres)]}]
        return Query(history, int(rng.integers(1, 15)), **filters[number % 4])

    queries = [query(number) for number in range(1000)]
    seen, wanted = ([r.answer(queries[n : n + 64]) for n in range(0, 1000, 64)] for r in (onnx_recommender, torch_recommender))
    pairs = [pair for batches in zip(seen, wanted, strict=True) for pair in zip(*batches, strict=True)]
    assert len(pairs) == 1000
    for one, other in pairs:
        assert [item.item_id for item in one.items] == [item.item_id for item in other.items]
        assert [item.score for item in one.items] == pytest.approx([item.score for item in other.items], abs=1e-4)
        assert (one.unknown, one.fallback) == (other.unknown, other.fallback)


def test_of_two_equal_scores_the_lower_item_number_comes_first_either_way(tmp_path):
    agent = an_agent()
    with torch.no_grad():
        agent.encoder.items.weight[20:40] = agent.encoder.items.weight[19]
        agent.actor_bias[19:40] = 50  # all of these are the best, and equal
    items, nothing = np.array([[1, 2]]), np.array([[0]])
    for ranker in (TorchRanker(agent), onnx_ranker(agent, tmp_path)):
        assert ranker.top(items, nothing, 5)[0].tolist() == [[19, 20, 21, 22, 23]]
        assert ranker.top(items, np.array([[20]]), 5)[0].tolist() == [[19, 21, 22, 23, 24]]


def test_the_graph_can_be_run_without_learec_and_takes_k_as_an_input(tmp_path, rng):
    import onnxruntime

    onnx.save(onnx_model(an_agent()), tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    inputs = {"items": histories(3, rng), "blocked": np.zeros((3, 1), np.int64)}
    for k in (1, 7, N_ITEMS):
        numbers, scores, hidden = session.run(None, {**inputs, "k": np.array([k])})
        assert (numbers.shape, scores.shape, hidden.shape) == ((3, k), (3, k), (3, 16))
        assert (np.diff(scores[:, : N_ITEMS - len(COLD)]) <= 0).all()
    assert session.run(["hidden"], {**inputs, "k": np.array([0])})[0].shape == (3, 16)


def test_the_same_agent_gives_the_same_bytes_and_none_tells_where_it_was_made():
    one, other = (onnx_model(an_agent()).SerializeToString(deterministic=True) for _ in range(2))
    assert one == other
    assert not any(word in one for word in (b"site-packages", os.getcwd().encode(), b".py"))


def test_rows_of_like_length_are_run_together_so_that_one_long_history_pads_no_other():
    lengths = np.array([3, 50, 2] + [4] * 30)
    groups = groups_of_like_length(lengths)
    assert [sorted(lengths[group]) for group in groups] == [[2, 3] + [4] * 30, [50]]
    assert sorted(np.concatenate(groups).tolist()) == list(range(33))
    assert [group.tolist() for group in groups_of_like_length(np.array([5, 4, 6]))] == [[1, 0, 2]]


def test_an_export_is_served_without_the_agent_and_without_torch(run_copy, torch_recommender):
    shutil.rmtree(run_copy / "agents")
    code = f"""
import json, sys
sys.modules.update(dict.fromkeys(["torch", "safetensors", "onnx", "transformers", "accelerate"]))
from learec.serving.recommender import Recommender
served = Recommender.load({str(run_copy)!r}, "sasrec")
print(json.dumps([served.name, [item.item_id for item in served.recommend(served.catalog.ids[1:4], 5).items]]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    wanted = torch_recommender.recommend(torch_recommender.catalog.ids[1:4], 5)
    assert json.loads(done.stdout) == ["sasrec/0", [item.item_id for item in wanted.items]]


def test_without_an_export_and_without_torch_the_command_that_helps_is_named(served_run):
    code = (
        "import sys; sys.modules['torch'] = None; from learec.errors import ConfigError\n"
        "from learec.serving.recommender import Recommender\n"
        f"try: Recommender.load({str(served_run)!r}, 'sasrec')\nexcept ConfigError as error: print(error)"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert (
        "needs torch, which is not installed; run `pip install torch`, or export the agent where it is: `learec export" in printed
    )


def test_an_agent_that_was_trained_again_is_not_served_from_its_old_export(run_copy):
    manifest = run_copy / "agents/sasrec/seed-0/manifest.json"
    body = json.loads(manifest.read_text())
    agent_of_run = Recommender.load(run_copy, "sasrec", backend="torch").ranker.agent
    with torch.no_grad():
        agent_of_run.actor_bias += 1
    save_agent(agent_of_run, manifest.parent)
    body["files"]["agent.safetensors"] = file_digest(manifest.parent / "agent.safetensors")
    manifest.write_text(json.dumps(body))
    with pytest.raises(
        ArtifactError, match="stale: the agent was trained again since; refresh it with `learec export .* --agent sasrec/0`"
    ):
        Recommender.load(run_copy, "sasrec", backend="onnx")
    assert Recommender.load(run_copy, "sasrec").ranker.__class__ is TorchRanker


def test_an_export_that_is_up_to_date_is_left_alone(run_copy):
    said = io.StringIO()
    before = {path: path.stat().st_mtime_ns for path in run_copy.rglob("*")}
    export(choose_agent(run_copy, "sasrec"), Reporter(Console(file=said, width=200)))
    assert "is up to date" in said.getvalue()
    assert {path: path.stat().st_mtime_ns for path in run_copy.rglob("*")} == before


def test_the_command_exports_every_agent_or_the_one_named(run_copy):
    shutil.rmtree(run_copy / "export")
    one = CliRunner().invoke(app, ["export", str(run_copy), "--onnx", "--agent", "sasrec"], catch_exceptions=False)
    assert one.stdout.startswith("sasrec/0: ")
    assert [path.name for path in (run_copy / "export").iterdir()] == ["sasrec"]
    every = CliRunner().invoke(app, ["export", str(run_copy), "--all"], catch_exceptions=False)
    assert "untied/0: " in every.stdout
    with pytest.raises(ConfigError, match="--all exports every agent"):
        CliRunner().invoke(app, ["export", str(run_copy), "--all", "--agent", "sasrec"], catch_exceptions=False)


class Bomb:
    """Unpickling this makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def disguises(folder):
    """What is no model: by name, bytes that a careless loader would run or unpack."""
    bomb = pickle.dumps(Bomb(folder / "it ran"))
    zipped, tarred = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("archive/data.pkl", bomb)
    with tarfile.open(fileobj=tarred, mode="w") as archive:
        member = tarfile.TarInfo("data.pkl")
        member.size = len(bomb)
        archive.addfile(member, io.BytesIO(bomb))
    saved = io.BytesIO()
    np.save(saved, np.array([Bomb(folder / "it ran")], dtype=object), allow_pickle=True)
    return {"pickle": bomb, "zip": zipped.getvalue(), "tar": tarred.getvalue(), "npy of objects": saved.getvalue(), "empty": b""}


def forged(path, content):
    """Put other bytes in a file's place, and let the manifest say that this is how it should be."""
    path.write_bytes(content)
    body = json.loads((path.parent / "manifest.json").read_text())
    body["files"][path.name] = file_digest(path)
    (path.parent / "manifest.json").write_text(json.dumps(body))


FILES = {
    "model.onnx": ("export/sasrec/seed-0", "onnx"), "table.npy": ("export/sasrec/seed-0", "onnx"),
    "bias.npy": ("export/sasrec/seed-0", "onnx"), "counts.npy": ("export/sasrec/seed-0", "onnx"),
    "agent.safetensors": ("agents/sasrec/seed-0", "torch"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["pickle", "zip", "tar", "npy of objects", "empty"])
@pytest.mark.parametrize("file", FILES)
def test_what_pretends_to_be_a_model_is_refused_and_nothing_of_it_runs(file, kind, run_copy, tmp_path):
    folder, backend = FILES[file]
    content = disguises(tmp_path)[kind]
    shutil.copytree(run_copy, tmp_path / "other")
    (run_copy / folder / file).write_bytes(content)
    with pytest.raises(ArtifactError, match=f"{file}: damaged"):
        Recommender.load(run_copy, "sasrec", backend=backend)
    shutil.rmtree(tmp_path / "other/agents") if backend == "onnx" else None  # else its digest would tell
    forged(tmp_path / "other" / folder / file, content)
    with pytest.raises(ArtifactError, match=r"^[^\n]*(holds no|is no)[^\n]*; [^\n]*(run|`learec)[^\n]*$"):
        Recommender.load(tmp_path / "other", "sasrec", backend=backend)
    assert not (tmp_path / "it ran").exists()


def test_a_graph_whose_weights_lie_in_another_file_is_refused(tmp_path):
    model = onnx_model(an_agent())
    weights = next(tensor for tensor in model.graph.initializer if tensor.name == "actor.bias")
    (tmp_path / "secret").write_bytes(weights.raw_data)
    set_external_data(weights, "../secret")
    weights.ClearField("raw_data")
    (tmp_path / "export").mkdir()
    (tmp_path / "export/model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ArtifactError, match="model.onnx: names weights outside of its file"):
        open_graph(tmp_path / "export/model.onnx")


def test_a_graph_with_other_inputs_is_refused(tmp_path):
    model = onnx_model(an_agent())
    model.graph.input[0].name = "histories"
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name == "items":
                node.input[place] = "histories"
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ArtifactError, match="has inputs histories, blocked, k, wanted items, blocked, k"):
        open_graph(tmp_path / "model.onnx")


@pytest.mark.parametrize(
    ("place", "backend"),
    [
        ("export/sasrec/seed-0/model.onnx", "onnx"),
        ("agents/sasrec/seed-0/agent.safetensors", "torch"),
        ("log/catalog.arrow", "onnx"),
    ],
)
def test_a_link_that_leads_out_of_the_run_is_not_followed(place, backend, run_copy, tmp_path):
    (run_copy / place).rename(tmp_path / "elsewhere")
    (run_copy / place).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ArtifactError, match="leads out of"):
        Recommender.load(run_copy, "sasrec", backend=backend)


def test_a_manifest_that_names_a_file_outside_of_the_run_is_refused_before_the_file_is_read(run_copy, tmp_path):
    manifest = run_copy / "agents/sasrec/seed-0/manifest.json"
    body = json.loads(manifest.read_text())
    body["files"]["../../../../secret"] = "0" * 64
    manifest.write_text(json.dumps(body))
    os.mkfifo(tmp_path / "secret")  # whoever opens it to read waits for ever
    with pytest.raises(ArtifactError, match="secret: leads out of"):
        Recommender.load(run_copy, "sasrec", backend="torch")


def test_a_model_larger_than_an_onnx_file_is_refused(monkeypatch):
    monkeypatch.setattr("learec.serving.graph.LARGEST", 1000)
    with pytest.raises(ConfigError, match="an ONNX file holds 2.1 GB; choose a smaller hidden_size"):
        onnx_model(an_agent())
