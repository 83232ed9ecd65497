"""Several processes train what one does; what they tell loggers; and bfloat16. Run as a script, this is one process of them."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file

from learec import fit
from learec.agents import train as train_module
from learec.agents.agent import Agent
from learec.agents.batches import Batches
from learec.agents.learner import Learner
from learec.agents.train import share, train
from learec.annotations.table import Annotations
from learec.artifacts import SCRATCH, partial_folder
from learec.config import AgentConfig, AgentEntry, derived_seed
from learec.data.log import load_log
from learec.errors import ConfigError, LearecError
from learec.models import ENCODERS
from learec.progress import Reporter
from learec.sampled_softmax import ItemSampler
from learec.workers import Workers, process_number

SMALL = {"hidden_size": 16, "n_layers": 1, "batch_size": 16, "max_length": 10, "dropout": 0.0, "epochs": 4}
SETTINGS = {
    "supervised": {},
    "sqn": {"objective": "sqn"},
    # A parameter that no process has a gradient for must not decay.
    "copies": {"objective": "sqn", "double_q": "copies", "weight_decay": 0.5, "tied": False},
    "lea": {"lea": ("augmented",)},
}
TOLERANCE = 1e-5
SECONDS = 120


def annotations_for(log):
    """Half of the steps have no augmented actions."""
    n, rng = log.training.n_steps, np.random.default_rng(0)
    some = (log.training.step_of > 0) & (rng.random(n) < 0.5)
    actions = rng.choice(np.unique(log.training.items), (n, 2))
    return Annotations(
        states=np.zeros((n, 4), np.float32),
        rewards=np.zeros(n, np.float32),
        augmented=np.where(some[:, None], actions, 0),
        augmented_scores=np.zeros((n, 2), np.float32),
        augmented_rewards=np.zeros((n, 2), np.float32),
        annotated=some,
        item_vectors=np.zeros((log.catalog.n_items + 1, 4), np.float32),
        digest="d",
    )


def train_all(log, folder, names, device="cpu"):
    """Train the named settings one after the other; every process leaves its own weights beside the agents."""
    kept = []

    class Kept(Learner):
        def __init__(self, *args):
            super().__init__(*args)
            kept.append(self)

    train_module.Learner, before = Kept, train_module.Learner
    reporter, annotations = Reporter(Console(quiet=True)), annotations_for(log)
    for name in names:
        entry = AgentEntry(name, 0, AgentConfig(**{**SMALL, **SETTINGS[name]}))
        given = annotations if entry.config.lea else None
        train(entry, log, given, folder / name, device=device, reporter=reporter, validate=bias_norm)
        weights = {key: tensor.detach().clone() for key, tensor in kept[-1].tensors().items()}
        save_file(weights, folder / f"{name}.{process_number()}.safetensors")
    train_module.Learner = before


def bias_norm(agent):
    if process_number() > 0:
        raise AssertionError("only the main process validates")
    return {"score": float(agent.actor_bias.detach().square().sum())}  # grows while it trains: the last epoch is kept


def in_two_processes(small_log_folder, folder, names, **environment):
    """Exit code, standard error."""
    command = [sys.executable, __file__, str(small_log_folder), str(folder), *names]
    code = f"import sys; from learec.workers import start_processes; sys.exit(start_processes(2, {command!r}) != 0)"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    # In a session of its own, so that nothing of it outlives the test.
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=environment, start_new_session=True, stderr=subprocess.PIPE, text=True
    )
    try:
        _, told = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return process.returncode, told


def learnt(path):
    """Weights of a training, and how many batches it took.

    Left out are the attention's key biases: the softmax over keys does not depend on them, so their gradient is rounding,
    and Adam makes steps of full length of it.
    """
    weights = load_file(path)
    for name in [name for name in weights if name.endswith("query_key_value.bias")]:
        query, _, value = weights.pop(name).chunk(3)
        weights |= {f"{name} of queries": query, f"{name} of values": value}
    return weights, int(weights.pop("batches_done"))


def relative_difference(weights, others):
    return max(float((others[name] - tensor).norm() / tensor.norm()) for name, tensor in weights.items())


@pytest.fixture(scope="module")
def together(small_log_folder, tmp_path_factory):
    """All settings, trained by two processes."""
    folder = tmp_path_factory.mktemp("together")
    code, told = in_two_processes(small_log_folder, folder, SETTINGS)
    assert code == 0, told
    return folder


@pytest.fixture(scope="module")
def alone(small_log, tmp_path_factory):
    """The same, trained by this process."""
    folder = tmp_path_factory.mktemp("alone")
    train_all(small_log, folder, SETTINGS)
    return folder


@pytest.mark.parametrize("name", SETTINGS)
def test_two_processes_train_what_one_does(together, alone, name):
    (one, n_batches), (two, other) = (learnt(folder / f"{name}.0.safetensors") for folder in (alone, together))
    assert n_batches == other > 10
    assert relative_difference(one, two) < TOLERANCE
    ours, theirs = (json.loads((folder / name / "manifest.json").read_text())["notes"]["curves"] for folder in (alone, together))
    for mine, other in zip(ours["losses"], theirs["losses"], strict=True):
        assert mine == pytest.approx(other, rel=1e-4)
    assert ours["best_epoch"] == theirs["best_epoch"] == SMALL["epochs"]


@pytest.mark.parametrize("name", SETTINGS)
def test_both_processes_hold_the_same_weights_at_the_end(together, name):
    first, second = ((together / f"{name}.{process}.safetensors").read_bytes() for process in (0, 1))
    assert first == second


def test_two_processes_that_were_killed_within_an_epoch_go_on_to_the_same_bytes(together, small_log_folder, tmp_path):
    code, _ = in_two_processes(small_log_folder, tmp_path, ["sqn"], LEAREC_TEST_KILL_AT="7")
    assert code != 0
    checkpoints = list((partial_folder(tmp_path / "sqn") / SCRATCH).iterdir())
    assert len(checkpoints) == 1
    code, told = in_two_processes(small_log_folder, tmp_path, ["sqn"])
    assert code == 0, told
    assert (tmp_path / "sqn/agent.safetensors").read_bytes() == (together / "sqn/agent.safetensors").read_bytes()
    assert (tmp_path / "sqn/manifest.json").read_bytes() == (together / "sqn/manifest.json").read_bytes()


def batch_of(small_log, **settings):
    config = AgentConfig(**{**SMALL, **settings})
    batches = Batches(small_log.training, annotations_for(small_log) if config.lea else None, config, "cpu")
    torch.manual_seed(0)
    agents = [Agent(config, small_log.catalog.n_items, 0)]
    return Learner(agents, ItemSampler(small_log.training.items, 8, "cpu"), True), batches.epoch(1, 0)[0]


def test_one_process_makes_the_moves_of_a_plain_loop_bit_by_bit_and_asks_nothing_of_accelerate(
    small_log, tmp_path, quiet, monkeypatch
):
    monkeypatch.setattr(Workers, "_accelerator", None)
    config = AgentConfig(**{**SMALL, "objective": "snqn", "dropout": 0.5, "epochs": 2})
    train(AgentEntry("x", 3, config), small_log, None, tmp_path / "a", device="cpu", reporter=quiet, validate=bias_norm)
    seed = derived_seed("agent", 3)
    torch.manual_seed(seed)
    agent = Agent(config, small_log.catalog.n_items, 0, torch.as_tensor(small_log.cold_items))
    learner = Learner([agent], ItemSampler(small_log.training.items, config.n_sampled, "cpu"), True)
    batches = Batches(small_log.training, None, config, "cpu")
    for epoch in (1, 2):
        for number, batch in enumerate(batches.epoch(epoch, 3)):
            torch.manual_seed(derived_seed(seed, epoch, number))
            losses = learner.losses(batch)
            learner.optimizers[0].zero_grad()
            torch.stack(list(losses.values())).sum().backward()
            torch.nn.utils.clip_grad_norm_(agent.parameters(), 5.0)
            learner.optimizers[0].step()
            learner.follow()
    for name, tensor in load_file(tmp_path / "a/agent.safetensors").items():
        assert torch.equal(tensor, agent.state_dict()[name]), name


@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("name", ["sqn", "lea"])
def test_the_weighed_losses_of_all_shares_add_up_to_those_of_the_batch(small_log, name, n):
    learner, batch = batch_of(small_log, batch_size=4, **SETTINGS[name])
    whole, added = learner.losses(batch), {}
    for process in range(n):  # of five processes one has no row
        part, weight = share(batch, process, n)
        for key, loss in learner.losses(part).items():
            added[key] = added.get(key, 0.0) + weight(key) * float(loss.detach())
    assert added == pytest.approx({key: float(loss.detach()) for key, loss in whole.items()}, rel=1e-5)


def test_every_step_of_a_batch_is_in_one_share(small_log):
    _, batch = batch_of(small_log, objective="snqn")
    parts = [batch.part(process, 3) for process in range(3)]
    assert [part.items.tolist() for part in parts] == [batch.items[process::3].tolist() for process in range(3)]
    assert sorted(torch.cat([part.steps.actions for part in parts]).tolist()) == sorted(batch.steps.actions.tolist())
    for part in parts:
        assert len(part.acted) == int(part.real.sum())
        assert part.items[part.real][1:][part.acted[:-1]].tolist() == part.steps.actions.tolist()


def test_several_processes_refuse_what_they_cannot_do(small_log, quiet, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="cuda:1.*2 processes.*--device cuda$"):
        Workers("cuda:1")
    entry = AgentEntry("large", 0, AgentConfig(**{**SMALL, "full_softmax_items": 5}))
    with pytest.raises(ConfigError, match="agent large: .* items are more than full_softmax_items = 5, .*one process"):
        train(entry, small_log, None, tmp_path / "a", device="cpu", reporter=quiet, validate=bias_norm)


def test_only_train_runs_in_several_processes():
    environment = {**os.environ, "WORLD_SIZE": "2", "RANK": "0"}
    command = [sys.executable, "-m", "learec", "adapt", "recipe.toml"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 2
    assert done.stderr.startswith("error: learec adapt: runs in one process, and 2 were started")


RECIPE = """
[data]
events = "interactions.parquet"
items = "items.parquet"
columns = { user = "listener_id", item = "track_id", time = "time", event = "event" }
min_item_events = 1
[agent]
hidden_size = 16
n_layers = 1
epochs = 2
[agents.sasrec]
[agents.sqn]
objective = "sqn"
"""


def test_the_command_line_trains_in_two_processes_and_the_main_one_alone_writes_and_tells(raw_folder, tmp_path):
    (tmp_path / "r.toml").write_text(RECIPE)
    shared = [tmp_path / "r.toml", "--data", raw_folder, "--folder", tmp_path / "run"]
    learec = [sys.executable, "-m", "learec"]
    subprocess.run([*learec, "prepare", *shared], check=True, capture_output=True, timeout=SECONDS)
    options = ["--processes", "2", "--log", "tensorboard"]
    command = [*learec, "train", *shared, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    assert [line.split(" in ")[0].split() for line in done.stdout.splitlines()] == [
        f"{agent}/0 epochs, at most: 2/2".split() for agent in ("sasrec", "sqn")
    ]
    for agent in ("sasrec", "sqn"):
        losses = json.loads((tmp_path / f"run/agents/{agent}/seed-0/manifest.json").read_text())["notes"]["curves"]["losses"]
        told = scalars(tmp_path / f"run/logs/tensorboard/{agent}/0")
        assert [value for _, value in told["loss/ce"]] == pytest.approx([entry["ce"] for entry in losses[1:]])


def test_a_process_that_finds_another_checkpoint_than_the_main_one_stops(small_log, tmp_path, quiet, monkeypatch):
    monkeypatch.setattr(Workers, "from_main", lambda self, make: (3, 0))
    entry = AgentEntry("x", 0, AgentConfig(**SMALL))
    with pytest.raises(LearecError, match="finds another state .* --folder that all processes share"):
        train(entry, small_log, None, tmp_path / "agent", device="cpu", reporter=quiet, validate=bias_norm)


def scalars(folder):
    """name -> [(epoch, value)] of everything that TensorBoard would show."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder))
    read.Reload()
    return {name: [(event.step, event.value) for event in read.Scalars(name)] for name in read.Tags()["scalars"]}


class StoppedHereError(Exception):
    """Stands for a kill: nothing after it runs."""


def test_tensorboard_holds_every_epoch_once_even_of_a_training_that_was_stopped(small_log, tmp_path, quiet):
    entry, calls = AgentEntry("x", 0, AgentConfig(**SMALL)), 0

    def stopping(agent):
        nonlocal calls
        calls += 1
        if calls == 3:
            raise StoppedHereError
        return bias_norm(agent)

    workers = Workers("cpu", ["tensorboard"], tmp_path / "logs")
    options = {"device": workers, "reporter": quiet}
    with pytest.raises(StoppedHereError):
        train(entry, small_log, None, tmp_path / "agent", **options, validate=stopping)
    assert [epoch for epoch, _ in scalars(tmp_path / "logs/tensorboard/x/0")["validation/score"]] == [0, 1]
    curves = train(entry, small_log, None, tmp_path / "agent", **options, validate=bias_norm)["curves"]
    told = scalars(tmp_path / "logs/tensorboard/x/0")
    losses = [(epoch, pytest.approx(value["ce"], rel=1e-6)) for epoch, value in enumerate(curves["losses"]) if epoch > 0]
    assert told["loss/ce"] == losses
    measures = [(epoch, pytest.approx(value["score"], rel=1e-6)) for epoch, value in enumerate(curves["measures"])]
    assert told["validation/score"] == measures
    settings = next((tmp_path / "logs/tensorboard/x/0").glob("*/hparams.yml")).read_text()
    assert "hidden_size: 16" in settings
    assert list((tmp_path / "agent").glob("**/*tfevents*")) == []


def test_mlflow_holds_the_losses_and_settings(small_log, tmp_path, quiet):
    mlflow = pytest.importorskip("mlflow")
    entry, workers = AgentEntry("x", 0, AgentConfig(**SMALL)), Workers("cpu", ["mlflow"], tmp_path / "run/logs")
    curves = train(entry, small_log, None, tmp_path / "agent", device=workers, reporter=quiet, validate=bias_norm)["curves"]
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/run/logs/mlflow/mlflow.db")
    (found,) = client.search_runs([client.get_experiment_by_name("run").experiment_id])
    assert found.data.params["hidden_size"] == "16"
    assert found.data.metrics["loss/ce"] == pytest.approx(curves["losses"][-1]["ce"])


def test_a_logger_that_is_unknown_or_not_installed_is_refused_with_what_to_do(monkeypatch):
    with pytest.raises(ConfigError, match="--log wandb: no such logger; known: tensorboard, mlflow"):
        Workers(loggers=["wandb"])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="--log mlflow: the package mlflow is not installed; pip install mlflow"):
        Workers(loggers=["mlflow"])


@pytest.mark.parametrize("encoder", ENCODERS)
def test_bfloat16_trains_float32_weights_to_nearly_the_same_losses(small_log, tmp_path, quiet, encoder):
    final = {}
    for precision in ("float32", "bfloat16"):
        entry = AgentEntry("x", 0, AgentConfig(**SMALL, objective="snqn", encoder=encoder, precision=precision))
        folder = tmp_path / precision
        notes = train(entry, small_log, None, folder, device="cpu", reporter=quiet, validate=bias_norm)
        assert {tensor.dtype for tensor in load_file(folder / "agent.safetensors").values()} == {torch.float32, torch.int64}
        final[precision] = notes["curves"]["losses"][-1]
    assert final["bfloat16"] == pytest.approx(final["float32"], rel=0.02)
    assert final["bfloat16"] != final["float32"]


def killing(losses, at):
    """Losses of which the second process does not survive batch number `at`; a checkpoint is written after each."""
    done = 0

    def counted(self, batch):
        nonlocal done
        done += 1
        if done == at and process_number() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return losses(self, batch)

    return counted


if __name__ == "__main__":
    if "LEAREC_TEST_KILL_AT" in os.environ:
        fit.CHECKPOINT_SECONDS = -1.0
        Learner.losses = killing(Learner.losses, int(os.environ["LEAREC_TEST_KILL_AT"]))
    train_all(load_log(Path(sys.argv[1])), Path(sys.argv[2]), sys.argv[3:])
